"""Errors of a reconstruction as a map of defects: a model trained on good images reconstructs defects badly."""

import numpy as np
import scipy.ndimage

from keras_recon.anomaly.dataset import GOOD, LabeledImage


def error_map(image: np.ndarray, reconstruction: np.ndarray, sigma: float = 2.0) -> np.ndarray:
    """Squared error, mean over channels, of (height, width, channels) in [0, 1], smoothed: (height, width).

    Args:
        sigma: standard deviation in pixels of the Gaussian that smooths it, as a defect is more than a pixel.

    Example:

    >>> image = np.zeros((32, 32, 3))
    >>> image[8:16, 8:16] = 1
    >>> errors = keras_recon.anomaly.error_map(image, np.zeros_like(image))
    >>> errors.shape, bool(errors[12, 12] > 0.9 > 0.1 > errors[24, 24])
    ((32, 32), True)
    """
    return scipy.ndimage.gaussian_filter(np.square(image - reconstruction).mean(axis=-1), sigma)


def image_score(errors: np.ndarray) -> float:
    """How anomalous an image is: the maximum of its error map.

    Example:

    >>> keras_recon.anomaly.image_score(np.array([[0.25, 0.0], [0.5, 0.25]]))
    0.5
    """
    return float(errors.max())


MAX_FALSE = 0.3  # the share of good pixels up to which AUPRO looks, as MVTec AD does
BINS = 2000  # of the maps' values, for intervals


def auroc(images: list[LabeledImage], maps: list[np.ndarray]) -> dict[str, float]:
    """Areas under the ROC curve, 0.5 for a guess and 1 for no mistake, of error maps (height, width) of test images.

    Returns:
        `image AUROC` of the image scores over all images, `pixel AUROC` of the maps over all pixels, and by the name
        of each kind the image AUROC of this kind against the good ones.

    Example:

    >>> images = keras_recon.anomaly.load_images("tiles")
    >>> maps = [image.mask((32, 32)).astype("float32") for image in images]  # as of a detector without mistakes
    >>> {name: round(area, 3) for name, area in keras_recon.anomaly.auroc(images, maps).items()}
    {'image AUROC': 1.0, 'pixel AUROC': 1.0, 'hole': 1.0, 'scratch': 1.0}
    """
    from sklearn.metrics import roc_auc_score  # a second to import

    kinds = np.array([image.kind for image in images], object)
    scores = np.array([image_score(errors) for errors in maps])
    masks = [image.mask(errors.shape).ravel() for image, errors in zip(images, maps)]
    results = {
        "image AUROC": roc_auc_score(kinds != GOOD, scores),
        "pixel AUROC": roc_auc_score(np.concatenate(masks), np.concatenate([errors.ravel() for errors in maps])),
    }
    for kind in sorted({*kinds} - {GOOD}):
        chosen = (kinds == kind) | (kinds == GOOD)
        results[kind] = roc_auc_score(kinds[chosen] != GOOD, scores[chosen])
    return {name: float(value) for name, value in results.items()}


def aupro(images: list[LabeledImage], maps: list[np.ndarray]) -> float:
    """Area under the curve of the per-region overlap up to 30 % of false positives, 1 for no mistake, 0.15 for a guess.

    The overlap is the share of a defect's pixels above a threshold, mean over defects, each a connected region,
    whatever their sizes ("The MVTec Anomaly Detection Dataset", Bergmann et al., 2021).

    Args:
        images: the test images.
        maps: (height, width) of each, higher where it is more anomalous.

    Example:

    >>> images = keras_recon.anomaly.load_images("tiles")
    >>> maps = [image.mask((32, 32)).astype("float32") for image in images]  # as of a detector without mistakes
    >>> keras_recon.anomaly.aupro(images, maps)
    1.0
    """
    weights = _region_weights(images, maps)
    values = np.concatenate([errors.ravel() for errors in maps])
    order = np.argsort(-values)
    values, shares = values[order], np.concatenate([w.ravel() for w in weights])[order]
    last_of_value = np.append(values[1:] != values[:-1], True)
    overlap, false = np.cumsum(shares)[last_of_value], np.cumsum(shares == 0)[last_of_value]
    return _area(overlap, false)


def _region_weights(images, maps) -> list[np.ndarray]:
    """For each map 0 where all is good, and 1 / size in each defect."""
    weights = []
    for image, errors in zip(images, maps):
        regions, count = scipy.ndimage.label(image.mask(errors.shape), np.ones((3, 3)))
        sizes = np.bincount(regions.ravel(), minlength=count + 1).astype("float64")
        sizes[0] = np.inf
        weights.append(1 / sizes[regions])
    return weights


