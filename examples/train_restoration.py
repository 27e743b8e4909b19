"""Train a U-Net to restore images: by default colour noise of any strength from 0 to 50."""

from app.launch import launch


def main(argv: list[str] | None = None):
    return launch("restoration", argv, __doc__)


if __name__ == "__main__":
    main()
