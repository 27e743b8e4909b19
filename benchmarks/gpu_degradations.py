"""Pairs of degraded and clean crops, made by JAX on the device: what `gpu_training.py` trains on."""

from functools import partial

import numpy as np

MARGIN = 16  # of a crop, cut off after the degradation


def noise(key, crops):
    """Noisy and clean crops: additive white Gaussian noise, of 0 to 50 of 255."""
    import jax

    keys = jax.random.split(key)
    sigma = jax.random.uniform(keys[0], (len(crops), 1, 1, 1), maxval=50 / 255)
    return crops + sigma * jax.random.normal(keys[1], crops.shape), crops


LUMINANCE = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
CHROMINANCE = "17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66" + " 99" * 38
TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], "float32")


def quantised(plane, table):
    """A plane (height, width) of 0 to 255 after JPEG's quantisation of its 8x8 blocks."""
    import jax.numpy as jnp
    from scipy.fft import dct

    basis = jnp.asarray(dct(np.eye(8), axis=0, norm="ortho"), "float32")
    blocks = plane.reshape(plane.shape[0] // 8, 8, plane.shape[1] // 8, 8) - 128
    product = partial(jnp.einsum, precision="highest")
    values = product("ui,aibj,vj->aubv", basis, blocks, basis)
    values = jnp.round(values / table[:, None]) * table[:, None]
    pixels = product("ui,aubv,vj->aibj", basis, values, basis).reshape(plane.shape)
    return jnp.clip(jnp.round(pixels + 128), 0, 255)


def doubled(plane, axis: int):
    """A plane of twice the length along an axis, by the triangle filter of libjpeg."""
    import jax.numpy as jnp

    padded = jnp.pad(plane, [(1, 1) if i == axis else (0, 0) for i in range(2)], "edge")
    n = plane.shape[axis]
    before, after = (jnp.take(padded, jnp.arange(n) + i, axis) for i in (0, 2))
    pairs = jnp.stack([(3 * plane + before) / 4, (3 * plane + after) / 4], axis + 1)
    return pairs.reshape([2 * n if i == axis else plane.shape[i] for i in range(2)])


def jpeg_of(image, quality, subsampled, gray):
    """An image (height, width, 3) in [0, 1], multiples of 16 high and wide, as libjpeg encodes and decodes it."""
    import jax.numpy as jnp

    quality = jnp.round(quality)
    scale = jnp.where(quality < 50, jnp.floor(5000 / quality), 200 - 2 * quality)
    tables = [np.array(text.split(), "float32").reshape(8, 8) for text in (LUMINANCE, CHROMINANCE)]
    luminance, chrominance = (jnp.clip(jnp.floor((table * scale + 50) / 100), 1, 255) for table in tables)
    product = partial(jnp.einsum, precision="highest")
    ycc = jnp.round(product("cd,hwd->chw", TO_YCC, jnp.round(255 * image)) + np.array([0, 128, 128])[:, None, None])
    y = quantised(ycc[0], luminance)
    chroma = []
    for plane in ycc[1:]:
        small = jnp.round(plane.reshape(plane.shape[0] // 2, 2, plane.shape[1] // 2, 2).mean((1, 3)))
        halved = jnp.round(doubled(doubled(quantised(small, chrominance), 0), 1))
        chroma.append(jnp.where(subsampled, halved, quantised(plane, chrominance)) - 128)
    rgb = product("dc,chw->hwd", np.linalg.inv(TO_YCC).astype("float32"), jnp.stack([y, *chroma]))
    rgb = jnp.clip(jnp.round(jnp.where(gray, y[..., None], rgb)), 0, 255) / 255
    clean = jnp.where(gray, (image @ TO_YCC[0])[..., None], image)
    return rgb, clean


def jpeg(key, crops):
    """Crops after JPEG and before, both less the margin: quality 8 to 95, a third of them gray, half at 4:2:0."""
    import jax

    n, keys = len(crops), jax.random.split(key, 4)
    quality = 8 + 87 * jax.random.uniform(keys[0], (n,)) ** 1.5  # the lower ones are harder
    subsampled, gray = (jax.random.bernoulli(k, p, (n,)) for k, p in zip(keys[1:], (0.5, 0.35)))
    pairs = jax.vmap(jpeg_of)(crops, quality, subsampled, gray)
    corner = jax.random.randint(keys[3], (2,), 0, MARGIN)  # the blocks of 8 begin anywhere
    side = crops.shape[1] - MARGIN
    return tuple(jax.lax.dynamic_slice(i, (0, *corner, 0), (n, side, side, 3)) for i in pairs)


def halved(key, crops):
    """Crops of half the size, by an antialiased bicubic, and the crops, both less the margin."""
    import jax
    import jax.numpy as jnp

    n, side = crops.shape[:2]
    small = jax.image.resize(crops, (n, side // 2, side // 2, 3), "cubic", precision="highest")
    small = jnp.clip(jnp.round(255 * small), 0, 255) / 255
    m = MARGIN // 2
    return small[:, m // 2 : -m // 2, m // 2 : -m // 2], crops[:, m:-m, m:-m]


def same(key, crops):
    return crops, crops
