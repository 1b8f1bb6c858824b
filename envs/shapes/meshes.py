"""Triangle meshes with one colour a face: the form in which every 3D object reaches the renderer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

OBJECT_RADIUS = 0.8
"""Distance of an object's farthest vertex from the origin, in scene units (the floor lies at z = -1)."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles in space with one flat colour each.

    Args:
        vertices: (V, 3) float32, finite, scene units; +x is the object's front, +y its left side, +z up.
        faces: (F, 3) int32 indices into `vertices`, counter-clockwise seen from outside.
        colors: (F, 3) uint8 RGB of each face.

    Raises:
        ValueError: if a shape or type differs, there is no face, a vertex is not finite, or an index is out of range.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colors: np.ndarray

    def __post_init__(self) -> None:
        for name, kind in (("vertices", np.float32), ("faces", np.int32), ("colors", np.uint8)):
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.ndim != 2 or array.shape[1] != 3 or array.dtype != kind:
                arrived = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
                raise ValueError(f"Mesh.{name} must be an (N, 3) array of {np.dtype(kind)}, got {arrived}")
        if len(self.faces) == 0:
            raise ValueError("a Mesh needs at least one face, got none")
        if len(self.colors) != len(self.faces):
            raise ValueError(
                f"Mesh.colors must have one row a face: {len(self.faces)} faces, {len(self.colors)} colours"
            )
        if not np.isfinite(self.vertices).all():
            raise ValueError("Mesh.vertices must be finite, got NaN or infinity; clean the mesh first")
        low, high = int(self.faces.min()), int(self.faces.max())
        if low < 0 or high >= len(self.vertices):
            raise ValueError(
                f"Mesh.faces must index the {len(self.vertices)} vertices (0 to {len(self.vertices) - 1}), "
                f"got indices from {low} to {high}"
            )


def normalize(mesh: Mesh, radius: float = OBJECT_RADIUS) -> Mesh:
    """Return `mesh` with the centre of its bounding box at the origin and its farthest vertex at `radius`.

    Only vertices that a face uses count; the others move along.

    Args:
        mesh: any mesh whose used vertices are not all one point.
        radius: distance of the farthest used vertex from the origin, in scene units, positive.

    Raises:
        ValueError: if `radius` is not positive or the mesh has no extent.
    """
    if not radius > 0:
        raise ValueError(f"radius must be positive, got {radius}")
    used = mesh.vertices[np.unique(mesh.faces)].astype(np.float64)
    center = (used.min(axis=0) + used.max(axis=0)) / 2
    extent = np.linalg.norm(used - center, axis=1).max()
    if extent == 0:
        raise ValueError("cannot normalize a mesh whose faces all lie in one point")
    vertices = ((mesh.vertices - center) * (radius / extent)).astype(np.float32)
    return Mesh(vertices, mesh.faces, mesh.colors)
