"""PyBullet's software renderer in our scene, for the benchmark alone: an optional peer."""

from __future__ import annotations

import importlib
import itertools
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ..envs.rendering import camera as _camera
from ..envs.shapes.meshes import Mesh


class TinyRenderer:
    """PyBullet's software renderer with one mesh, and ours' camera; a context manager.

    Args:
        mesh: what to show.
        size: side of the view in pixels.
        whole_scene: with a floor and a shadow.
    """

    def __init__(self, mesh: Mesh, size: int, *, whole_scene: bool) -> None:
        self._bullet = bullet = importlib.import_module("pybullet")
        self._client = bullet.connect(bullet.DIRECT)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "mesh.obj"
            write_obj(mesh, path)
            shape = bullet.createVisualShape(bullet.GEOM_MESH, fileName=str(path), physicsClientId=self._client)
            self._body = bullet.createMultiBody(0, baseVisualShapeIndex=shape, physicsClientId=self._client)
        if whole_scene:
            slab = bullet.createVisualShape(bullet.GEOM_BOX, halfExtents=[4.0, 4.0, 0.01], physicsClientId=self._client)
            where = {"baseVisualShapeIndex": slab, "basePosition": [0.0, 0.0, _camera.FLOOR_Z]}
            bullet.createMultiBody(0, **where, physicsClientId=self._client)
        distance = _camera.CAMERA_DISTANCE
        eye = [distance * math.sin(_camera.CAMERA_POLAR), 0.0, distance * math.cos(_camera.CAMERA_POLAR)]
        field_of_view = 2 * math.degrees(math.asin(_camera.OBJECT_RADIUS / distance))
        self._camera = {
            "width": size,
            "height": size,
            "viewMatrix": bullet.computeViewMatrix(eye, [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]),
            "projectionMatrix": bullet.computeProjectionMatrixFOV(field_of_view, 1.0, 0.1, 10.0),
            "lightDirection": [1.0, 1.0, 3.0],
            "shadow": int(whole_scene),
            "renderer": bullet.ER_TINY_RENDERER,
        }
        self._turns = itertools.cycle(np.random.default_rng(0).normal(size=(64, 4)).tolist())

    def view(self) -> Any:
        """Turn the mesh and return what `getCameraImage` does: (width, height, pixels, ...)."""
        turn = next(self._turns)
        self._bullet.resetBasePositionAndOrientation(self._body, [0.0, 0.0, 0.0], turn, physicsClientId=self._client)
        return self._bullet.getCameraImage(**self._camera, physicsClientId=self._client)

    def __enter__(self) -> TinyRenderer:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bullet.disconnect(self._client)


def write_obj(mesh: Mesh, path: Path) -> None:
    """Write vertices and faces of `mesh` as a Wavefront OBJ file, without its colours."""
    vertices = [f"v {x} {y} {z}" for x, y, z in mesh.vertices.tolist()]
    faces = [f"f {a} {b} {c}" for a, b, c in (mesh.faces + 1).tolist()]
    path.write_text("\n".join([*vertices, *faces, ""]))
