"""The camera of the landscapes: a lens at eye height above a level ground.

World axes: x is right, y ahead, z up; the lens is at (0, 0, 1), so lengths are in heights of the eye, and the ground is
the plane z = 0.
"""

from __future__ import annotations

import math

import numpy as np

EYE = np.array([0.0, 0.0, 1.0])


class LandscapeView:
    """What each pixel of a square photograph looks at.

    Args:
        side: of the image in pixels.
        field_of_view: between the middles of opposite sides of the image, radians.
        pitch: of the optical axis below the horizon, radians.
        roll: of the camera about that axis, radians; positive sinks the right side, so the horizon climbs to the right.
    """

    def __init__(self, side: int, field_of_view: float, pitch: float, roll: float) -> None:
        self.side = side
        self.focal = side / 2 / math.tan(field_of_view / 2)
        """Focal length in pixels."""
        level = np.array([[1, 0, 0], [0, math.sin(pitch), math.cos(pitch)]])
        turn = np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
        right, up = turn @ level
        self._axes = np.stack([right, up, np.array([0, math.cos(pitch), -math.sin(pitch)])])
        self.rays = self.look(0, 0, side, side)
        """Unit vector from the lens through the middle of each pixel, (3, side, side) float32."""

    def look(self, x0: int, y0: int, x1: int, y1: int, *, fine: int = 1) -> np.ndarray:
        """Return unit vectors from the lens through a window of pixels, ends excluded, `fine` rays a side of a pixel.

        Returns:
            (3, fine * (y1 - y0), fine * (x1 - x0)) float32.
        """
        half = self.side / 2
        x = ((np.arange(fine * (x1 - x0)) + 0.5) / fine + x0 - half) / self.focal
        y = ((np.arange(fine * (y1 - y0)) + 0.5) / fine + y0 - half) / self.focal
        x, y = x.astype(np.float32), y.astype(np.float32)
        right, up, ahead = self._axes.astype(np.float32)[:, :, None, None]
        rays = ahead + right * x - up * y[:, None]
        rays /= np.sqrt(1 + x * x + (y * y)[:, None])
        return rays

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return where (n, 3) points before the lens lie in the image, (n, 2) x and y in pixels."""
        right, up, ahead = self._axes @ (points - EYE).T
        return self.focal * np.stack([right, -up], axis=1) / ahead[:, None] + self.side / 2

    def falloff(self) -> np.ndarray:
        """Return the share of light that reaches each pixel, (side, side): cos^4 of the angle off the optical axis."""
        squared = ((np.arange(self.side) + 0.5 - self.side / 2) / self.focal) ** 2
        return (1 + squared + squared[:, None]) ** -2
