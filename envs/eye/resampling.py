"""Glimpses at any position and scale: bilinear where the glimpse is finer than the image, area averaging elsewhere."""

from __future__ import annotations

import numpy as np

_CHUNK = 1 << 22
"""Numbers in the float window array of one pass: bounds memory, and stays within a processor's cache."""


def padded_windows(
    images: np.ndarray, index: np.ndarray, corner: np.ndarray, side: int, padding: int, dtype: type = np.uint8
) -> np.ndarray:
    """Copy (n, side, side, C) windows whose top left pixels are `corner` (n, 2) int64; outside lies `padding`.

    What is inside the image is one block a window: faster than an index for each pixel.
    """
    windows = np.full((len(index), side, side, images.shape[3]), padding, dtype=dtype)
    image_side = images.shape[1]
    first, last = corner.clip(0, image_side), (corner + side).clip(0, image_side)
    for row, (image, (x0, y0), (x1, y1), (x, y)) in enumerate(
        zip(index.tolist(), first.tolist(), last.tolist(), corner.tolist(), strict=True)
    ):
        if x1 > x0 and y1 > y0:
            windows[row, y0 - y : y1 - y, x0 - x : x1 - x] = images[image, y0:y1, x0:x1]
    return windows


def resample(
    images: np.ndarray,
    index: np.ndarray,
    centre: np.ndarray,
    spacing: np.ndarray,
    box: np.ndarray,
    size: int,
    padding: int,
) -> np.ndarray:
    """Sample a square grid from one image each; every sample is the exact mean of a square box around it.

    A box of one pixel is bilinear interpolation; a box as wide as the spacing is area averaging.

    Args:
        images: (N, S, S, C) uint8.
        index: (n,) int64, which image.
        centre: (n, 2) float64, (x, y) of the grid's centre in continuous pixels: pixel i covers [i, i + 1).
        spacing: (n,) float64, image pixels from one sample to the next.
        box: (n,) float64, side of the box in image pixels.
        size: samples along a side.
        padding: value of what lies outside the image, 0-255.

    Returns:
        (n, size, size, C) uint8, rounded to the nearest.
    """
    channels = images.shape[3]
    low = centre - ((size - 1) / 2 * spacing + box / 2)[:, None]  # (n, 2): where the first boxes begin
    corner = np.floor(low).astype(np.int64)
    side = int(np.ceil(low - corner + ((size - 1) * spacing + box)[:, None]).max(initial=1.0))
    glimpses = np.empty((len(index), size, size, channels), dtype=np.uint8)
    step = max(1, _CHUNK // (side * side * channels))
    for start in range(0, len(index), step):
        part = slice(start, start + step)
        windows = padded_windows(images, index[part], corner[part], side, padding, np.float32)
        across, down = (_weights((low - corner)[part, axis], spacing[part], box[part], size, side) for axis in (0, 1))
        rows = np.matmul(down, windows.reshape(len(windows), side, side * channels))  # (n, size, side * C)
        mean = np.matmul(across[:, None], rows.reshape(-1, size, side, channels))  # (n, size, size, C)
        mean += np.float32(0.5 + 1e-4)  # float32 sums fall short of a half by as much as 1e-5
        glimpses[part] = mean
    return glimpses


def _weights(low: np.ndarray, spacing: np.ndarray, box: np.ndarray, size: int, side: int) -> np.ndarray:
    """Return (n, size, side) float32: the share of box i, from low + i * spacing, that lies in pixel j."""
    begin = (low[:, None] + np.arange(size) * spacing[:, None])[..., None]  # (n, size, 1)
    pixel = np.arange(side)
    overlap = np.minimum(begin + box[:, None, None], pixel + 1) - np.maximum(begin, pixel)
    return (overlap.clip(0) / box[:, None, None]).astype(np.float32)
