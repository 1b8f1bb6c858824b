import copy
import multiprocessing
import pickle

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from glimpseworld.envs.rendering.renderer import Lighting, RayMesh, Renderer
from glimpseworld.envs.rendering.stage import STAGE_LIMITS, Stage
from glimpseworld.envs.shapes.meshes import Mesh

SIZE = 64
# One colour a side of the cube, told apart by which of R, G, B are present.
SIDES = {"+x": (1, 0, 0), "-x": (0, 1, 0), "+y": (0, 0, 1), "-y": (1, 1, 0), "+z": (1, 0, 1), "-z": (0, 1, 1)}


def to_mesh(solid: trimesh.Trimesh, colors: np.ndarray | tuple[int, int, int]) -> Mesh:
    faces = solid.faces.astype(np.int32)
    return Mesh(solid.vertices.astype(np.float32), faces, np.zeros_like(faces, np.uint8) + np.asarray(colors, np.uint8))


def box(*extents: float, center: tuple[float, float, float] = (0, 0, 0)) -> trimesh.Trimesh:
    return trimesh.creation.box(extents, transform=trimesh.transformations.translation_matrix(center))


def sphere(radius: float, subdivisions: int = 3) -> RayMesh:
    return RayMesh(to_mesh(trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius), (200, 200, 200)))


def light(theta: float = 0.3, phi: float = 0.0, n: int = 1, floor_hue: float = 0.3, spot_hue: float = 0.1) -> Lighting:
    return Lighting(*(np.full(n, value) for value in (floor_hue, theta, phi, spot_hue)))


@pytest.fixture(scope="module")
def cube() -> RayMesh:
    solid = box(0.8, 0.8, 0.8)
    axis = np.abs(solid.face_normals).argmax(axis=1)
    sign = np.sign(solid.face_normals[np.arange(12), axis])
    names = [f"{'+' if s > 0 else '-'}{'xyz'[a]}" for a, s in zip(axis, sign, strict=True)]
    return RayMesh(to_mesh(solid, np.array([SIDES[name] for name in names]) * 255))


@pytest.fixture(scope="module")
def shapes(cube: RayMesh) -> list[RayMesh]:
    rng = np.random.default_rng(0)
    chair = trimesh.util.concatenate(
        [
            box(0.7, 0.7, 0.08),
            box(0.08, 0.7, 0.6, center=(-0.31, 0, 0.3)),
            box(0.08, 0.08, 0.5, center=(0.3, 0.3, -0.25)),
        ]
    )
    corners = rng.uniform(-0.46, 0.46, (20, 3, 3)).reshape(-1, 3)
    soup = trimesh.Trimesh(corners, np.arange(60).reshape(20, 3), process=False)
    return [
        cube,
        RayMesh(to_mesh(chair, rng.integers(30, 255, (len(chair.faces), 3)))),
        RayMesh(to_mesh(soup, rng.integers(30, 255, (20, 3)))),
        sphere(0.5),
    ]


