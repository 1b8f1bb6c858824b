"""Meshes, the sketch primitives, the object families, and the cached object sets."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from glimpseworld.envs.shapes import objects
from glimpseworld.envs.shapes.families import FAMILIES, FAMILY_GROUPS, build_mesh
from glimpseworld.envs.shapes.meshes import OBJECT_RADIUS, Mesh, normalize
from glimpseworld.envs.shapes.objects import load_objects
from glimpseworld.envs.shapes.sketch import ROLES, Sketch

TRIANGLE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
ONE_FACE = np.array([[0, 1, 2]], np.int32)
GREY = np.full((1, 3), 128, np.uint8)
PALETTE = np.arange(3 * len(ROLES), dtype=np.uint8).reshape(-1, 3)


def triangle_areas(mesh: Mesh) -> np.ndarray:
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def volume(mesh: Mesh) -> float:
    a, b, c = mesh.vertices[mesh.faces].astype(np.float64).transpose(1, 0, 2)
    return float(np.einsum("fi,fi->", a, np.cross(b, c)) / 6)


def is_watertight(mesh: Mesh) -> bool:
    """Every directed edge, by position, is matched by its reverse."""
    corners = np.round(mesh.vertices, 5)[mesh.faces] + 0.0
    edges = [
        (tuple(face[k]), tuple(face[(k + 1) % 3]))
        for face in corners.tolist()
        for k in range(3)
        if face[k] != face[(k + 1) % 3]
    ]
    return sorted(edges) == sorted((b, a) for a, b in edges)


def coloured_points(mesh: Mesh, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points uniform on the surface, (n, 3), and their colours scaled to half a scene unit, (n, 3)."""
    areas = triangle_areas(mesh)
    face = rng.choice(len(areas), n, p=areas / areas.sum())
    points = np.einsum("nk,nki->ni", rng.dirichlet(np.ones(3), n), mesh.vertices[mesh.faces[face]])
    return points, mesh.colors[face] / 510


def symmetry_ratio(mesh: Mesh, n: int = 400) -> float:
    """How much farther the most similar 90- or 180-degree turn lies than another sample of the same surface."""
    rng = np.random.default_rng(0)
    points, colors = coloured_points(mesh, n, rng)
    tree = cKDTree(np.hstack(coloured_points(mesh, n, rng)))

    def distance(turn: Rotation) -> float:
        return float(tree.query(np.hstack([turn.apply(points), colors]))[0].mean())

    turns = [turn for turn in Rotation.create_group("O") if turn.magnitude() > 1e-6]
    assert len(turns) == 23
    return min(distance(turn) for turn in turns) / distance(Rotation.identity())


class TestMesh:
    @pytest.mark.parametrize(
        ("vertices", "faces", "colors", "message"),
        [
            (TRIANGLE, np.zeros((0, 3), np.int32), np.zeros((0, 3), np.uint8), "at least one face"),
            (TRIANGLE * np.float32(np.nan), ONE_FACE, GREY, "finite"),
            (TRIANGLE, ONE_FACE + 1, GREY, "from 1 to 3"),
            (TRIANGLE, ONE_FACE - 1, GREY, "from -1 to 1"),
            (TRIANGLE[:, :2], ONE_FACE, GREY, r"vertices must be .* got float32 \(3, 2\)"),
            (TRIANGLE.astype(np.float64), ONE_FACE, GREY, "got float64"),
            (TRIANGLE, ONE_FACE.astype(np.int64), GREY, "faces must be"),
            (TRIANGLE.tolist(), ONE_FACE, GREY, "got list"),
            (TRIANGLE, ONE_FACE, np.zeros((2, 3), np.uint8), "1 faces, 2 colours"),
        ],
    )
    def test_bad_arrays_are_refused(self, vertices, faces, colors, message):
        with pytest.raises(ValueError, match=message):
            Mesh(vertices, faces, colors)

    def test_normalize_by_hand(self):
        # Used corners span (0..4, 0..3, 0): centre (2, 1.5, 0), farthest corner 2.5 away; the stray vertex is ignored.
        vertices = np.array([[0, 0, 0], [4, 0, 0], [4, 3, 0], [100, 100, 100]], np.float32)
        mesh = normalize(Mesh(vertices, ONE_FACE, GREY), radius=5.0)
        np.testing.assert_allclose(mesh.vertices[:3], [[-4, -3, 0], [4, -3, 0], [4, 3, 0]], atol=1e-6)

    def test_normalize_refuses_a_point_and_a_bad_radius(self):
        with pytest.raises(ValueError, match="one point"):
            normalize(Mesh(np.zeros((3, 3), np.float32), ONE_FACE, GREY))
        with pytest.raises(ValueError, match="positive"):
            normalize(Mesh(TRIANGLE, ONE_FACE, GREY), radius=0.0)


