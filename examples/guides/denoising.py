# %% [markdown]
# # Denoising
#
# The same `fit`, with noisy images in and clean ones out. The bottleneck is as wide as a patch, so that nothing but the
# noise is lost. About a minute and a half on two CPU cores.
#
# In Colab: upload the folder of this project or clone it, `%cd` into it, run `%pip install -e .` in a cell above this
# one, and restart the session.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_recon

NOISE = "noise:25"  # sigma, of 255
PHOTOS = "sample"  # those of scikit-image, or the path of a folder
IMAGE_SHAPE = (64, 64, 3)
BATCH_SIZE = 8
STEPS_PER_EPOCH = 300
EPOCHS = 3

keras.utils.set_random_seed(0)

# %% [markdown]
# ## Pairs of noisy and clean crops
#
# Any other degradation would do here: blur, JPEG, masks, or several in their order, as in `"blur:1.6+noise:5"`.
# Validation gets the same noise after every epoch.

# %%
training, validation = keras_recon.data.load(PHOTOS, IMAGE_SHAPE, BATCH_SIZE, STEPS_PER_EPOCH, degradation=NOISE)

# %% [markdown]
# ## Train
#
# With pairs, `adapt` fits the best linear map from noisy patches to clean ones. The model begins there, 7 dB above the
# noisy input, and the network learns what no linear map can: to tell edges from noise.

# %%
model = keras_recon.models.ConvAutoencoder(IMAGE_SHAPE, filters=(32, 64), latent_dim=48)
model.adapt(training)
model.compile("adamw", loss=keras_recon.losses.Charbonnier(), metrics=[keras_recon.metrics.PSNR()])
start = model.evaluate(validation, return_dict=True)
history = model.fit(
    training,
    epochs=EPOCHS,
    validation_data=validation,
    shuffle=False,  # the crops come in random order already
)
print(f"validation PSNR: {history.history['val_psnr'][-1]:.2f} dB, linear {start['psnr']:.2f} dB")

# %% [markdown]
# ## Save, load, denoise a photo

# %%
model.save("saved_models/denoising/model.keras")
loaded = keras.saving.load_model("saved_models/denoising/model.keras")
photo = keras_recon.data.load_photos(PHOTOS)[1][1] / np.float32(255)  # a validation photo
noisy = keras_recon.degradations.get(NOISE)(photo, np.random.default_rng(0))
output = keras_recon.reconstruct(loaded, noisy)

figure, axes = plt.subplots(1, 3, figsize=(15, 3.7), layout="constrained")
for axis, image, title in zip(axes, (photo, noisy, output), ("photo", "noisy", "denoised")):
    psnr = float(keras_recon.metrics.psnr(photo[None], image[None])[0])
    axis.imshow(image.clip(0, 1))
    axis.set(title=title if image is photo else f"{title}, {psnr:.2f} dB", xticks=[], yticks=[])
figure.savefig("saved_models/denoising/reconstructions.png")
