# %% [markdown]
# # Masked pretraining, and what becomes of the encoder
#
# Three patches of four are hidden, and the model paints them from the rest: a masked autoencoder (He et al., 2022). No
# label is needed. The encoder that comes of it is then the backbone of a model that reconstructs. About two minutes on
# two CPU cores.
#
# In Colab: upload the folder of this project or clone it, `%cd` into it, run `%pip install -e .` in a cell above this
# one, and restart the session.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_recon
from keras_recon.export.backbone import save_backbone

PHOTOS = "sample"  # those of scikit-image, or the path of a folder
IMAGE_SHAPE = (64, 64, 3)
BATCH_SIZE = 8
STEPS_PER_EPOCH = 300
EPOCHS = 4
FINE_TUNING_EPOCHS = 1

keras.utils.set_random_seed(0)

training, validation = keras_recon.data.load_photos(PHOTOS)
crops = (training, IMAGE_SHAPE, BATCH_SIZE, STEPS_PER_EPOCH)
val_batches = keras_recon.data.validation_batches(validation, IMAGE_SHAPE, BATCH_SIZE)

# %% [markdown]
# ## Pretrain
#
# In training every image draws its own mask; validation hides the same patches of every image. Visible patches of the
# output are the input's own, so any loss is one of the hidden patches. There is no linear path: PCA knows nothing of
# what is hidden.

# %%
masked = keras_recon.models.ViTReconstructor(
    IMAGE_SHAPE, patch_size=8, latent_dim=48, linear_path=False, mask_ratio=0.75, seed=0
)
learning_rate = keras.optimizers.schedules.CosineDecay(1e-3, EPOCHS * STEPS_PER_EPOCH)
masked.compile(keras.optimizers.AdamW(learning_rate), loss="mse", metrics=[keras_recon.metrics.PSNR()])
history = masked.fit(
    keras_recon.data.training_batches(*crops, EPOCHS, seed=0),
    epochs=EPOCHS,
    steps_per_epoch=STEPS_PER_EPOCH,
    validation_data=val_batches,
    shuffle=False,  # the crops come in random order already
)

masked.save("saved_models/masked_pretraining/masked.keras")

# %%
_, clean = keras_recon.data.spread(val_batches, 4)
outputs = masked.predict(clean, verbose=0)
rows = {"crops": clean, "what the model sees": masked.visible_part(clean), "what it makes of it": outputs}
figure, axes = plt.subplots(3, 1, figsize=(8, 6.6), layout="constrained")
for axis, (title, images) in zip(axes, rows.items()):
    psnr = float(keras.ops.mean(keras_recon.metrics.psnr(clean, images)))
    axis.imshow(np.concatenate(list(images), axis=1))
    axis.set(title=title if images is clean else f"{title}, {psnr:.1f} dB", xticks=[], yticks=[])
figure.savefig("saved_models/masked_pretraining/reconstructions.png")

# %% [markdown]
# ## The encoder as a backbone
#
# `save_backbone` writes a preset of keras-hub, which `from_preset` reads as it reads those of the hub. From here on it
# is fine-tuning, as in the guide of that name: the linear path begins above PCA, the backbone learns slowly.

# %%
preset = "saved_models/masked_pretraining/backbone"
save_backbone(masked, preset)
model = keras_recon.models.PretrainedViTReconstructor.from_preset(preset, latent_dim=12)
train_batches = keras_recon.data.training_batches(*crops, FINE_TUNING_EPOCHS, seed=1)
model.adapt(train_batches)
optimizer = keras_recon.optimizers.LayerwiseAdamW(1e-3, depths=model.variable_depths(), scale=0.1)
model.compile(optimizer, loss=keras_recon.losses.Charbonnier(), metrics=[keras_recon.metrics.PSNR()])
start = model.evaluate(val_batches, return_dict=True)
history = model.fit(
    train_batches,
    epochs=FINE_TUNING_EPOCHS,
    steps_per_epoch=STEPS_PER_EPOCH,
    validation_data=val_batches,
    shuffle=False,
)
print(f"validation PSNR: {history.history['val_psnr'][-1]:.2f} dB, linear path {start['psnr']:.2f} dB")

# %%
model.save("saved_models/masked_pretraining/model.keras")
loaded = keras.saving.load_model("saved_models/masked_pretraining/model.keras")
photo = validation[1]
output = keras_recon.reconstruct(loaded, photo)
psnr = keras_recon.metrics.psnr(photo[None] / 255, output[None] / 255)
print(f"a whole photo: {float(psnr[0]):.2f} dB")
