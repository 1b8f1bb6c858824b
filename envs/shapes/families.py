"""The built-in object families: their class order, their groups of look-alikes, and members without end."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import numpy as np

from . import families_indoors as indoors
from . import families_outdoors as outdoors
from .meshes import Mesh
from .sketch import ROLES, Role, Sketch

Palette: TypeAlias = Literal["parts", "objects"]

_DRAWINGS: dict[str, tuple[Callable[[Sketch], None], ...]] = {
    "seats": (indoors.chair, indoors.stool, indoors.bench, indoors.sofa),
    "tables": (indoors.desk, indoors.table, indoors.shelf, indoors.cabinet),
    "vessels": (indoors.mug, indoors.bucket, indoors.vase, indoors.teapot),
    "lamps": (indoors.desk_lamp, indoors.floor_lamp, indoors.lantern),
    "vehicles": (outdoors.car, outdoors.van, outdoors.truck),
    "aircraft": (outdoors.plane, outdoors.helicopter, outdoors.rocket),
    "boats": (outdoors.sailboat, outdoors.ship, outdoors.submarine),
    "tools": (outdoors.hammer, outdoors.axe, outdoors.mallet),
    "animals": (outdoors.dog, outdoors.horse, outdoors.cow),
}
_DRAW = {draw.__name__: draw for group in _DRAWINGS.values() for draw in group}

FAMILIES: tuple[str, ...] = tuple(_DRAW)
"""Names of the families; a family's place is its class label, so new ones go to the end of the last group."""

FAMILY_GROUPS: dict[str, tuple[str, ...]] = {
    name: tuple(draw.__name__ for draw in group) for name, group in _DRAWINGS.items()
}
"""Families that are easy to take for one another, by group."""

PALETTES: tuple[Palette, ...] = get_args(Palette)

_PART_COLORS: dict[Role, tuple[int, int, int]] = {
    "body": (226, 214, 188),
    "limb": (84, 88, 104),
    "top": (242, 186, 48),
    "front": (214, 52, 48),
    "side": (46, 108, 214),
    "grip": (52, 158, 84),
}
_STRETCH = 1.25  # at most this factor an axis, on top of what a family varies by itself
_COLOR_JITTER = 14  # of 255, a channel; small against the distance between roles


def build_mesh(family: str, member: int, palette: Palette = "parts") -> Mesh:
    """Build one object: member `member` of `family`, always the same one.

    No rotation maps an object onto itself: a part in the "front" role marks +x, one in the "side" role marks +y.

    Args:
        family: one of `FAMILIES`.
        member: 0, 1, 2, ...; proportions and the presence of parts are drawn from a generator seeded by the family's
            name and this number. The shape does not depend on `palette`.
        palette: "parts" paints by role (`ROLES`) with one palette for all families and a small jitter a member, so
            colours tell pose and not class. "objects" gives every member its own random colours, which lets a model
            match the views of one object without seeing its shape.

    Returns:
        The mesh, centred, with radius `OBJECT_RADIUS`.

    Raises:
        ValueError: on an unknown family or palette, or a negative member.
    """
    if family not in _DRAW:
        raise ValueError(f"unknown family {family!r}; choose one of {', '.join(FAMILIES)}")
    if palette not in PALETTES:
        raise ValueError(f"unknown palette {palette!r}; choose one of {', '.join(PALETTES)}")
    if member < 0:
        raise ValueError(f"member must be 0 or more, got {member}")
    key = zlib.crc32(family.encode())
    sketch = Sketch(np.random.default_rng([key, member, 0]))
    _DRAW[family](sketch)
    sketch.stretch(_STRETCH)
    return sketch.mesh(_draw_colors(np.random.default_rng([key, member, 1]), palette))


def _draw_colors(rng: np.random.Generator, palette: Palette) -> np.ndarray:
    """Draw one colour a role: (len(ROLES), 3) uint8."""
    if palette == "parts":
        base = np.array([_PART_COLORS[role] for role in ROLES])
        jitter = rng.integers(-_COLOR_JITTER, _COLOR_JITTER + 1, base.shape)
        return np.clip(base + jitter, 0, 255).astype(np.uint8)
    hue, saturation, value = rng.uniform([[0.0], [0.3], [0.4]], 1.0, (3, len(ROLES)))
    colors = [colorsys.hsv_to_rgb(*hsv) for hsv in zip(hue, saturation, value, strict=True)]
    return np.round(np.array(colors) * 255).astype(np.uint8)
