"""The factors of variation of the 3DIEBench scene, and how its renderer takes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..variation import Factor, FactorDraw
from .lighting import MAX_SPOT_POLAR, Lighting
from .stage import CAMERA_DISTANCE, CAMERA_POLAR, STAGE_LIMITS, Stage

_TURN = (0.0, 1.0)
_LIGHTS = (
    Factor("floor_hue", 0.5, _TURN, _TURN, "turns"),
    Factor("spot_theta", MAX_SPOT_POLAR / 2, (0.0, MAX_SPOT_POLAR), (0.0, MAX_SPOT_POLAR), "radians"),
    Factor("spot_phi", math.pi, (0.0, 2 * math.pi), (0.0, 2 * math.pi), "radians"),
    Factor("spot_hue", 0.5, _TURN, _TURN, "turns"),
)
_STAGE = (
    Factor("object_hue", 0.0, STAGE_LIMITS["object_hue"], _TURN, "turns"),
    Factor("object_scale", 1.0, STAGE_LIMITS["object_scale"], (0.5, 1.0), "of the object's size"),
    Factor("camera_elevation", CAMERA_POLAR, STAGE_LIMITS["camera_elevation"], (0.2, 1.1), "radians from +z"),
    Factor("camera_distance", CAMERA_DISTANCE, STAGE_LIMITS["camera_distance"], (2.0, 3.5), "scene units"),
    Factor("ground_texture", 0.0, STAGE_LIMITS["ground_texture"], (0.0, 0.6), "(0 is plain)"),
)
SCENE_FACTORS = (*_LIGHTS, *_STAGE)
_USUAL = np.array([factor.value for factor in _STAGE])[:, None]

PRESETS: dict[str, dict[str, FactorDraw]] = {"3diebench": {factor.name: "step" for factor in _LIGHTS}}
"""Name -> what is drawn when. "3diebench" is the recipe of Garrido et al. (2023): each view has its floor and light."""


def scene_specification(variation: str | Mapping[str, Any] | None, lighting: FactorDraw) -> dict[str, Any]:
    """Return the specification of every factor that is named: by `variation` first, by `lighting` for the rest of four.

    Raises:
        ValueError: if `variation` is neither None, a preset nor a dict.
    """
    lights: dict[str, Any] = {factor.name: lighting for factor in _LIGHTS}
    if variation is None:
        return lights
    if isinstance(variation, str) and variation in PRESETS:
        return dict(PRESETS[variation])
    if not isinstance(variation, Mapping):
        raise ValueError(f"variation must be None, one of {list(PRESETS)} or a dict of factors, got {variation!r}")
    return lights | dict(variation)


def lighting_of(factors: Mapping[str, np.ndarray]) -> Lighting:
    """Return floors and lights of n views from factors (n,)."""
    return Lighting(*(factors[factor.name] for factor in _LIGHTS))


def stage_of(factors: Mapping[str, np.ndarray]) -> Stage | None:
    """Return objects, cameras and grounds of n views from factors (n,); None if all are as usual, the fast path."""
    values = np.stack([factors[factor.name] for factor in _STAGE])
    return Stage(*values) if (values != _USUAL).any() else None
