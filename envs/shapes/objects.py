"""Sets of labelled objects with disjoint training, validation and test members, built once and cached."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..cache import cached_arrays, progress
from ..settings import check_path, check_whole
from ..splits import SPLITS, Split
from .families import FAMILIES, PALETTES, Palette, build_mesh
from .meshes import Mesh

if TYPE_CHECKING:
    from .mesh_files import UpAxis

SOURCES: tuple[str, ...] = ("families",)
UP_AXES: tuple[UpAxis, ...] = ("auto", "y", "z")

OBJECTS_VERSION = 1  # raise when a change of the generating code changes any mesh


@dataclass(frozen=True, eq=False)
class ObjectSet:
    """Labelled meshes, held in a few concatenated arrays; make one with `load_objects`.

    Args:
        vertices: (sum V, 3) float32, all meshes one after another.
        faces: (sum F, 3) int32, indices within each mesh's own vertices.
        colors: (sum F, 3) uint8 RGB.
        vertex_offsets: (N + 1,) int64; mesh i owns vertices [vertex_offsets[i], vertex_offsets[i + 1]).
        face_offsets: (N + 1,) int64, the same for faces and colours.
        labels: (N,) int64, index into `class_names`.
        class_names: name of each class.
        split: which split these objects are.
        reload: arguments of the `load_objects` call that made this set. A pickle carries them in place of the meshes,
            so that processes share the cached copy; None pickles the arrays.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colors: np.ndarray
    vertex_offsets: np.ndarray
    face_offsets: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    split: Split
    reload: tuple[Any, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def mesh(self, index: int) -> Mesh:
        """Return object `index`, 0 <= index < len(self), as views of the set's arrays.

        Raises:
            IndexError: if there is no such object.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"object index must be in [0, {len(self)}), got {index}")
        vertices = slice(self.vertex_offsets[index], self.vertex_offsets[index + 1])
        faces = slice(self.face_offsets[index], self.face_offsets[index + 1])
        return Mesh(self.vertices[vertices], self.faces[faces], self.colors[faces])

    def __reduce__(self) -> tuple[Callable[..., ObjectSet], tuple]:
        if self.reload is not None:
            return load_objects, self.reload
        fields = (self.vertices, self.faces, self.colors, self.vertex_offsets, self.face_offsets, self.labels)
        return ObjectSet, (*fields, self.class_names, self.split)


def load_objects(
    source: str | os.PathLike[str] = "families",
    split: Split = "train",
    members_per_family: int = 64,
    palette: Palette = "parts",
    up_axis: UpAxis = "auto",
) -> ObjectSet:
    """Load the built-in objects, or a folder of meshes; the first call with given arguments builds the cache.

    Built-in object i is of class i % len(FAMILIES), so that any prefix is as balanced as can be. Splits have different
    members: member k of split s is member 3 k + s of its family, whatever `members_per_family`. A larger set begins
    with the smaller.

    A folder holds one sub-folder a class with OBJ, PLY, STL, GLB, glTF or OFF files at any depth, which are dealt to
    the splits 8 : 1 : 1 by a hash of their relative names. Each becomes one mesh within the renderer's radius, with
    one colour a face: see `mesh_files.read_mesh`. Files that hold no usable mesh are skipped with one warning.

    Args:
        source: "families", the procedural families of `FAMILIES`, or the path of a folder.
        split: "train", "validation" or "test".
        members_per_family: number of objects a class, 1 or more; a folder's objects are all taken.
        palette: see `build_mesh`; a folder's objects have their own colours.
        up_axis: which axis of a folder's files points up: "y", "z", or "auto", +y for GLB and glTF and +z for others.

    Returns:
        members_per_family * len(FAMILIES) objects, or those of the folder.

    Raises:
        ValueError: on an unknown source, split, palette or axis, fewer than one member, or a folder without a usable
            mesh of this split.
        OSError: if the cache cannot be written.
    """
    for name, value, known in (("split", split, SPLITS), ("palette", palette, PALETTES), ("up_axis", up_axis, UP_AXES)):
        if value not in known:
            raise ValueError(f"unknown {name} {value!r}; choose one of {', '.join(known)}")
    check_path("objects", source)
    check_whole("members_per_family", members_per_family, low=1)
    if source not in SOURCES:
        if not Path(source).is_dir():
            raise ValueError(
                f"unknown source {str(source)!r}; choose one of {', '.join(SOURCES)}, or an existing folder of meshes "
                "with one sub-folder a class"
            )
        return _load_folder(Path(source).resolve(), split, up_axis)
    members = [len(SPLITS) * k + SPLITS.index(split) for k in range(members_per_family)]
    recipe = {
        "name": "objects",
        "version": OBJECTS_VERSION,
        "families": FAMILIES,
        "members": members_per_family,
        "split": split,
        "palette": palette,
        "seeds": "crc32(family), 3 k + split",
    }
    arrays = cached_arrays(recipe, lambda: _build(members, palette, f"building {split} objects"))
    return ObjectSet(
        # Plain views of the memory maps: slices of np.memmap are slow.
        **{name: np.asarray(array) for name, array in arrays.items()},
        labels=np.arange(len(members) * len(FAMILIES)) % len(FAMILIES),
        class_names=FAMILIES,
        split=split,
        reload=(source, split, members_per_family, palette),
    )


def _load_folder(folder: Path, split: Split, up_axis: UpAxis) -> ObjectSet:
    from .mesh_files import load_mesh_folder  # trimesh takes half a second to import

    arrays, class_names, skipped = load_mesh_folder(folder, split, up_axis)
    if skipped:
        warnings.warn(f"skipped {len(skipped)} files without a usable mesh, the first {skipped[0]}", stacklevel=3)
    return ObjectSet(
        **{name: np.asarray(array) for name, array in arrays.items()},
        class_names=tuple(class_names),
        split=split,
        reload=(str(folder), split, 1, "parts", up_axis),
    )


def _build(members: list[int], palette: Palette, what: str) -> dict[str, np.ndarray]:
    """Build every family's `members`, families taking turns, and concatenate the meshes."""
    pairs = list(itertools.product(members, FAMILIES))
    meshes = [build_mesh(family, member, palette) for member, family in progress(pairs, total=len(pairs), what=what)]
    return {
        "vertices": np.concatenate([mesh.vertices for mesh in meshes]),
        "faces": np.concatenate([mesh.faces for mesh in meshes]),
        "colors": np.concatenate([mesh.colors for mesh in meshes]),
        "vertex_offsets": np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)], dtype=np.int64),
        "face_offsets": np.cumsum([0, *(len(mesh.faces) for mesh in meshes)], dtype=np.int64),
    }
