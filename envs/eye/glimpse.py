"""The fovea: what of an image one glimpse takes in; batched over glimpses. The plain crop is here."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from ..settings import check_whole
from .resampling import resample


class Fovea(ABC):
    """Samples one glimpse a row around the gaze.

    Args:
        size: side of the glimpse in pixels.
        padding: value of what lies outside the image, 0-255.
    """

    def __init__(self, size: int, *, padding: int = 0) -> None:
        check_whole("the glimpse's size in pixels", size, low=1)
        check_whole("padding, a grey level,", padding, low=0, high=255)
        self.size, self.padding = size, padding

    @property
    @abstractmethod
    def field(self) -> float:
        """Side of the largest square it looks at, in image pixels at zoom 1."""

    @abstractmethod
    def channels(self, image_channels: int) -> int:
        """Return the channels of a glimpse of an image of `image_channels`; a ValueError if it takes no such image."""

    @abstractmethod
    def sample(
        self, images: np.ndarray, index: np.ndarray, corner: np.ndarray, scale: np.ndarray | None = None
    ) -> np.ndarray:
        """Take one glimpse from one image each.

        Args:
            images: (N, S, S, C) uint8, C-contiguous (a memory map will do).
            index: (n,) int64, which image.
            corner: (n, 2), (x, y) of the top left of the square of `size` image pixels around the gaze, which is at
                corner + size / 2: x counts columns, y rows; pixel i covers [i, i + 1); may be outside. int64: whole
                pixels, the fast path; float64: anywhere, sampled bilinearly.
            scale: (n,) float64, image pixels per glimpse pixel (zoom: above 1 looks wide); None for 1 everywhere.

        Returns:
            (n, size, size, channels(C)) uint8, an array of its own.
        """


class CropFovea(Fovea):
    """A square around the gaze, one image pixel to one glimpse pixel.

    Off whole pixels or zoomed in it is sampled bilinearly; zoomed out, every glimpse pixel is the mean of the square
    of image pixels it covers.
    """

    @property
    def field(self) -> float:
        """The glimpse's own side."""
        return self.size

    def channels(self, image_channels: int) -> int:
        """Return `image_channels`."""
        return image_channels

    def sample(
        self, images: np.ndarray, index: np.ndarray, corner: np.ndarray, scale: np.ndarray | None = None
    ) -> np.ndarray:
        """Cut the glimpses: see `Fovea.sample`."""
        if scale is not None or corner.dtype != np.int64:
            spacing = np.ones(len(index)) if scale is None else scale
            box = np.maximum(spacing, 1.0)
            return resample(images, index, corner + self.size / 2, spacing, box, self.size, self.padding)
        from .foveae_kernels import gather_crops

        side, channels, size = images.shape[1], images.shape[3], self.size
        glimpses = np.empty((len(index), size, size, channels), dtype=np.uint8)
        rows = glimpses.reshape(len(index), size, size * channels)
        gather_crops(images.reshape(-1), side, channels, index, corner, self.padding, rows)
        return glimpses
