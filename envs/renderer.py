"""Ray-cast views of one object above a floor: the scene of 3DIEBench, fast enough to be called at every step.

World axes: +z is up and the floor is the plane z = -1. The camera sits at +x +z and looks at the origin, so +y is the
image's right and +z its top (-x where it looks straight down).
"""

from __future__ import annotations

import colorsys
import math
import os
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .meshes import OBJECT_RADIUS
from .normals import corner_normals, face_normals
from .settings import check_whole
from .stage import CAMERA_DISTANCE, CAMERA_POLAR, Stage, checks, shift_hues

if TYPE_CHECKING:
    from .meshes import Mesh

LIGHT_DISTANCE = 4.0
MAX_SPOT_POLAR = math.pi / 4
FLOOR_Z = -1.0

# The inner cone holds the whole bounding sphere (half-angle asin(0.8 / 4) = 11.5 degrees): objects are lit in full.
_CONE_INNER = math.cos(math.radians(14.0))
_CONE_OUTER = math.cos(math.radians(32.0))
_FLOOR_SATURATION, _FLOOR_VALUE = 0.55, 0.8
_SPOT_SATURATION = 0.35
# Each surface's weights sum to 1, so a white surface never clips.
_OBJECT_AMBIENT, _OBJECT_HEADLIGHT, _OBJECT_SPOT = 0.3, 0.14, 0.56
_FLOOR_AMBIENT, _FLOOR_SPOT = 0.45, 0.55
# Smooth light is at most this many times that on the flat face; else it would end in a jagged edge of shadow.
_TERMINATOR = 3.0
# A shadow ray ends this much (as a share of its length) before the surface it asks about, so as not to hit it.
_SHADOW_MARGIN = 1e-3
_MAX_AUTO_THREADS = 8
# Views are shaded together up to this many pixels, so that small ones do not drown in NumPy's cost a call.
_BLOCK_PIXELS = 32768
_KEPT_CAMERAS = 64


