from collections.abc import Callable, Iterable

import numpy as np
from keras import ops

from keras_recon import metrics
from keras_recon.models import LinearReconstructor, Reconstructor


def evaluate(reconstruct: Callable, batches: Iterable) -> dict[str, float]:
    """Quality of `reconstruct(degraded)` over (degraded, clean) batches, computed per image, then averaged.

    Returns `psnr` in dB; `ssim` for images of at least 11x11 pixels; `ms_ssim` from 176x176 on.
    """
    scores = {}
    for degraded, clean in batches:
        degraded, clean = (ops.convert_to_tensor(np.asarray(images)) for images in (degraded, clean))
        outputs = reconstruct(degraded)
        for name, metric in metrics.applicable(clean.shape[1:]).items():
            scores.setdefault(name, []).append(ops.convert_to_numpy(metric(clean, outputs)))
    return {name: float(np.concatenate(values).mean(dtype="float64")) for name, values in scores.items()}


def baselines(model: Reconstructor, training: Iterable, validation: Iterable) -> dict[str, dict[str, float]]:
    """What `model` has to beat: PCA with its patches and its number of latent values, and the mean training patch."""
    pca = LinearReconstructor(model.image_shape, model.patch_size, model.latent_dim)
    pca.adapt(training)
    return {
        "pca": evaluate(lambda images: pca(images), validation),
        "mean": evaluate(lambda images: pca.decode(ops.zeros((len(images), *pca.latent_shape))), validation),
    }
