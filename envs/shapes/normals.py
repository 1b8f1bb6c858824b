"""Normals for smooth shading: a face's corner leans towards the faces around it, but not over a crease."""

from __future__ import annotations

import numpy as np

CREASE = np.radians(40.0)
"""Faces that meet at a larger angle keep a sharp edge: smooth are cylinders of ten sides and more, not boxes."""
_MOST_FACES = 64
"""Corners where more faces meet stay flat: pairs of faces grow with the square."""


def face_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return unit normals, (F, 3) float64, of (F, 3) `faces` over (V, 3) `vertices`; zeros for a face without area."""
    a, b, c = vertices.astype(np.float64)[faces].transpose(1, 0, 2)
    return _unit(cross(b - a, c - a))


def corner_normals(vertices: np.ndarray, faces: np.ndarray, crease: float = CREASE) -> np.ndarray:
    """Return a unit normal for each corner of each face.

    A corner's normal is the mean of the normals of the faces that share its vertex and make an angle of at most
    `crease` with the face, weighted by their angles at the vertex (Thürmer and Wüthrich, 1998). Vertices at exactly the
    same place count as one. Faces with opposite winding do not smooth each other.

    Args:
        vertices: (V, 3) finite.
        faces: (F, 3) indices.
        crease: radians; 0 leaves every face flat.

    Returns:
        (F, 3, 3) float32: face, corner, xyz.
    """
    normals = face_normals(vertices, faces)
    smooth = np.repeat(normals[:, None], 3, axis=1)
    places = np.unique(np.ascontiguousarray(vertices, np.float32).view("V12")[:, 0], return_inverse=True)[1]
    at = places.reshape(-1)[faces].reshape(-1)  # (3 F,), the place of each corner
    order = np.argsort(at, kind="stable")
    counts = np.bincount(at)
    begins = np.cumsum(counts) - counts
    shared = counts[at[order]]
    small = shared <= _MOST_FACES
    # Pairs of corners at one place: each of the k corners beside all k.
    first = order[small].repeat(shared[small])
    ends = np.cumsum(shared[small])
    place_in_group = np.arange(len(first)) - (ends - shared[small]).repeat(shared[small])
    second = order[begins[at[first]] + place_in_group]
    together = (normals[first // 3] * normals[second // 3]).sum(axis=1) >= np.cos(crease) - 1e-9
    first, second = first[together & (first != second)], second[together & (first != second)]
    weights = _corner_angles(vertices, faces).reshape(-1)
    total = (smooth * weights.reshape(-1, 3, 1)).reshape(-1, 3)
    for axis in range(3):
        leaning = weights[second] * normals[second // 3, axis]
        total[:, axis] += np.bincount(first, leaning, minlength=len(total))
    found = _unit(total)
    flat = ~found.any(axis=1)
    found[flat] = smooth.reshape(-1, 3)[flat]
    return found.reshape(-1, 3, 3).astype(np.float32)


def _corner_angles(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return each face's angles at its corners, (F, 3) radians."""
    corners = vertices.astype(np.float64)[faces]
    ahead, behind = _unit(np.roll(corners, -1, axis=1) - corners), _unit(np.roll(corners, 1, axis=1) - corners)
    return np.arccos((ahead * behind).sum(axis=-1).clip(-1.0, 1.0))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.sqrt((vectors**2).sum(axis=-1, keepdims=True)), 1e-30)


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row-wise cross product; np.cross spends most of its time on checks at these sizes."""
    x = a[:, 1] * b[:, 2] - a[:, 2] * b[:, 1]
    y = a[:, 2] * b[:, 0] - a[:, 0] * b[:, 2]
    z = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    return np.stack([x, y, z], axis=1)