@dataclass(frozen=True, eq=False)
class Lighting:
    """Floor colour and spot light of n views; anything array-like is converted to (n,) float32.

    Args:
        floor_hue: (n,) hue of the floor, in turns: [0, 1) goes once round the colour circle.
        spot_theta: (n,) polar angle of the light from +z, in radians, in [0, pi/4].
        spot_phi: (n,) azimuth of the light, in radians, from +x (the camera's side) towards +y.
        spot_hue: (n,) hue of the light, in turns.

    Raises:
        ValueError: if shapes differ, a value is not finite, or `spot_theta` is out of range.
    """

    floor_hue: np.ndarray
    spot_theta: np.ndarray
    spot_phi: np.ndarray
    spot_hue: np.ndarray

    def __post_init__(self) -> None:
        for field in fields(self):
            values = np.asarray(getattr(self, field.name), dtype=np.float32)
            object.__setattr__(self, field.name, values)
            if values.ndim != 1 or values.shape != self.floor_hue.shape:
                raise ValueError(
                    f"Lighting.{field.name} must have one value a view, shape (n,), like floor_hue "
                    f"{self.floor_hue.shape}; got {values.shape}"
                )
            if not np.isfinite(values).all():
                raise ValueError(f"Lighting.{field.name} must be finite, got NaN or infinity")
        if not ((self.spot_theta >= 0) & (self.spot_theta <= MAX_SPOT_POLAR + 1e-6)).all():
            raise ValueError(
                f"Lighting.spot_theta must be in [0, pi/4] radians, got values from {self.spot_theta.min()} "
                f"to {self.spot_theta.max()}"
            )

    def __len__(self) -> int:
        return len(self.floor_hue)

    def part(self, chosen: slice) -> Lighting:
        """Return that of some of the views."""
        return Lighting(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @classmethod
    def from_unit(cls, draws: np.ndarray) -> Lighting:
        """Map uniform draws to 3DIEBench's distribution of lights and floors.

        Args:
            draws: (n, 4) in [0, 1): floor hue, spot theta, spot phi, spot hue.

        Returns:
            Lighting with hues U[0, 1), theta U[0, pi/4), phi U[0, 2 pi) (SIE, Garrido et al. 2023).
        """
        draws = np.asarray(draws)
        if draws.ndim != 2 or draws.shape[1] != 4:
            raise ValueError(f"Lighting.from_unit needs draws of shape (n, 4), got {draws.shape}")
        return cls(draws[:, 0], draws[:, 1] * MAX_SPOT_POLAR, draws[:, 2] * (2 * math.pi), draws[:, 3])


_devices: dict[int, Any] = {}


def _device() -> Any:
    """Return this process's Embree device; all scenes share it, since Embree crashes at about a thousand devices.

    It is keyed by process, as a forked child inherits the device but not the threads that build search trees.
    """
    pid = os.getpid()
    if pid not in _devices:
        from embreex.rtcore import EmbreeDevice

        if not _devices and hasattr(os, "register_at_fork"):
            os.register_at_fork(before=_let_builders_fall_asleep)
        _devices[pid] = EmbreeDevice()
    return _devices[pid]


def _let_builders_fall_asleep() -> None:
    """Wait before a fork until Embree's threads are idle.

    They take a lock on their way to sleep, some milliseconds after a tree was built; a child forked at that moment
    inherits it locked for ever and hangs at its first tree.
    """
    time.sleep(0.05)


class RayMesh:
    """A mesh made ready for ray casting; its search tree is built at the first use and never pickled.

    Args:
        mesh: triangles centred at the origin, in any winding, within `OBJECT_RADIUS` of it.

    Raises:
        ValueError: if a vertex in use lies outside that radius.
    """

    def __init__(self, mesh: Mesh) -> None:
        corners = mesh.vertices[mesh.faces].astype(np.float64)  # (F, 3 corners, 3)
        radius = float(np.sqrt((corners**2).sum(axis=-1).max()))
        if radius > OBJECT_RADIUS * (1 + 1e-4):
            raise ValueError(
                f"a mesh must lie within {OBJECT_RADIUS} of the origin, got a vertex at {radius:.3f}; "
                "pass it through meshes.normalize first"
            )
        self.mesh = mesh
        self.radius = radius
        at_corners = corner_normals(mesh.vertices, mesh.faces)
        # One row a face, so that a hit costs one gather: the face's normal, the first corner's and the way from it to
        # the two others', then the colour.
        self.table = np.zeros((len(mesh.faces), 16), np.float32)
        self.table[:, :3] = face_normals(mesh.vertices, mesh.faces)
        self.table[:, 3:6] = at_corners[:, 0]
        self.table[:, 6:12] = (at_corners[:, 1:] - at_corners[:, :1]).reshape(-1, 6)
        self.table[:, 12:15] = mesh.colors
        self._scene: Any = None

    def build(self) -> Any:
        """Return the committed Embree scene of the object's own frame, made by the first call (about 6 ms, 0.5 MB)."""
        if self._scene is None:
            from embreex.mesh_construction import TriangleMesh
            from embreex.rtcore_scene import EmbreeScene

            scene = EmbreeScene(_device())
            TriangleMesh(scene, np.ascontiguousarray(self.mesh.vertices), np.ascontiguousarray(self.mesh.faces))
            # Embree commits at the first query, which two threads must not do at once.
            scene.run(np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32))
            self._scene = scene
        return self._scene

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_scene": None}


class _Camera:
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


