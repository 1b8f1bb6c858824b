"""Light and colour of one view: Embree finds what its rays meet, and compiled kernels shade it.

A surface is matt (Lambert), lit by an ambient light, a weak one from the camera and the spot light, whose cone has a
soft edge. A view is drawn on its own, between Embree and kernels that hold no lock, so that threads draw side by side.
"""

from __future__ import annotations

import colorsys
import math
from typing import NamedTuple

import numpy as np

from .camera import Camera
from .lighting import Lighting
from .ray_mesh import RayMesh
from .stage import Stage, shift_hues

LIGHT_DISTANCE = 4.0

_FLOOR_SATURATION, _FLOOR_VALUE = 0.55, 0.8
_SPOT_SATURATION = 0.35
_FLOOR_AMBIENT, _FLOOR_SPOT = 0.45, 0.55  # they sum to 1, so a white surface never clips
# A shadow ray ends this much (as a share of its length) before the surface it asks about, so as not to hit it.
_SHADOW_MARGIN = 1e-3


class Views(NamedTuple):
    """The turns, cameras, lights and floors of k views, float32."""

    to_object: np.ndarray  # (k, 3, 3): world to object frame, for directions
    shrink: np.ndarray  # (k, 3, 3): the same for points: an object of half the size sees everything twice as far
    axes: np.ndarray  # (k, 3, 3) object frame: the camera's right, up and forward, by rows
    camera: np.ndarray  # (k, pixels, 3) object frame, the same for each pixel: a ray's origin
    light: np.ndarray  # (k, pixels, 3) object frame, as above
    light_world: np.ndarray  # (k, 3, 1)
    spot_rgb: np.ndarray  # (k, 3) in [0, 1]
    floor_rgb: np.ndarray  # (k, 3) in [0, 255]
    scale: np.ndarray  # (k,)
    hue: np.ndarray  # (k,) turns
    texture: np.ndarray  # (k,)


def prepare(camera: Camera, rotations: np.ndarray, lighting: Lighting, stage: Stage | None = None) -> Views:
    """Bring camera and lights into the objects' frames."""
    stage = Stage.usual(len(lighting)) if stage is None else stage
    # Plain floats, since NumPy's vectorised sine may round differently at another place in a batch.
    angles = zip(lighting.spot_theta.tolist(), lighting.spot_phi.tolist(), strict=True)
    directions = [
        (math.sin(theta) * math.cos(phi), math.sin(theta) * math.sin(phi), math.cos(theta)) for theta, phi in angles
    ]
    light = np.array(directions, np.float32).reshape(-1, 3, 1) * np.float32(LIGHT_DISTANCE)
    to_object = np.ascontiguousarray(rotations.transpose(0, 2, 1))
    scale = stage.object_scale.astype(np.float32)
    shrink = to_object / scale[:, None, None]
    origins = (len(light), camera.size**2, 3)
    return Views(
        to_object=to_object,
        shrink=shrink,
        axes=camera.axes @ rotations,
        camera=np.broadcast_to((shrink @ camera.position[:, None]).transpose(0, 2, 1), origins),
        light=np.broadcast_to((shrink @ light).transpose(0, 2, 1), origins),
        light_world=light,
        spot_rgb=_hues(lighting.spot_hue, _SPOT_SATURATION, 1.0),
        floor_rgb=_hues(lighting.floor_hue, _FLOOR_SATURATION, 255 * _FLOOR_VALUE),
        scale=scale,
        hue=stage.object_hue.astype(np.float32),
        texture=stage.ground_texture.astype(np.float32),
    )


def _hues(hues: np.ndarray, saturation: float, value: float) -> np.ndarray:
    """Return (n, 3) float32 RGB in [0, value] of (n,) hues in turns."""
    colors = [colorsys.hsv_to_rgb(hue % 1.0, saturation, value) for hue in hues.tolist()]
    return np.array(colors, np.float32).reshape(-1, 3)


class _Room(NamedTuple):
    """Room for what r rays meet and what lights it, of which as many rows count as there are hits."""

    hit: np.ndarray  # (r,) int64, pixels that show the object, rising
    spot: np.ndarray  # (r,) float32, the spot light that each of them gives back, if nothing is in its way
    plain: np.ndarray  # (r,) float32, the other lights
    albedo: np.ndarray  # (r, 3) float32, in [0, 255]
    lit: np.ndarray  # (r,) int64, the hits that the spot light reaches
    beams: np.ndarray  # (r or more, 3) float32, of each of these, and then of the floor, the way from the light

    @staticmethod
    def make(rays: int, beams: int) -> _Room:
        """Make room for so many rays and beams."""
        (hit, lit), (spot, plain) = np.empty((2, rays), np.int64), np.empty((2, rays), np.float32)
        return _Room(hit, spot, plain, np.empty((rays, 3), np.float32), lit, np.empty((beams, 3), np.float32))


