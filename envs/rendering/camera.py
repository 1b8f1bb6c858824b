"""The camera of 3DIEBench's scene: the rays of its pixels, and where they meet the floor.

World axes: +z is up and the floor is the plane z = -1. The camera sits at +x +z and looks at the origin, so +y is the
image's right and +z its top (-x where it looks straight down).
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from ..shapes.meshes import OBJECT_RADIUS
from .stage import CAMERA_DISTANCE, CAMERA_POLAR, checks

FLOOR_Z = -1.0


class Camera:
    """What a camera sees at one image size: pixels in row order, vectors as (3, pixels)."""

    def __init__(self, size: int, polar: float = CAMERA_POLAR, distance: float = CAMERA_DISTANCE) -> None:
        side = math.sin(polar)
        rise = math.cos(polar)
        right, up, forward = np.array([[0, 1, 0], [-rise, 0, side], [-side, 0, -rise]])
        position = -distance * forward
        # From the usual distance, the bounding sphere's outline touches the four sides of the image.
        reach = math.tan(math.asin(OBJECT_RADIUS / CAMERA_DISTANCE))
        steps = ((np.arange(size) + 0.5) * 2 / size - 1) * reach
        rays = forward[:, None, None] + right[:, None, None] * steps - up[:, None, None] * steps[:, None]
        rays = rays.reshape(3, -1)
        rays /= np.linalg.norm(rays, axis=0)
        floor = position[:, None] + rays * ((FLOOR_Z - position[2]) / rays[2])

        self.size = size
        self.position = position.astype(np.float32)
        self.axes = np.array([right, up, forward], np.float32)  # rows
        self.reach = np.float32(reach)  # tangent of half the field of view
        self.floor = np.ascontiguousarray(floor, np.float32)  # (3, size * size)
        self.floor_square = (floor**2).sum(axis=0).astype(np.float32)
        cosine = math.sqrt(1 - (OBJECT_RADIUS / distance) ** 2)
        # Only these pixels can show the object, whatever it is and however it is turned.
        self.pixels = np.flatnonzero(forward @ rays >= cosine - 1e-4)
        self.rays = np.ascontiguousarray(rays[:, self.pixels], np.float32)  # (3, len(pixels)), unit vectors

    @cached_property
    def checks(self) -> np.ndarray:
        """Which pixels' floor points lie on a darker square of the ground's texture, (pixels,) float32: 1 or 0."""
        return checks(self.floor)