class _Views(NamedTuple):
    """The turns, cameras, lights and floors of k views, float32."""

    to_object: np.ndarray  # (k, 3, 3): world to object frame, for directions
    shrink: np.ndarray  # (k, 3, 3): the same for points: an object of half the size sees everything twice as far
    camera: np.ndarray  # (k, pixels, 3) object frame, the same for each pixel: a ray's origin
    light: np.ndarray  # (k, pixels, 3) object frame, as above
    light_world: np.ndarray  # (k, 3, 1)
    spot_rgb: np.ndarray  # (k, 3) in [0, 1]
    floor_rgb: np.ndarray  # (k, 3) in [0, 255]
    scale: np.ndarray  # (k,)
    hue: np.ndarray  # (k,) turns
    texture: np.ndarray  # (k,)

    def part(self, chosen: slice) -> _Views:
        return _Views(*(array[chosen] for array in self))


class Renderer:
    """Renders turned objects in the 3DIEBench scene, one ray a pixel and one a shadow, without anti-aliasing.

    The camera stands at polar angle pi/4 and distance 2.5, unless a `Stage` says otherwise; the field of view is that
    of a sphere of radius `OBJECT_RADIUS` at distance 2.5. A soft-edged spot light at distance 4 points at the origin.
    Surfaces are matt (Lambert) and shaded smoothly where faces meet at a small angle (`normals`), with an ambient light
    and a weak one from the camera, so that unlit sides keep their shape. Light does not fade with distance, and colours
    are display values: there is no gamma. A view depends on its own inputs alone, to the bit: not on the batch around
    it nor on the number of threads.

    Args:
        size: side of the square image in pixels.
        shadows: whether the object casts a shadow on the floor and on itself.
        threads: how many views are rendered at once; None takes one a processor, at most 8.

    Raises:
        ValueError: if `size` or `threads` is below 1.
    """

    def __init__(self, size: int = 64, *, shadows: bool = True, threads: int | None = None) -> None:
        check_whole("size in pixels", size, low=1)
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, or None for one a processor, got {threads}")
        self.size = size
        self.shadows = shadows
        self.threads = min(os.cpu_count() or 1, _MAX_AUTO_THREADS) if threads is None else threads
        self._camera = _Camera(size)
        self._cameras: OrderedDict[tuple[float, float], _Camera] = OrderedDict()
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": None, "_cameras": OrderedDict()}

    @cached_property
    def _fine_camera(self) -> _Camera:
        return _Camera(2 * self.size)

    def render(
        self,
        meshes: Sequence[RayMesh],
        rotations: np.ndarray,
        lighting: Lighting,
        out: np.ndarray | None = None,
        *,
        stage: Stage | None = None,
    ) -> np.ndarray:
        """Render one view of each object.

        Args:
            meshes: n objects.
            rotations: (n, 3, 3) rotation matrices; a point p of the object is seen at R @ p.
            lighting: floors and lights of the n views.
            out: (n, size, size, 3) uint8, C-contiguous, to write into; None makes a new array.
            stage: objects' size and hue, cameras and grounds of the n views; None is 3DIEBench's for all. Views whose
                cameras are alike and in a row are rendered together, others one by one.

        Returns:
            (n, size, size, 3) uint8 RGB, `out` if it was given.

        Raises:
            ValueError: if a shape, type or length is wrong, or a matrix is not a rotation.
        """
        views = len(meshes)
        rotations = _check_rotations(rotations, views)
        if len(lighting) != views:
            raise ValueError(f"lighting must describe {views} views, one a mesh; got {len(lighting)}")
        if stage is not None and len(stage) != views:
            raise ValueError(f"stage must describe {views} views, one a mesh; got {len(stage)}")
        shape = (views, self.size, self.size, 3)
        if out is None:
            out = np.empty(shape, np.uint8)
        elif out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous or not out.flags.writeable:
            raise ValueError(
                f"out must be a writeable C-contiguous uint8 array of shape {shape}; got {out.dtype} {out.shape}, "
                f"C-contiguous {out.flags.c_contiguous}, writeable {out.flags.writeable}"
            )
        for mesh in meshes:
            mesh.build()  # before threads share it
        frames = out.reshape(views, self.size**2, 3)
        block = max(1, min(_BLOCK_PIXELS // self.size**2, -(-views // self.threads)))
        jobs = []
        for camera, run in self._runs(views, stage):
            prepared = _prepare(camera, rotations[run], lighting.part(run), None if stage is None else stage.part(run))
            for start in range(run.start, run.stop, block):
                chosen = slice(start, min(start + block, run.stop))
                part = prepared.part(slice(chosen.start - run.start, chosen.stop - run.start))
                jobs.append((camera, meshes[chosen], part, self.shadows, frames[chosen]))
        waiting = iter(jobs)

        def work() -> None:
            for job in waiting:
                _draw(*job)

        helpers = min(self.threads, len(jobs)) - 1
        futures = [self._executor().submit(work) for _ in range(helpers)]
        work()
        for future in futures:
            future.result()
        return out

    def _runs(self, views: int, stage: Stage | None) -> list[tuple[_Camera, slice]]:
        """Return the cameras in the order of the views, each with the run of views that it sees."""
        if stage is None:
            return [(self._camera, slice(0, views))] if views else []
        runs, start = [], 0
        for place, run in groupby(zip(stage.camera_elevation.tolist(), stage.camera_distance.tolist(), strict=True)):
            stop = start + len(list(run))
            runs.append((self._camera_at(*place), slice(start, stop)))
            start = stop
        return runs

    def _camera_at(self, polar: float, distance: float) -> _Camera:
        place = (polar, distance)
        if place == (CAMERA_POLAR, CAMERA_DISTANCE):
            return self._camera
        if place in self._cameras:
            self._cameras.move_to_end(place)
        else:
            self._cameras[place] = _Camera(self.size, polar, distance)
            if len(self._cameras) > _KEPT_CAMERAS:
                self._cameras.popitem(last=False)
        return self._cameras[place]

    def cutout(self, mesh: RayMesh, rotation: np.ndarray, lighting: Lighting) -> np.ndarray:
        """Render one object alone, without floor, for compositing; 2x2 rays a pixel smooth its outline.

        Args:
            mesh: the object.
            rotation: (3, 3) rotation matrix.
            lighting: of one view; the floor's hue is not used.

        Returns:
            (size, size, 4) uint8 RGBA. Alpha is the share of the pixel the object covers; the colour is that of the
            covered part (not multiplied by alpha) and zero where there is none.

        Raises:
            ValueError: if `rotation` is not one rotation matrix or `lighting` not of one view.
        """
        rotations = _check_rotations(np.asarray(rotation)[None], 1)
        if len(lighting) != 1:
            raise ValueError(f"a cutout needs the lighting of one view, got {len(lighting)}")
        camera = self._fine_camera
        hit, rgb = _object_colors(camera, [mesh], _prepare(camera, rotations, lighting), self.shadows)
        samples = np.zeros((4, 4 * self.size**2), np.float32)
        samples[:3, hit] = rgb
        samples[3, hit] = 1.0
        total = samples.reshape(4, self.size, 2, self.size, 2).sum(axis=(2, 4))
        total[:3] /= np.maximum(total[3], 1.0)
        total[3] *= 255.0 / 4
        return np.ascontiguousarray((total + 0.5).astype(np.uint8).transpose(1, 2, 0))

    def _executor(self) -> ThreadPoolExecutor:
        # A forked child inherits the object but not the threads.
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = (os.getpid(), ThreadPoolExecutor(self.threads - 1, thread_name_prefix="renderer"))
        return self._pool[1]


def _check_rotations(rotations: np.ndarray, views: int) -> np.ndarray:
    """Return `rotations` as (views, 3, 3) float32, or say what is wrong with them."""
    rotations = np.asarray(rotations)
    if rotations.shape != (views, 3, 3):
        raise ValueError(f"rotations must have shape ({views}, 3, 3), one matrix a mesh; got {rotations.shape}")
    rotations = rotations.astype(np.float32)
    if not np.isfinite(rotations).all():
        raise ValueError("rotations must be finite, got NaN or infinity")
    error = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3, dtype=np.float32)).max(axis=(1, 2))
    wrong = np.flatnonzero((error > 1e-3) | (np.linalg.det(rotations) < 0))
    if len(wrong):
        raise ValueError(
            f"rotations must be rotation matrices (R @ R.T = 1, det R = +1); number {wrong[0]} is not: "
            f"{rotations[wrong[0]].tolist()}"
        )
    return rotations


