"""The presets, on each backend."""

import io
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from contracts import outputs_of
from PIL import Image
from skimage import data
from skimage.metrics import peak_signal_noise_ratio
from skimage.transform import resize

import keras_recon
from keras_recon.compression import ImageCodec, compress, decompress
from keras_recon.models import ConvAutoencoder, ImageModel, RestorationUNet, ViTReconstructor
from keras_recon.presets import PRESETS, describe, model_file

GOLDEN = Path(__file__).parent / "golden" / "presets.npz"  # of TensorFlow, by the name of the preset


def output_of(model):
    """What a preset makes of an image of 64x64 that none was trained on."""
    image = (data.coffee()[100:228:2, 200:328:2] / 255).astype("float32")
    model = model.for_image_shape(image.shape) if model.fully_convolutional else model
    return outputs_of(model, image[None])[0]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_small_and_gives_what_it_gave(name):
    assert model_file(name).stat().st_size < 3.5e6
    model = keras_recon.load_model(name)
    assert model.count_params() < 1.7e6 and name in describe()
    np.testing.assert_allclose(output_of(model), np.load(GOLDEN)[name], atol=1e-4)


def test_a_file_or_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = keras_recon.models.RestorationUNet((8, 8, 3), filters=(4,), num_blocks=1)
    Path("denoise").mkdir()
    model.save("denoise/model.keras")
    assert keras_recon.load_model("denoise").image_shape == (8, 8, 3)


def test_from_preset_takes_arguments_and_may_leave_the_weights_out():
    denoise = ImageModel.from_preset("denoise", image_shape=(64, 96, 3))
    assert type(denoise) is RestorationUNet and denoise.image_shape == (64, 96, 3)
    fresh = RestorationUNet.from_preset("denoise", load_weights=False)
    assert fresh.filters == denoise.filters
    assert not np.array_equal(*(keras.ops.convert_to_numpy(m.trainable_variables[0]) for m in (fresh, denoise)))
    assert {*PRESETS} == {*RestorationUNet.presets, *ViTReconstructor.presets, *ConvAutoencoder.presets}


@pytest.mark.parametrize(
    "preset, expected",
    [
        ("denoise", "must be of the class ViTReconstructor.*of the class RestorationUNet"),
        ("denoyse", "or one of .*Received: preset='denoyse'"),
    ],
)
def test_from_preset_says_what_is_wrong(preset, expected):
    with pytest.raises(ValueError, match=expected):
        ViTReconstructor.from_preset(preset)


def test_denoising_and_enlarging_do_what_they_say():
    clean = (data.coffee()[96:224, 192:320] / 255).astype("float32")
    noisy = clean + np.random.default_rng(0).normal(0, 25 / 255, clean.shape).astype("float32")
    model = keras_recon.load_model("denoise")
    psnr = [
        peak_signal_noise_ratio(clean, keras_recon.reconstruct(model, image), data_range=1) for image in (noisy, clean)
    ]
    assert psnr[0] > 29 and psnr[1] > 42  # noise of 25 is at 20.2
    small = resize(clean, (64, 64), anti_aliasing=True).astype("float32")
    nearest = small.repeat(2, axis=0).repeat(2, axis=1)
    enlarged = keras_recon.reconstruct(keras_recon.load_model("upscale2"), small)
    assert enlarged.shape == clean.shape
    assert np.square(enlarged - clean).mean() < 0.7 * np.square(nearest - clean).mean()


def test_the_codec_reads_files_of_other_backends_and_beats_jpeg():
    pytest.importorskip("constriction", reason="files of a codec need constriction")
    assert model_file("codec").stat().st_size <= 4_000_000 and "codec" in describe()
    codec, photo = ImageCodec.from_preset("codec"), data.coffee()[:256, :384]
    golden = np.load(GOLDEN)["codec_file"].tobytes()
    own = compress(codec, photo, quality=0.3)  # which may differ: encoders compute in floats
    assert len(own) == pytest.approx(len(golden), rel=1e-2)
    for file in (golden, own):
        assert peak_signal_noise_ratio(photo, decompress(codec, file)) > 1 + jpeg_at(photo, len(file))


def jpeg_at(photo, size):
    """PSNR of the best JPEG file of at most so many bytes."""
    for quality in range(90, 0, -1):
        stream = io.BytesIO()
        Image.fromarray(photo).save(stream, "JPEG", quality=quality, optimize=True)
        if len(stream.getvalue()) <= size:
            return peak_signal_noise_ratio(photo, np.asarray(Image.open(stream)))


if __name__ == "__main__":  # writes the golden outputs of the presets that are named, for new weights; keeps the others
    assert keras.backend.backend() == "tensorflow"
    golden = {**np.load(GOLDEN)}
    for name in sys.argv[1:]:
        if name == "codec":
            file = compress(ImageCodec.from_preset(name), data.coffee()[:256, :384], quality=0.3)
            golden["codec_file"] = np.frombuffer(file, "uint8")
        else:
            golden[name] = output_of(keras_recon.load_model(name))
    np.savez_compressed(GOLDEN, **golden)
