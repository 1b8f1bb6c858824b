"""The sensor: contrast and noise of what is seen, as factors of variation that every world can have."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .draws import EpisodeDraws
from .variation import Factor

_MID_GREY = 127.5
_BITS, _SUMMED = 13, 4  # a uniform has 53 random bits: four numbers of 13
_BLOCK_VALUES = 2**18

SENSOR_FACTORS = (
    Factor("image_contrast", 1.0, (0.0, 4.0), (0.5, 1.5), "as a factor"),
    Factor("image_noise", 0.0, (0.0, 255.0), (0.0, 16.0), "grey levels", random=True),
)


def sense(views: np.ndarray, contrast: np.ndarray, noise: np.ndarray, seeds: Callable[[], np.ndarray]) -> np.ndarray:
    """Return views as the sensor gives them: round(127.5 + contrast * (view - 127.5) + noise * normal), clipped.

    Args:
        views: (n, H, W, C) uint8; may be written into.
        contrast: (n,) 0 is uniform mid-grey, 1 as is.
        noise: (n,) standard deviation in grey levels, independent in every pixel and channel.
        seeds: gives (n,) uniforms in [0, 1) that each view's noise follows from; called only where there is noise.

    Returns:
        (n, H, W, C) uint8. A view of contrast 1 and noise 0 comes back to the bit.
    """
    noisy, toned = np.count_nonzero(noise), np.count_nonzero(contrast != 1)
    if not noisy and not toned:
        return views
    changed = np.flatnonzero((contrast != 1) | (noise != 0))
    seed = seeds() if noisy else np.zeros(len(views))
    block = max(1, _BLOCK_VALUES // views[0].size)
    for start in range(0, len(changed), block):
        rows = changed[start : start + block]
        values = views[rows].astype(np.float32) - np.float32(_MID_GREY)
        values *= contrast[rows].astype(np.float32)[:, None, None, None]
        values += np.float32(_MID_GREY)
        if noise[rows].any():
            normal = _normal(seed[rows], values[0].size).reshape(values.shape)
            values += noise[rows].astype(np.float32)[:, None, None, None] * normal
        views[rows] = np.rint(values).clip(0, 255).astype(np.uint8)
    return views


def _normal(seeds: np.ndarray, count: int) -> np.ndarray:
    """Return (n, count) float32, nearly normal: the standardised sum of four uniforms, within 3.5 standard deviations.

    Made of whole numbers alone, since NumPy's vectorised logarithm may round differently at another place in a batch.
    """
    keys = (seeds * 2.0**53).astype(np.uint64)
    bits = (EpisodeDraws(keys, np.zeros(len(keys), dtype=np.int64)).uniform(0, count) * 2.0**53).astype(np.uint64)
    mask = np.uint64(2**_BITS - 1)
    total = sum((bits >> np.uint64(_BITS * i) & mask).astype(np.float32) for i in range(_SUMMED))
    mean, variance = _SUMMED * (2**_BITS - 1) / 2, _SUMMED * (4**_BITS - 1) / 12
    return (total - np.float32(mean)) * np.float32(variance**-0.5)
