"""Objects that stand in a landscape: seen through its own lens, lit by its sun, with their shadows on the ground."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .landscape_painting import SKYLIGHT, SUN, Backdrop, Scenery, veil
from .landscape_views import EYE, LandscapeView

if TYPE_CHECKING:
    from ..rendering.ray_mesh import RayMesh

_FINE = 2
"""Rays a side of a pixel, to smooth outlines."""
_SUN_DISTANCE = np.float32(1000.0)
_LIFT = np.float32(0.01)
"""A shadow ray starts this far, in the object's units, before the surface it asks about, so as not to hit it."""
_BOUNCE = np.float32(0.06)
"""Light that comes back from the ground."""


@dataclass(frozen=True, eq=False)
class Standing:
    """An object on the ground."""

    mesh: RayMesh
    """What stands there."""
    x: float
    """Its centre, to the right, heights of the eye."""
    y: float
    """Its centre, ahead, heights of the eye."""
    scale: float
    """A unit of the mesh, heights of the eye."""
    turn: np.ndarray
    """(3, 3) float32 rotation about the vertical."""

    @property
    def centre(self) -> np.ndarray:
        """The mesh's origin in the world, (3,): so high that its lowest vertex touches the ground."""
        lowest = float(self.mesh.mesh.vertices[:, 2].min())
        return np.array([self.x, self.y, -self.scale * lowest])

    def outline(self, view: LandscapeView) -> np.ndarray:
        """Return its box in the image, (4,) x0, y0, x1, y1 in pixels."""
        at = view.project(self.scale * (self.mesh.mesh.vertices @ self.turn.T) + self.centre)
        return np.concatenate([at.min(axis=0), at.max(axis=0)])


def cast_shadow(standing: Standing, backdrop: Backdrop, view: LandscapeView, scenery: Scenery) -> None:
    """Darken the ground of `backdrop`, in place, where the object keeps off the sun or, near its foot, the sky."""
    import cv2

    rest = slice(view.side - int((view.rays[2] < -1e-3).any(axis=1).sum()), view.side)
    rays = view.rays[:, rest]
    points = rays * backdrop.distance[rest]  # from the lens
    way = (standing.centre - EYE).astype(np.float32)[:, None, None] - points
    radius = standing.mesh.radius * standing.scale
    along = np.tensordot(scenery.sun, way, 1)
    near = ((way**2).sum(axis=0) - along**2 < radius**2) & (along > -radius)
    shade = np.zeros(near.shape, np.float32)
    if near.any():
        origins = np.ascontiguousarray(((standing.turn.T / -standing.scale) @ way[:, near]).T, np.float32)
        beams = np.tile((standing.turn.T @ scenery.sun).astype(np.float32), (len(origins), 1))
        shade[near] = standing.mesh.build().run(origins, beams, query="OCCLUDED") >= 0
        shade = cv2.GaussianBlur(shade, (0, 0), 0.6)
    foot = 0.6 * np.exp((way[0] ** 2 + way[1] ** 2) * np.float32(-2 / radius**2))
    share = SUN * scenery.sun[2] / (SUN * scenery.sun[2] + SKYLIGHT)  # of the ground's light
    dark = shade[..., None] * share + foot[..., None] * (1 - share)
    image, airlight = backdrop.image[rest], backdrop.airlight[rest]
    air = airlight * (1 - np.exp(backdrop.distance[rest] / -scenery.visibility))[..., None]
    image -= (image - air) * dark * backdrop.below[rest, :, None]


def draw_object(standing: Standing, backdrop: Backdrop, view: LandscapeView, scenery: Scenery) -> np.ndarray:
    """Draw the object over `backdrop`, in place.

    Returns:
        (side, side) share of each pixel that it covers.
    """
    cover = np.zeros((view.side, view.side), np.float32)
    x0, y0, x1, y1 = standing.outline(view)
    low = np.clip(np.floor([x0, y0]).astype(int) - 1, 0, view.side)
    high = np.clip(np.ceil([x1, y1]).astype(int) + 1, 0, view.side)
    if (high <= low).any():
        return cover
    rays = view.look(*low, *high, fine=_FINE)
    rows, columns = rays.shape[1:]
    hit, colors = _lit(standing, rays.reshape(3, -1), scenery)
    samples = np.zeros((rows * columns, 4), np.float32)
    samples[hit, :3], samples[hit, 3] = colors, 1.0
    total = samples.reshape(rows // _FINE, _FINE, columns // _FINE, _FINE, 4).sum(axis=(1, 3)) / _FINE**2
    window = slice(low[1], high[1]), slice(low[0], high[0])
    alpha = total[..., 3:]
    distance = np.array([np.linalg.norm(standing.centre - EYE)], np.float32)
    seen = veil(total[..., :3] / np.maximum(alpha, 1e-6), distance, backdrop.airlight[window], scenery)
    backdrop.image[window] += (seen - backdrop.image[window]) * alpha
    cover[window] = alpha[..., 0]
    return cover


def _lit(standing: Standing, rays: np.ndarray, scenery: Scenery) -> tuple[np.ndarray, np.ndarray]:
    """Return which of (3, r) rays from the lens meet the object, (h,), and the light that comes from there, (h, 3)."""
    from ..rendering.shading_kernels import object_light

    to_object = standing.turn.T.astype(np.float32)
    origin = (to_object @ ((EYE - standing.centre) / standing.scale)).astype(np.float32)
    sun = (to_object @ scenery.sun).astype(np.float32)
    turned = np.ascontiguousarray((to_object @ rays).T)
    count = len(turned)
    table, scene = standing.mesh.table, standing.mesh.build()
    shot = scene.run(np.tile(origin, (count, 1)), turned, output=True)
    hit, asked = np.empty((2, count), np.int64)
    spot, plain = np.empty((2, count), np.float32)
    albedo, beams = np.empty((2, count, 3), np.float32)
    found, lit = object_light(
        *(table, shot["primID"], shot["u"], shot["v"], shot["tfar"], turned, origin - sun * _SUN_DISTANCE),
        *(np.arange(count), hit, spot, plain, albedo, asked, beams),
    )
    if lit:
        pixels = hit[asked[:lit]]
        points = origin + turned[pixels] * (shot["tfar"][pixels, None] - _LIFT) + sun * _LIFT
        beams = np.ascontiguousarray(np.broadcast_to(sun, points.shape))
        shadowed = scene.run(np.ascontiguousarray(points, np.float32), beams, query="OCCLUDED") >= 0
        spot[asked[:lit][shadowed]] = 0
    light = SUN * spot[:found, None] + (SKYLIGHT + _BOUNCE) * (2 * plain[:found, None])
    return hit[:found], (albedo[:found] / 255) ** np.float32(2.2) * light
