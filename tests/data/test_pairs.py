"""The user's own degraded and clean photos: what belongs together is found, what does not fit is named."""

import numpy as np
import pytest
from PIL import Image

from keras_recon.data import RandomPairs, grid_pairs, load, load_photos, middle_parts
from keras_recon.data.pairs import folder_pairs, is_paired, shift_of, table_pairs
from keras_recon.degradations import GaussianNoise
from keras_recon.images.pixels import to_float


def pixels(seed, height=40, width=48):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), "uint8")


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


@pytest.fixture
def folders(tmp_path):
    """Twelve negatives and their photos."""
    for i in range(12):
        save(tmp_path / "input" / "deep" / f"{i}.bmp", 255 - pixels(i))
        save(tmp_path / "target" / "deep" / f"{i}.png", pixels(i))
    return tmp_path


def are_negatives(degraded, clean):
    return np.array_equal(np.rint(255 * degraded), 255 - np.rint(255 * clean))


@pytest.mark.parametrize("turns", [False, True])
def test_crops_of_both_are_the_same(folders, turns):
    training, validation = load_photos(folders / "input", target=folders / "target")
    assert len(training) + len(validation) == 12 and training.keys[0].endswith(".png")
    pairs = RandomPairs(training, (16, 16, 3), seed=1, quarter_turns=turns)
    crops = [pairs(0, index) for index in range(20)]
    assert all(are_negatives(*pair) and pair[0].dtype == "float32" for pair in crops)
    alone = RandomPairs(load_photos(folders / "target")[0], (16, 16, 3), seed=1, quarter_turns=turns)
    assert all(np.array_equal(alone(0, index)[1], crops[index][1]) for index in range(20))
    degraded, clean = grid_pairs(validation, (16, 16, 3))
    assert are_negatives(degraded, clean)
    np.testing.assert_array_equal(clean, grid_pairs(load_photos(folders / "target")[1], (16, 16, 3))[1])
    assert are_negatives(*middle_parts(validation, longest=24))
    assert [part.shape for part in middle_parts(validation, longest=24)] == [(24, 24, 3)] * 2
    degraded, clean = RandomPairs(training, (64, 64, 3), seed=1)(0, 0)  # larger than the photos
    np.testing.assert_allclose(degraded, 1 - clean, atol=1e-6)


@pytest.mark.parametrize("layout", ["inside", "parts inside", "inside parts", "two pairs", "table", "two tables"])
def test_where_pairs_are(folders, layout):
    data, options = folders, {}
    if layout in ("parts inside", "inside parts", "two pairs"):
        for i in range(12):
            for name, suffix in (("Input", "bmp"), ("Target", "png")):
                part = "train" if i < 9 else "val"
                path = folders / "new" / (f"{part}/{name}" if layout == "parts inside" else f"{name}/{part}")
                path.mkdir(parents=True, exist_ok=True)
                (folders / name.lower() / "deep" / f"{i}.{suffix}").rename(path / f"{i}.{suffix}")
        data = folders / "new"
        if layout == "two pairs":
            data, options = data / "Input/train", {"target": data / "Target/train", "val_data": data / "Input/val"}
            options["val_target"] = folders / "new/Target/val"
    elif "table" in layout:
        lines = [f"input/deep/{i}.bmp, target/deep/{i}.png\n" for i in range(12)]
        (folders / "pairs.csv").write_text("input,target\n" + "".join(lines[:9] if layout == "two tables" else lines))
        (folders / "more.csv").write_text("".join(lines[9:]))
        data = folders / "pairs.csv"
        options = {"val_data": folders / "more.csv"} if layout == "two tables" else {}
    assert is_paired(data, options.get("target"))
    training, validation = load_photos(data, **options)
    assert len(validation) == (3 if layout not in ("inside", "table") else len(validation))
    assert len(training) + len(validation) == 12
    assert all(are_negatives(*map(to_float, pair)) for part in (training, validation) for pair in part)


