# %% [markdown]
# # Fine-tuning a pretrained Vision Transformer
#
# A backbone that learned to name what is in photos, read after its first blocks, which still hold the pixels, with a
# bottleneck and a decoder behind it. About a minute and a half on two CPU cores, after a download of 22 MB.
#
# In Colab: upload the folder of this project or clone it, `%cd` into it, run `%pip install -e .` in a cell above this
# one, and restart the session.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_recon

# Or another preset of keras-hub, `hf://google/vit-base-patch16-224`, or a folder that holds one.
PRESET = "deit_tiny_distilled_patch16_224_imagenet"
PHOTOS = "sample"  # those of scikit-image, or the path of a folder
IMAGE_SHAPE = (64, 64, 3)
BATCH_SIZE = 16
STEPS_PER_EPOCH = 150
EPOCHS = 3

keras.utils.set_random_seed(0)

training, validation = keras_recon.data.load(PHOTOS, IMAGE_SHAPE, BATCH_SIZE, STEPS_PER_EPOCH)

# %% [markdown]
# ## The model, and what of it is trained
#
# The preset was trained on 224x224 pixels; `image_shape` resizes its position embeddings. Its mean and std are applied
# inside the model, whose inputs are in [0, 1] as ever. `strategy` says what of the backbone is trained: `"full"`,
# `"frozen"`, `"last:2"`, `"lora:8"` and more; the report shows the effect. Blocks behind the last of `feature_layers`
# are not run at all.

# %%
model = keras_recon.models.PretrainedViTReconstructor.from_preset(
    PRESET, image_shape=IMAGE_SHAPE, latent_dim=48, feature_layers=(2, 4, 6), strategy="full"
)
print(model.trainable_report())

# %% [markdown]
# ## Train
#
# The linear path makes it begin above PCA. `LayerwiseAdamW` gives the backbone, which knows something already, a
# third of the learning rate of the new layers.

# %%
model.adapt(training)
learning_rate = keras.optimizers.schedules.CosineDecay(3e-3, EPOCHS * STEPS_PER_EPOCH)
optimizer = keras_recon.optimizers.LayerwiseAdamW(learning_rate, depths=model.variable_depths(), scale=0.3)
model.compile(optimizer, loss=keras_recon.losses.Charbonnier(), metrics=[keras_recon.metrics.PSNR()])
start = model.evaluate(validation, return_dict=True)
history = model.fit(
    training,
    epochs=EPOCHS,
    validation_data=validation,
    shuffle=False,  # the crops come in random order already
)
print(f"validation PSNR: {history.history['val_psnr'][-1]:.2f} dB, linear path {start['psnr']:.2f} dB")

# %% [markdown]
# ## Save, load, use
#
# The file holds the backbone too: nothing is downloaded again.

# %%
model.save("saved_models/fine_tuning/model.keras")
loaded = keras.saving.load_model("saved_models/fine_tuning/model.keras")
_, clean = keras_recon.data.spread(validation, 4)
outputs = loaded.predict(clean, verbose=0)

rows = {"crops": clean, "reconstructions": outputs, "absolute error, 5 times": 5 * np.abs(clean - outputs)}
figure, axes = plt.subplots(3, 1, figsize=(8, 6.6), layout="constrained")
for axis, (title, images) in zip(axes, rows.items()):
    axis.imshow(np.concatenate(list(images), axis=1).clip(0, 1))
    axis.set(title=title, xticks=[], yticks=[])
figure.savefig("saved_models/fine_tuning/reconstructions.png")