def _area(overlap: np.ndarray, false: np.ndarray) -> float:
    """The normalised area under (..., thresholds) cumulated overlap against false positives, up to `MAX_FALSE`."""
    overlap, false = (np.append(0, v / v[-1]) for v in (overlap, false))
    inside = false < MAX_FALSE
    end = np.interp(MAX_FALSE, false, overlap)
    return float(np.trapezoid(np.append(overlap[inside], end), np.append(false[inside], MAX_FALSE)) / MAX_FALSE)


def scores(images: list[LabeledImage], maps: list[np.ndarray], threshold: float | None = None) -> dict[str, float]:
    """`auroc`, `aupro`, and with a threshold of image scores F1, precision's and recall's harmonic mean, at it.

    Example:

    >>> images = keras_recon.anomaly.load_images("tiles")
    >>> maps = [image.mask((32, 32)).astype("float32") for image in images]  # as of a detector without mistakes
    >>> keras_recon.anomaly.scores(images, maps, threshold=0.5)["F1"]
    1.0
    """
    from sklearn.metrics import f1_score

    results = auroc(images, maps)
    found = {name: results.pop(name) for name in ("image AUROC", "pixel AUROC")} | {"AUPRO": aupro(images, maps)}
    if threshold is not None:
        above = [image_score(errors) > threshold for errors in maps]
        defects = [image.kind != GOOD for image in images]
        found["F1"] = float(f1_score(defects, above))
        false = [a for a, defect in zip(above, defects) if not defect]
        found["false alarms"] = sum(false) / len(false)
    return found | results


def scores_by_kind(
    images: list[LabeledImage], maps: list[np.ndarray], threshold: float | None = None
) -> dict[str, dict[str, float]]:
    """`scores` of each kind of defect beside the good images.

    Example:

    >>> images = keras_recon.anomaly.load_images("tiles")
    >>> maps = [image.mask((32, 32)).astype("float32") for image in images]  # as of a detector without mistakes
    >>> keras_recon.anomaly.scores_by_kind(images, maps)["hole"]
    {'image AUROC': 1.0, 'pixel AUROC': 1.0, 'AUPRO': 1.0}
    """
    results = {}
    for kind in sorted({image.kind for image in images} - {GOOD}):
        chosen = [i for i, image in enumerate(images) if image.kind in (kind, GOOD)]
        results[kind] = scores([images[i] for i in chosen], [maps[i] for i in chosen], threshold)
        del results[kind][kind]  # the image AUROC again
    return results


def intervals(
    images: list[LabeledImage], maps: list[np.ndarray], samples: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95 % intervals of image AUROC, pixel AUROC and AUPRO: bootstrap over images, the good and the others apart.

    Those of pixels are taken from histograms, which are fine enough for three digits.

    Example:

    >>> images = keras_recon.anomaly.load_images("tiles")
    >>> maps = [image.mask((32, 32)).astype("float32") for image in images]  # as of a detector without mistakes
    >>> keras_recon.anomaly.intervals(images, maps, samples=10)["image AUROC"]
    (1.0, 1.0)
    """
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(seed)
    defects = np.array([image.kind != GOOD for image in images])
    levels = np.array([image_score(errors) for errors in maps])
    edges = np.unique(np.quantile(np.concatenate([m.ravel()[::16] for m in maps]), np.linspace(0, 1, BINS)))[1:]
    bins = [np.searchsorted(edges, errors.ravel(), side="right") for errors in maps]
    size = len(edges) + 1
    weights = [w.ravel() for w in _region_weights(images, maps)]
    # (images, bins), from the highest values to the lowest
    good, bad, regions = (
        np.stack([np.bincount(b, w, size)[::-1] for b, w in zip(bins, of_pixels)])
        for of_pixels in ([w == 0 for w in weights], [w > 0 for w in weights], weights)
    )
    parts, found = (np.flatnonzero(defects), np.flatnonzero(~defects)), []
    for _ in range(samples):
        drawn = np.concatenate([rng.choice(part, len(part)) for part in parts])
        counts = np.bincount(drawn, minlength=len(images)).astype("float64")
        false, true = counts @ good, counts @ bad
        # A tie counts as half right.
        pixels = (np.cumsum(true) - true / 2) @ false / (true.sum() * false.sum())
        area = _area(np.cumsum(counts @ regions), np.cumsum(false))
        found.append((roc_auc_score(defects[drawn], levels[drawn]), pixels, area))
    low, high = np.quantile(found, (0.025, 0.975), axis=0)
    return {name: (float(a), float(b)) for name, a, b in zip(("image AUROC", "pixel AUROC", "AUPRO"), low, high)}
