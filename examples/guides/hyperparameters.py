# %% [markdown]
# # Hyperparameters, by KerasTuner
#
# How wide should the transformer be? A model is built by a function of the hyperparameters, KerasTuner trains one for
# each value, and keeps the best. About two minutes on two CPU cores; `%pip install keras-tuner`.
#
# In Colab: upload the folder of this project or clone it, `%cd` into it, run `%pip install -e .` in a cell above this
# one, and restart the session.

# %%
import keras
import keras_tuner

import keras_recon

PHOTOS = "sample"  # those of scikit-image, or the path of a folder
IMAGE_SHAPE = (64, 64, 3)
BATCH_SIZE = 8
STEPS_PER_EPOCH = 200
EPOCHS = 2
WIDTHS = [32, 64, 128]

keras.utils.set_random_seed(0)

training, validation = keras_recon.data.load(PHOTOS, IMAGE_SHAPE, BATCH_SIZE, STEPS_PER_EPOCH)


# %% [markdown]
# ## A model of the hyperparameters
#
# All start at the same linear path, so that what differs at the end is what the transformer learned in that time.


# %%
def build(hyperparameters):
    width = hyperparameters.Choice("hidden_dim", WIDTHS)
    model = keras_recon.models.ViTReconstructor(IMAGE_SHAPE, patch_size=8, latent_dim=12, hidden_dim=width)
    model.adapt(training)
    model.compile(keras.optimizers.AdamW(2e-3), loss="charbonnier", metrics=["psnr"])
    return model


# %% [markdown]
# ## Search
#
# `GridSearch` tries all values, `RandomSearch` and `BayesianOptimization` as many as `max_trials`. After so short a
# training a few hundredths of a dB decide nothing: more epochs do, or `executions_per_trial`.

# %%
tuner = keras_tuner.GridSearch(
    build,
    objective=keras_tuner.Objective("val_psnr", "max"),
    directory="saved_models",
    project_name="hyperparameters",
    overwrite=True,
    seed=0,
)
tuner.search(training, epochs=EPOCHS, validation_data=validation, shuffle=False, verbose=0)
tuner.results_summary()

# %% [markdown]
# ## The best model

# %%
(model,) = tuner.get_best_models()
print(model.hidden_dim, model.evaluate(validation, return_dict=True))
model.save("saved_models/hyperparameters/model.keras")
loaded = keras.saving.load_model("saved_models/hyperparameters/model.keras")
