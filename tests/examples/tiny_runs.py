"""Command lines of the smallest trainings, for tests of what surrounds the model."""

SYSTEMS = {
    "vit": ["--image-size", "16", "--num-layers", "1", "--hidden-dim", "16"],
    "autoencoder": ["--image-size", "16", "--filters", "8,8"],
    "restoration": ["--image-size", "16", "--filters", "6,8", "--num-blocks", "1"],
    "pretrained": ["--image-size", "32", "--decoder-num-layers", "1", "--decoder-hidden-dim", "16"],
}
SYSTEMS["vit"] += ["--decoder-num-layers", "1", "--decoder-hidden-dim", "16"]
SYSTEMS["pretrained"] += ["--decoder-mlp-dim", "16"]


def where(folder, name) -> list[str]:
    """Flags of a run's folders."""
    return ["--saved-models", str(folder / "models"), "--logs", str(folder / "runs"), "--run-name", name]


def tiny(system: str, folder, name: str, *more: str) -> list[str]:
    """The arguments of a training script."""
    return ["--smoke", *SYSTEMS[system], *where(folder, name), *more]
