import csv
import json

import keras
import numpy as np
import pytest
from contracts import random_images
from models.test_vit import TINY
from models.tiny_backbones import tiny_backbone
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from keras_recon import degradations, models
from keras_recon.evaluation.comparison import RANDOM, Curve, _bd_rates, _bd_remarks, compare
from keras_recon.evaluation.rate import CODECS
from keras_recon.evaluation.report import summary, write_comparison
from keras_recon.features import perceptual_distance
from keras_recon.utils.run import Run

IMAGES = random_images(24, 16, 16, 3)
BATCHES = [(IMAGES[i : i + 8], IMAGES[i : i + 8]) for i in range(0, 24, 8)]
PHOTOS = np.repeat(np.arange(6), 4)


def finished_run(folder, model, seed=0, data="sample", **settings):
    """A run's folder as training leaves it, of a model that is PCA and noise."""
    model.adapt(IMAGES)
    rng = np.random.default_rng(seed)
    model.linear.output_mean.assign(model.linear.output_mean + rng.normal(0, 0.01, model.linear.output_mean.shape))
    folder.mkdir()
    model.save(folder / "model.keras")
    config = {"data": data, "steps_per_epoch": 10, "seed": seed, "run_name": folder.name}
    config |= {"saved_models": "a", "logs": "b", "loss": "mse", **settings}
    figures = {"psnr": 0.0, "ssim": 0.0, "seconds": 9.0, "parameters": model.count_params(), "latent values": 80}
    protocol = {"weights": "best", "backend": "any", "device": "CPU", "machine": "two cores"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.json").write_text(json.dumps({"results": {"model": figures}, "protocol": protocol}))
    with open(folder / "log.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("epoch", "seconds", "val_psnr"), (0, 5.0, 20.0 + seed), (1, 4.0, 21.0 + seed)])
    return Run(folder)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    vit = {**TINY, "image_shape": (16, 16, 3), "patch_size": 4, "latent_dim": 5}
    conv = {"image_shape": (16, 16, 3), "filters": (4, 4), "latent_dim": 5}
    runs = {
        "vit": [finished_run(folder / f"vit-{seed}", models.ViTReconstructor(**vit), seed) for seed in (0, 1)],
        "conv": [finished_run(folder / "conv", models.ConvAutoencoder(**conv), 2)],
    }
    return runs, compare(runs, IMAGES, PHOTOS, BATCHES, BATCHES)


def test_rows_are_means_over_images_and_seeds(measured):
    runs, comparison = measured
    rows = comparison.rows
    assert list(rows) == ["vit", "conv", "pca", "mean", *CODECS]
    psnr = []
    for run in runs["vit"]:
        outputs = keras.saving.load_model(run.folder / "model.keras").predict(IMAGES, verbose=0)
        psnr.append(np.mean([peak_signal_noise_ratio(i, o, data_range=1) for i, o in zip(IMAGES, outputs)]))
    assert rows["vit"]["psnr"] == pytest.approx(np.mean(psnr), abs=1e-3)
    assert rows["vit"]["spread"] == pytest.approx(abs(psnr[0] - psnr[1]) / np.sqrt(2), abs=1e-3)
    assert [seed["psnr"] for seed in comparison.seeds["vit"]] == pytest.approx(psnr, abs=1e-3)
    pca = models.LinearReconstructor((16, 16, 3), 4, 5)
    pca.adapt(IMAGES)
    psnr = [peak_signal_noise_ratio(i, o, data_range=1) for i, o in zip(IMAGES, pca.predict(IMAGES, verbose=0))]
    assert rows["pca"]["psnr"] == comparison.pca_validation_psnr == pytest.approx(np.mean(psnr), abs=1e-3)
    over = rows["vit"]["psnr"] - rows["pca"]["psnr"]
    assert rows["vit"]["over pca"] == pytest.approx(over, abs=1e-4)
    assert rows["vit"]["95% from"] < over < rows["vit"]["95% to"] < 0  # noise was added
    assert (rows["vit"]["seconds"], rows["vit"]["steps"], rows["vit"]["latent values"]) == (9, 20, 80)


def test_bytes_and_quality_at_them(measured):
    rows, rates = measured[1].rows, measured[1].rates
    for name in ("vit", "pca"):
        curve = rates[name]
        assert [point["step"] for point in curve] == [2, 4, 8, 16, 32, 64]
        at = [point["step"] for point in curve].index(rows[name]["step"])
        assert rows[name]["bytes"] == round(curve[at]["bytes"]) < 80  # latent values of less than eight bits
        assert rows[name]["coded psnr"] == curve[at]["psnr"]
        costs = [rows[name]["psnr"] - point["psnr"] for point in curve]
        assert costs[at] <= 0.1 < min(costs[at + 1 :])
    # Skips carry more than latents.
    assert not {"bytes", "coded psnr"} & rows["mean"].keys() and "mean" not in rates
    for codec in CODECS:
        fits = "psnr" in rows[codec]
        assert (rows[codec]["bytes"] <= rows["pca"]["bytes"]) == fits
        assert any(remark.startswith(codec) and "of pca" in remark for remark in measured[1].remarks)


def test_bytes_at_equal_psnr():
    points = [{"bytes": size, "psnr": psnr} for size, psnr in ((10, 25.0), (20, 28.0), (40, 30.0))]
    rates = {"vit": points, "pca": [{**point, "bytes": 2 * point["bytes"]} for point in points]}
    rates["webp"] = [{**point, "psnr": point["psnr"] + 9} for point in points]  # none in common
    found = _bd_rates("vit", rates)
    assert found == {"pca": pytest.approx(-0.5)} and _bd_rates("pca", rates) == {}
    rows = {"vit": {"bd rate": {**found, "jpeg": 0.123}}, "pca": {"bd rate": {}}, "mean": {}}
    assert _bd_remarks(rows) == ["vit: bytes at equal PSNR (BD-rate), beside pca -50%, jpeg +12%."]


def test_how_rows_look_to_a_backbone(tmp_path):
    preset = str(tmp_path / "tiny")
    with pytest.warns(UserWarning, match="no mean and std"):
        tiny_backbone().save_to_preset(preset)
        run = finished_run(tmp_path / "vit", models.ViTReconstructor(**{**TINY, "image_shape": (16, 16, 3)}))
        comparison = compare({"vit": [run]}, IMAGES, PHOTOS, BATCHES, BATCHES, perceptual=f"{preset}:1,2")
        outputs = keras.saving.load_model(run.model).predict(IMAGES, verbose=0)
        expected = perceptual_distance(IMAGES, outputs, preset, (1, 2))
    rows = comparison.rows
    assert rows["vit"]["perceptual"] == pytest.approx(np.mean(keras.ops.convert_to_numpy(expected)), rel=1e-3)
    assert all(rows[name]["perceptual"] > 0 and rows[name]["frechet"] > 0 for name in ("vit", "pca"))
    (entry,) = comparison.entries
    assert entry.perceptual.shape == (24,) and "perceptual" in summary(comparison, "24 crops")


def test_random_weights_are_no_pretrained_vit(tmp_path):
    run = finished_run(tmp_path / "a", models.ViTReconstructor(**{**TINY, "image_shape": (16, 16, 3)}))
    config = {**run.config, "load_weights": False}
    (run.folder / "config.json").write_text(json.dumps(config))
    (entry,) = compare({"a": [Run(run.folder)]}, IMAGES, PHOTOS, BATCHES, BATCHES).entries
    assert entry.system == RANDOM


def test_runs_with_other_validation_photos_have_no_verdicts(measured, tmp_path):
    run = finished_run(tmp_path / "b", models.LinearReconstructor((16, 16, 3), 4, 5), val_data="others/")
    comparison = compare({"conv": measured[0]["conv"], "b": [run]}, IMAGES, PHOTOS, BATCHES, BATCHES)
    assert comparison.remarks[:2] == ["conv: trained on sample.", "b: trained on sample, others/."]
    assert comparison.entries == []


def test_runs_of_different_data_have_rows_and_remarks_but_no_verdicts(tmp_path):
    runs = {
        name: [finished_run(tmp_path / name, models.LinearReconstructor((16, 16, 3), 4, 5), data=data)]
        for name, data in (("a", "sample"), ("b", "photos/"))
    }
    comparison = compare(runs, IMAGES, PHOTOS, BATCHES, BATCHES)
    assert comparison.rows["b"]["psnr"] > 20 and comparison.rates["b"]
    assert comparison.remarks[:2] == ["a: trained on sample.", "b: trained on photos/."]
    assert comparison.verdicts == comparison.entries == []
    write_comparison(comparison, runs, tmp_path / "out", tmp_path / "logs", "24 crops of noise", {})
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "b: trained on photos/." in text and "Verdicts" not in text and "convergence" not in text
    assert not (tmp_path / "out" / "convergence.png").exists()


def test_degraded_images(tmp_path):
    vit = {**TINY, "image_shape": (16, 16, 3), "patch_size": 4, "latent_dim": 5}
    runs = {"vit": [finished_run(tmp_path / "vit", models.ViTReconstructor(**vit))]}
    noise = degradations.GaussianNoise(25)
    comparison = compare(runs, IMAGES, PHOTOS, BATCHES, BATCHES, noise)
    generators = [np.random.Generator(np.random.PCG64DXSM((0, 3)).jumped(i)) for i in range(len(IMAGES))]
    noisy = np.stack([noise(image, generator) for image, generator in zip(IMAGES, generators)])
    assert list(comparison.rows) == ["vit", "pca", "mean", "input"]
    pca = models.LinearReconstructor((16, 16, 3), 4, 5)
    pca.adapt(IMAGES)  # fitted to clean images, applied to the degraded ones
    for name, outputs in (("input", noisy), ("pca", pca.predict(noisy, verbose=0))):
        psnr = np.mean([peak_signal_noise_ratio(i, o, data_range=1) for i, o in zip(IMAGES, outputs)])
        assert comparison.rows[name]["psnr"] == pytest.approx(psnr, abs=1e-3)
    assert comparison.rows["vit"]["bytes"] > 0 and list(comparison.rates) == ["vit", "pca"]
    assert list(comparison.pictures) == ["original", "input", "pca", "vit"]
    assert {p.tobytes() for p in comparison.pictures["input"]} <= {image.tobytes() for image in noisy}
    write_comparison(comparison, runs, tmp_path / "out", tmp_path / "logs", "noise", {})
    assert "left out, as they do not undo noise:25" in (tmp_path / "out" / "comparison.md").read_text()


def test_a_model_without_a_bottleneck_has_no_latent_columns():
    networks = {"unet": models.RestorationUNet((16, 16, 3), filters=(4, 4), num_blocks=1)}
    noise, others = degradations.GaussianNoise(25), random_images(96, 16, 16, 3, seed=1)
    fitting = [(others, others)]
    alone = compare({}, IMAGES, PHOTOS, fitting, BATCHES, noise, networks)
    assert alone.rows["pca"]["latent values"] == 16 * 16 * 3  # all values of 8x8 patches
    networks["linear"] = models.LinearReconstructor((16, 16, 3), 4, 5)
    networks["linear"].adapt(IMAGES)
    rows = compare({}, IMAGES, PHOTOS, fitting, BATCHES, noise, networks).rows
    assert rows["unet"]["psnr"] == pytest.approx(alone.rows["unet"]["psnr"], abs=1e-3)
    assert not {"latent values", "compression ratio", "bytes"} & rows["unet"].keys()
    assert rows["pca"]["latent values"] == rows["linear"]["latent values"] == 80
    networks["larger"] = models.LinearReconstructor((16, 16, 3), 4, 6)
    with pytest.raises(ValueError, match=r"one number of latent values\. Received: linear 80, larger 96"):
        compare({}, IMAGES, PHOTOS, fitting, BATCHES, noise, networks)


def test_curves_are_those_of_the_log(measured):
    curve = Curve.of(measured[0]["vit"][1])
    assert (curve.steps.tolist(), curve.seconds.tolist(), curve.psnr.tolist()) == ([10, 20], [5.0, 9.0], [21.0, 22.0])
    assert [entry.system for entry in measured[1].entries] == ["ViTReconstructor", "ConvAutoencoder"]


def test_what_is_written(measured, tmp_path):
    tensorboard = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    runs, comparison = measured
    write_comparison(comparison, runs, tmp_path / "out", tmp_path / "logs", "24 crops of noise", {"budget": "none"})
    figures = {"convergence.png", "rate.png", "grid.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == figures | {"comparison.json", "comparison.md"}
    for name in figures:
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.width > 400 and len(np.unique(np.asarray(picture.convert("L")))) > 50
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert content["rows"] == comparison.rows and content["rates"] == comparison.rates
    assert len(content["verdicts"]) == 1  # there is no pretrained ViT
    assert content["protocol"]["evaluated"] == "24 crops of noise" and content["protocol"]["budget"] == "none"
    assert content["protocol"]["all runs"]["loss"] == "mse"
    text = (tmp_path / "out" / "comparison.md").read_text()
    printed = summary(comparison, "24 crops of noise").splitlines()
    assert max(map(len, printed)) <= 80
    for part in (
        *printed[:8],
        "rate.png",
        "means over 24 crops of noise",
        "- The autoencoder is an efficient baseline",
    ):
        assert part in text
    events = tensorboard.EventAccumulator(str(tmp_path / "logs"), size_guidance={"tensors": 0})
    events.Reload()
    tags = {f"comparison/{name.removesuffix('.png')}" for name in figures} | {"comparison/text_summary"}
    assert {*events.Tags()["tensors"]} >= tags - {"comparison/text_summary"} | {"comparison"}