def random_views(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return Rotation.random(n, random_state=seed).as_matrix(), np.random.default_rng(seed).random((n, 4))


def side_at(image: np.ndarray, row: int, column: int) -> str:
    present = tuple(int(value > 10) for value in image[row, column])
    return {color: name for name, color in SIDES.items()}[present]


def bare_floor(renderer: Renderer, lighting: Lighting) -> np.ndarray:
    """An image whose object is a speck."""
    return renderer.render([sphere(1e-4, 0)] * len(lighting), np.eye(3)[None].repeat(len(lighting), 0), lighting)


@pytest.mark.parametrize(
    ("axis", "degrees", "top", "bottom"),
    [
        ("z", 0, "+z", "+x"),
        ("z", 90, "+z", "-y"),  # x -> y, so what was at -y comes to the camera's side
        ("z", -90, "+z", "+y"),
        ("y", 90, "-x", "+z"),  # z -> x, x -> -z
        ("x", 90, "+y", "+x"),  # y -> z
        ("x", 180, "-z", "+x"),
    ],
)
def test_cube_shows_the_sides_that_face_the_camera(
    cube: RayMesh, axis: str, degrees: float, top: str, bottom: str
) -> None:
    # The camera looks down at 45 degrees on the edge between the sides at world +z and +x.
    turn = Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    image = Renderer(SIZE, shadows=False).render([cube], turn[None], light())[0]
    assert [side_at(image, row, 32) for row in (24, 31, 32, 40)] == [top, top, bottom, bottom]


def test_world_y_is_the_right_of_the_image(cube: RayMesh) -> None:
    # Turned by 45 degrees about z, side +x looks along (1, 1, 0) and side -y along (1, -1, 0).
    turn = Rotation.from_euler("z", 45, degrees=True).as_matrix()
    image = Renderer(SIZE, shadows=False).render([cube], turn[None], light())[0]
    assert (side_at(image, 42, 24), side_at(image, 42, 40)) == ("-y", "+x")
    assert side_at(image, 22, 32) == "+z"


def test_turning_the_object_equals_turning_its_vertices(shapes: list[RayMesh]) -> None:
    renderer = Renderer(SIZE)
    rotations, draws = random_views(len(shapes), seed=1)
    lighting = Lighting.from_unit(draws)
    turned = [
        RayMesh(Mesh((s.mesh.vertices @ r.T).astype(np.float32), s.mesh.faces, s.mesh.colors))
        for s, r in zip(shapes, rotations, strict=True)
    ]
    a = renderer.render(shapes, rotations, lighting).astype(int)
    b = renderer.render(turned, np.eye(3)[None].repeat(len(shapes), 0), lighting).astype(int)
    # Rounding may move a pixel across an edge, no more.
    assert (np.abs(a - b).max(axis=-1) > 2).mean() < 2e-3


def test_largest_sphere_just_fits() -> None:
    cutout = Renderer(SIZE).cutout(sphere(0.8, 4), np.eye(3), light())
    alpha = cutout[..., 3] / 255
    assert alpha.mean() == pytest.approx(np.pi / 4, abs=0.01)
    assert alpha[0, 31] > 0
    assert alpha[31, 0] > 0
    assert alpha[2, 2] == 0


@pytest.mark.parametrize(
    ("theta", "phi", "row", "column"),
    # The light's axis meets the floor at (0, 0, -1) and, from +y at 45 degrees, (0, -1, -1). Both lie 3.207 before the
    # camera and 0.707 below its axis; the image reaches 0.3378 a unit of depth to each side.
    [(0.0, 0.0, 52, 31), (np.pi / 4, np.pi / 2, 52, 2), (np.pi / 4, -np.pi / 2, 52, 61)],
)
def test_shadow_falls_opposite_the_light(theta: float, phi: float, row: int, column: int) -> None:
    ball, turn = sphere(0.2), np.eye(3)[None]
    dark = Renderer(SIZE).render([ball], turn, light(theta, phi))[0].astype(int)
    bright = Renderer(SIZE, shadows=False).render([ball], turn, light(theta, phi))[0].astype(int)
    fell = (bright - dark).max(axis=-1) > 20
    assert fell[row, column]
    assert 20 < fell.sum() < 400
    rows, columns = np.nonzero(fell)
    assert abs(np.median(rows) - row) < 4
    assert abs(np.median(columns) - column) < 4
    assert (dark[~fell] == bright[~fell]).all()


def test_object_shades_itself() -> None:
    # Under a small plate, the centre (0, 0, -0.3) of a large one: 2.712 before the camera, 0.212 below its axis.
    plates = trimesh.util.concatenate([box(0.3, 0.3, 0.02, center=(0, 0, 0.5)), box(1, 1, 0.02, center=(0, 0, -0.31))])
    mesh, turn = RayMesh(to_mesh(plates, (200, 200, 200))), np.eye(3)[None]
    dark = Renderer(SIZE).render([mesh], turn, light(0.0))[0].astype(int)
    bright = Renderer(SIZE, shadows=False).render([mesh], turn, light(0.0))[0].astype(int)
    assert dark[39, 32, 0] < 0.6 * bright[39, 32, 0]
    assert (dark[39, 16] == bright[39, 16]).all()


def test_convex_object_never_shades_itself() -> None:
    ball = sphere(0.7)
    rotations, draws = random_views(6)
    on_ball = Renderer(SIZE).cutout(ball, np.eye(3), light())[..., 3] == 255
    views = [Renderer(SIZE, shadows=s).render([ball] * 6, rotations, Lighting.from_unit(draws)) for s in (True, False)]
    assert (views[0][:, on_ball] == views[1][:, on_ball]).all()
    assert (views[0] != views[1]).any()


def test_side_towards_the_light_is_brighter(cube: RayMesh) -> None:
    grey = RayMesh(Mesh(cube.mesh.vertices, cube.mesh.faces, np.full_like(cube.mesh.colors, 200)))
    turn = Rotation.from_euler("z", 45, degrees=True).as_matrix()[None].repeat(2, 0)
    lighting = Lighting([0.3, 0.3], [0.7, 0.7], [np.pi / 2, -np.pi / 2], [0.1, 0.1])
    from_right, from_left = Renderer(SIZE).render([grey, grey], turn, lighting).astype(int)
    assert from_right[42, 40].sum() > 1.3 * from_right[42, 24].sum()
    assert from_left[42, 24].sum() > 1.3 * from_left[42, 40].sum()
    assert from_right[42, 40].sum() > 1.3 * from_left[42, 40].sum()


def test_hues_colour_floor_and_light(cube: RayMesh) -> None:
    lighting = Lighting([0.0, 1 / 3, 2 / 3], [0.2] * 3, [0.0] * 3, [0.0] * 3)
    floors = bare_floor(Renderer(32), lighting)[:, 28, 4]  # red, green, blue
    assert floors.argmax(axis=-1).tolist() == [0, 1, 2]
    under_red, under_cyan = bare_floor(Renderer(32), Lighting([0.0, 0.0], [0.2] * 2, [0.0] * 2, [0.0, 0.5]))[:, 28, 4]
    assert under_red[0] > 1.15 * under_cyan[0]
    ball = sphere(0.5)
    lighting = Lighting([0.5] * 3, [0.2] * 3, [0.0] * 3, [0.0, 1 / 3, 2 / 3])
    centres = Renderer(32).render([ball] * 3, np.eye(3)[None].repeat(3, 0), lighting)[:, 14, 16]
    assert centres.argmax(axis=-1).tolist() == [0, 1, 2]


def test_pixels_off_the_bounding_sphere_are_floor(shapes: list[RayMesh]) -> None:
    rotations, draws = random_views(len(shapes), seed=2)
    lighting = Lighting.from_unit(draws)
    renderer = Renderer(SIZE, shadows=False)
    floor, seen = bare_floor(renderer, lighting), renderer.render(shapes, rotations, lighting)
    row, column = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    outside = np.hypot(row, column) > SIZE / 2 + 1
    assert (floor[:, outside] == seen[:, outside]).all()
    assert (floor != seen).any()


def test_culling_changes_nothing(shapes: list[RayMesh]) -> None:
    rotations, draws = random_views(12, seed=3)
    lighting = Lighting.from_unit(draws)
    culled, brute = Renderer(48), Renderer(48)
    rays = brute._camera.floor - brute._camera.position[:, None]
    brute._camera.pixels = np.arange(48 * 48)
    brute._camera.rays = rays / np.linalg.norm(rays, axis=0)
    brute._camera.rays[:, culled._camera.pixels] = culled._camera.rays
    assert len(culled._camera.pixels) < 0.85 * 48 * 48
    a = culled.render(shapes * 3, rotations, lighting)
    b = brute.render([without_boxes(mesh) for mesh in shapes] * 3, rotations, lighting)
    assert (a == b).all()


def test_boxes_around_an_object_and_its_shadow_leave_nothing_out(shapes: list[RayMesh]) -> None:
    """Of whatever size, from whatever place; one of the shapes has so many vertices that its hull is boxed."""
    views = 60
    rotations, draws = random_views(views, seed=4)
    meshes = shapes * (views // len(shapes))
    assert max(len(np.unique(mesh.mesh.faces)) for mesh in shapes) > 500
    low, high = (np.array([STAGE_LIMITS[name][end] for name in STAGE_LIMITS]) for end in (0, 1))
    stage = Stage(*(low + (high - low) * np.random.default_rng(0).random((views, len(low)))).T)
    renderer = Renderer(48)
    boxed = renderer.render(meshes, rotations, Lighting.from_unit(draws), stage=stage)
    whole = renderer.render([without_boxes(mesh) for mesh in meshes], rotations, Lighting.from_unit(draws), stage=stage)
    assert (boxed == whole).all()


def without_boxes(mesh: RayMesh) -> RayMesh:
    """A sphere that nearly reaches the light, and an outline around the camera: every ray is shot."""
    mesh = copy.copy(mesh)
    mesh.radius = 3.99
    mesh.outline = np.float32(3 * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]))
    return mesh