@pytest.mark.parametrize("factor, size", [(2, (8, 12)), (3, (16, 16)), (2, (64, 64))])
def test_larger_targets(tmp_path, factor, size):
    for i in range(4):
        small = pixels(i, 20, 24) // 2 + 64  # Pillow clips between rows and columns
        save(tmp_path / "input" / f"{i}.png", small)
        save(tmp_path / "target" / f"{i}.png", small.repeat(factor, axis=0).repeat(factor, axis=1))
    training, validation = load_photos(tmp_path)
    assert training.scales == (1, factor)
    parts = RandomPairs(training, (*size, 3), seed=0)
    for index in range(8):
        degraded, clean = parts(0, index)
        assert degraded.shape == (*size, 3) and clean.shape == (factor * size[0], factor * size[1], 3)
        if max(size) <= 20:
            np.testing.assert_array_equal(clean, degraded.repeat(factor, axis=0).repeat(factor, axis=1))
        else:  # enlarged to cover the crop, each for itself
            np.testing.assert_allclose(clean[::factor, ::factor].mean(), degraded.mean(), atol=0.02)
    enlarged = training.for_upscale(1)
    degraded, clean = enlarged[0]
    assert degraded.shape == clean.shape == (20 * factor, 24 * factor, 3)
    by_pillow = Image.fromarray(training[0][0]).resize(clean.shape[1::-1], Image.Resampling.BICUBIC)
    assert np.abs(degraded.astype(int) - np.asarray(by_pillow).astype(int)).max() <= 1
    assert training.for_upscale(factor) is training
    with pytest.raises(ValueError, match=r"enlarges 4 times must have pairs.*Received: targets of \d times"):
        training.for_upscale(4)
    degraded, clean = grid_pairs(validation, (16, 16, 3))
    assert clean.shape == (len(degraded), 16 * factor, 16 * factor, 3)


def test_orientation_counts_in_sizes(folders):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.fromarray(255 - pixels(0)).transpose(Image.Transpose.ROTATE_90)
    (folders / "input/deep/0.bmp").unlink()
    turned.save(folders / "input/deep/0.png", exif=exif)
    training, validation = load_photos(folders)
    assert not training.bad and len(training) + len(validation) == 12


def test_what_is_alone_or_does_not_fit_is_named(folders, caplog):
    save(folders / "input" / "alone.png", pixels(50))
    save(folders / "target" / "other.png", pixels(51))
    save(folders / "input" / "deep" / "3.bmp", pixels(3, 30, 30))
    (folders / "input" / "deep" / "4.bmp").write_bytes(b"no image")
    training, validation = load_photos(folders, on_bad="skip")
    assert f"1 photos in {folders / 'input'} have none of their name in {folders / 'target'}: alone.png" in caplog.text
    assert f"1 photos in {folders / 'target'} have none of their name in {folders / 'input'}: other.png" in caplog.text
    assert "deep/3.png is left out: the target has 40x48 pixels for 30x30" in caplog.text
    assert "deep/3.png" in training.bad
    grid_pairs(training, (16, 16, 3)), grid_pairs(validation, (16, 16, 3))
    assert training.bad.keys() | validation.bad.keys() == {"deep/3.png", "deep/4.png"}
    with pytest.raises(ValueError, match=r"deep/3\.png: the target has 40x48"):
        load_photos(folders)


