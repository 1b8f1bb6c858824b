"""Built-in images: one rendered object on a textured ground, with its class, place and saliency."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..cache import cached_arrays, progress
from ..eye.fixation import spectral_residual
from ..shapes.objects import OBJECTS_VERSION
from ..splits import Split
from .image_set import ImageSet

if TYPE_CHECKING:
    from ..rendering.renderer import Renderer

SIDE = 96
SCENES_PER_CLASS = {"train": 160, "validation": 24, "test": 40}
MEMBERS_PER_FAMILY = {"train": 64, "validation": 16, "test": 24}
_OBJECT_SIDES = (56, 68, 80)
"""Sides in pixels of the square an object is drawn in; the object spans up to 90 % of it."""
GROUNDS = ("noise", "stripes", "checks")


def load_scenes(split: Split) -> ImageSet:
    """Return the built-in scenes of `split`, generated once and cached.

    Each is 96 x 96 x 3: a member of one of the object families, standing and turned at random, on a ground of noise,
    stripes or checks. Scenes of different splits show different objects.
    """
    return generated_images("scenes", split, 3, _make_scenes, object_sides=_OBJECT_SIDES)


def generated_images(
    name: str, split: Split, version: int, make: Callable[[Split], dict[str, np.ndarray]], **settings: Any
) -> ImageSet:
    """Return one of the built-in sets with one main object an image, from the cache, or made and kept there.

    Args:
        name: Of the set.
        split: Which part of it.
        version: Of what makes it; raise it when a change there changes any image.
        make: Makes the arrays that `empty_images` lists.
        settings: What else the images depend on, JSON-able.
    """
    from ..shapes.families import FAMILIES

    recipe = {
        "name": f"{name}-{split}",
        "version": version,
        "objects": OBJECTS_VERSION,
        "families": list(FAMILIES),
        "side": SIDE,
        **settings,
        "scenes_per_class": SCENES_PER_CLASS[split],
        "members_per_family": MEMBERS_PER_FAMILY[split],
    }
    arrays = cached_arrays(recipe, lambda: make(split))
    return ImageSet(
        arrays["images"],
        arrays["labels"],
        FAMILIES,
        saliency=arrays["saliency"],
        boxes=arrays["boxes"],
        checked=True,
    )


def empty_images(count: int) -> dict[str, np.ndarray]:
    """Return room for `count` images with a label, a box and a saliency map each."""
    return {
        "images": np.empty((count, SIDE, SIDE, 3), dtype=np.uint8),
        "labels": np.empty(count, dtype=np.int64),
        "boxes": np.empty((count, 4), dtype=np.int64),
        "saliency": np.empty((count, SIDE, SIDE), dtype=np.uint8),
    }


def _make_scenes(split: Split) -> dict[str, np.ndarray]:
    from ..rendering.renderer import RayMesh, Renderer
    from ..shapes.objects import load_objects

    rng = np.random.default_rng([4713, ("train", "validation", "test").index(split)])
    objects = load_objects("families", split, members_per_family=MEMBERS_PER_FAMILY[split])
    renderers = {side: Renderer(side, shadows=True) for side in _OBJECT_SIDES}
    count = SCENES_PER_CLASS[split] * len(objects.class_names)
    arrays = empty_images(count)
    meshes: dict[int, RayMesh] = {}
    for i in progress(range(count), total=count, what=f"making {split} scenes"):
        member = i % len(objects)
        if member not in meshes:
            meshes[member] = RayMesh(objects.mesh(member))
        renderer = renderers[_OBJECT_SIDES[rng.integers(len(_OBJECT_SIDES))]]
        image, box = _compose(meshes[member], renderer, rng)
        arrays["images"][i], arrays["boxes"][i] = image, box
        arrays["labels"][i] = objects.labels[member]
        arrays["saliency"][i] = spectral_residual(image)
    return arrays


def _compose(mesh: Any, renderer: Renderer, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return one scene (SIDE, SIDE, 3) uint8 and the object's box (x0, y0, x1, y1) in it."""
    cutout = draw_cutout(mesh, renderer, rng)
    height, width = cutout.shape[:2]
    y, x = int(rng.integers(0, SIDE - height + 1)), int(rng.integers(0, SIDE - width + 1))
    scene = draw_ground(rng, SIDE)
    paste(scene, cutout, x, y)
    return scene, np.array([x, y, x + width, y + height])


def draw_cutout(mesh: Any, renderer: Renderer, rng: np.random.Generator) -> np.ndarray:
    """Return an object standing and turned at random, cut to its extent, (H, W, 4) uint8 RGB and opacity."""
    from scipy.spatial.transform import Rotation

    from ..rendering.renderer import Lighting

    yaw, tilt, roll = rng.uniform([-np.pi, -0.3, -0.3], [np.pi, 0.3, 0.3])
    rotation = Rotation.from_euler("ZYX", [yaw, tilt, roll]).as_matrix()
    light = Lighting(
        floor_hue=np.zeros(1, dtype=np.float32),
        spot_theta=rng.uniform(0, np.pi / 4, 1).astype(np.float32),
        spot_phi=rng.uniform(0, 2 * np.pi, 1).astype(np.float32),
        spot_hue=rng.uniform(0, 1, 1).astype(np.float32),
    )
    cutout = renderer.cutout(mesh, rotation, light)
    rows, columns = np.flatnonzero(cutout[..., 3].any(axis=1)), np.flatnonzero(cutout[..., 3].any(axis=0))
    return cutout[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def paste(scene: np.ndarray, cutout: np.ndarray, x: int, y: int) -> None:
    """Blend a cutout (H, W, 4) into `scene` (S, S, 3) in place, its upper left corner at pixel (x, y)."""
    height, width = cutout.shape[:2]
    alpha = cutout[..., 3:].astype(np.float32) / 255
    patch = scene[y : y + height, x : x + width]
    patch[:] = np.rint(patch * (1 - alpha) + cutout[..., :3] * alpha).astype(np.uint8)


def draw_ground(rng: np.random.Generator, side: int, kind: int | None = None) -> np.ndarray:
    """Return a ground (side, side, 3) uint8: two muted colours blended by texture `GROUNDS[kind]`, drawn if None."""
    import cv2

    noise = np.zeros((side, side), dtype=np.float32)
    for cells, weight in ((3, 1.0), (7, 0.6), (16, 0.35), (40, 0.2)):
        coarse = rng.random((cells, cells), dtype=np.float32)
        noise += weight * cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    blend = (noise - noise.min()) / (noise.max() - noise.min())
    kind = int(rng.integers(len(GROUNDS))) if kind is None else kind
    if kind > 0:
        grid = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
        angle, frequency = rng.uniform(0, np.pi), rng.uniform(3, 9)
        u = grid[None, :] * np.cos(angle) + grid[:, None] * np.sin(angle)
        v = -grid[None, :] * np.sin(angle) + grid[:, None] * np.cos(angle)
        wave = np.sin(2 * np.pi * frequency * u)
        wave = wave * np.sin(2 * np.pi * frequency * v) if kind == 2 else wave
        blend = 0.5 * blend + 0.5 / (1 + np.exp(-6 * wave))
    colors = 128 + (rng.random((2, 3)) - 0.5) * 150
    ground = colors[0] * (1 - blend[..., None]) + colors[1] * blend[..., None] + rng.normal(0, 4, (side, side, 1))
    return np.clip(np.rint(ground), 0, 255).astype(np.uint8)
