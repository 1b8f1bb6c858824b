"""Landscapes without objects: a clear sky with clouds, hills and a textured level ground under a low sun at the left.

Colours are linear light, (…, 3) float32, in units of a white surface that faces the sun.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .landscape_views import LandscapeView

SUN_AZIMUTH = (math.radians(20), math.radians(80))
"""Range of the sun's direction, radians to the left of straight ahead."""
SUN_ELEVATION = (math.radians(20), math.radians(50))
"""Range of its elevation, radians. Its disc, hardly ever in view, is not painted, only the bright sky around it."""
VISIBILITY = (60.0, 250.0)
"""Range of the distance, in heights of the eye, over which air hides all but 1/e of the contrast."""
FARTHEST = 400.0
"""Distance at which the ground meets the sky."""
SUN = np.array([1.0, 0.93, 0.80], np.float32)
SKYLIGHT = np.array([0.20, 0.25, 0.34], np.float32)
"""Light that a level surface receives from the whole sky."""

_ZENITH = np.array([0.08, 0.22, 0.62], np.float32)
_HORIZON = np.array([0.42, 0.56, 0.72], np.float32)
_AUREOLE = np.array([0.085, 0.080, 0.070], np.float32)
_CLOUD = np.array([0.62, 0.63, 0.66], np.float32)
_HILL = np.array([0.055, 0.075, 0.045], np.float32)
_CLOUDS = ((3.0, 1.0), (1.4, 0.55), (0.65, 0.3), (0.3, 0.16))
"""Size and weight of each layer of the clouds' noise."""
_TILE = 64
"""Cells along a side of the random tile that every noise repeats."""
_STEPS = 4
"""Pixels of the tile a cell."""


class Ground(NamedTuple):
    """A kind of ground: its pattern, its darker and lighter reflectance, and how strongly its relief catches light."""

    pattern: str
    dark: tuple[float, float, float]
    light: tuple[float, float, float]
    relief: float


GROUNDS = {
    "meadow": Ground("tufts", (0.030, 0.065, 0.012), (0.17, 0.26, 0.05), 0.5),
    "dry grass": Ground("tufts", (0.16, 0.11, 0.04), (0.46, 0.37, 0.17), 0.5),
    "field": Ground("furrows", (0.055, 0.032, 0.018), (0.26, 0.17, 0.10), 0.4),
    "sand": Ground("furrows", (0.34, 0.25, 0.15), (0.58, 0.46, 0.31), 0.3),
    "gravel": Ground("tufts", (0.10, 0.095, 0.09), (0.40, 0.38, 0.36), 0.7),
    "paving": Ground("slabs", (0.09, 0.085, 0.08), (0.36, 0.34, 0.31), 0.1),
}


@dataclass(frozen=True, eq=False)
class Scenery:
    """Sun, air and ground of one landscape; `draw` draws one."""

    sun: np.ndarray
    """Unit vector towards the sun, (3,) float32."""
    visibility: float
    """In heights of the eye: contrast falls to 1/e over it."""
    ground: Ground
    """Kind of ground."""
    tint: np.ndarray
    """Factor on the ground's reflectance, (3,)."""
    grain: float
    """Length of the ground's pattern, heights of the eye."""
    heading: float
    """Direction of furrows and slabs, radians."""
    cloudiness: float
    """Share of the sky that is clouded, roughly, in [0, 1]."""
    hills: float
    """Greatest elevation of the far hills, radians; 0 is a bare horizon."""
    sheen: float
    """Share of a mirror's reflection that the ground shows."""
    tile: np.ndarray
    """(256, 256) float32 smooth noise that repeats after a side; all other is made of it."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Scenery:
        """Draw a landscape, each quantity uniform within its range."""
        azimuth, elevation = rng.uniform(*SUN_AZIMUTH), rng.uniform(*SUN_ELEVATION)
        level = math.cos(elevation)
        ground = list(GROUNDS.values())[rng.integers(len(GROUNDS))]
        return cls(
            sun=np.array([-math.sin(azimuth) * level, math.cos(azimuth) * level, math.sin(elevation)], np.float32),
            visibility=rng.uniform(*VISIBILITY),
            ground=ground,
            tint=rng.uniform(0.8, 1.2) * rng.uniform(0.9, 1.1, 3),
            grain=rng.uniform(0.35, 0.6) if ground.pattern == "slabs" else rng.uniform(0.12, 0.25),
            heading=rng.uniform(0, math.pi),
            cloudiness=rng.uniform(0, 0.6),
            hills=rng.uniform(0, 0.08) if rng.random() < 0.6 else 0.0,
            sheen=rng.uniform(0.1, 0.3),
            tile=_draw_tile(rng),
        )


@dataclass(frozen=True, eq=False)
class Backdrop:
    """A landscape as it is being painted."""

    image: np.ndarray
    """(side, side, 3) float32 colours, to be painted on."""
    distance: np.ndarray
    """(side, side) float32 distance of the ground, heights of the eye; at most `FARTHEST`, the sky's too."""
    below: np.ndarray
    """(side, side) float32 share of a pixel that lies below the horizon."""
    airlight: np.ndarray
    """(side, side, 3) float32 colour of the horizon's sky in a pixel's direction, which the air mixes in."""


