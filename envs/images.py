"""Images to look at: the built-in scenes, folders, and arrays, with labels and saliency."""

from __future__ import annotations

import os
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from .fixation import spectral_residual
from .objects import Split

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
FOLDER_SIDE = 96


class ImageSet:
    """Square images of one size, with a label each.

    Args:
        images: (N, S, S, C) uint8, N and S at least 1.
        labels: (N,) integers in [0, number of classes).
        class_names: one name a class.
        saliency: (N, S, S) uint8 maps, or None to compute spectral residual saliency when it is asked for.
        boxes: (N, 4) int64 boxes (x0, y0, x1, y1) in pixels around the labelled object, ends excluded, or None.
        recipe: arguments of `load_images` that make this set again, so that pickling ships no pixels; or None.

    Raises:
        ValueError: if shapes or labels do not fit together.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        class_names: Sequence[str],
        *,
        saliency: np.ndarray | None = None,
        boxes: np.ndarray | None = None,
        recipe: tuple[str, Split] | None = None,
    ) -> None:
        if images.ndim != 4 or images.dtype != np.uint8 or images.shape[1] != images.shape[2] or 0 in images.shape:
            raise ValueError(
                f"expected images (N, S, S, C) uint8, N and S at least 1; got {images.dtype} {images.shape}"
            )
        if labels.shape != (len(images),) or labels.min() < 0 or labels.max() >= len(class_names):
            raise ValueError(f"expected {len(images)} labels in [0, {len(class_names)}), got {labels.shape} {labels}")
        if saliency is not None and saliency.shape != images.shape[:3]:
            raise ValueError(f"expected saliency maps {images.shape[:3]}, got {saliency.shape}")
        self.images = images if images.flags.c_contiguous else np.ascontiguousarray(images)
        self.labels = np.asarray(labels, dtype=np.int64)
        self.class_names = tuple(class_names)
        self.boxes = boxes
        self._saliency = saliency
        self._computed: dict[int, np.ndarray] = {}
        self._recipe = recipe

    def __len__(self) -> int:
        return len(self.images)

    @property
    def side(self) -> int:
        """S, in pixels."""
        return self.images.shape[1]

    def saliency(self, index: np.ndarray) -> np.ndarray:
        """Return (n, S, S) uint8 saliency maps of the images `index` (n,)."""
        if self._saliency is not None:
            return self._saliency[index]
        for i in index:
            if int(i) not in self._computed:
                self._computed[int(i)] = spectral_residual(self.images[i].squeeze())
        return np.stack([self._computed[int(i)] for i in index])

    def __reduce__(self) -> tuple[Any, ...]:
        if self._recipe is not None:
            return load_images, self._recipe
        return _from_arrays, (self.images, self.labels, self.class_names, self._saliency, self.boxes)


def load_images(source: str | os.PathLike[str] = "scenes", split: Split = "train") -> ImageSet:
    """Return the images of a source.

    Args:
        source: "scenes" (built in, generated at first use) or the path of a folder with one sub-folder a class.
        split: "train", "validation" or "test". A folder's images are dealt to them 8 : 1 : 1 by a hash of their names.

    Raises:
        ValueError: for an unknown split or source, or a folder that holds no readable image.
    """
    if split not in get_args(Split):
        raise ValueError(f"split must be one of {get_args(Split)}, got {split!r}")
    if source == "scenes":
        from .scenes import load_scenes

        return load_scenes(split)
    folder = Path(source)
    if not folder.is_dir():
        raise ValueError(
            f'images must be "scenes" or an existing folder with one sub-folder a class, got {str(source)!r}'
        )
    return _load_folder(folder, split)


def _from_arrays(
    images: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    saliency: np.ndarray | None,
    boxes: np.ndarray | None,
) -> ImageSet:
    return ImageSet(images, labels, class_names, saliency=saliency, boxes=boxes)


def _load_folder(folder: Path, split: Split) -> ImageSet:
    """Read every image below `folder`; the first folder below it is the class."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.parent != folder)
    if not paths:
        raise ValueError(
            f"no images in {folder}: expected one sub-folder a class with files ending in {', '.join(IMAGE_SUFFIXES)}"
        )
    empty = set(get_args(Split)) - {_dealt_to(p.relative_to(folder).as_posix()) for p in paths}
    if empty:
        raise ValueError(
            f"{folder} has {len(paths)} images, too few to deal to all splits: none falls to {', '.join(sorted(empty))}"
        )
    class_names = sorted({p.relative_to(folder).parts[0] for p in paths})
    images, labels, unreadable = [], [], []
    for path in paths:
        relative = path.relative_to(folder)
        if _dealt_to(relative.as_posix()) != split:
            continue
        image = _read_square(path)
        if image is None:
            unreadable.append(path)
            continue
        images.append(image)
        labels.append(class_names.index(relative.parts[0]))
    if unreadable:
        warnings.warn(f"skipped {len(unreadable)} unreadable images, the first {unreadable[0]}", stacklevel=3)
    if not images:
        raise ValueError(f"no readable image of the {split} split in {folder} ({len(paths)} files in all)")
    return ImageSet(np.stack(images), np.array(labels), class_names, recipe=(str(folder), split))


def _dealt_to(name: str) -> Split:
    """Deal a file to a split by its name alone, so that adding files moves none."""
    share = zlib.crc32(name.encode()) % 10
    if share < 8:
        return "train"
    return "validation" if share == 8 else "test"


def _read_square(path: Path) -> np.ndarray | None:
    """Return the central square at `FOLDER_SIDE` pixels, (S, S, 3) uint8 RGB; None if unreadable."""
    import cv2

    image = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR) if path.stat().st_size else None
    if image is None:
        return None
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    interpolation = cv2.INTER_AREA if side >= FOLDER_SIDE else cv2.INTER_LINEAR
    resized = cv2.resize(square, (FOLDER_SIDE, FOLDER_SIDE), interpolation=interpolation)
    return cv2.cvtColor(resized, cv2.COLOR_BGR2RGB)
