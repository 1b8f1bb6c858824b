"""Sets of labelled objects with disjoint training, validation and test members, built once and cached."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from .cache import cached_arrays, progress
from .families import FAMILIES, PALETTES, Palette, build_mesh
from .meshes import Mesh

Split: TypeAlias = Literal["train", "validation", "test"]

SPLITS: tuple[Split, ...] = get_args(Split)
SOURCES: tuple[str, ...] = ("families",)

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
    reload: tuple[str, Split, int, Palette] | None = None

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
    source: str = "families",
    split: Split = "train",
    members_per_family: int = 64,
    palette: Palette = "parts",
) -> ObjectSet:
    """Load the built-in objects; the first call with given arguments builds them and writes the cache.

    Object i is of class i % len(FAMILIES), so that any prefix is as balanced as can be. Splits have different members:
    member k of split s is member 3 k + s of its family, whatever `members_per_family`. A larger set begins with the
    smaller.

    Args:
        source: "families", the procedural families of `FAMILIES`.
        split: "train", "validation" or "test".
        members_per_family: number of objects a class, 1 or more.
        palette: see `build_mesh`.

    Returns:
        members_per_family * len(FAMILIES) objects.

    Raises:
        ValueError: on an unknown source, split or palette, or fewer than one member.
        OSError: if the cache cannot be written.
    """
    for name, value, known in (("source", source, SOURCES), ("split", split, SPLITS), ("palette", palette, PALETTES)):
        if value not in known:
            raise ValueError(f"unknown {name} {value!r}; choose one of {', '.join(known)}")
    if members_per_family < 1:
        raise ValueError(f"members_per_family must be 1 or more, got {members_per_family}")
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