def test_winding_does_not_matter(shapes: list[RayMesh]) -> None:
    rotations, draws = random_views(len(shapes), seed=4)
    flipped = [
        RayMesh(Mesh(s.mesh.vertices, np.ascontiguousarray(s.mesh.faces[:, ::-1]), s.mesh.colors)) for s in shapes
    ]
    views = [Renderer(SIZE).render(m, rotations, Lighting.from_unit(draws)).astype(int) for m in (shapes, flipped)]
    assert (np.abs(views[0] - views[1]).max(axis=-1) > 2).mean() < 1e-3


@pytest.mark.parametrize("size", [16, 48])
def test_threads_and_batch_do_not_change_pixels(shapes: list[RayMesh], size: int) -> None:
    n = 23
    rotations, draws = random_views(n, seed=5)
    meshes = [shapes[i % len(shapes)] for i in range(n)]
    whole = Renderer(size, threads=1).render(meshes, rotations, Lighting.from_unit(draws))
    threaded = Renderer(size, threads=3).render(meshes, rotations, Lighting.from_unit(draws))
    assert (whole == threaded).all()
    alone = Renderer(size)
    for i in range(n):
        assert (
            alone.render([meshes[i]], rotations[i : i + 1], Lighting.from_unit(draws[i : i + 1]))[0] == whole[i]
        ).all()
    backwards = alone.render(meshes[::-1], rotations[::-1], Lighting.from_unit(draws[::-1]))
    assert (backwards[::-1] == whole).all()


