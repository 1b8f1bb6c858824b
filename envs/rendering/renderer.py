"""Ray-cast views of one object above a floor: the scene of 3DIEBench, fast enough to be called at every step."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property, partial
from itertools import groupby
from typing import Any

import numpy as np

from ..settings import check_flag, check_whole
from ..threads import auto_threads, run
from .camera import Camera
from .lighting import Lighting
from .ray_mesh import RayMesh
from .shading import draw, object_colors, prepare
from .stage import CAMERA_DISTANCE, CAMERA_POLAR, Stage

_KEPT_CAMERAS = 64


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
        check_flag("shadows", shadows)
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, or None for one a processor, got {threads}")
        self.size = size
        self.shadows = shadows
        self.threads = auto_threads() if threads is None else threads
        self._camera = Camera(size)
        self._cameras: OrderedDict[tuple[float, float], Camera] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cameras": OrderedDict()}

    @cached_property
    def _fine_camera(self) -> Camera:
        return Camera(2 * self.size)

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
        jobs = []
        for camera, chosen in self._runs(views, stage):
            part = None if stage is None else stage.part(chosen)
            prepared = prepare(camera, rotations[chosen], lighting.part(chosen), part)
            for i, (mesh, frame) in enumerate(zip(meshes[chosen], frames[chosen], strict=True)):
                jobs.append(partial(draw, camera, mesh, prepared, i, self.shadows, frame))
        run(jobs, self.threads)
        return out

    def _runs(self, views: int, stage: Stage | None) -> list[tuple[Camera, slice]]:
        """Return the cameras in the order of the views, each with the run of views that it sees."""
        if stage is None:
            return [(self._camera, slice(0, views))] if views else []
        runs, start = [], 0
        for place, alike in groupby(zip(stage.camera_elevation.tolist(), stage.camera_distance.tolist(), strict=True)):
            stop = start + len(list(alike))
            runs.append((self._camera_at(*place), slice(start, stop)))
            start = stop
        return runs

    def _camera_at(self, polar: float, distance: float) -> Camera:
        place = (polar, distance)
        if place == (CAMERA_POLAR, CAMERA_DISTANCE):
            return self._camera
        if place in self._cameras:
            self._cameras.move_to_end(place)
        else:
            self._cameras[place] = Camera(self.size, polar, distance)
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
        hit, rgb = object_colors(camera, mesh, prepare(camera, rotations, lighting), 0, self.shadows)
        samples = np.zeros((4, 4 * self.size**2), np.float32)
        samples[:3, hit] = rgb.T
        samples[3, hit] = 1.0
        total = samples.reshape(4, self.size, 2, self.size, 2).sum(axis=(2, 4))
        total[:3] /= np.maximum(total[3], 1.0)
        total[3] *= 255.0 / 4
        return np.ascontiguousarray((total + 0.5).astype(np.uint8).transpose(1, 2, 0))


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
