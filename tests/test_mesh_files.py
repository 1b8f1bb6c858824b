"""Folders of mesh files: geometry, colours, splits, what is skipped, and what is never read."""

import pickle
import shutil
import warnings

import cv2
import gymnasium as gym
import numpy as np
import pytest
import trimesh

from glimpseworld.envs.rendering.renderer import RayMesh
from glimpseworld.envs.shapes import mesh_files
from glimpseworld.envs.shapes.mesh_files import UNCOLORED, read_mesh
from glimpseworld.envs.shapes.meshes import OBJECT_RADIUS
from glimpseworld.envs.shapes.objects import load_objects
from glimpseworld.envs.splits import SPLITS, dealt_to

CORNER = OBJECT_RADIUS / np.sqrt(3)  # of a cube that reaches the radius
BROKEN = {
    "empty.obj": (b"", "no faces"),
    "garbage.stl": (b"garbage", "no faces|cannot be parsed"),
    "cut.glb": (b"glTF\0\0", "cannot be parsed"),
    "points.ply": (
        b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
        b"end_header\n0 0 0\n",
        "no faces",
    ),
    "nan.off": (b"OFF\n3 1 0\n0 0 nan\n1 0 0\n0 1 0\n3 0 1 2\n", "not finite"),
    "infinite.obj": (b"v inf 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "not finite"),
    "index.off": (b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 9\n", "face"),
    "point.obj": (b"v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n", "one point"),
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GLIMPSEWORLD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    """40 boxes of 2 classes; the height of each tells which it is."""
    root = tmp_path / "things"
    for i in range(40):
        path = root / ("flat", "tall")[i % 2] / f"kind {i % 3}" / f"box{i}.{('off', 'ply', 'stl', 'obj')[i % 4]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        trimesh.creation.box(extents=(1, 1, (i + 1) / 40)).export(path)
    return root


@pytest.mark.parametrize("suffix", ["obj", "ply", "glb"])
@pytest.mark.parametrize("kind", ["face_colors", "vertex_colors"])
def test_colours_and_size_survive_every_format_that_has_colours(tmp_path, suffix, kind):
    box = trimesh.creation.box(extents=(4, 4, 4))
    box.apply_translation((1e6, -5, 0))
    setattr(box.visual, kind, [10, 20, 30, 255])
    box.export(tmp_path / f"box.{suffix}")
    mesh = read_mesh(tmp_path / f"box.{suffix}", tmp_path)
    assert (mesh.colors == [10, 20, 30]).all() and len(mesh.faces) == 12
    np.testing.assert_allclose(np.abs(mesh.vertices), CORNER, rtol=0.05)  # formats in float32 round at a million
    RayMesh(mesh)


@pytest.mark.parametrize("suffix", ["stl", "off"])
def test_formats_without_colours_are_grey(tmp_path, suffix):
    trimesh.creation.box().export(tmp_path / f"box.{suffix}")
    assert (read_mesh(tmp_path / f"box.{suffix}", tmp_path).colors == UNCOLORED).all()


def test_vertex_colours_are_averaged_over_a_face(tmp_path):
    (tmp_path / "t.obj").write_text("v 0 0 0 1 0 0\nv 1 0 0 0 1 0\nv 0 1 0 0 0 1\nf 1 2 3\n")
    np.testing.assert_allclose(read_mesh(tmp_path / "t.obj", tmp_path).colors, [[85, 85, 85]], atol=1)


def test_a_scene_is_put_together_in_the_world_and_glb_turned_z_up(tmp_path):
    scene = trimesh.Scene()
    base, ball = trimesh.creation.box(extents=(2, 2, 2)), trimesh.creation.box(extents=(1, 1, 1))
    ball.visual.face_colors = [255, 0, 0, 255]
    scene.add_geometry(base)
    lifted = np.diag([1.0, 1.0, -1.0, 1.0])  # a mirror
    lifted[:3, 3] = (0, 3.5, 0.25)  # up, and a little to the front
    scene.add_geometry(ball, transform=lifted)
    scene.export(tmp_path / "s.glb")
    mesh = read_mesh(tmp_path / "s.glb", tmp_path)
    red = mesh.vertices[np.unique(mesh.faces[mesh.colors[:, 1] == 0])]
    grey = mesh.vertices[np.unique(mesh.faces[mesh.colors[:, 1] != 0])]
    unit = np.ptp(red[:, 0])
    np.testing.assert_allclose(red.mean(axis=0) - grey.mean(axis=0), np.array([0.25, 0, 3.5]) * unit, atol=1e-6)
    np.testing.assert_allclose(np.ptp(grey, axis=0), 2 * unit, rtol=1e-5)
    for part in (red, grey):  # faces still look outwards
        of_part = np.isin(mesh.faces, np.flatnonzero((mesh.vertices[:, None] == part).all(-1).any(1))).all(axis=1)
        corners = mesh.vertices[mesh.faces[of_part]]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert ((corners.mean(axis=1) - part.mean(axis=0)) * normals).sum(axis=1).min() > 0


def test_the_up_axis_can_be_told(tmp_path):
    (tmp_path / "t.obj").write_text("v -1 -2 -3\nv 1 2 -3\nv 1 2 3\nf 1 2 3\n")
    for up, expected in (("auto", (1, 2, 3)), ("z", (1, 2, 3)), ("y", (3, 1, 2))):
        top = read_mesh(tmp_path / "t.obj", tmp_path, up).vertices.max(axis=0)
        np.testing.assert_allclose(top, np.array(expected) * OBJECT_RADIUS / np.sqrt(14), rtol=1e-5)


@pytest.fixture
def textured(tmp_path):
    """A square of two triangles, one over the texture's lower left, one over its upper right, and a plain one."""
    models = tmp_path / "class" / "thing" / "models"
    models.mkdir(parents=True)
    (models / "m.obj").write_text(
        "mtllib m.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\nvt 0.1 0.1\nvt 0.4 0.1\nvt 0.1 0.4\n"
        "vt 0.6 1.9\nvt 0.9 1.9\nvt 0.9 1.6\nusemtl t\nf 1/1 2/2 3/3\nf 1/4 3/5 4/6\nusemtl plain\nf 1 2 5\n"
    )
    (models / "m.mtl").write_text("newmtl t\nmap_Kd ..\\images\\t.png\nnewmtl plain\nKd 1 0 0.2\n")
    pixels = np.zeros((10, 10, 3), np.uint8)
    pixels[5:, :5], pixels[:5, 5:] = (200, 100, 50), (1, 2, 3)
    (models.parent / "images").mkdir()
    cv2.imwrite(str(models.parent / "images" / "t.png"), pixels[..., ::-1])
    return models / "m.obj"


def test_faces_have_their_textures_colour(textured, tmp_path):
    colors = read_mesh(textured, tmp_path).colors.tolist()
    assert sorted(colors) == [[1, 2, 3], [200, 100, 50], [255, 0, 51]]


def test_nothing_is_read_outside_the_folder(textured, tmp_path, monkeypatch):
    inside = read_mesh(textured, textured.parent).colors.tolist()
    assert [200, 100, 50] not in inside and [255, 0, 51] in inside
    opened = []
    monkeypatch.setattr("socket.socket.connect", lambda *a: opened.append(a))
    (textured.parent / "m.mtl").write_text("newmtl t\nmap_Kd http://127.0.0.1:9/t.png\n")
    read_mesh(textured, tmp_path)
    assert not opened


def test_gltf_texture_is_tinted_by_its_factor(tmp_path):
    from PIL import Image

    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=Image.fromarray(np.full((4, 4, 3), 200, np.uint8)), baseColorFactor=[51, 255, 0, 255]
    )
    box = trimesh.creation.box()
    box.visual = trimesh.visual.TextureVisuals(uv=np.random.default_rng(0).random((8, 2)), material=material)
    box.export(tmp_path / "t.glb")
    assert (read_mesh(tmp_path / "t.glb", tmp_path).colors == [40, 200, 0]).all()


@pytest.mark.parametrize("name", BROKEN)
def test_unusable_files_say_why(tmp_path, name):
    content, reason = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_mesh(tmp_path / name, tmp_path)


def test_a_folder_is_dealt_to_splits_by_name(folder):
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    for split in SPLITS:
        expected = [name for name in files if dealt_to(name.as_posix()) == split]
        members = load_objects(folder, split)
        assert expected and len(members) == len(expected) and members.class_names == ("flat", "tall")
        for i, name in enumerate(expected):
            assert members.class_names[members.labels[i]] == name.parts[0]
            size = np.ptp(members.mesh(i).vertices, axis=0)
            np.testing.assert_allclose(size[2] / size[0], (int(name.stem[3:]) + 1) / 40, rtol=1e-4)
            np.testing.assert_allclose(np.linalg.norm(members.mesh(i).vertices, axis=1), OBJECT_RADIUS, rtol=1e-5)


def test_unusable_files_are_skipped_with_one_warning_every_time(folder):
    names = [path.relative_to(folder) for path in sorted(folder.rglob("*.*"))]
    first, *rest = (folder / name for name in names if dealt_to(name.as_posix()) == "train")
    complete = load_objects(folder)
    first.write_bytes(BROKEN["nan.off"][0])
    rest[3].write_bytes(b"")
    for _ in range(2):  # the second time from the cache
        with pytest.warns(UserWarning, match=rf"skipped 2 files.*{first.name}") as caught:
            members = load_objects(folder)
        assert len(caught) == 1
        assert len(members) == len(complete) - 2
    np.testing.assert_array_equal(members.mesh(0).vertices, complete.mesh(1).vertices)
    np.testing.assert_array_equal(members.labels, np.delete(complete.labels, [0, 4]))


def test_the_cache_serves_until_a_file_changes(folder, monkeypatch):
    first = load_objects(folder)
    assert len(pickle.dumps(first)) < 1000

    def refuse(*_):
        raise AssertionError("read again")

    monkeypatch.setattr(mesh_files, "read_mesh", refuse)
    for again in (load_objects(str(folder)), pickle.loads(pickle.dumps(first))):
        np.testing.assert_array_equal(again.vertices, first.vertices)
        assert again.class_names == first.class_names
    (folder / "tall" / "texture.png").write_bytes(b"x")
    with pytest.raises(AssertionError, match="read again"):
        load_objects(folder)


def test_folders_without_meshes_are_errors(folder, tmp_path):
    with pytest.raises(ValueError, match=r"unknown source '.*nowhere'.*folder of meshes"):
        load_objects(tmp_path / "nowhere")
    (tmp_path / "empty" / "class").mkdir(parents=True)
    trimesh.creation.box().export(tmp_path / "empty" / "classless.stl")
    with pytest.raises(ValueError, match=r"no meshes in .*one sub-folder a class"):
        load_objects(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"unknown up_axis 'x'.*auto, y, z"):
        load_objects(folder, up_axis="x")  # type: ignore[arg-type]
    shutil.copy(next(folder.rglob("*.stl")), tmp_path / "empty" / "class" / "a.stl")
    others = [split for split in SPLITS if split != dealt_to("class/a.stl")]
    with pytest.raises(ValueError, match=f"none of the 1 meshes .* {others[0]} split"):
        load_objects(tmp_path / "empty", others[0])
    (tmp_path / "empty" / "class" / "a.stl").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no usable mesh among 1 files .*a.stl"):
        load_objects(tmp_path / "empty", dealt_to("class/a.stl"))


def test_an_environment_shows_them(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make("GlimpseWorld/ObjectRotation-v0", objects=str(folder), size=16)
    _, info = env.reset(seed=0)
    seen = {env.step(env.action_space.sample())[0]["glimpse"].tobytes() for _ in range(4)}
    assert len(seen) == 4 and info["label"] in (0, 1)
    pickle.loads(pickle.dumps(env.unwrapped)).step(np.zeros(3))
