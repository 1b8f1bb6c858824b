"""Built-in images of which no part tells the class: two things, and the direction in which one lies from the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..cache import cached_arrays, progress
from ..eye.fixation import spectral_residual
from ..shapes.objects import OBJECTS_VERSION
from ..splits import SPLITS, Split
from .image_set import ImageSet
from .scenes import MEMBERS_PER_FAMILY, SIDE, draw_cutout, paste

if TYPE_CHECKING:
    from ..rendering.renderer import RayMesh

DIRECTIONS = ("east", "southeast", "south", "southwest", "west", "northwest", "north", "northeast")
"""Where the second thing lies from the first, clockwise; y points down, as in the image."""
THINGS = ("mug", "car")
"""Families of the first and of the second thing."""
PAIRS_PER_CLASS = {"train": 600, "validation": 90, "test": 150}
_THING_SIDES = (32, 36, 40)
"""Sides in pixels of the square a thing is drawn in, drawn for each of the two."""
_DISTANCE = (38.0, 60.0)
"""Pixels from the middle of one to that of the other."""
_SPREAD = 0.3
"""Radians by which the direction may be off its class; classes are pi / 4 apart."""
_MARGIN = 17.0
"""Pixels from the image's border to the middle of a thing, at least."""


def load_pairs(split: Split) -> ImageSet:
    """Return images of a mug and a car on an even ground, 96 x 96 x 3, generated once and cached.

    The class is where the car lies from the mug, one of eight directions. What the things look like does not tell it,
    and where one lies in the image tells little: a mug at the left border has its car to the right, but the ground is
    alike everywhere and does not tell the place. A glimpse of 32 pixels shows one of them, or at most the edges of
    both: it takes the motion between two glimpses to tell. Images of different splits show different mugs and cars.
    """
    recipe = {
        "name": f"pairs-{split}",
        "version": 1,
        "objects": OBJECTS_VERSION,
        "things": THINGS,
        "side": SIDE,
        "thing_sides": _THING_SIDES,
        "distance": _DISTANCE,
        "spread": _SPREAD,
        "margin": _MARGIN,
        "pairs_per_class": PAIRS_PER_CLASS[split],
        "members_per_family": MEMBERS_PER_FAMILY[split],
    }
    arrays = cached_arrays(recipe, lambda: _make_pairs(split))
    labels = np.arange(len(arrays["images"])) % len(DIRECTIONS)
    return ImageSet(arrays["images"], labels, DIRECTIONS, saliency=arrays["saliency"], checked=True)


def _make_pairs(split: Split) -> dict[str, np.ndarray]:
    from ..rendering.renderer import RayMesh, Renderer
    from ..shapes.families import FAMILIES
    from ..shapes.objects import load_objects

    rng = np.random.default_rng([3163, SPLITS.index(split)])
    objects = load_objects("families", split, members_per_family=MEMBERS_PER_FAMILY[split])
    members = [np.flatnonzero(objects.labels == FAMILIES.index(thing)) for thing in THINGS]
    renderers = [Renderer(side, shadows=True) for side in _THING_SIDES]
    count = PAIRS_PER_CLASS[split] * len(DIRECTIONS)
    images = np.empty((count, SIDE, SIDE, 3), dtype=np.uint8)
    saliency = np.empty((count, SIDE, SIDE), dtype=np.uint8)
    meshes: dict[int, RayMesh] = {}
    for i in progress(range(count), total=count, what=f"making {split} pairs"):
        ground = np.clip(128 + rng.normal(0, 4, (SIDE, SIDE, 1)), 0, 255)
        images[i] = np.rint(ground).astype(np.uint8)
        for kind, place in zip(members, _places(i % len(DIRECTIONS), rng), strict=True):
            member = int(rng.choice(kind))
            if member not in meshes:
                meshes[member] = RayMesh(objects.mesh(member))
            cutout = draw_cutout(meshes[member], renderers[rng.integers(len(renderers))], rng)
            extent = np.array(cutout.shape[1::-1])  # (width, height)
            x, y = np.clip(place - extent / 2, 0, SIDE - extent).astype(int)
            paste(images[i], cutout, int(x), int(y))
        saliency[i] = spectral_residual(images[i])
    return {"images": images, "saliency": saliency}


def _places(direction: int, rng: np.random.Generator) -> np.ndarray:
    """Return the middles (x, y) of both things, (2, 2) in pixels, the second in `direction` from the first."""
    angle = 2 * np.pi * direction / len(DIRECTIONS) + rng.uniform(-_SPREAD, _SPREAD)
    half = np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(*_DISTANCE) / 2
    middle = rng.uniform(_MARGIN + np.abs(half), SIDE - _MARGIN - np.abs(half))
    return np.stack([middle - half, middle + half])
