"""Built-in photographs: one object of a class, and small far ones, on a perspective ground under sun and sky."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..cache import progress
from ..eye.fixation import spectral_residual
from ..splits import SPLITS, Split
from .image_set import ImageSet
from .landscape_objects import Standing, cast_shadow, draw_object
from .landscape_painting import Scenery, paint
from .landscape_views import LandscapeView
from .scenes import MEMBERS_PER_FAMILY, SCENES_PER_CLASS, SIDE, empty_images, generated_images

if TYPE_CHECKING:
    from ..rendering.ray_mesh import RayMesh

FIELD_OF_VIEW = (math.radians(45), math.radians(60))
"""Range of the lens's, between the middles of opposite sides, radians; its falloff (cos^4) goes with it."""
HORIZON = (0.28, 0.44)
"""Range of the horizon's height in the middle of the image, from the top, as a share of the side."""
ROLL = math.radians(3)
"""Greatest roll of the camera to either side."""
SPANS = (40, 70)
"""Range of the longer side of the main object's box in pixels, roughly."""
SIZES = (1.0, 1.7)
"""Range of that side in heights of the eye: the ground it stands on follows from both."""
FAR_OBJECTS = 3
"""At most so many small objects stand behind."""
_FAR_SPANS = (7, 16)
"""Range of the longer side of their boxes in pixels."""
_EXPOSURE = (-0.3, 0.3)
"""Range of the exposure in stops around the camera's automatic one."""
_NOISE = 2.0
"""Standard deviation of the sensor's noise in grey levels."""
_GREY = 0.33
"""What the automatic exposure makes of the mean light, before tones."""
_TRIES = 40
"""Places, sizes and turns drawn for the main object before it takes a safe one."""


def load_landscapes(split: Split) -> ImageSet:
    """Return the built-in photographs of `split`, generated once and cached.

    Each is 96 x 96 x 3: a member of one of the object families stands on a level ground, 40 to 70 pixels large, with
    none to three small far objects of other families. Where a glimpse lies can be told from what it shows, as in a
    natural photograph, but is written nowhere: sky above ground, a texture that grows finer towards the horizon and
    fades into the air, objects that are larger the lower they stand, the sun ahead at the left, to which the sky, the
    ground's sheen and the shadows answer, and a lens that darkens the corners. Eye height is the unit of length;
    horizon, tilt, lens, sun, air, ground and clouds are drawn for each. Photographs of different splits show different
    objects.
    """
    return generated_images("landscapes", split, 1, _make_landscapes)


def _make_landscapes(split: Split) -> dict[str, np.ndarray]:
    from ..rendering.ray_mesh import RayMesh
    from ..shapes.objects import load_objects

    rng = np.random.default_rng([8527, SPLITS.index(split)])
    objects = load_objects("families", split, members_per_family=MEMBERS_PER_FAMILY[split])
    count = SCENES_PER_CLASS[split] * len(objects.class_names)
    arrays = empty_images(count)
    meshes: dict[int, RayMesh] = {}
    for i in progress(range(count), total=count, what=f"making {split} landscapes"):
        members = [i % len(objects)]
        others = np.flatnonzero(objects.labels != objects.labels[members[0]])
        members += rng.choice(others, rng.integers(FAR_OBJECTS + 1)).tolist()
        for member in members:
            if member not in meshes:
                meshes[member] = RayMesh(objects.mesh(member))
        image, box = photograph([meshes[member] for member in members], rng)
        arrays["images"][i], arrays["boxes"][i] = image, box
        arrays["labels"][i] = objects.labels[members[0]]
        arrays["saliency"][i] = spectral_residual(image)
    return arrays


def photograph(meshes: list[RayMesh], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a landscape with the first of `meshes` in front and the others far.

    Returns:
        (SIDE, SIDE, 3) uint8, and the box (4,) x0, y0, x1, y1 of the object in front, ends excluded.
    """
    view, scenery = _draw_view(rng), Scenery.draw(rng)
    main = _place_main(meshes[0], view, rng)
    standing = [main, *(_place_far(mesh, view, rng) for mesh in meshes[1:])]
    standing.sort(key=lambda item: -item.y)
    backdrop = paint(view, scenery)
    for item in standing:
        cast_shadow(item, backdrop, view, scenery)
    cover = np.zeros((SIDE, SIDE))
    for item in standing:
        drawn = draw_object(item, backdrop, view, scenery)
        cover = drawn if item is main else cover
    rows, columns = np.flatnonzero(cover.any(axis=1)), np.flatnonzero(cover.any(axis=0))
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    return _develop(backdrop.image, view, rng), box


def _draw_view(rng: np.random.Generator) -> LandscapeView:
    field_of_view, roll = rng.uniform(*FIELD_OF_VIEW), rng.uniform(-ROLL, ROLL)
    pitch = math.atan((1 - 2 * rng.uniform(*HORIZON)) * math.tan(field_of_view / 2))
    return LandscapeView(SIDE, field_of_view, pitch, roll)


def _place_main(mesh: RayMesh, view: LandscapeView, rng: np.random.Generator) -> Standing:
    """Stand an object where it is wholly in the image: the first such draw, or else a small one in the middle."""
    for _ in range(_TRIES):
        span, x, yaw = rng.uniform(*SPANS), rng.uniform(0, SIDE), rng.uniform(-math.pi, math.pi)
        standing = _stand(mesh, view, x, span, rng.uniform(*SIZES), yaw)
        x0, y0, x1, y1 = standing.outline(view)
        if x0 >= 0.5 and y0 >= 0.5 and x1 <= SIDE - 0.5 and y1 <= SIDE - 0.5:
            return standing
    return _stand(mesh, view, SIDE / 2, SPANS[0], SIZES[1], 0.0)


def _place_far(mesh: RayMesh, view: LandscapeView, rng: np.random.Generator) -> Standing:
    x, span, yaw = rng.uniform(0, SIDE), rng.uniform(*_FAR_SPANS), rng.uniform(-math.pi, math.pi)
    return _stand(mesh, view, x, span, rng.uniform(*SIZES), yaw)


def _stand(mesh: RayMesh, view: LandscapeView, x: float, span: float, size: float, yaw: float) -> Standing:
    """Stand an object of a size so far off that it spans as many pixels, its foot about column `x`."""
    sine, cosine = math.sin(yaw), math.cos(yaw)
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], np.float32)
    extent = np.ptp(mesh.mesh.vertices @ turn.T, axis=0)
    scale = size / max(extent[0], extent[2])
    ahead = view.focal * size / span + scale * extent[1] / 2  # exact if it were flat: its front is that far
    standing = Standing(mesh, ahead * (x - SIDE / 2) / view.focal, ahead, scale, turn)
    x0, y0, x1, y1 = standing.outline(view)
    closer = span / max(x1 - x0, y1 - y0)
    return Standing(mesh, standing.x / closer, ahead / closer, scale, turn)


def _develop(light: np.ndarray, view: LandscapeView, rng: np.random.Generator) -> np.ndarray:
    """Return the photograph of `light` (SIDE, SIDE, 3): the lens's falloff, exposure, tones and the sensor's noise."""
    light = light * view.falloff()[..., None].astype(np.float32)
    exposure = _GREY / light.mean() * 2 ** rng.uniform(*_EXPOSURE)
    tones = (1 - np.exp(-np.maximum(light, 0) * np.float32(exposure))) ** np.float32(1 / 2.2)
    noise = rng.standard_normal(tones.shape, dtype=np.float32) * np.float32(_NOISE)
    return np.clip(np.rint(255 * tones + noise), 0, 255).astype(np.uint8)
