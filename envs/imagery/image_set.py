"""Sets of labelled images, with the boxes of what they show and maps of what draws the eye."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..eye.fixation import spectral_residual
from .image_formats import (
    check_saliency,
)

REMEMBERED_MAPS = 4096
"""Saliency maps that a set computed and keeps."""


class ImageSet:
    """Square images of one size, with a label each.

    Args:
        images: (N, S, S, C) uint8, N and S at least 1.
        labels: (N,) integers in [0, number of classes).
        class_names: one name a class.
        saliency: (N, S, S) uint8 or floating point maps, none negative or all zeros, on any scale; or None to compute
            spectral residual saliency when it is asked for.
        boxes: (N, 4) int64 boxes (x0, y0, x1, y1) in pixels around the labelled object, ends excluded, or None.
        object_boxes: (N, K, 4) int64 boxes of all K objects of an image, or None.
        object_labels: (N, K) int64, their classes, those of one image distinct; given with `object_boxes`, or None.
        checked: whether the saliency maps, which may be gigabytes, are known to be as they should.

    Raises:
        ValueError: if shapes or labels do not fit together, or a saliency map is negative, not finite or all zeros.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        class_names: Sequence[str],
        *,
        saliency: np.ndarray | None = None,
        boxes: np.ndarray | None = None,
        object_boxes: np.ndarray | None = None,
        object_labels: np.ndarray | None = None,
        checked: bool = False,
    ) -> None:
        if images.ndim != 4 or images.dtype != np.uint8 or images.shape[1] != images.shape[2] or 0 in images.shape:
            raise ValueError(
                f"expected images (N, S, S, C) uint8, N and S at least 1; got {images.dtype} {images.shape}"
            )
        if labels.shape != (len(images),) or labels.min() < 0 or labels.max() >= len(class_names):
            raise ValueError(f"expected {len(images)} labels in [0, {len(class_names)}), got {labels.shape} {labels}")
        if saliency is not None and saliency.shape != images.shape[:3]:
            raise ValueError(f"expected saliency maps {images.shape[:3]}, got {saliency.shape}")
        if saliency is not None and not checked:
            check_saliency(saliency, "saliency")
        _check_objects(len(images), len(class_names), boxes, object_boxes, object_labels)
        self.images = images if images.flags.c_contiguous else np.ascontiguousarray(images)
        self.labels = np.asarray(labels, dtype=np.int64)
        self.class_names = tuple(class_names)
        self.boxes = boxes
        self.object_boxes, self.object_labels = object_boxes, object_labels
        self._saliency = saliency
        self._computed: dict[int, np.ndarray] = {}
        self._made_by: tuple[Callable[..., ImageSet], tuple[Any, ...]] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def side(self) -> int:
        """S, in pixels."""
        return self.images.shape[1]

    def saliency(self, index: np.ndarray) -> np.ndarray:
        """Return the (n, S, S) saliency maps of the images `index` (n,): as they were given, or computed as uint8."""
        if self._saliency is not None:
            return self._saliency[index]
        return np.stack([self._spectral_residual(int(i)) for i in index])

    def _spectral_residual(self, i: int) -> np.ndarray:
        """Compute the map of image i, or recall it; the oldest make room, so that memory stays flat."""
        if i not in self._computed:
            if len(self._computed) >= REMEMBERED_MAPS:
                del self._computed[next(iter(self._computed))]
            self._computed[i] = spectral_residual(self.images[i].squeeze())
        return self._computed[i]

    def made_by(self, load: Callable[..., ImageSet], *arguments: Any) -> ImageSet:
        """Say that `load(*arguments)` makes this set again, so that pickling ships no pixels; return the set."""
        self._made_by = load, arguments
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self._made_by is not None:
            return self._made_by
        optional = (self._saliency, self.boxes, self.object_boxes, self.object_labels)
        return _from_arrays, (self.images, self.labels, self.class_names, *optional)


def _from_arrays(
    images: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    saliency: np.ndarray | None,
    boxes: np.ndarray | None,
    object_boxes: np.ndarray | None,
    object_labels: np.ndarray | None,
) -> ImageSet:
    return ImageSet(
        images,
        labels,
        class_names,
        saliency=saliency,
        boxes=boxes,
        object_boxes=object_boxes,
        object_labels=object_labels,
    )


def _check_objects(
    count: int,
    classes: int,
    boxes: np.ndarray | None,
    object_boxes: np.ndarray | None,
    object_labels: np.ndarray | None,
) -> None:
    if boxes is not None and boxes.shape != (count, 4):
        raise ValueError(f"expected boxes {(count, 4)}, got {boxes.shape}")
    if object_boxes is None and object_labels is None:
        return
    if object_boxes is None or object_labels is None:
        raise ValueError("object_boxes and object_labels come together; one of them is None")
    if object_labels.ndim != 2 or len(object_labels) != count or object_boxes.shape != (*object_labels.shape, 4):
        raise ValueError(
            f"expected object_labels (N, K) and object_boxes (N, K, 4) of {count} images, got {object_labels.shape} "
            f"and {object_boxes.shape}"
        )
    if object_labels.min() < 0 or object_labels.max() >= classes:
        raise ValueError(f"expected object_labels in [0, {classes})")
