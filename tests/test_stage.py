"""The stage: size and hue of the object, place of the camera and texture of the ground, as geometry has them."""

import colorsys

import numpy as np
import pytest

from glimpseworld.envs.rendering.renderer import Lighting, RayMesh, Renderer
from glimpseworld.envs.rendering.stage import Stage, shift_hues
from glimpseworld.envs.shapes.meshes import Mesh


def stage(**fields):
    views = max(len(np.atleast_1d(value)) for value in fields.values())
    usual = Stage.usual(views)
    names = ("object_hue", "object_scale", "camera_elevation", "camera_distance", "ground_texture")
    return Stage(*(np.broadcast_to(fields.get(name, getattr(usual, name)), views) for name in names))


def ball(radius=0.8, color=(200, 40, 40)):
    """An octahedron, refined twice: close to a sphere."""
    corners = np.concatenate([np.eye(3), -np.eye(3)])
    faces = [corners[[0 + 3 * a, 1 + 3 * b, 2 + 3 * c]] for a in (0, 1) for b in (0, 1) for c in (0, 1)]
    for _ in range(3):
        split = []
        for a, b, c in faces:
            ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
            split += [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        faces = split
    points = np.array(faces).reshape(-1, 3)
    points *= radius / np.linalg.norm(points, axis=1, keepdims=True)
    colors = np.tile(np.array(color, np.uint8), (len(faces), 1))
    return RayMesh(Mesh(points.astype(np.float32), np.arange(len(points), dtype=np.int32).reshape(-1, 3), colors))


def light(views=1):
    return Lighting(*np.tile([[0.0], [0.0], [0.0], [0.0]], views))


def render(the_stage, mesh=None, size=64, **options):
    views = len(the_stage)
    meshes = [mesh or ball()] * views
    return Renderer(size, **options).render(meshes, np.tile(np.eye(3), (views, 1, 1)), light(views), stage=the_stage)


def test_the_silhouette_shrinks_with_the_scale_and_with_the_distance():
    size = 256
    the_stage = stage(object_scale=[1, 0.5, 1], camera_distance=[2.5, 2.5, 4.0])
    green = render(the_stage, ball(color=(0, 255, 0)), size, shadows=False)  # above a red floor
    width = (green[..., 1] > green[..., 0]).any(axis=1).sum(axis=1)
    reach = np.tan(np.arcsin(0.8 / 2.5))  # half the image, by the lens
    expected = size * np.tan(np.arcsin([0.8 / 2.5, 0.4 / 2.5, 0.8 / 4.0])) / reach
    np.testing.assert_allclose(width, expected, atol=4)


def moved(mesh, shift, scale=1.0):
    vertices = (mesh.mesh.vertices + np.array(shift, np.float32)) * np.float32(scale)
    return RayMesh(Mesh(vertices, mesh.mesh.faces, mesh.mesh.colors))


def test_a_smaller_object_looks_and_casts_its_shadow_like_a_smaller_mesh():
    """A ball beside the centre, so that its shadow falls well within the cone of its bounding sphere."""
    half, usual = stage(object_scale=0.5), Stage.usual(1)
    scaled = render(half, moved(ball(0.25), (0, 0.5, 0)))
    made = render(usual, moved(ball(0.25), (0, 0.5, 0), 0.5))
    differing = (np.abs(scaled.astype(int) - made.astype(int)) > 2).any(axis=-1).mean()
    assert differing < 2e-3  # rays along edges, which rounding decides on
    unshaded = render(half, moved(ball(0.25), (0, 0.5, 0)), shadows=False)
    assert 15 < (unshaded != scaled).any(axis=-1)[0, 48:].sum() < 80  # the shadow on the floor, about 50 pixels


def test_a_camera_close_by_sees_nothing_but_the_object():
    view = render(stage(camera_distance=1.5), ball(color=(0, 255, 0)), shadows=False)[0]
    assert (view[..., 1] > view[..., 0]).all()


def test_the_camera_stands_where_its_elevation_and_distance_say():
    """A small ball above the centre is in the middle of the image from straight above, and higher from the side."""
    size = 128
    for polar, distance in ((0.0, 2.5), (0.6, 2.5), (1.1, 3.5)):
        top = np.array([0.0, 0.0, 0.7])
        post = moved(ball(0.05, (0, 255, 0)), top)
        view = render(stage(camera_elevation=polar, camera_distance=distance), post, size, shadows=False)[0]
        rows, columns = np.nonzero(view[..., 1] > view[..., 0])
        camera = distance * np.array([np.sin(polar), 0, np.cos(polar)])
        depth = distance - top @ camera / distance
        height = np.sin(polar) * 0.7 / depth / np.tan(np.arcsin(0.8 / 2.5))
        np.testing.assert_allclose(rows.mean(), (1 - height) * size / 2 - 0.5, atol=1.0)
        np.testing.assert_allclose(columns.mean(), size / 2 - 0.5, atol=0.5)


def test_looking_straight_down_the_floor_is_symmetric():
    view = render(stage(camera_elevation=0.0, object_scale=0.05), size=32, shadows=False)[0].astype(int)
    for turned in (view[::-1], view[:, ::-1], view.transpose(1, 0, 2)):
        assert np.abs(view - turned)[:12].max() <= 1


def test_the_hue_shift_keeps_saturation_value_and_greys():
    colors = np.array([[200, 40, 40], [10, 250, 90], [80, 80, 80], [0, 0, 0], [30, 20, 255]], np.float32).T
    for shift in (0.25, 1 / 3, 0.9):
        shifted = shift_hues(colors, np.full(5, shift, np.float32)).T
        for before, after in zip(colors.T / 255, shifted / 255, strict=True):
            h, s, v = colorsys.rgb_to_hsv(*before)
            np.testing.assert_allclose(after, colorsys.hsv_to_rgb((h + shift) % 1, s, v), atol=1e-5)
    assert shift_hues(colors, np.full(5, 1 / 3, np.float32))[:, 0] == pytest.approx([40, 200, 40])
    np.testing.assert_array_equal(shift_hues(colors, np.zeros(5, np.float32)), colors)


def test_the_object_hue_colours_the_object_alone():
    plain, shifted = render(stage(object_hue=[0, 1 / 3]))
    made = render(stage(object_hue=0.0), ball(color=(40, 200, 40)))[0]
    assert np.abs(shifted.astype(int) - made.astype(int)).max() <= 1
    assert (plain != shifted).any()
    np.testing.assert_array_equal(plain[:8, :8], shifted[:8, :8])  # a corner shows floor alone


def test_every_other_square_of_the_ground_is_darker():
    views = render(stage(ground_texture=[0, 0.4], object_scale=0.05, camera_elevation=0.0), size=64, shadows=False)
    plain, textured = views[:, 50:, :].astype(float)
    ratio = textured.sum(axis=-1) / plain.sum(axis=-1)
    dark = ratio < 0.8
    np.testing.assert_allclose(ratio[~dark], 1)
    np.testing.assert_allclose(ratio[dark], 0.6, atol=0.02)
    assert 0.3 < dark.mean() < 0.7
    # Straight above, 64 pixels span 2 * reach * 3.5 = 2.36 units of the floor: a square of 0.5 is 13.5 pixels.
    changes = np.flatnonzero(np.diff(dark[0].astype(int)))
    assert set(np.diff(changes)) <= {13, 14}


def test_a_view_depends_on_its_own_inputs_alone():
    rng = np.random.default_rng(0)
    the_stage = stage(
        object_hue=rng.choice([0, 0.3], 12),
        object_scale=rng.choice([1, 0.6], 12),
        camera_elevation=rng.choice([np.pi / 4, 0.3], 12),
        camera_distance=rng.choice([2.5, 3.0], 12),
        ground_texture=rng.choice([0, 0.5], 12),
    )
    together = render(the_stage, size=24, threads=2)
    for i in range(12):
        np.testing.assert_array_equal(together[i], render(the_stage.part(slice(i, i + 1)), size=24, threads=1)[0])
    usual = Renderer(24).render([ball()], np.eye(3)[None], light())
    np.testing.assert_array_equal(render(Stage.usual(1), size=24), usual)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"object_scale": [1.5]}, r"object_scale must be in \[0.05, 1.0\]"),
        ({"camera_elevation": [np.nan]}, "camera_elevation must be in"),
    ],
)
def test_bad_stages(fields, message):
    with pytest.raises(ValueError, match=message):
        stage(**fields)
    with pytest.raises(ValueError, match="stage must describe 1 views"):
        Renderer(8).render([ball()], np.eye(3)[None], light(), stage=Stage.usual(2))
    with pytest.raises(ValueError, match="one value a view"):
        Stage(*([[0.0]] + [[0.5, 0.5]] * 4))