def draw_part(name: str) -> Mesh:
    """One primitive alone, off the origin."""
    sketch = Sketch(np.random.default_rng(0))
    if name == "box":
        sketch.box("body", (1, 2, 3), (5, 5, 5), taper=(0.5, 0.2), lean=0.3, turn=("x", 30))
    elif name == "bar":
        sketch.bar("body", (1, 2, 3), (2, 2, 2), 0.4, 0.2)
    elif name == "cup":
        sketch.lathe("body", [(0, 0), (1, 0), (1, 2), (0.9, 2), (0.9, 0.1), (0, 0.1)], (3, 0, 0), axis="y")
    elif name == "ball":
        sketch.ball("body", (1, 2, 3), (4, 0, 0))
    elif name == "prism":
        sketch.prism("body", [(0, 0), (1, 0), (0, 2)], 0.5, (1, 1, 1), axis="x", turn=("z", 200))
    elif name == "ring":
        sketch.arch("body", (3, 3, 3), (1, 1.5), 0.2, axis="x")
    elif name == "arch":
        sketch.arch("body", (3, 3, 3), (1, 1.5), 0.2, (20, 160), axis="y")
    elif name == "label":
        sketch.wrap("body", (1, 1.2), (0, 1), (-40, 40))
    return sketch.mesh(PALETTE)


class TestSketch:
    @pytest.mark.parametrize("name", ["box", "bar", "cup", "ball", "prism", "ring", "arch", "label"])
    def test_parts_are_closed_and_face_outwards(self, name):
        mesh = draw_part(name)
        assert is_watertight(mesh)
        assert volume(mesh) > 0

    def test_a_cube_by_hand(self):
        sketch = Sketch(np.random.default_rng(0))
        sketch.box("front", (2, 2, 2), (7, -3, 1))
        mesh = sketch.mesh(PALETTE)
        half = OBJECT_RADIUS / np.sqrt(3)
        assert len(mesh.faces) == 12
        np.testing.assert_allclose(np.abs(mesh.vertices), half, rtol=1e-6)
        assert volume(mesh) == pytest.approx((2 * half) ** 3, rel=1e-5)
        assert (mesh.colors == PALETTE[ROLES.index("front")]).all()

    @pytest.mark.parametrize(("axis", "expected"), [("x", (0.1, 1, 2)), ("y", (1, 0.1, 2)), ("z", (1, 2, 0.1))])
    def test_planes_are_named_by_their_normal(self, axis, expected):
        sketch = Sketch(np.random.default_rng(0))
        sketch.prism("body", [(0, 0), (1, 0), (1, 2), (0, 2)], 0.1, axis=axis)
        extent = np.ptp(sketch.mesh(PALETTE).vertices, axis=0)
        np.testing.assert_allclose(extent / extent.max() * 2, expected, rtol=1e-5)

    @pytest.mark.parametrize(
        ("shape", "turn", "tip"),
        [
            ("spire", ("x", 90), (0, -1, 0)),  # y goes to z, so a tip at +z goes to -y
            ("spire", ("y", 90), (1, 0, 0)),
            ("needle", ("y", 90), (0, 0, -1)),
            ("needle", ("z", 90), (0, 1, 0)),
        ],
    )
    def test_turns_are_right_handed(self, shape, turn, tip):
        sketch = Sketch(np.random.default_rng(0))
        if shape == "spire":
            sketch.box("body", (0.2, 0.2, 2), (0, 0, 0), taper=(0.01, 0.01), turn=turn)
        else:
            sketch.prism("body", [(0, 0.1), (2, 0), (0, -0.1)], 0.001, axis="z", turn=turn)
        vertices = sketch.mesh(PALETTE).vertices
        along = vertices @ np.array(tip, np.float32)
        assert np.ptp(along) == pytest.approx(2 * OBJECT_RADIUS, rel=0.02)
        assert np.ptp(vertices[along > 0], axis=0).max() < 0.01


