"""What of the 3DIEBench scene may differ from view to view beside its lights: object, camera and ground."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

CAMERA_DISTANCE = 2.5
CAMERA_POLAR = math.pi / 4
STAGE_LIMITS = {
    "object_hue": (0.0, 1.0),
    "object_scale": (0.05, 1.0),
    "camera_elevation": (0.0, 1.2),  # further down, the highest rays would miss the floor
    "camera_distance": (1.5, 4.0),
    "ground_texture": (0.0, 1.0),
}
"""Least and greatest value of each field of `Stage`."""

_CHECK_SIDE = 0.5


@dataclass(frozen=True, eq=False)
class Stage:
    """Object, camera and ground of n views; anything array-like is converted to (n,) float64.

    Args:
        object_hue: (n,) how far the hues of the object's colours are shifted, in turns, in [0, 1]; greys stay grey.
        object_scale: (n,) size of the object as a share of its own, in [0.05, 1]; its centre stays.
        camera_elevation: (n,) polar angle of the camera from +z, in radians, in [0, 1.2]: 0 looks straight down.
        camera_distance: (n,) distance of the camera from the object's centre, in [1.5, 4]; its lens stays the same.
        ground_texture: (n,) in [0, 1], by how much every other square of the floor, of side 0.5, is darker: 0 is
            plain, 1 black.

    Raises:
        ValueError: if shapes differ or a value is out of range.
    """

    object_hue: np.ndarray
    object_scale: np.ndarray
    camera_elevation: np.ndarray
    camera_distance: np.ndarray
    ground_texture: np.ndarray

    def __post_init__(self) -> None:
        for field in fields(self):
            values = np.asarray(getattr(self, field.name), dtype=np.float64)
            object.__setattr__(self, field.name, values)
            if values.ndim != 1 or values.shape != self.object_hue.shape:
                raise ValueError(
                    f"Stage.{field.name} must have one value a view, shape (n,), like object_hue "
                    f"{self.object_hue.shape}; got {values.shape}"
                )
            low, high = STAGE_LIMITS[field.name]
            if not ((values >= low) & (values <= high)).all():
                raise ValueError(f"Stage.{field.name} must be in [{low}, {high}], got {values.tolist()}")

    def __len__(self) -> int:
        return len(self.object_hue)

    @classmethod
    def usual(cls, views: int) -> Stage:
        """Return 3DIEBench's own for `views` views: the object as it is, the plain floor and the fixed camera."""
        ones = np.ones(views)
        return cls(0 * ones, ones, CAMERA_POLAR * ones, CAMERA_DISTANCE * ones, 0 * ones)

    def part(self, chosen: slice) -> Stage:
        """Return that of some of the views."""
        return Stage(*(getattr(self, field.name)[chosen] for field in fields(self)))


def shift_hues(colors: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Return (3, h) RGB colours with their hues shifted by (h,) turns; saturation and value (HSV) are kept.

    Colours of shift 0 come back to the bit.
    """
    red, green, blue = colors
    value = colors.max(axis=0)
    chroma = value - colors.min(axis=0)
    safe = np.where(chroma > 0, chroma, 1)
    sextant = np.where(value == red, (green - blue) / safe, 4 + (red - green) / safe)
    sextant = np.where((value == green) & (value != red), 2 + (blue - red) / safe, sextant)
    sextant = sextant + 6 * shifts.astype(colors.dtype)
    shifted = np.empty_like(colors)
    for channel, offset in enumerate((5, 3, 1)):
        k = (sextant + offset) % 6
        shifted[channel] = value - chroma * np.minimum(k, 4 - k).clip(0, 1)
    return np.where(shifts == 0, colors, shifted)


def checks(points: np.ndarray) -> np.ndarray:
    """Tell which (3, m) points of the floor lie on the darker squares, (m,) float32: 1, or 0 elsewhere."""
    squares = np.floor(points[:2] / _CHECK_SIDE).astype(np.int64)
    return (squares.sum(axis=0) % 2).astype(np.float32)
