"""Pretrain a Vision Transformer without labels, by reconstructing hidden patches; leaves its encoder as a preset."""

from app.launch import launch


def main(argv: list[str] | None = None):
    return launch("mae", argv, __doc__)


if __name__ == "__main__":
    main()
