# %% [markdown]
# # A convolutional autoencoder, and its latents
#
# Three levels of strided convolutions leave 12 numbers for each 8x8 pixels; three levels of upsampling paint the image
# again. It is the quickest of the systems to train: about a minute on two CPU cores.
#
# In Colab: upload the folder of this project or clone it, `%cd` into it, run `%pip install -e .` in a cell above this
# one, and restart the session.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_recon

PHOTOS = "sample"  # those of scikit-image, or the path of a folder
IMAGE_SHAPE = (64, 64, 3)
BATCH_SIZE = 8
STEPS_PER_EPOCH = 300
EPOCHS = 3

keras.utils.set_random_seed(0)

# %% [markdown]
# ## Train
#
# `adapt` fits the linear path, so that the first `evaluate` shows what linear maps can do with as many latent values.
# Small batches serve this network best: it learns from the number of steps.

# %%
training, validation = keras_recon.data.load(PHOTOS, IMAGE_SHAPE, BATCH_SIZE, STEPS_PER_EPOCH)

model = keras_recon.models.ConvAutoencoder(IMAGE_SHAPE, filters=(16, 64, 160), latent_dim=12)
model.adapt(training)
model.compile("adamw", loss=keras_recon.losses.Charbonnier(), metrics=[keras_recon.metrics.PSNR()])
start = model.evaluate(validation, return_dict=True)
history = model.fit(
    training,
    epochs=EPOCHS,
    validation_data=validation,
    shuffle=False,  # the crops come in random order already
)
print(f"validation PSNR: {history.history['val_psnr'][-1]:.2f} dB, linear path {start['psnr']:.2f} dB")

# %% [markdown]
# ## Save, load, look into the latents
#
# The weights serve any height and width that 8 divides. `encode` and `decode` are the two halves: latents in 8 bits are
# a file format, if a simple one. (JPEG is better at it: entropy coding is what it adds.)

# %%
model.save("saved_models/autoencoder/model.keras")
loaded = keras.saving.load_model("saved_models/autoencoder/model.keras")
photo = keras_recon.data.load_photos(PHOTOS)[1][1][:200, :304] / np.float32(255)  # a validation photo
wide = loaded.for_image_shape(photo.shape)

latents = keras.ops.convert_to_numpy(wide.encode(photo[None]))
step = np.abs(latents).max() / 127
stored = np.rint(latents / step).astype("int8")
output = keras.ops.convert_to_numpy(wide.decode(stored * step))[0]
psnr = float(keras_recon.metrics.psnr(photo[None], output[None])[0])
print(f"{photo.size:,} bytes of pixels -> {stored.size:,} bytes of latents, {psnr:.2f} dB")

# %% [markdown]
# The first latents are those of the linear path, brightness and its slopes; the network adds what these cannot say.

# %%
pictures = {"photo": photo, "from 8-bit latents": output} | {f"latent {i}": latents[0, :, :, i] for i in range(4)}
figure, axes = plt.subplots(2, 3, figsize=(12, 6), layout="constrained")
for axis, (title, image) in zip(axes.flat, pictures.items()):
    axis.imshow(image, cmap="gray")
    axis.set(title=title, xticks=[], yticks=[])
figure.savefig("saved_models/autoencoder/reconstructions.png")
