# %% [markdown]
# # What the encoder knows: a linear probe
#
# A model that compresses photos was never told what is in them. How much of that its encoder says all the same, a
# linear probe shows: one dense layer on the frozen encoder, trained to name things. About a minute on two CPU cores.
#
# In Colab: upload the folder of this project or clone it, `%cd` into it, run `%pip install -e .` in a cell above this
# one, and restart the session.

# %%
from pathlib import Path

import keras
import numpy as np

import keras_recon

PHOTOS = "sample"  # those of scikit-image, on which the model was not trained
CROPS = 100  # at most, of each half of a photo
EPOCHS = 60

keras.utils.set_random_seed(0)

# %% [markdown]
# ## A small labelled set
#
# Which photo is this crop of? The left halves are to learn from, the right ones to be asked about, so that no pixel is
# in both. With 13 photos, guessing is right one time in 13.


# %%
def labelled(halves):
    """Crops, and for each the number of the photo that it is from."""
    crops = [*keras_recon.data.photo_grids(halves, (64, 64), stride=32, limit=CROPS * len(halves))]
    return np.concatenate(crops), np.repeat(np.arange(len(crops)), [*map(len, crops)])


photos = [photo for part in keras_recon.data.load_photos(PHOTOS) for photo in part]
lefts = [photo[:, : photo.shape[1] // 2] for photo in photos]
rights = [photo[:, photo.shape[1] // 2 :] for photo in photos]
(x, y), (x_test, y_test) = map(labelled, keras_recon.data.load_photos((lefts, rights)))

# %% [markdown]
# ## The frozen trunk, and what the probe may read
#
# `encode` takes the symbolic images of a functional model. On average a latent is little more than a colour; how far it
# is from 0 tells of edges and texture. The features are what the encoder has before its bottleneck. What comes for free
# is said by the mean colours, and by the features of an encoder that has learned nothing.

# %%
trunk = keras_recon.load_model("vit")  # or masked.keras of the guide on masked pretraining
untrained = type(trunk).from_config(trunk.get_config())
trunk.trainable = untrained.trainable = False
images = keras.Input(trunk.image_shape)
pool = keras.layers.GlobalAveragePooling2D()
readings = {
    "mean colours": pool(images),
    "latents": pool(keras.ops.abs(trunk.encode(images))),
    "features": pool(trunk.features(images)),
    "features, untrained": pool(untrained.features(images)),
}

# %% [markdown]
# ## Train the probes
#
# What the trunk gives never changes, so it is computed once; the head is trained on that, and put on the trunk.
#
# Mean colours named 50 % of the crops, latents 71 %, features 84 %, and those of the encoder that has learned nothing
# 76 %: most of it comes of the architecture, the rest of the training.

# %%
models = {}
for name, reading in readings.items():
    seen = keras.Model(images, reading).predict(x, verbose=0)
    head = keras.Sequential([keras.layers.Normalization(), keras.layers.Dense(len(photos), activation="softmax")])
    head.layers[0].adapt(seen)
    head.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    head.fit(seen, y, epochs=EPOCHS, verbose=0)
    models[name] = keras.Model(images, head(reading))
    right = models[name].predict(x_test, verbose=0).argmax(axis=1) == y_test
    print(f"{name:<20} {right.mean():.1%}")

# %% [markdown]
# ## Save, load
#
# The file holds trunk and head.

# %%
model = models["features"]
Path("saved_models/linear_probe").mkdir(parents=True, exist_ok=True)
model.save("saved_models/linear_probe/model.keras")
loaded = keras.saving.load_model("saved_models/linear_probe/model.keras")
