"""Metrics of anomaly maps: AUROC, AUPRO, F1 and bootstrap intervals. Maps are higher where an image is anomalous."""

import numpy as np
import scipy.ndimage

from keras_recon.anomaly.mvtec import GOOD, LabeledImage


def error_map(image: np.ndarray, reconstruction: np.ndarray, sigma: float = 2.0) -> np.ndarray:
    """Return the smoothed squared error of a reconstruction, (height, width).

    A model that was trained on good images is expected to reconstruct defects badly.

    Args:
        image: (height, width, channels) in [0, 1].
        reconstruction: of the same shape.
        sigma: standard deviation of the Gaussian filter in pixels, because defects are larger than a pixel.

    Returns:
        The squared error, averaged over channels and filtered.

    Example:
    >>> image = np.zeros((32, 32, 3))
    >>> image[8:16, 8:16] = 1
    >>> errors = keras_recon.anomaly.error_map(image, np.zeros_like(image))
    >>> errors.shape, bool(errors[12, 12] > 0.9 > 0.1 > errors[24, 24])
    ((32, 32), True)
    """
    return scipy.ndimage.gaussian_filter(np.square(image - reconstruction).mean(axis=-1), sigma)


def image_score(errors: np.ndarray) -> float:
    """Return the anomaly score of an image: the maximum of its map (height, width).

    Example:
    >>> keras_recon.anomaly.image_score(np.array([[0.25, 0.0], [0.5, 0.25]]))
    0.5
    """
    return float(errors.max())


MAX_FALSE = 0.3  # AUPRO is integrated up to this false positive rate, as for MVTec AD
BINS = 2000  # of histograms of the maps' values, for intervals


def auroc(images: list[LabeledImage], maps: list[np.ndarray]) -> dict[str, float]:
    """Compute areas under the ROC curve: 0.5 for random scores, 1 for perfect ones.

    Args:
        images: test images.
        maps: anomaly map (height, width) of each image.

    Returns:
        `image AUROC` of the image scores, `pixel AUROC` over all pixels of all images, and for each kind of defect, by
        its name, the image AUROC of this kind against the good images.

    Example:
    >>> images = keras_recon.anomaly.load_images("tiles")
    >>> maps = [image.mask((32, 32)).astype("float32") for image in images]  # of a perfect detector
    >>> {name: round(area, 3) for name, area in keras_recon.anomaly.auroc(images, maps).items()}
    {'image AUROC': 1.0, 'pixel AUROC': 1.0, 'hole': 1.0, 'scratch': 1.0}
    """
    kinds = np.array([image.kind for image in images], object)
    levels = np.array([image_score(errors) for errors in maps])
    masks = [image.mask(errors.shape).ravel() for image, errors in zip(images, maps)]
    results = {
        "image AUROC": _area_under_roc(kinds != GOOD, levels),
        "pixel AUROC": _area_under_roc(np.concatenate(masks), np.concatenate([errors.ravel() for errors in maps])),
    }
    for kind in sorted({*kinds} - {GOOD}):
        chosen = (kinds == kind) | (kinds == GOOD)
        results[kind] = _area_under_roc(kinds[chosen] != GOOD, levels[chosen])
    return {name: float(value) for name, value in results.items()}


def _area_under_roc(positive: np.ndarray, values: np.ndarray) -> float:
    """Compute the share of pairs of a positive and a negative in which the positive has the greater value.

    A tie counts one half.
    """
    negatives, positives = np.sort(values[~positive]), values[positive]
    below = np.searchsorted(negatives, positives) + np.searchsorted(negatives, positives, side="right")
    return below.sum() / (2 * len(negatives) * len(positives))


def aupro(images: list[LabeledImage], maps: list[np.ndarray]) -> float:
    """Compute the area under the per-region overlap curve up to a false positive rate of 30 %, divided by 0.3.

    Perfect maps reach 1, random ones 0.15. The per-region overlap is the share of a defect's pixels above a threshold,
    averaged over defects, which are connected regions: large and small defects count alike ("The MVTec Anomaly
    Detection Dataset", Bergmann et al., 2021).

    Args:
        images: test images.
        maps: anomaly map (height, width) of each image.

    Example:
    >>> images = keras_recon.anomaly.load_images("tiles")
    >>> maps = [image.mask((32, 32)).astype("float32") for image in images]  # of a perfect detector
    >>> keras_recon.anomaly.aupro(images, maps)
    1.0
    """
    values = np.concatenate([errors.ravel() for errors in maps])
    order = np.argsort(-values)
    values, shares = values[order], np.concatenate(_region_weights(images, maps))[order]
    is_threshold = np.append(values[1:] != values[:-1], True)
    return _area(np.cumsum(shares)[is_threshold], np.cumsum(shares == 0)[is_threshold])