def test_out_is_written_in_place(cube: RayMesh) -> None:
    renderer, turns = Renderer(16), np.eye(3)[None].repeat(2, 0)
    store = np.zeros((4, 16, 16, 3), np.uint8)
    answer = renderer.render([cube, cube], turns, light(n=2), out=store[1:3])
    assert np.shares_memory(answer, store)
    assert (store[1:3] == renderer.render([cube, cube], turns, light(n=2))).all()
    assert store[1:3].any()
    assert not store[[0, 3]].any()


def test_no_views() -> None:
    assert Renderer(16).render([], np.zeros((0, 3, 3)), Lighting.from_unit(np.zeros((0, 4)))).shape == (0, 16, 16, 3)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_copies_render_the_same(shapes: list[RayMesh], duplicate) -> None:
    renderer = Renderer(16, threads=2)
    rotations, draws = random_views(len(shapes), seed=6)
    before = renderer.render(shapes, rotations, Lighting.from_unit(draws))
    other, meshes = duplicate((renderer, shapes))
    assert (other.render(meshes, rotations, Lighting.from_unit(draws)) == before).all()


def _render_in_child(renderer, meshes, rotations, draws, expected) -> None:
    fresh = [RayMesh(mesh.mesh) for mesh in meshes]
    for group in (meshes, fresh):
        assert (renderer.render(group, rotations, Lighting.from_unit(draws)) == expected).all()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this platform does not fork")
def test_forked_child_renders(shapes: list[RayMesh]) -> None:
    renderer = Renderer(32, threads=2)
    rotations, draws = random_views(8, seed=7)
    expected = renderer.render(shapes * 2, rotations, Lighting.from_unit(draws))
    arguments = (renderer, shapes * 2, rotations, draws, expected)
    child = multiprocessing.get_context("fork").Process(target=_render_in_child, args=arguments)
    child.start()
    child.join(timeout=15)
    stuck = child.is_alive()
    child.kill()
    assert not stuck
    assert child.exitcode == 0