def paint(view: LandscapeView, scenery: Scenery) -> Backdrop:
    """Return the landscape as `view` sees it."""
    rays = view.rays
    level = rays * np.array([1, 1, 0], np.float32)[:, None, None]
    airlight = _clear_sky(level / np.sqrt(1 - rays[2] ** 2), scenery)
    distance = 1 / np.maximum(-rays[2], np.float32(1 / FARTHEST))
    below = np.clip(np.float32(0.5) - rays[2] * np.float32(view.focal), 0, 1)
    image = np.zeros((view.side, view.side, 3), np.float32)
    above = slice(0, int((below < 1).any(axis=1).sum()))
    if above.stop:
        sky = _with_clouds(_clear_sky(rays[:, above], scenery), rays[:, above], scenery)
        image[above] = _with_hills(sky, airlight[above], rays[:, above], view, scenery)
    rest = slice(view.side - int((below > 0).any(axis=1).sum()), view.side)
    ground = _ground(rays[:, rest], distance[rest], view, scenery)
    ground = veil(ground, distance[rest], airlight[rest], scenery)
    image[rest] += (ground - image[rest]) * below[rest, :, None]
    return Backdrop(image, distance, below, airlight)


def veil(colors: np.ndarray, distance: np.ndarray, airlight: np.ndarray, scenery: Scenery) -> np.ndarray:
    """Return (…, 3) colours seen through (…) heights of the eye of air."""
    clear = np.exp(distance / -scenery.visibility)[..., None]
    return airlight + (colors - airlight) * clear


def _clear_sky(rays: np.ndarray, scenery: Scenery) -> np.ndarray:
    """Return the sky's colours at (3, …) directions, (…, 3): paler towards the horizon, brighter around the sun.

    The scattering indicatrix is the CIE standard clear sky's (ISO 15469, type 12); its part around the sun is white.
    """
    cosine = np.clip(np.tensordot(scenery.sun, rays, 1), -1, 1)
    pale = np.exp(np.maximum(rays[2], 0) / -0.25)[..., None]
    around = 10 * (np.exp(-3 * np.arccos(cosine)) - math.exp(-1.5 * math.pi))
    rest = 0.85 * (1 + 0.45 * cosine**2)
    return (_ZENITH + (_HORIZON - _ZENITH) * pale) * rest[..., None] + _AUREOLE * around[..., None] * (1 + pale)


def _with_clouds(sky: np.ndarray, rays: np.ndarray, scenery: Scenery) -> np.ndarray:
    """Lay soft clouds over the sky, as on a level ceiling, so that they shrink towards the horizon."""
    rise = np.maximum(rays[2], 0) + 0.06
    x, y = rays[0] / rise, rays[1] / rise
    density = sum(weight * _noise(scenery.tile, x / size, y / size) for size, weight in _CLOUDS)
    cover = np.clip((density - 1.6 + 3.2 * scenery.cloudiness) / 1.2, 0, 1)
    cover = cover * cover * (3 - 2 * cover) * np.clip(rays[2] / 0.05, 0, 1) * 0.9
    sunward = np.exp(-2 * np.arccos(np.clip(np.tensordot(scenery.sun, rays, 1), -1, 1)))
    bright = _CLOUD * (0.9 + 1.2 * sunward - 0.12 * np.clip(density, -1, 2))[..., None]
    return sky + (bright - sky) * cover[..., None]


def _with_hills(
    sky: np.ndarray, airlight: np.ndarray, rays: np.ndarray, view: LandscapeView, scenery: Scenery
) -> np.ndarray:
    """Set far hills before the sky; air hides more than half of their contrast."""
    if not scenery.hills:
        return sky
    azimuth = rays[0] / rays[1]  # small angles
    row = np.zeros_like(azimuth)
    profile = _noise(scenery.tile, azimuth * 5 + 7, row + 3) + 0.35 * _noise(scenery.tile, azimuth * 17, row + 9)
    ridge = scenery.hills * np.clip(0.5 + 0.4 * profile, 0, 1)
    cover = np.clip((ridge - rays[2]) * view.focal + 0.5, 0, 1)
    hills = airlight + (_HILL - airlight) * 0.45
    return sky + (hills - sky) * cover[..., None]


