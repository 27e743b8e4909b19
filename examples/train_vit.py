"""Train a Vision Transformer from scratch to reconstruct images through a bottleneck."""

from app.launch import launch


def main(argv: list[str] | None = None):
    return launch("vit", argv, __doc__)


if __name__ == "__main__":
    main()
