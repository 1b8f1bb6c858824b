"""Meshes made ready for ray casting by Embree."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from ..shapes.meshes import OBJECT_RADIUS
from ..shapes.normals import corner_normals, face_normals

if TYPE_CHECKING:
    from ..shapes.meshes import Mesh

_MANY_VERTICES = 500
"""Above, a hull is found once, rather than all vertices projected at every view."""

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
        self.outline = _outline(mesh.vertices[np.unique(mesh.faces)])
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


def _outline(vertices: np.ndarray) -> np.ndarray:
    """Return points, (V, 3) float32, whose convex hull holds `vertices`: all, or of many the corners of the hull."""
    if len(vertices) > _MANY_VERTICES:
        from scipy.spatial import ConvexHull, QhullError

        with suppress(QhullError):  # all in a plane
            vertices = vertices[ConvexHull(vertices).vertices]
    return np.ascontiguousarray(vertices, np.float32)
