from collections.abc import Callable, Iterable

from keras import ops

from keras_recon.evaluation.scores import evaluate
from keras_recon.models import LinearReconstructor, Reconstructor
from keras_recon.ops import paste_visible


def fit_pca(model: Reconstructor, training: Iterable) -> LinearReconstructor:
    """PCA with the patches and the number of latent values of `model`, fitted to batches, see `Reconstructor.adapt`."""
    pca = LinearReconstructor(model.image_shape, model.patch_size, model.latent_dim)
    pca.adapt(training)
    return pca


def mean_patch(pca: LinearReconstructor) -> Callable:
    """A reconstruction that answers every image with the mean training patch everywhere."""
    return lambda images: pca.decode(ops.zeros((len(images), *pca.latent_shape)))


def baselines(model: Reconstructor, pca: LinearReconstructor, validation: Iterable) -> dict[str, dict[str, float]]:
    """What `model` has to beat: PCA, see `fit_pca`, and the mean training patch.

    Of a masked model, which answers a harder question than PCA, only the mean patch, in place of what is hidden.
    """
    mean = mean_patch(pca)
    if model.is_masked:
        mean_in_hidden = lambda images: paste_visible(mean(images), images, model.fixed_mask)  # noqa: E731
        return {"mean": evaluate(mean_in_hidden, validation, model.patch_size)}
    return {name: evaluate(system, validation, model.patch_size) for name, system in (("pca", pca), ("mean", mean))}
