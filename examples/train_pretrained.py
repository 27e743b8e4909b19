"""Fine-tune a pretrained Vision Transformer to reconstruct images through a bottleneck."""

from app.launch import launch


def main(argv: list[str] | None = None):
    return launch("pretrained", argv, __doc__)


if __name__ == "__main__":
    main()
