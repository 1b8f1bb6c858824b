"""The fovea: what of an image one glimpse takes in; batched over glimpses."""

from __future__ import annotations

import numpy as np


class CropFovea:
    """A square of whole pixels around the gaze, one image pixel to one glimpse pixel.

    Args:
        size: side of the glimpse in pixels.
        padding: value of what lies outside the image, 0-255.
    """

    def __init__(self, size: int, *, padding: int = 0) -> None:
        if size < 1:
            raise ValueError(f"the glimpse size must be at least 1 pixel, got {size}")
        if not 0 <= padding <= 255:
            raise ValueError(f"the padding value must be in 0-255, got {padding}")
        self.size, self.padding = size, padding

    def sample(self, images: np.ndarray, index: np.ndarray, corner: np.ndarray) -> np.ndarray:
        """Cut one glimpse from one image each.

        Args:
            images: (N, S, S, C) uint8, C-contiguous (a memory map will do).
            index: (n,) int64, which image.
            corner: (n, 2) int64, (x, y) of the glimpse's top left pixel: x counts columns, y rows; may be outside.

        Returns:
            (n, size, size, C) uint8, an array of its own.
        """
        side, channels = images.shape[1], images.shape[3]
        inside = ((corner >= 0) & (corner <= side - self.size)).all(axis=1)
        if inside.all():
            return self._gather(images, index, corner)
        glimpses = np.empty((len(index), self.size, self.size, channels), dtype=np.uint8)
        if inside.any():
            glimpses[inside] = self._gather(images, index[inside], corner[inside])
        glimpses[~inside] = self._gather_padded(images, index[~inside], corner[~inside])
        return glimpses

    def _gather(self, images: np.ndarray, index: np.ndarray, corner: np.ndarray) -> np.ndarray:
        """Copy rows of bytes: a glimpse is `size` runs of size * C bytes in the flat image, a fixed stride apart."""
        side, channels = images.shape[1], images.shape[3]
        run, stride = self.size * channels, side * channels
        span = (self.size - 1) * stride + run
        flat = images.reshape(-1)
        windows = np.lib.stride_tricks.as_strided(
            flat, shape=(flat.size - span + 1, self.size, run), strides=(1, stride, 1), writeable=False
        )
        start = (index * side + corner[:, 1]) * stride + corner[:, 0] * channels
        return windows[start].reshape(-1, self.size, self.size, channels)

    def _gather_padded(self, images: np.ndarray, index: np.ndarray, corner: np.ndarray) -> np.ndarray:
        side = images.shape[1]
        columns = corner[:, 0, None] + np.arange(self.size)  # (n, size)
        rows = corner[:, 1, None] + np.arange(self.size)
        valid = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[:, None, :]
        rows, columns = rows.clip(0, side - 1), columns.clip(0, side - 1)
        glimpses = images[index[:, None, None], rows[:, :, None], columns[:, None, :]]
        glimpses[~valid] = self.padding
        return glimpses