def _region_weights(images, maps) -> list[np.ndarray]:
    """Return the weight of each pixel of each map, (pixels,): 0 if it is good, 1 / size of its defect otherwise."""
    weights = []
    for image, errors in zip(images, maps):
        regions = scipy.ndimage.label(image.mask(errors.shape), np.ones((3, 3)))[0].ravel()
        sizes = np.bincount(regions).astype("float64")
        sizes[0] = np.inf
        weights.append(1 / sizes[regions])
    return weights


def _area(overlap: np.ndarray, false: np.ndarray) -> float:
    """Integrate cumulative overlaps (thresholds,) over cumulative false positives up to `MAX_FALSE`, normalised."""
    overlap, false = (np.append(0, v / v[-1]) for v in (overlap, false))
    inside = false < MAX_FALSE
    end = np.interp(MAX_FALSE, false, overlap)
    return float(np.trapezoid(np.append(overlap[inside], end), np.append(false[inside], MAX_FALSE)) / MAX_FALSE)


def scores(images: list[LabeledImage], maps: list[np.ndarray], threshold: float | None = None) -> dict[str, float]:
    """Compute `auroc`, `AUPRO` and, with a threshold, `F1` and the rate of `false alarms`.

    Args:
        images: test images.
        maps: anomaly map (height, width) of each image.
        threshold: image score above which an image counts as a defect.

    Example:
    >>> images = keras_recon.anomaly.load_images("tiles")
    >>> maps = [image.mask((32, 32)).astype("float32") for image in images]  # of a perfect detector
    >>> keras_recon.anomaly.scores(images, maps, threshold=0.5)["F1"]
    1.0
    """
    results = auroc(images, maps)
    found = {name: results.pop(name) for name in ("image AUROC", "pixel AUROC")} | {"AUPRO": aupro(images, maps)}
    if threshold is not None:
        above = np.array([image_score(errors) > threshold for errors in maps])
        defects = np.array([image.kind != GOOD for image in images])
        found["F1"] = float(2 * (above & defects).sum() / (above.sum() + defects.sum()))
        found["false alarms"] = float(above[~defects].mean())
    return found | results


def intervals(
    images: list[LabeledImage], maps: list[np.ndarray], samples: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Compute 95 % intervals of image AUROC, pixel AUROC and AUPRO by bootstrap over images.

    Good images and images with defects are resampled separately. Pixel values are binned; this changes results in the
    fourth digit.

    Args:
        images: test images.
        maps: anomaly map (height, width) of each image.
        samples: number of bootstrap samples.
        seed: seed of the samples.

    Returns:
        (low, high) by the name of the metric.

    Example:
    >>> images = keras_recon.anomaly.load_images("tiles")
    >>> maps = [image.mask((32, 32)).astype("float32") for image in images]  # of a perfect detector
    >>> keras_recon.anomaly.intervals(images, maps, samples=10)["image AUROC"]
    (1.0, 1.0)
    """
    rng = np.random.default_rng(seed)
    defects = np.array([image.kind != GOOD for image in images])
    levels = np.array([image_score(errors) for errors in maps])
    edges = np.unique(np.quantile(np.concatenate([m.ravel()[::16] for m in maps]), np.linspace(0, 1, BINS)))[1:]
    bins = [np.searchsorted(edges, errors.ravel(), side="right") for errors in maps]
    weights = _region_weights(images, maps)
    # (images, bins), from the highest values to the lowest
    good, bad, regions = (
        np.stack([np.bincount(b, w, len(edges) + 1)[::-1] for b, w in zip(bins, of_pixels)])
        for of_pixels in ([w == 0 for w in weights], [w > 0 for w in weights], weights)
    )
    found = []
    for _ in range(samples):
        drawn = np.concatenate([rng.choice(part, len(part)) for part in map(np.flatnonzero, (defects, ~defects))])
        counts = np.bincount(drawn, minlength=len(images)).astype("float64")
        false, true = counts @ good, counts @ bad
        pixels = (np.cumsum(true) - true / 2) @ false / (true.sum() * false.sum())  # a tie counts one half
        area = _area(np.cumsum(counts @ regions), np.cumsum(false))
        found.append((_area_under_roc(defects[drawn], levels[drawn]), pixels, area))
    limits = np.quantile(found, (0.025, 0.975), axis=0).T.tolist()
    return dict(zip(("image AUROC", "pixel AUROC", "AUPRO"), map(tuple, limits)))
