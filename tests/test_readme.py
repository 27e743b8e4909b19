"""The documents: their Python runs, the flags of their commands exist, their links lead somewhere."""

import contextlib
import importlib
import io
import re
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import keras_recon
from tests.models.tiny_backbones import save_as_hugging_face, tiny_backbone

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(p for p in [*ROOT.glob("*.md"), *ROOT.glob("*/*.md")] if not p.parent.name.startswith("."))
# What a document says to whom has time and a network, and what the test does instead.
SHORTER = {
    'load("sample", image_shape=(64, 64, 3))': 'load("sample", (64, 64, 3), batch_size=2, steps_per_epoch=1)',
    "latent_dim=12)": "latent_dim=12, num_layers=1, decoder_num_layers=1)",
    "RestorationUNet(image_shape=(64, 64, 3))": "RestorationUNet((16, 16, 3), filters=(8, 8), num_blocks=1)",
    "epochs=6, steps_per_epoch=400": "epochs=1, steps_per_epoch=1",
    "vit_base_patch16_224_imagenet": "preset",
    "image_shape=(224, 224, 3)": "image_shape=(32, 32, 3)",
    'method="ensemble")': 'method="ensemble", side=32)',
}


def code(document: str, language: str) -> list[str]:
    """The blocks of a language in a document."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_python_of_the_documents_runs(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow", reason="keras_recon.data and the SavedModel need TensorFlow")
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("photo.jpg", "photos/train/a.png", "photos/val/b.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (80, 96, 3), "uint8")).save(name)
    save_as_hugging_face(tiny_backbone(image_shape=(32, 32, 3)), Path("preset"))
    names, shortened = {}, set()

    def run(document):
        for block in code(document, "python"):
            if keras.backend.backend() == "torch" and "tf.saved_model" in block:
                continue  # no SavedModel from PyTorch
            for text in (text for text in SHORTER if text in block):
                block = block.replace(text, SHORTER[text])
                shortened.add(text)
            exec(compile(block, document, "exec"), names)

    run("README.md")
    assert names["latents"].shape == (len(names["images"]), *names["model"].latent_shape)
    assert names["photo"].shape == (400, 600, 3)
    formats = ["keras"] if keras.backend.backend() == "torch" else ["keras", "savedmodel"]
    keras_recon.export_model(names["model"], "saved_models/photos", formats, np.asarray(names["images"]))
    run("saved_models/README.md")
    outputs = keras.ops.convert_to_numpy(names["model"](names["images"]))
    np.testing.assert_allclose(names["outputs"], outputs, atol=1e-5)
    run("examples/README.md")
    assert shortened == SHORTER.keys()
    assert "lora" in names["pretrained"].trainable_report()
    visible = ~names["mask"].repeat(8, axis=1).repeat(8, axis=2)
    filled = keras.ops.convert_to_numpy(names["filled"])
    np.testing.assert_array_equal(filled[visible], names["images"][visible])
    assert names["certificate"]["files"].keys() == {"live", "keras"}
    if "savedmodel" in formats:
        assert names["photos"].shape == (1, *names["photo"].shape)


@cache
def flags_of(script: str) -> set[str]:
    """All flags of a script, by its help."""
    module = importlib.import_module(script)
    text = io.StringIO()
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit):
        module.main(["--help"])
    return flags(text.getvalue())


def flags(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


def test_the_flags_of_the_documents_exist():
    trainings = [path.stem for path in ROOT.glob("examples/train_*.py")]
    scripts, wrong = set(), []
    for document in DOCUMENTS:
        text = document.read_text().replace("\\\n", " ")
        for script, rest in re.findall(r"\b(keras_recon\.doctor|\w+(?=\.py))(?:\.py)?( [^`|#\n]*)?", text):
            folders = [folder for folder in ("examples", "benchmarks") if (ROOT / folder / f"{script}.py").exists()]
            if not folders and script != "keras_recon.doctor":
                continue
            scripts.add(script)
            known = flags_of(script).union(*(flags_of(s) for s in trainings if script == "compare"))
            wrong += [(document.name, script, flag) for flag in flags(rest) - known]
    assert {"train_vit", "compare", "reconstruct", "export", "denoising", "keras_recon.doctor"} <= scripts
    assert not wrong


def slugs(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_pictures_are_there(document):
    targets = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    missing = []
    for target in targets:
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        file = document.parent / path if path else document
        if not file.exists() or (anchor and anchor not in slugs(file)):
            missing.append(target)
    assert not missing