def draw(camera: Camera, mesh: RayMesh, views: Views, view: int, shadows: bool, frame: np.ndarray) -> None:
    """Write view number `view` into `frame`, (pixels, 3) uint8."""
    from .shading_kernels import paint, scene_light

    pixels = len(frame)
    room = _Room.make(camera.rays.shape[1], 2 * pixels)
    along, beam = np.empty((2, pixels), np.float32)
    near = np.empty(pixels, np.int64)
    light = views.light[view]
    # Only rays that enter the object's bounding sphere can be blocked by it.
    radius = mesh.radius * float(views.scale[view])
    reach = np.float32(math.sqrt(1 - (radius / LIGHT_DISTANCE) ** 2) - 1e-5)
    found, lit, close = scene_light(
        *(*_met(camera, mesh, views, view), *room, camera.floor, camera.floor_square, views.light_world[view, :, 0]),
        *(reach, views.shrink[view], light[0], mesh.outline, views.scale[view], along, beam, near),
    )
    stopped = _blocked(mesh, light, room.beams[: lit + close if shadows else 0])
    floor_spot = views.floor_rgb[view] * views.spot_rgb[view] * np.float32(_FLOOR_SPOT)
    ambient = views.floor_rgb[view] * np.float32(_FLOOR_AMBIENT) + np.float32(0.5)
    texture = views.texture[view]
    paint(
        *(beam, near, stopped[lit:], floor_spot, ambient, texture, camera.checks if texture else beam),
        *(room.hit[:found], room.spot, room.plain, _tinted(room.albedo[:found], views.hue[view]), room.lit),
        *(stopped[:lit], views.spot_rgb[view], frame),
    )


def object_colors(
    camera: Camera, mesh: RayMesh, views: Views, view: int, shadows: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the h pixels that show the object, (h,) int64, rising, and their colours in [0, 255], (h, 3) float32."""
    from .shading_kernels import object_light, object_rgb

    count = camera.rays.shape[1]
    room = _Room.make(count, count)
    found, lit = object_light(*_met(camera, mesh, views, view), *room)
    blocked = _blocked(mesh, views.light[view], room.beams[: lit if shadows else 0])
    albedo = _tinted(room.albedo[:found], views.hue[view])
    return room.hit[:found], object_rgb(room.spot, room.plain, albedo, room.lit, blocked, views.spot_rgb[view])


def _met(camera: Camera, mesh: RayMesh, views: Views, view: int) -> tuple[np.ndarray, ...]:
    """Return what the rays of a view meet, as `object_light` takes it: all but the arrays it writes into."""
    from .shading_kernels import aim

    rays = views.to_object[view] @ camera.rays  # (3, r): turning the rays back spares rebuilding the scene
    origin, count = views.camera[view], rays.shape[1]
    aimed, pixels = np.empty((count, 3), np.float32), np.empty(count, np.int64)
    left = aim(
        *(mesh.outline, views.axes[view], origin[0], camera.reach, camera.size, rays, camera.pixels, aimed, pixels)
    )
    aimed = aimed[:left]
    shot = mesh.build().run(origin[:left], aimed, output=True)
    offset = origin[0] - views.light[view, 0]
    return mesh.table, shot["primID"], shot["u"], shot["v"], shot["tfar"], aimed, offset, pixels[:left]


def _tinted(albedo: np.ndarray, hue: np.float32) -> np.ndarray:
    """Return colours (h, 3) with their hues turned by `hue`."""
    return np.ascontiguousarray(shift_hues(albedo.T, np.broadcast_to(hue, len(albedo))).T) if hue else albedo


def _blocked(mesh: RayMesh, light: np.ndarray, beams: np.ndarray) -> np.ndarray:
    """Tell which beams, (m, 3) from `light` to a surface, something stops before their end: (m,) int32, then not -1."""
    if not len(beams):
        return np.empty(0, np.int32)
    return mesh.build().run(light[: len(beams)], beams, dists=1 - _SHADOW_MARGIN, query="OCCLUDED")
