import numpy as np


def sample_patches(features: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """At most `count` patches, float32 (patches, features), of features (tiles, rows, columns, features)."""
    patches = features.reshape(-1, features.shape[-1])
    if len(patches) > count:
        patches = patches[np.sort(np.random.default_rng(seed).choice(len(patches), count, replace=False))]
    return patches.astype("float32")


def greedy_coreset(patches: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Indices of `count` patches of (patches, features), each the farthest from those before it.

    Distances are taken in 64 random projections ("Towards Total Recall in Industrial Anomaly Detection", Roth et al.,
    2022).
    """
    rng = np.random.default_rng(seed)
    projected = patches @ rng.standard_normal((patches.shape[1], 64), "float32")
    squares = np.square(projected).sum(axis=1)
    chosen, nearest = [int(rng.integers(len(patches)))], np.full(len(patches), np.inf, "float32")
    while len(chosen) < min(count, len(patches)):
        last = chosen[-1]
        np.minimum(nearest, squares - 2 * (projected @ projected[last]) + squares[last], out=nearest)
        chosen.append(int(nearest.argmax()))
    return np.array(chosen)
