"""Built-in images without one single object: many objects to search among, and textured grounds alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..cache import cached_arrays, progress
from ..eye.fixation import spectral_residual
from ..shapes.objects import OBJECTS_VERSION
from ..splits import SPLITS, Split
from .image_set import ImageSet
from .scenes import GROUNDS, MEMBERS_PER_FAMILY, SIDE, draw_cutout, draw_ground, paste

if TYPE_CHECKING:
    from ..rendering.renderer import RayMesh

OBJECTS_PER_SCENE = {"search-easy": 3, "search": 6, "search-hard": 10}
SEARCH_SIDE = 128
TARGETS_PER_CLASS = {"train": 35, "validation": 7, "test": 14}
TEXTURES = {"train": 1500, "validation": 210, "test": 420}
_OBJECT_SIDES = (30, 36, 42)
"""Sides in pixels of the square an object is drawn in, the same at each clutter, so that clutter alone is harder."""
_PLACES = 60
"""Places tried for an object before it takes the one where it overlaps the others least."""


def load_search(source: str, split: Split) -> ImageSet:
    """Return scenes of `OBJECTS_PER_SCENE[source]` objects of different families, generated once and cached.

    Each is 128 x 128 x 3, on one of the grounds of the built-in scenes; boxes hardly overlap. The first of a scene's
    objects is its target: `labels` and `boxes` are the first of `object_labels` and `object_boxes`. All families are
    targets equally often, and where an object lies or how large it is tells nothing about its being the target.
    """
    from ..shapes.families import FAMILIES

    recipe = {
        "name": f"{source}-{split}",
        "version": 1,
        "objects": OBJECTS_VERSION,
        "families": list(FAMILIES),
        "side": SEARCH_SIDE,
        "object_sides": _OBJECT_SIDES,
        "objects_per_scene": OBJECTS_PER_SCENE[source],
        "targets_per_class": TARGETS_PER_CLASS[split],
        "members_per_family": MEMBERS_PER_FAMILY[split],
        "places": _PLACES,
    }
    arrays = cached_arrays(recipe, lambda: _make_search(source, split))
    return ImageSet(
        arrays["images"],
        arrays["object_labels"][:, 0],
        FAMILIES,
        saliency=arrays["saliency"],
        boxes=arrays["object_boxes"][:, 0],
        object_boxes=arrays["object_boxes"],
        object_labels=arrays["object_labels"],
        checked=True,
    )


def _make_search(source: str, split: Split) -> dict[str, np.ndarray]:
    from ..rendering.renderer import RayMesh, Renderer
    from ..shapes.objects import load_objects

    objects_per_scene = OBJECTS_PER_SCENE[source]
    rng = np.random.default_rng([6151, objects_per_scene, SPLITS.index(split)])
    objects = load_objects("families", split, members_per_family=MEMBERS_PER_FAMILY[split])
    classes = len(objects.class_names)
    count = TARGETS_PER_CLASS[split] * classes
    members = [np.flatnonzero(objects.labels == label) for label in range(classes)]
    renderers = [Renderer(side, shadows=True) for side in _OBJECT_SIDES]
    arrays = {
        "images": np.empty((count, SEARCH_SIDE, SEARCH_SIDE, 3), dtype=np.uint8),
        "object_labels": np.empty((count, objects_per_scene), dtype=np.int64),
        "object_boxes": np.empty((count, objects_per_scene, 4), dtype=np.int64),
        "saliency": np.empty((count, SEARCH_SIDE, SEARCH_SIDE), dtype=np.uint8),
    }
    meshes: dict[int, RayMesh] = {}
    for i in progress(range(count), total=count, what=f"making {split} {source} scenes"):
        target = i % classes
        others = rng.permutation(np.delete(np.arange(classes), target))[: objects_per_scene - 1]
        labels = np.array([target, *others])
        cutouts = []
        for label in labels:
            member = int(rng.choice(members[label]))
            if member not in meshes:
                meshes[member] = RayMesh(objects.mesh(member))
            cutouts.append(draw_cutout(meshes[member], renderers[rng.integers(len(renderers))], rng))
        arrays["images"][i], arrays["object_boxes"][i] = _arrange(cutouts, rng)
        arrays["object_labels"][i] = labels
        arrays["saliency"][i] = spectral_residual(arrays["images"][i])
    return arrays


def _arrange(cutouts: list[np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a scene (S, S, 3) uint8 of all cutouts, placed in random order, and their boxes (K, 4) int64."""
    scene = draw_ground(rng, SEARCH_SIDE)
    boxes = np.zeros((len(cutouts), 4), dtype=np.int64)
    placed: list[int] = []
    for k in rng.permutation(len(cutouts)):
        boxes[k] = _place(cutouts[k].shape[:2], boxes[placed], rng)
        placed.append(int(k))
        paste(scene, cutouts[k], int(boxes[k, 0]), int(boxes[k, 1]))
    return scene, boxes


def _place(size: tuple[int, ...], taken: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a box (4,) of `size` (height, width): of the places drawn, that which overlaps `taken` (n, 4) least."""
    extent = np.array(size[::-1])  # (width, height)
    corner = rng.integers(0, SEARCH_SIDE - extent + 1, size=(_PLACES, 2))
    low = np.maximum(corner[:, None], taken[:, :2])  # (places, n, 2)
    high = np.minimum(corner[:, None] + extent, taken[:, 2:])
    overlap = np.clip(high - low, 0, None).prod(axis=2).sum(axis=1)
    best = corner[overlap.argmin()]
    return np.concatenate([best, best + extent])


def load_textures(split: Split) -> ImageSet:
    """Return the grounds of the built-in scenes alone, 96 x 96 x 3, labelled with the kind of texture; cached."""
    count = TEXTURES[split]
    recipe = {"name": f"textures-{split}", "version": 1, "side": SIDE, "kinds": GROUNDS, "count": count}

    def build() -> dict[str, np.ndarray]:
        rng = np.random.default_rng([9473, SPLITS.index(split)])
        numbers = progress(range(count), total=count, what=f"making {split} textures")
        return {"images": np.stack([draw_ground(rng, SIDE, i % len(GROUNDS)) for i in numbers])}

    return ImageSet(
        cached_arrays(recipe, build)["images"],
        np.arange(count) % len(GROUNDS),
        GROUNDS,
    )
