"""Normals for smooth shading: round things become round, boxes keep their edges."""

import numpy as np
import pytest

from glimpseworld.envs.rendering.renderer import Lighting, RayMesh, Renderer
from glimpseworld.envs.shapes.meshes import Mesh
from glimpseworld.envs.shapes.normals import corner_normals, face_normals

CUBE = np.array([[x, y, z] for x in (-0.4, 0.4) for y in (-0.4, 0.4) for z in (-0.4, 0.4)], np.float32)
CUBE_FACES = np.array(
    [
        *[[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]],
        *[[2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]],
    ],
    np.int32,
)


def tube(sides, radius=0.5):
    """An open cylinder about z, each wall with vertices of its own: (vertices, faces)."""
    angle = 2 * np.pi * np.arange(sides + 1) / sides
    ring = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    ring[-1] = ring[0]
    vertices, faces = [], []
    for i in range(sides):
        (x0, y0), (x1, y1) = ring[i], ring[i + 1]
        vertices += [[x0, y0, -0.4], [x1, y1, -0.4], [x1, y1, 0.4], [x0, y0, 0.4]]
        faces += [[4 * i, 4 * i + 1, 4 * i + 2], [4 * i, 4 * i + 2, 4 * i + 3]]
    return np.array(vertices, np.float32), np.array(faces, np.int32)


def test_a_cube_stays_sharp():
    smooth = corner_normals(CUBE, CUBE_FACES)
    np.testing.assert_allclose(smooth, face_normals(CUBE, CUBE_FACES)[:, None].repeat(3, axis=1), atol=1e-6)


def test_a_cylinder_of_twelve_sides_is_round_at_its_corners():
    vertices, faces = tube(12)
    smooth = corner_normals(vertices, faces)
    outward = vertices[faces] * [1, 1, 0] / 0.5
    np.testing.assert_allclose(smooth, outward, atol=1e-6)


def test_a_cylinder_of_six_sides_keeps_its_edges():
    vertices, faces = tube(6)
    np.testing.assert_allclose(corner_normals(vertices, faces)[:, 0], face_normals(vertices, faces), atol=1e-6)


def test_the_crease_decides():
    vertices, faces = tube(12)
    flat = face_normals(vertices, faces)[:, None].repeat(3, axis=1)
    np.testing.assert_allclose(corner_normals(vertices, faces, crease=np.radians(29.0)), flat, atol=1e-6)
    assert np.abs(corner_normals(vertices, faces, crease=np.radians(31.0)) - flat).max() > 0.2


def test_a_corner_where_many_faces_meet_stays_flat():
    """100 faces around one apex: no pair of them is formed, and nothing fails."""
    angle = 2 * np.pi * np.arange(100) / 100
    rim = np.stack([np.cos(angle), np.sin(angle), np.zeros(100)], axis=1)
    vertices = np.concatenate([rim, [[0, 0, 1]]]).astype(np.float32)
    faces = np.stack([np.arange(100), (np.arange(100) + 1) % 100, np.full(100, 100)], axis=1).astype(np.int32)
    np.testing.assert_allclose(corner_normals(vertices, faces)[:, 2], face_normals(vertices, faces), atol=1e-6)


def test_faces_without_area_and_with_opposite_winding_do_no_harm():
    vertices, faces = tube(12)
    faces[5] = faces[5][::-1]
    faces[7] = faces[7][0]
    smooth = corner_normals(vertices, faces)
    assert np.isfinite(smooth).all()
    np.testing.assert_allclose(smooth[5, 0], face_normals(vertices, faces)[5], atol=1e-6)


def views_of(vertices, faces):
    mesh = RayMesh(Mesh(vertices, faces, np.full((len(faces), 3), 200, np.uint8)))
    light = Lighting.from_unit(np.full((1, 4), 0.3))
    turn = np.eye(3)[[2, 0, 1]][None]  # the cylinder's axis lies along y, across the view
    return Renderer(64, shadows=False).render([mesh], turn, light)[0].astype(int)


def test_a_coarse_cylinder_is_shaded_as_a_fine_one(monkeypatch):
    """But for its outline, which stays that of the faces."""
    coarse, fine = views_of(*tube(12)), views_of(*tube(60))
    alike = (np.abs(coarse - fine) <= 2).all(axis=-1)
    assert alike.mean() > 0.9
    monkeypatch.setattr(corner_normals, "__defaults__", (0.0,))
    flat = views_of(*tube(12))
    assert (np.abs(flat - fine) <= 2).all(axis=-1).mean() < 0.85


@pytest.mark.parametrize("flip", [False, True])
def test_winding_does_not_matter(flip):
    vertices, faces = tube(12)
    np.testing.assert_array_equal(
        views_of(vertices, faces), views_of(vertices, np.ascontiguousarray(faces[:, ::-1]) if flip else faces)
    )