def test_cutout_is_the_object_alone(cube: RayMesh) -> None:
    renderer, turn = Renderer(SIZE), Rotation.from_euler("z", 20, degrees=True).as_matrix()
    cutout = renderer.cutout(cube, turn, light())
    color, alpha = cutout[..., :3].astype(int), cutout[..., 3]
    assert cutout.shape == (SIZE, SIZE, 4)
    assert cutout.dtype == np.uint8
    assert set(np.unique(alpha)) == {0, 64, 128, 191, 255}
    assert (alpha[32, 32], alpha[0, 0], alpha[58, 32]) == (255, 0, 0)  # the last lies in the cube's shadow
    assert not color[alpha == 0].any()
    # Colour is not multiplied by alpha: a pixel half covered is as bright as the side it belongs to.
    assert color[(alpha > 0) & (alpha < 255)].max(axis=-1).min() > 60
    # Two rows and columns of rays a pixel: the mean of the four pixels of an image twice the size.
    fine = Renderer(2 * SIZE).render([cube], turn[None], light())[0].reshape(SIZE, 2, SIZE, 2, 3).mean(axis=(1, 3))
    assert np.abs(fine - color)[alpha == 255].max() <= 1


def test_draws_map_to_the_benchmark_distribution() -> None:
    lighting = Lighting.from_unit(np.array([[0.25, 0.5, 0.75, 0.125], [0.0, 0.0, 0.0, 0.0]]))
    assert len(lighting) == 2
    assert lighting.floor_hue.dtype == np.float32
    rows = np.stack([lighting.floor_hue, lighting.spot_theta, lighting.spot_phi, lighting.spot_hue], axis=1)
    assert np.allclose(rows, [[0.25, np.pi / 8, 1.5 * np.pi, 0.125], [0, 0, 0, 0]])


@pytest.mark.parametrize(
    ("rotations", "message"),
    [
        (np.eye(3), "shape"),
        (np.eye(3)[None].repeat(2, 0), "shape"),
        (np.eye(3)[None] * 2, "number 0 is not"),
        (np.diag([1.0, 1.0, -1.0])[None], "number 0 is not"),
        (np.full((1, 3, 3), np.nan), "finite"),
    ],
)
def test_wrong_rotations_are_refused(cube: RayMesh, rotations: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Renderer(8).render([cube], rotations, light())


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((1, 8, 8, 4), np.uint8),
        np.zeros((1, 8, 8, 3), np.float32),
        np.zeros((1, 8, 16, 3), np.uint8)[:, :, ::2],
        np.broadcast_to(np.uint8(0), (1, 8, 8, 3)),
    ],
)
def test_wrong_out_is_refused(cube: RayMesh, out: np.ndarray) -> None:
    with pytest.raises(ValueError, match="out must be"):
        Renderer(8).render([cube], np.eye(3)[None], light(), out=out)


def test_other_wrong_input_is_refused(cube: RayMesh) -> None:
    for size in (0, 2.5):
        with pytest.raises(ValueError, match="size in pixels must be a whole number"):
            Renderer(size)
    with pytest.raises(ValueError, match="threads"):
        Renderer(8, threads=0)
    with pytest.raises(ValueError, match="1 views"):
        Renderer(8).render([cube], np.eye(3)[None], light(n=2))
    with pytest.raises(ValueError, match="one view"):
        Renderer(8).cutout(cube, np.eye(3), light(n=2))
    with pytest.raises(ValueError, match="spot_phi must be finite"):
        Lighting([0.0], [0.0], [np.nan], [0.0])
    with pytest.raises(ValueError, match="spot_theta must be in"):
        light(theta=1.0)
    with pytest.raises(ValueError, match="spot_hue must have one value a view"):
        Lighting([0.0], [0.0], [0.0], [0.0, 0.5])
    with pytest.raises(ValueError, match=r"\(n, 4\)"):
        Lighting.from_unit(np.zeros(4))
    with pytest.raises(ValueError, match="normalize"):
        RayMesh(to_mesh(box(1, 1, 1), (9, 9, 9)))