@pytest.mark.parametrize("family", FAMILIES)
class TestFamilies:
    def test_members_are_sound(self, family):
        for member in range(6):
            mesh = build_mesh(family, member)
            assert 100 <= len(mesh.faces) <= 850
            assert np.linalg.norm(mesh.vertices, axis=1).max() == pytest.approx(OBJECT_RADIUS, abs=1e-5)
            box = mesh.vertices[np.unique(mesh.faces)]
            np.testing.assert_allclose(box.min(axis=0) + box.max(axis=0), 0, atol=1e-5)
            assert triangle_areas(mesh).min() > 0
            assert volume(mesh) > 0

    def test_same_arguments_same_mesh_and_palette_leaves_shape(self, family):
        first, again, other = build_mesh(family, 5), build_mesh(family, 5), build_mesh(family, 5, "objects")
        for name in ("vertices", "faces", "colors"):
            np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        np.testing.assert_array_equal(first.vertices, other.vertices)
        np.testing.assert_array_equal(first.faces, other.faces)
        assert not np.array_equal(first.colors, other.colors)

    def test_members_differ_in_proportions(self, family):
        extents = np.array([np.ptp(build_mesh(family, member).vertices, axis=0) for member in range(12)])
        aspects = np.sort(extents[:, 0] / extents[:, 2])
        assert aspects[-1] / aspects[0] > 1.25
        assert (np.diff(aspects) > 0).all()

    def test_no_quarter_or_half_turn_maps_an_object_onto_itself(self, family):
        for member in range(2):
            assert symmetry_ratio(build_mesh(family, member)) > 1.5

    def test_every_role_is_painted_and_shows(self, family):
        mesh = build_mesh(family, 0)
        colors, index = np.unique(mesh.colors, axis=0, return_inverse=True)
        assert len(colors) == len(ROLES)
        share = np.bincount(index.ravel(), triangle_areas(mesh))
        assert share.min() / share.sum() > 0.015


def test_symmetry_ratio_finds_a_symmetric_object():
    sketch = Sketch(np.random.default_rng(0))
    sketch.lathe("body", [(0.5, 0), (0.5, 2)])
    assert symmetry_ratio(sketch.mesh(PALETTE)) < 1.2


def test_part_colours_are_shared_by_all_families_and_object_colours_are_not():
    def spread(palette) -> float:
        colors = [np.unique(build_mesh(family, 0, palette).colors, axis=0) for family in FAMILIES]
        reference = colors[0].astype(int)
        nearest = [np.abs(reference[:, None] - other.astype(int)[None]).max(axis=2).min(axis=1) for other in colors]
        return float(np.max(nearest))

    assert spread("parts") <= 28  # twice the jitter: each role's colour has its like in every family
    assert spread("objects") > 60


def test_groups_cover_the_families_in_class_order():
    assert sum(FAMILY_GROUPS.values(), ()) == FAMILIES
    assert len(set(FAMILIES)) == len(FAMILIES) >= 24
    assert min(map(len, FAMILY_GROUPS.values())) >= 3


