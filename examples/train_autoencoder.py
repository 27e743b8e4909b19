"""Train a convolutional autoencoder to reconstruct images through a bottleneck."""

from app.launch import launch


def main(argv: list[str] | None = None):
    return launch("autoencoder", argv, __doc__)


if __name__ == "__main__":
    main()
