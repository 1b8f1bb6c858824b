"""Folders of mesh files (OBJ, PLY, STL, GLB, glTF, OFF), read with trimesh into normalised meshes with a class each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import trimesh
from trimesh.resolvers import Resolver

from ..cache import RowsFile, fingerprint, progress, streamed_arrays
from ..splits import Split, dealt_to
from .meshes import Mesh, normalize

UpAxis: TypeAlias = Literal["auto", "y", "z"]

MESH_SUFFIXES = (".obj", ".ply", ".stl", ".glb", ".gltf", ".off")
Y_UP_SUFFIXES = (".glb", ".gltf")
"""Formats whose standard says that +y is up (and +z the front)."""
UNCOLORED = (178, 178, 178)
"""The grey of a mesh that has no colours."""

_VERSION = 1  # raise when a change here changes any mesh
# Where a face's texture is read: the middle, and half-way from it to each corner.
_SAMPLES = np.array([[2, 2, 2], [4, 1, 1], [1, 4, 1], [1, 1, 4]]) / 6


def load_mesh_folder(folder: Path, split: Split, up_axis: UpAxis) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
    """Read every mesh of `split` below `folder`; the first call converts them and writes the cache.

    The first folder below `folder` is the class, however deep a file lies; hidden files and folders do not count.
    Files are dealt to the splits 8 : 1 : 1 by a hash of their name relative to `folder`.

    Args:
        folder: an existing folder.
        split: "train", "validation" or "test".
        up_axis: see `read_mesh`.

    Returns:
        The arrays of an `ObjectSet` but for its names: `vertices`, `faces`, `colors`, `vertex_offsets`, `face_offsets`
        and `labels`. Then the class names, which are the same for all splits, and what was skipped: for each file that
        holds no usable mesh, "name: reason".

    Raises:
        ValueError: if there is no mesh file, none of this split, or none of them holds a usable mesh.
    """
    found = sorted((path.relative_to(folder), path) for path in folder.rglob("*"))
    files = [(name, path) for name, path in found if not _hidden(name) and path.is_file()]
    meshes = [(name, path) for name, path in files if path.suffix.lower() in MESH_SUFFIXES and len(name.parts) > 1]
    if not meshes:
        raise ValueError(
            f"no meshes in {folder}: expected one sub-folder a class with files ending in {', '.join(MESH_SUFFIXES)}"
        )
    chosen = [(name, path) for name, path in meshes if dealt_to(name.as_posix()) == split]
    if not chosen:
        raise ValueError(
            f"none of the {len(meshes)} meshes in {folder} is dealt to the {split} split by its name: add more meshes"
        )
    class_names = sorted({name.parts[0] for name, _ in meshes})
    others = [(name, path) for name, path in files if path.suffix.lower() not in MESH_SUFFIXES]  # materials, textures
    recipe = {
        "name": "meshes",
        "version": _VERSION,
        "trimesh": trimesh.__version__,
        "up_axis": up_axis,
        "class_names": class_names,
        "split": split,
        "files": fingerprint(path for _, path in chosen + others),
    }
    paths = [path for _, path in chosen]
    labels = [class_names.index(name.parts[0]) for name, _ in chosen]
    arrays = streamed_arrays(recipe, lambda scratch: _converted(folder, paths, labels, up_axis, scratch))
    skipped = [str(line) for line in arrays.pop("skipped")]
    return arrays, class_names, skipped


def _hidden(name: Path) -> bool:
    return any(part.startswith(".") for part in name.parts)


def read_mesh(path: Path, root: Path, up_axis: UpAxis = "auto") -> Mesh:
    """Read one file as a single mesh, normalised: see `meshes.normalize`.

    The geometries of a scene are put together where its transforms place them. A face has the colour of the texture
    within it (times the material's colour in glTF), else of its material, itself or the mean of its vertices, else
    `UNCOLORED`; all as stored, without their alpha. The colours that OFF and STL files may have are not read, as
    trimesh does not. Nothing is fetched from the network, and files that a mesh refers to (materials, textures,
    buffers) are read only within `root`; a texture that cannot be read counts as none.

    Args:
        path: the file, of one of `MESH_SUFFIXES`.
        root: folder that everything must lie in.
        up_axis: "z" takes vertices as they are, +z up; "y" takes +y as up and +z as the front, (x, y, z) becoming
            (z, x, y); "auto" is "y" for the formats that say so, glTF and GLB, and "z" for all others.

    Raises:
        ValueError: if the file cannot be parsed or has no faces, vertices that are not finite, or no extent.
        OSError: if the file cannot be read.
    """
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        try:
            scene = trimesh.load_scene(file, file_type=suffix[1:], resolver=_Within(path, root), process=False)
            parts = list(_placed(scene))
        except Exception as error:  # a parser that is given a broken file may raise anything
            raise ValueError(f"cannot be parsed: {type(error).__name__}: {error}") from error
    if not parts:
        raise ValueError("has no faces")
    starts = np.cumsum([0, *(len(vertices) for vertices, _, _ in parts)])
    vertices = np.concatenate([vertices for vertices, _, _ in parts])
    faces = np.concatenate([part[1] + start for part, start in zip(parts, starts[:-1], strict=True)])
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError(f"has faces that refer to other than its {len(vertices)} vertices")
    if not np.isfinite(vertices).all():
        raise ValueError("has vertices that are not finite")
    if up_axis == "y" or (up_axis == "auto" and suffix in Y_UP_SUFFIXES):
        vertices = vertices[:, [2, 0, 1]]
    used, faces = np.unique(faces, return_inverse=True)
    vertices = vertices[used]
    vertices -= (vertices.min(axis=0) + vertices.max(axis=0)) / 2  # in float64: a small object may lie far away
    vertices /= max(np.abs(vertices).max(), 1e-300)
    colors = np.concatenate([colors for _, _, colors in parts])
    return normalize(Mesh(vertices.astype(np.float32), faces.reshape(-1, 3).astype(np.int32), colors))


def _converted(
    folder: Path, paths: Sequence[Path], labels: Sequence[int], up_axis: UpAxis, scratch: Path
) -> dict[str, np.ndarray]:
    """Read the files, write their meshes one after another into `scratch`, and return the rest of an `ObjectSet`."""
    sizes, kept, skipped = [(0, 0)], [], []
    with (
        RowsFile(scratch / "vertices.npy", (3,), np.dtype(np.float32)) as vertices,
        RowsFile(scratch / "faces.npy", (3,), np.dtype(np.int32)) as faces,
        RowsFile(scratch / "colors.npy", (3,), np.dtype(np.uint8)) as colors,
    ):
        for i, path in enumerate(progress(paths, total=len(paths), what=f"reading {folder.name}")):
            try:
                mesh = read_mesh(path, folder, up_axis)
            except (ValueError, OSError) as error:
                skipped.append(f"{path}: {error}")
                continue
            vertices.extend(mesh.vertices)
            faces.extend(mesh.faces)
            colors.extend(mesh.colors)
            sizes.append((len(mesh.vertices), len(mesh.faces)))
            kept.append(labels[i])
    if not kept:
        raise ValueError(f"no usable mesh among {len(paths)} files in {folder}; the first is {skipped[0]}")
    vertex_offsets, face_offsets = np.cumsum(sizes, axis=0, dtype=np.int64).T.copy()
    return {
        "vertex_offsets": vertex_offsets,
        "face_offsets": face_offsets,
        "labels": np.array(kept, dtype=np.int64),
        "skipped": np.array(skipped, dtype=np.str_),
    }


def _placed(scene: trimesh.Scene) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the (V, 3) float64 vertices, (F, 3) int64 faces and (F, 3) uint8 colours of each geometry in its place."""
    for node in sorted(scene.graph.nodes_geometry):
        transform, name = scene.graph[node]
        mesh = scene.geometry[name]
        if not isinstance(mesh, trimesh.Trimesh) or len(mesh.faces) == 0:  # points and lines are not seen
            continue
        with np.errstate(invalid="ignore"):  # infinite vertices are refused by the caller
            vertices = np.asarray(mesh.vertices, np.float64) @ transform[:3, :3].T + transform[:3, 3]
        faces = np.asarray(mesh.faces, np.int64)
        if np.linalg.det(transform[:3, :3]) < 0:  # a mirror turns faces inside out
            faces = faces[:, ::-1]
        yield vertices, faces, _face_colors(mesh)


def _face_colors(mesh: trimesh.Trimesh) -> np.ndarray:
    """Return the (F, 3) uint8 colour of each face."""
    visual: Any = mesh.visual
    if not visual.defined:
        return np.tile(np.array(UNCOLORED, np.uint8), (len(mesh.faces), 1))
    if visual.kind != "texture":
        return np.array(visual.face_colors[:, :3], np.uint8)
    material = visual.material
    if visual.uv is None or len(visual.uv) != len(mesh.vertices):
        texture = None
    else:
        texture = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    if texture is None:
        return np.tile(np.asarray(material.main_color, np.uint8)[:3], (len(mesh.faces), 1))
    pixels = np.asarray(texture.convert("RGB"))
    factor = getattr(material, "baseColorFactor", None)
    tint = np.ones(3) if factor is None else np.asarray(factor, np.float64)[:3] / 255
    return np.rint(_sampled(pixels, np.asarray(visual.uv, np.float64)[mesh.faces]) * tint).astype(np.uint8)


def _sampled(pixels: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Return the (F, 3) mean colour of an (H, W, 3) texture within faces with (F, 3 corners, 2) coordinates.

    Coordinates are in texture sides, u to the right and v up from the lower left, repeated beyond [0, 1].
    """
    points = np.einsum("sc,fcd->fsd", _SAMPLES, np.where(np.isfinite(uv), uv, 0.0))  # (F, samples, 2)
    height, width = pixels.shape[:2]
    column = np.floor(points[..., 0] * width).astype(np.int64) % width
    row = height - 1 - np.floor(points[..., 1] * height).astype(np.int64) % height
    return pixels[row, column].mean(axis=1)


class _Within(Resolver):
    """What a mesh file refers to, read from beside it if that is a file within a root folder, and from nowhere else."""

    def __init__(self, path: Path, root: Path, folder: str = ".") -> None:
        self._path, self._root, self._folder = path, root.resolve(), folder

    def get(self, name: str) -> bytes:
        # Exporters on Windows write its separators.
        target = (self._path.parent / self._folder / name.strip().replace("\\", "/")).resolve()
        if not target.is_relative_to(self._root) or not target.is_file():
            raise FileNotFoundError(f"{self._path.name} refers to {name!r}, which is no file within {self._root}")
        return target.read_bytes()

    def keys(self) -> list[str]:
        return []

    def namespaced(self, namespace: str) -> _Within:
        return _Within(self._path, self._root, f"{self._folder}/{namespace}")

    def write(self, name: str, data: Any) -> None:
        raise PermissionError(f"meshes are only read, not written: {name}")
