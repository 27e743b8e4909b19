# %% [markdown]
# # Your own pairs
#
# Twenty photos as a camera spoiled them, and the same twenty as they should be: enough to teach the model `denoise` a
# noise that it was not trained on. About two and a half minutes on two CPU cores.
#
# In Colab: upload the folder of this project or clone it, `%cd` into it, run `%pip install -e .` in a cell above this
# one, and restart the session.

# %%
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
import scipy.ndimage

import keras_recon

PHOTOS = "sample"  # those of scikit-image, or the path of a folder
IMAGE_SHAPE = (64, 64, 3)
BATCH_SIZE = 8
STEPS_PER_EPOCH = 150
EPOCHS = 4
FOLDER = Path("pairs")

keras.utils.set_random_seed(0)

# %% [markdown]
# ## Two folders
#
# `input/` and `target/` have files of the same names; here, pieces of photos with the coarse grain of high speed film.
# Leave this cell out and put yours in their place. Suffixes may differ.


# %%
def with_grain(image, rng):
    grain = scipy.ndimage.gaussian_filter(rng.normal(size=image.shape), (1.0, 1.0, 0.0))
    return image + 0.08 * grain / grain.std()


rng = np.random.default_rng(0)
for part, photos, count in zip(("train", "val"), keras_recon.data.load_photos(PHOTOS), (20, 6)):
    for number, clean in enumerate(keras_recon.data.grid_crops(photos, (192, 192), stride=192, limit=count)):
        for kind, image in (("input", with_grain(clean, rng)), ("target", clean)):
            pixels = np.rint(255 * image.clip(0, 1)).astype("uint8")
            keras_recon.images.write_image(FOLDER / part / kind / f"{number}.png", keras_recon.images.ImageFile(pixels))

# %% [markdown]
# ## Pairs of crops
#
# Both of a pair are cut at the same place. Without `val_data`, some of the pairs would be held out. What has no
# partner, or lies shifted against it, is named in the log.

# %%
training, validation = keras_recon.data.load(
    FOLDER / "train" / "input",
    IMAGE_SHAPE,
    BATCH_SIZE,
    STEPS_PER_EPOCH,
    target=FOLDER / "train" / "target",
    val_data=FOLDER / "val" / "input",
    val_target=FOLDER / "val" / "target",
)

# %% [markdown]
# ## Train on
#
# From the weights of the model that is there, at a low learning rate. On the command line: `python
# examples/train_restoration.py --init denoise --data pairs/train/input --target pairs/train/target`.

# %%
model = keras_recon.load_model("denoise").for_image_shape(IMAGE_SHAPE)
rate = keras.optimizers.schedules.CosineDecay(0.0, EPOCHS * STEPS_PER_EPOCH, warmup_target=3e-4, warmup_steps=50)
model.compile(keras.optimizers.AdamW(rate), loss=keras_recon.losses.Charbonnier(), metrics=[keras_recon.metrics.PSNR()])
start = model.evaluate(validation, return_dict=True)
history = model.fit(
    training,
    epochs=EPOCHS,
    validation_data=validation,
    shuffle=False,  # the crops come in random order already
)
print(f"validation PSNR: {history.history['val_psnr'][-1]:.2f} dB, as it was {start['psnr']:.2f} dB")

# %% [markdown]
# ## Save, load, denoise a photo

# %%
model.save("saved_models/own_pairs/model.keras")
loaded = keras.saving.load_model("saved_models/own_pairs/model.keras")
names = sorted(path.name for path in (FOLDER / "val" / "input").iterdir())
grainy, clean = (
    keras_recon.data.read_photo(FOLDER / "val" / kind / names[len(names) // 2], channels=3) / np.float32(255)
    for kind in ("input", "target")
)
before = keras_recon.reconstruct(keras_recon.load_model("denoise"), grainy)
after = keras_recon.reconstruct(loaded, grainy)

pictures = {"photo": clean, "with grain": grainy, "denoise": before, "trained on": after}
figure, axes = plt.subplots(1, len(pictures), figsize=(15, 4.3), layout="constrained")
for axis, (title, image) in zip(axes, pictures.items()):
    psnr = float(keras_recon.metrics.psnr(clean[None], image[None])[0])
    axis.imshow(image)
    axis.set(title=title if image is clean else f"{title}, {psnr:.2f} dB", xticks=[], yticks=[])
figure.savefig("saved_models/own_pairs/reconstructions.png")
