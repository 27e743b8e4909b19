# %% [markdown]
# # A Vision Transformer from scratch
#
# An autoencoder that keeps 12 numbers of each 8x8 patch, a sixteenth of its pixels, and paints the photo again from
# them. About a minute on two CPU cores.
#
# In Colab: upload the folder of this project or clone it, `%cd` into it, run `%pip install -e .` in a cell above this
# one, and restart the session.

# %%
import keras
import matplotlib.pyplot as plt

import keras_recon

PHOTOS = "sample"
IMAGE_SHAPE = (64, 64, 3)
BATCH_SIZE = 8
STEPS_PER_EPOCH = 300
EPOCHS = 4

keras.utils.set_random_seed(0)

# %% [markdown]
# ## Photos
#
# `"sample"` are the photos that come with scikit-image, ten to train on and three to validate on; the path of a folder
# takes yours, whose bad files are left out. Training sees random crops, other ones in every epoch; validation, the same
# crops after each. Both are pairs: `degradation="noise:25"` would make the first of each noisy.

# %%
training, validation = keras_recon.data.load(PHOTOS, IMAGE_SHAPE, BATCH_SIZE, STEPS_PER_EPOCH)

# %% [markdown]
# ## The model begins as a linear map
#
# No linear map of a patch to 12 numbers does better than PCA, and a fresh network needs long to come that far. So the
# model has a linear path, which `adapt` sets in seconds to the PCA of patches that overlap; the last layers of the
# transformer start at zero. What `evaluate` says here is that path's quality; what comes on top is the network's.

# %%
model = keras_recon.models.ViTReconstructor(IMAGE_SHAPE, patch_size=8, latent_dim=12)
model.adapt(training)
learning_rate = keras.optimizers.schedules.CosineDecay(3e-3, EPOCHS * STEPS_PER_EPOCH)
model.compile(
    keras.optimizers.AdamW(learning_rate), loss=keras_recon.losses.Charbonnier(), metrics=[keras_recon.metrics.PSNR()]
)
start = model.evaluate(validation, return_dict=True)

# %%
history = model.fit(
    training,
    epochs=EPOCHS,
    validation_data=validation,
    shuffle=False,  # the crops come in random order already
)
print(f"validation PSNR: {history.history['val_psnr'][-1]:.2f} dB, linear path {start['psnr']:.2f} dB")

# %% [markdown]
# ## Save, load, reconstruct a photo
#
# A file holds all that the model needs, normalisation included; `import keras_recon` is what Keras needs to load it.
# `reconstruct` takes photos of any size, and blends overlapping tiles so that no seam shows.

# %%
model.save("saved_models/vit_from_scratch/model.keras")
loaded = keras.saving.load_model("saved_models/vit_from_scratch/model.keras")
photo = keras_recon.data.load_photos(PHOTOS)[1][1]  # a validation photo
output = keras_recon.reconstruct(loaded, photo)

figure, axes = plt.subplots(1, 3, figsize=(15, 3.7), layout="constrained")
error = abs(photo / 255 - output / 255).mean(axis=-1)
for axis, image, title in zip(axes, (photo, output, error), ("photo", "reconstruction", "absolute error")):
    axis.imshow(image, cmap="inferno")
    axis.set(title=title, xticks=[], yticks=[])
figure.savefig("saved_models/vit_from_scratch/reconstructions.png")
