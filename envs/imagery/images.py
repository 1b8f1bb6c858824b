"""Images to look at: the built-in scenes, data sets, folders and arrays, with labels and saliency."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..eye.fixation import spectral_residual
from ..splits import SPLITS, Split
from .image_files import read_class_folders, read_tiny_imagenet
from .image_formats import (
    Arrays,
    check_saliency,
    read_array_file,
    read_cifar10,
    read_cifar100,
    read_stl10,
    read_stl10_unlabelled,
    refuse_pickles,
)

BUILT_IN = ("scenes", "landscapes", "search-easy", "search", "search-hard", "textures")
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
        recipe: arguments of `load_images` that make this set again, so that pickling ships no pixels; or None.

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
        if saliency is not None and recipe is None:  # the loaders have checked theirs, which may be gigabytes
            check_saliency(saliency, "saliency")
        _check_objects(len(images), len(class_names), boxes, object_boxes, object_labels)
        self.images = images if images.flags.c_contiguous else np.ascontiguousarray(images)
        self.labels = np.asarray(labels, dtype=np.int64)
        self.class_names = tuple(class_names)
        self.boxes = boxes
        self.object_boxes, self.object_labels = object_boxes, object_labels
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

    def __reduce__(self) -> tuple[Any, ...]:
        if self._recipe is not None:
            return load_images, self._recipe
        optional = (self._saliency, self.boxes, self.object_boxes, self.object_labels)
        return _from_arrays, (self.images, self.labels, self.class_names, *optional)


def load_images(source: str | os.PathLike[str] = "scenes", split: Split = "train") -> ImageSet:
    """Return the images of a source.

    Args:
        source: what is built in, generated at first use:

            - "scenes": one object on a textured ground, 96 x 96, with its box.
            - "landscapes": one object, with its box, and small far ones on a perspective ground under sun and sky,
              96 x 96: what a glimpse shows tells where it lies, as in a natural photograph.
            - "search-easy", "search", "search-hard": 3, 6 or 10 objects of different classes, 128 x 128, all boxed.
            - "textures": the grounds alone, 96 x 96, of three classes.

            Or a path, whose format is recognised by what is there:

            - STL-10, binary version: 96 x 96. `saliency_train.npy` and `saliency_test.npy` in its folder, (N, 96, 96)
              or (N, 1, 96, 96), uint8 or floating point, are its saliency maps. Its unlabelled part is a source of its
              own: the path of `unlabeled_X.bin`, one class, with `saliency_unlabeled.npy` if that is beside it.
            - CIFAR-10 and CIFAR-100 (fine labels), binary versions: 32 x 32. The pickled ones are refused.
            - Tiny ImageNet: 64 x 64.
            - A folder with one sub-folder a class, images at any depth below: the central square, resampled to 96 x 96.
              Grey images become RGB, 16 bits a channel 8, and transparency shows mid-grey.
            - An `.npy` file of images, (N, H, W) or (N, H, W, 1 or 3) uint8, or an `.npz` with such `images` and
              optional `labels` (N,) and `class_names`: the central square as it is, grey or RGB.
        split: "train", "validation" or "test". STL-10 and CIFAR keep their test split, Tiny ImageNet's is its published
            validation part; a tenth of their training images is held out for validation. The images of folders, arrays
            and the unlabelled part are dealt 8 : 1 : 1. A hash of an image's name or number decides.

    Returns:
        The set. Of data sets from 32 MiB on, each split is converted once, in pieces (an `.npz` in memory), and kept in
        the cache, from where it is memory-mapped and shared by all processes.

    Raises:
        ValueError: for an unknown split or source, files that are missing, truncated, damaged or pickled, saliency maps
            of another size or all zeros, or if no image can be read. Single files that cannot are skipped with one
            warning.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    if source == "scenes":
        from .scenes import load_scenes

        return load_scenes(split)
    if source == "landscapes":
        from .landscapes import load_landscapes

        return load_landscapes(split)
    if source in BUILT_IN:
        from .search_scenes import load_search, load_textures

        return load_textures(split) if source == "textures" else load_search(str(source), split)
    path = Path(os.path.abspath(os.path.expanduser(source)))
    arrays = _read(path, split)
    skipped = arrays.get("skipped")
    if skipped is not None and len(skipped):
        warnings.warn(f"skipped {len(skipped)} unreadable images, the first {skipped[0]}", stacklevel=2)
    return ImageSet(
        arrays["images"],
        arrays["labels"],
        arrays["class_names"].tolist(),
        saliency=arrays.get("saliency"),
        recipe=(str(path), split),
    )


def _read(source: Path, split: Split) -> Arrays:
    """Recognise a data set by what is at `source`, and read one split of it."""
    if source.is_file() and source.suffix in (".npz", ".npy"):
        return read_array_file(source, split)
    if source.is_file() and source.name == "unlabeled_X.bin":
        return read_stl10_unlabelled(source, split)
    if not source.is_dir():
        raise ValueError(
            f"images must be built in ({', '.join(BUILT_IN)}), an existing folder, an .npz or .npy file, or STL-10's "
            f"unlabeled_X.bin; got {str(source)!r}, which is none of them"
        )
    names = set(os.listdir(source))
    if names & {"train_X.bin", "test_X.bin"}:
        return read_stl10(source, split)
    if names & {"data_batch_1.bin", "test_batch.bin"}:
        return read_cifar10(source, split)
    if names & {"train.bin", "test.bin"}:
        return read_cifar100(source, split)
    refuse_pickles(source)
    if "wnids.txt" in names and (source / "train").is_dir():
        return read_tiny_imagenet(source, split)
    return read_class_folders(source, split)


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