def _ground(rays: np.ndarray, distance: np.ndarray, view: LandscapeView, scenery: Scenery) -> np.ndarray:
    """Return the ground's colours in full sun, (side, side, 3)."""
    x, y = rays[0] * distance, rays[1] * distance
    # A pixel covers distance / focal across and distance^2 / focal along the ground: what is finer than that, it blurs.
    footprint = distance * np.sqrt(distance) / view.focal
    pattern, slope = _PATTERNS[scenery.ground.pattern](x, y, footprint, scenery)
    patches = _layer(scenery.tile, x + 11, y + 5, 5.0, footprint)
    blend = np.clip(0.5 + 0.28 * pattern + 0.1 * patches, 0, 1)[..., None]
    dark, light = np.array(scenery.ground.dark, np.float32), np.array(scenery.ground.light, np.float32)
    albedo = (dark + (light - dark) * blend) * scenery.tint.astype(np.float32)
    sunlight = np.clip(scenery.sun[2] + scenery.ground.relief * slope, 0.05, 1.2)[..., None]
    mirrored = rays * np.array([1, 1, -1], np.float32)[:, None, None]
    grazing = 1 - np.clip(-rays[2], 0, 1)
    fresnel = grazing**2 * grazing**2 * grazing * scenery.sheen  # Schlick's approximation
    return albedo * (SUN * sunlight + SKYLIGHT) + _clear_sky(mirrored, scenery) * fresnel[..., None]


def _tufts(x: np.ndarray, y: np.ndarray, footprint: np.ndarray, scenery: Scenery) -> tuple[np.ndarray, np.ndarray]:
    """Return bumps of two sizes, and how much the larger face the sun."""
    tile, grain = scenery.tile, scenery.grain
    coarse = _layer(tile, x, y, grain, footprint)
    fine = _layer(tile, x + 3, y + 7, grain / 2.7, footprint)
    away = 0.35 * grain * scenery.sun[:2] / np.linalg.norm(scenery.sun[:2])
    toward = _layer(tile, x + away[0], y + away[1], grain, footprint)
    return 1.1 * coarse + 0.5 * fine, 0.6 * (coarse - toward)


def _furrows(x: np.ndarray, y: np.ndarray, footprint: np.ndarray, scenery: Scenery) -> tuple[np.ndarray, np.ndarray]:
    """Return parallel waves, a little bent, and how much they face the sun."""
    tile, grain = scenery.tile, 1.6 * scenery.grain
    along, across = math.sin(scenery.heading), math.cos(scenery.heading)
    bend = 0.25 * _layer(tile, x, y, 1.5, footprint)
    phase = 2 * math.pi * ((x * across + y * along) / grain + bend)
    seen = _seen(grain, footprint)
    fine = _layer(tile, x, y, grain / 4, footprint)
    facing = -(across * scenery.sun[0] + along * scenery.sun[1])
    return np.sin(phase) * seen + 0.6 * fine, facing * np.cos(phase) * seen


def _slabs(x: np.ndarray, y: np.ndarray, footprint: np.ndarray, scenery: Scenery) -> tuple[np.ndarray, np.ndarray]:
    """Return square slabs of differing shade with dark joints; they are level."""
    tile, grain = scenery.tile, scenery.grain
    along, across = math.sin(scenery.heading), math.cos(scenery.heading)
    u, v = (x * across + y * along) / grain, (y * across - x * along) / grain
    seen = _seen(grain, footprint)
    shade = tile[::_STEPS, ::_STEPS][np.floor(u).astype(np.int64) % _TILE, np.floor(v).astype(np.int64) % _TILE] * seen
    joint = np.minimum(np.abs(u - np.round(u)), np.abs(v - np.round(v)))
    gap = np.clip(1 - (joint - 0.03) * grain / np.maximum(footprint, 0.02), 0, 1) * seen
    return 0.5 * shade - 2.2 * gap + 0.4 * _layer(tile, x, y, grain / 6, footprint), np.zeros_like(x)


# Of points x and y (…) of the ground and what a pixel covers there: the shade, about standard normal, and the slope
# towards the sun, about within -1 and 1.
_PATTERNS = {"tufts": _tufts, "furrows": _furrows, "slabs": _slabs}


def _layer(tile: np.ndarray, x: np.ndarray, y: np.ndarray, size: float, footprint: np.ndarray) -> np.ndarray:
    """Return noise of one size on the ground, faded out where it is finer than a pixel."""
    return _noise(tile, x / size, y / size) * _seen(size, footprint)


def _seen(size: float, footprint: np.ndarray) -> np.ndarray:
    """Return the share of contrast that pixels of a footprint leave to a pattern of that size."""
    return 1 / (1 + (1.5 * footprint / size) ** 2)


def _draw_tile(rng: np.random.Generator) -> np.ndarray:
    """Return noise of about unit variance that varies over `_STEPS` pixels, on a torus."""
    import cv2

    coarse = rng.standard_normal((_TILE, _TILE), dtype=np.float32)
    edge = 2
    wide = np.pad(coarse, edge, mode="wrap")
    fine = cv2.resize(wide, None, fx=_STEPS, fy=_STEPS, interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(1.3 * fine[edge * _STEPS : -edge * _STEPS, edge * _STEPS : -edge * _STEPS])


def _noise(tile: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return smooth noise that varies over a unit of x and y, about standard normal; it repeats after `_TILE`."""
    import cv2

    turns_x, turns_y = x / _TILE, y / _TILE
    at_x, at_y = (turns_x - np.floor(turns_x)) * len(tile), (turns_y - np.floor(turns_y)) * len(tile)
    return cv2.remap(tile, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