def test_shifts_are_warned_of(folders, caplog):
    for i in (2, 5):
        save(folders / "input" / "deep" / f"{i}.bmp", np.roll(255 - pixels(i), (i, -1), axis=(0, 1)))
    load_photos(folders)
    assert "2 of 12 pairs that were looked at are shifted" in caplog.text
    assert "down and right: deep/5.png by (5, -1), deep/2.png by (2, -1)" in caplog.text


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("text", ["noise:50", "blur:1.6", "jpeg:10", "mask:0.5", "downsample:4"])
def test_shifts_under_what_befalls_photos(text, factor):
    import skimage.data

    from keras_recon import degradations

    clean = to_float(skimage.data.coffee())
    small = clean.reshape(200 * 2 // factor, factor, 600 // factor, factor, 3).mean(axis=(1, 3))
    degraded = degradations.from_string(text)(small, np.random.default_rng(0))
    assert shift_of(degraded, clean) == (0, 0)
    assert shift_of(np.roll(degraded, (-4, 7), axis=(0, 1)), clean) == (-4, 7)


def test_batches_of_pairs(folders):
    pytest.importorskip("tensorflow")
    for batches in load(folders / "input", (16, 16, 3), 4, 2, target=folders / "target"):
        degraded, clean = next(iter(batches))
        assert are_negatives(np.asarray(degraded), np.asarray(clean))


def test_mistakes_are_refused(folders):
    bad = {
        "`resize` must be None for pairs": {"resize": 20},
        "`val_target` must be None without `val_data`": {"val_target": folders / "target"},
        "both be photos, or pairs of one size. Received: pairs of 1 times the size and photos": {
            "val_data": folders / "target"
        },
        "`data` and `target` must be folders of images": {"data": "sample", "target": folders / "target"},
        "of the same names. Received": {"data": folders / "input" / "deep", "target": folders / "target"},
    }
    for message, options in bad.items():
        with pytest.raises(ValueError, match=message):
            load_photos(**{"data": folders, **options})
    with pytest.raises(ValueError, match="`degradation` must be None for pairs"):
        grid_pairs(load_photos(folders)[1], (16, 16, 3), degradation=GaussianNoise(25))
    save(folders / "target" / "deep" / "0.jpg", pixels(0))
    with pytest.raises(ValueError, match=r"one file, to be paired. Received: deep/0.jpg and deep/0.png"):
        folder_pairs(folders / "input", folders / "target")


@pytest.mark.parametrize("text", ["", "a.png\n", "a.png,b.png,c.png\n", "input,target\n"])
def test_tables_of_other_columns_are_refused(tmp_path, text):
    (tmp_path / "pairs.csv").write_text(text)
    for name in "abc":
        save(tmp_path / f"{name}.png", pixels(0))
    with pytest.raises(ValueError, match="must be a CSV file of two columns of paths"):
        table_pairs(tmp_path / "pairs.csv")


@pytest.mark.parametrize("cache", [None, "cache"])
def test_of_one_pair_each_side_has_halves_of_both(tmp_path, cache):
    save(tmp_path / "input" / "a.bmp", 255 - pixels(0))
    save(tmp_path / "target" / "a.png", pixels(0))
    parts = load_photos(tmp_path / "input", target=tmp_path / "target", cache=cache and tmp_path / cache)
    for photos in parts:
        degraded, clean = RandomPairs(photos, (16, 16, 3), seed=0).batch(0, 0, 5)
        assert clean.shape == (5, 16, 16, 3) and are_negatives(degraded, clean)


def test_a_clean_photo_may_have_several_degraded_ones(tmp_path):
    for i in range(6):
        save(tmp_path / f"{i}.png", pixels(i))
        for kind in "ab":
            save(tmp_path / f"{kind}{i}.bmp", 255 - pixels(i))
    (tmp_path / "pairs.csv").write_text("".join(f"{kind}{i}.bmp,{i}.png\n" for kind in "ab" for i in range(6)))
    pairs = table_pairs(tmp_path / "pairs.csv")
    assert len(pairs) == 12 and pairs["3.png of b3.bmp"] == (tmp_path / "b3.bmp", tmp_path / "3.png")
    parts = load_photos(tmp_path / "pairs.csv")
    training, validation = ({photos.files(key)[-1] for key in photos.keys} for photos in parts)
    assert sum(map(len, parts)) == 12 and not training & validation