def _prepare(camera: _Camera, rotations: np.ndarray, lighting: Lighting, stage: Stage | None = None) -> _Views:
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
    return _Views(
        to_object=to_object,
        shrink=shrink,
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


def _draw(camera: _Camera, meshes: Sequence[RayMesh], views: _Views, shadows: bool, frames: np.ndarray) -> None:
    """Write k views into `frames`, (k, pixels, 3) uint8."""
    hit, rgb = _object_colors(camera, meshes, views, shadows)
    light = _floor_light(camera, meshes, views, shadows, hit)
    spot = views.floor_rgb * views.spot_rgb * np.float32(_FLOOR_SPOT)
    ambient = views.floor_rgb * np.float32(_FLOOR_AMBIENT) + np.float32(0.5)
    rgb += np.float32(0.5)
    darker = views.texture[:, None] * camera.checks if views.texture.any() else None
    for channel in range(3):
        image = light * spot[:, channel, None]
        image += ambient[:, channel, None]
        if darker is not None:
            image -= (image - np.float32(0.5)) * darker
        image.reshape(-1)[hit] = rgb[channel]
        frames[:, :, channel] = image.astype(np.uint8)


def _object_colors(
    camera: _Camera, meshes: Sequence[RayMesh], views: _Views, shadows: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels that show objects, numbered through all views, (h,), and their colours in [0, 255], (3, h)."""
    rays = views.to_object @ camera.rays  # (k, 3, r): turning the rays back spares rebuilding the scenes
    hits = [_first_hits(*each) for each in zip(meshes, rays, views.camera, views.light, strict=True)]
    starts = np.cumsum([0, *(len(found) for found, *_ in hits)])
    pixels = camera.size**2
    hit = np.concatenate([camera.pixels.take(found) + i * pixels for i, (found, *_) in enumerate(hits)])
    faces, within, seen, beams = (np.concatenate(arrays, axis=-1) for arrays in list(zip(*hits, strict=True))[1:])
    normals = faces[6:9] * within[0]
    normals += faces[9:12] * within[1]
    normals += faces[3:6]
    length = np.sqrt((normals * normals).sum(axis=0))
    side = np.sign((faces[:3] * seen).sum(axis=0))  # -1 where the winding's normal points at the camera
    spot = (normals * beams).sum(axis=0)
    spot /= length
    flat = (faces[:3] * beams).sum(axis=0)
    flat *= _TERMINATOR
    # A face that is turned away from the light is dark, whatever its corners' normals, and the light fades towards it.
    spot = np.maximum(np.minimum(spot * side, flat * side), 0.0)
    spot /= np.sqrt((beams * beams).sum(axis=0))
    if shadows:
        lit = np.flatnonzero(spot)
        edges = np.searchsorted(lit, starts)
        lit_beams = beams.take(lit, axis=1)
        blocked = _blocked(meshes, views, [lit_beams[:, a:b] for a, b in pairwise(edges)])
        spot[lit[blocked]] = 0.0
    plain = (normals * seen).sum(axis=0)
    plain *= side
    np.maximum(plain, 0.0, out=plain)
    plain /= length
    plain *= _OBJECT_HEADLIGHT
    plain += _OBJECT_AMBIENT
    rgb = views.spot_rgb.T.repeat(np.diff(starts), axis=1)
    rgb *= spot * np.float32(_OBJECT_SPOT)
    rgb += plain
    albedo = faces[12:15]
    if views.hue.any():
        albedo = shift_hues(albedo, views.hue.repeat(np.diff(starts)))
    rgb *= albedo
    return hit, rgb


def _first_hits(
    mesh: RayMesh, rays: np.ndarray, camera: np.ndarray, light: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cast one view's rays (3, r) from `camera`, all in the object's frame; `camera` and `light` are (pixels, 3).

    Returns:
        The h rays that hit; their faces' rows of `RayMesh.table` (16, h); where in the face, (2, h), as the weights of
        its second and third corner; the rays (3, h), unit vectors; vectors from the light (3, h).
    """
    shot = mesh.build().run(camera[: rays.shape[1]], rays.T, output=True)
    found = (shot["primID"] >= 0).nonzero()[0]
    faces = mesh.table.take(shot["primID"].take(found), axis=0).T
    within = np.stack([shot["u"].take(found), shot["v"].take(found)])
    seen = rays.take(found, axis=1)
    beams = seen * shot["tfar"].take(found)
    beams += (camera[0] - light[0])[:, None]
    return found, faces, within, seen, beams


def _floor_light(
    camera: _Camera, meshes: Sequence[RayMesh], views: _Views, shadows: bool, hidden: np.ndarray
) -> np.ndarray:
    """Return the spot light that reaches each pixel's floor point, (k, pixels) float32 in [0, 1].

    `hidden` are the pixels, numbered through, that show an object; what is returned for them means nothing.
    """
    along = (views.light_world.transpose(0, 2, 1) @ camera.floor)[:, 0]  # (k, pixels)
    inverse = camera.floor_square - 2.0 * along
    inverse += LIGHT_DISTANCE**2
    np.sqrt(inverse, out=inverse)
    np.reciprocal(inverse, out=inverse)  # of the distance to the light
    cosine = along  # becomes that of the angle off the light's axis
    cosine *= -1.0 / LIGHT_DISTANCE
    cosine += LIGHT_DISTANCE
    cosine *= inverse
    beam = cosine - _CONE_OUTER
    beam *= 1.0 / (_CONE_INNER - _CONE_OUTER)
    np.maximum(beam, 0.0, out=beam)
    np.minimum(beam, 1.0, out=beam)
    beam *= beam * (3.0 - 2.0 * beam)  # smoothstep
    beam *= inverse
    beam *= views.light_world[:, 2] - np.float32(FLOOR_Z)
    if shadows:
        cosine.reshape(-1)[hidden] = 0.0
        # Only rays that enter an object's bounding sphere can be blocked by it.
        radii = [mesh.radius * scale for mesh, scale in zip(meshes, views.scale.tolist(), strict=True)]
        reach = np.array([math.sqrt(1 - (radius / LIGHT_DISTANCE) ** 2) - 1e-5 for radius in radii], np.float32)
        near = np.flatnonzero(cosine > reach[:, None])
        pixels = camera.size**2
        edges = np.searchsorted(near, np.arange(len(meshes) + 1) * pixels)
        points = camera.floor.take(near % pixels, axis=1)
        parts = zip(views.shrink, views.light, pairwise(edges), strict=True)
        beams = [turn @ points[:, a:b] - light[0, :, None] for turn, light, (a, b) in parts]
        beam.reshape(-1)[near[_blocked(meshes, views, beams)]] = 0.0
    return beam


def _blocked(meshes: Sequence[RayMesh], views: _Views, beams: Sequence[np.ndarray]) -> np.ndarray:
    """Tell which beams, (3, m) a view from its light to a surface, something stops before their end: (sum m,) bool."""
    answers = [
        mesh.build().run(light[: rays.shape[1]], rays.T, dists=1 - _SHADOW_MARGIN, query="OCCLUDED")
        for mesh, light, rays in zip(meshes, views.light, beams, strict=True)
    ]
    return np.concatenate(answers) >= 0