def test_unknown_family_palette_and_member():
    with pytest.raises(ValueError, match=r"unknown family 'spoon'.*teapot"):
        build_mesh("spoon", 0)
    with pytest.raises(ValueError, match=r"unknown palette 'grey'.*parts, objects"):
        build_mesh("mug", 0, "grey")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="member"):
        build_mesh("mug", -1)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GLIMPSEWORLD_CACHE", str(tmp_path))
    return tmp_path


class TestObjectSet:
    def test_labels_and_meshes(self, cache):
        members = load_objects(split="validation", members_per_family=2)
        assert len(members) == 2 * len(FAMILIES)
        assert members.labels.dtype == np.int64
        np.testing.assert_array_equal(members.labels, [*range(len(FAMILIES))] * 2)
        assert members.class_names == FAMILIES
        assert members.split == "validation"
        for index in (0, 7, len(FAMILIES) + 7, len(members) - 1):
            # Validation is split 1: member k of it is number 3 k + 1 of its family.
            expected = build_mesh(FAMILIES[index % len(FAMILIES)], 3 * (index // len(FAMILIES)) + 1)
            for name in ("vertices", "faces", "colors"):
                np.testing.assert_array_equal(getattr(members.mesh(index), name), getattr(expected, name))

    def test_splits_are_disjoint_and_larger_sets_begin_with_smaller(self, cache):
        def shapes(split, count):
            chosen = load_objects(split=split, members_per_family=count)
            return [chosen.mesh(i).vertices.tobytes() for i in range(len(chosen))]

        small, large = shapes("train", 1), shapes("train", 4)
        everything = large + shapes("validation", 2) + shapes("test", 3)
        assert len(set(everything)) == len(everything)
        assert large[: len(small)] == small

    def test_second_load_and_pickle_read_the_cache(self, cache, monkeypatch):
        first = load_objects(members_per_family=1, split="test", palette="objects")

        def refuse(*_):
            raise AssertionError("built again")

        monkeypatch.setattr(objects, "build_mesh", refuse)
        pickled = pickle.dumps(first)
        assert len(pickled) < 1000
        for again in (load_objects(members_per_family=1, split="test", palette="objects"), pickle.loads(pickled)):
            assert again.split == "test"
            np.testing.assert_array_equal(again.vertices, first.vertices)
            np.testing.assert_array_equal(again.colors, first.colors)
        for changed in ({"split": "train"}, {"palette": "parts"}, {"members_per_family": 2}):
            arguments = {"members_per_family": 1, "split": "test", "palette": "objects", **changed}
            with pytest.raises(AssertionError, match="built again"):
                load_objects(**arguments)

    def test_a_set_made_by_hand_pickles_its_arrays(self, cache):
        loaded = load_objects(members_per_family=1)
        mesh = loaded.mesh(3)
        offsets = np.array([0, len(mesh.vertices)]), np.array([0, len(mesh.faces)])
        own = objects.ObjectSet(
            mesh.vertices, mesh.faces, mesh.colors, *offsets, np.zeros(1, np.int64), ("sofa",), "train"
        )
        copy = pickle.loads(pickle.dumps(own))
        np.testing.assert_array_equal(copy.mesh(0).vertices, mesh.vertices)
        assert copy.class_names == ("sofa",)

    def test_bad_arguments(self, cache):
        with pytest.raises(ValueError, match=r"unknown source 'shapenet'.*families"):
            load_objects("shapenet")
        with pytest.raises(ValueError, match=r"unknown split 'dev'.*train, validation, test"):
            load_objects(split="dev")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"unknown palette 'grey'"):
            load_objects(palette="grey")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="at least 1"):
            load_objects(members_per_family=0)
        members = load_objects(members_per_family=1)
        for index in (-1, len(members)):
            with pytest.raises(IndexError, match=f"got {index}"):
                members.mesh(index)
        assert not list(cache.glob("objects-*/.writing-*"))


def test_heavy_libraries_stay_out():
    heavy = "[m for m in ('trimesh', 'torch', 'cv2') if m in sys.modules]"
    code = f"import sys, glimpseworld.envs.shapes.objects; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
