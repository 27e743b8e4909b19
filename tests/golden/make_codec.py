"""Write golden/codec, which every backend must read: KERAS_BACKEND=tensorflow python tests/golden/make_codec.py."""

import sys
from pathlib import Path

import numpy as np

from keras_recon.compression import compress, decompress

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from compression.tiny_codecs import photo, tiny_codec  # noqa: E402


def main():
    folder = HERE / "codec"
    folder.mkdir(exist_ok=True)
    codec = tiny_codec()
    rng = np.random.default_rng(0)
    sizes = [0.02 if weight.trainable else 0 for weight in codec.weights]
    codec.set_weights([w + s * rng.standard_normal(w.shape) for w, s in zip(codec.get_weights(), sizes)])
    codec.save(folder / "codec.keras")
    image = photo(50, 70)
    arrays = {"photo": image}
    for name, quality in (("low", 0.1), ("high", 0.9)):
        data = compress(codec, image, quality)
        arrays |= {name: np.frombuffer(data, "uint8"), f"decoded_{name}": decompress(codec, data)}
    np.savez_compressed(folder / "photo.npz", **arrays)


if __name__ == "__main__":
    main()
