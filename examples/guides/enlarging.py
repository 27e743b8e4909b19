# %% [markdown]
# # Enlarging
#
# Small images in, images twice as high and wide out: `RestorationUNet` with `upscale=2`. About two minutes on two CPU
# cores; `load_model("upscale2")` is the same model after a long training.
#
# In Colab: upload the folder of this project or clone it, `%cd` into it, run `%pip install -e .` in a cell above this
# one, and restart the session.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_recon

PHOTOS = "sample"  # those of scikit-image, or the path of a folder
IMAGE_SHAPE = (32, 32, 3)  # of the inputs; outputs have 64x64 pixels
BATCH_SIZE = 8
STEPS_PER_EPOCH = 300
EPOCHS = 3

keras.utils.set_random_seed(0)


# %% [markdown]
# ## Pairs of small and large crops
#
# With `upscale=2`, the small crops are the large crops, downscaled by an antialiased bicubic filter, as most programs
# downscale photos. A `degradation` such as `"jpeg:30-90"` is applied to the small crops on top.

# %%
training, validation = keras_recon.data.load(PHOTOS, IMAGE_SHAPE, BATCH_SIZE, STEPS_PER_EPOCH, upscale=2)

# %% [markdown]
# ## Train
#
# The last layer is zero at first, so that the model begins at repeating each pixel, and learns what that lacks.

# %%
model = keras_recon.models.RestorationUNet(IMAGE_SHAPE, filters=(32, 64), num_blocks=1, upscale=2)
rate = keras.optimizers.schedules.CosineDecay(0.0, EPOCHS * STEPS_PER_EPOCH, warmup_target=2e-3, warmup_steps=100)
model.compile(keras.optimizers.AdamW(rate), loss=keras_recon.losses.Charbonnier(), metrics=[keras_recon.metrics.PSNR()])
start = model.evaluate(validation, return_dict=True)
history = model.fit(
    training,
    epochs=EPOCHS,
    validation_data=validation,
    shuffle=False,  # the crops come in random order already
)
bicubic = keras.metrics.Mean()
for small, large in validation:
    enlarged = keras.ops.image.resize(np.asarray(small), large.shape[1:3], "bicubic")
    bicubic.update_state(keras_recon.metrics.psnr(np.asarray(large), enlarged))
print(f"validation PSNR: {history.history['val_psnr'][-1]:.2f} dB, bicubic {float(bicubic.result()):.2f} dB")

# %% [markdown]
# ## Save, load, enlarge a photo

# %%
model.save("saved_models/enlarging/model.keras")
loaded = keras.saving.load_model("saved_models/enlarging/model.keras")
photo = keras_recon.data.load_photos(PHOTOS)[1][1][:80, :120] / np.float32(255)  # a validation photo
output = keras_recon.reconstruct(loaded, photo)

figure, axes = plt.subplots(1, 2, figsize=(15, 5.2), layout="constrained")
for axis, image in zip(axes, (photo, output)):
    axis.imshow(image, interpolation="nearest")
    axis.set(title=f"{image.shape[1]}x{image.shape[0]} pixels", xticks=[], yticks=[])
figure.savefig("saved_models/enlarging/reconstructions.png")
