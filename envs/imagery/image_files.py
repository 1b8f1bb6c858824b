"""Image files in folders, decoded to squares of one size: one sub-folder a class, and Tiny ImageNet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..cache import progress
from ..splits import Split
from .image_formats import Arrays, central_square, existing_files, kept, labelled, members_of, room, text_lines

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
FOLDER_SIDE = 96
TINY_IMAGENET_SIDE = 64
BEHIND_ALPHA = 128
"""The grey that shows through where an image is transparent."""


def read_tiny_imagenet(folder: Path, split: Split) -> Arrays:
    """Read `train/WNID/images/*.JPEG`, dealt to train and validation, or the published validation part as test."""
    wnids = text_lines(folder / "wnids.txt")
    if split == "test":
        (annotations,) = existing_files(folder, ["val/val_annotations.txt"])
        rows = [line.split()[:2] for line in text_lines(annotations)]
        paths, classes = [folder / "val" / "images" / row[0] for row in rows], [row[-1] for row in rows]
    else:
        paths = sorted(p for p in (folder / "train").glob("*/images/*") if p.suffix.lower() in IMAGE_SUFFIXES)
        index = members_of([p.name for p in paths], split, folder, own_test=True)
        paths = [paths[i] for i in index]
        classes = [p.parts[-3] for p in paths]
    unknown = sorted(set(classes) - set(wnids))
    if unknown:
        raise ValueError(
            f"{folder} has images of {unknown[0]!r}, which is not in its wnids.txt of {len(wnids)} classes"
        )
    number = {wnid: i for i, wnid in enumerate(wnids)}
    labels = np.array([number[wnid] for wnid in classes], dtype=np.int64)
    return _decoded(paths, labels, _words(folder, wnids), TINY_IMAGENET_SIDE, split, folder)


def _words(folder: Path, wnids: Sequence[str]) -> list[str]:
    """Return the first synonym of each class in `words.txt`; classes that are not in it keep their number."""
    path = folder / "words.txt"
    rows = [line.partition("\t") for line in text_lines(path)] if path.exists() else []
    words = {wnid: synonyms.split(",")[0].strip() for wnid, _, synonyms in rows}
    return [words.get(wnid) or wnid for wnid in wnids]


def read_class_folders(folder: Path, split: Split) -> Arrays:
    """Read every image below `folder` that is not hidden; the first folder below it is the class."""
    found = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    names = [name for name in found if len(name.parts) > 1 and not any(part.startswith(".") for part in name.parts)]
    if not names:
        raise ValueError(
            f"no images in {folder}: expected one sub-folder a class with files ending in {', '.join(IMAGE_SUFFIXES)}; "
            "or the files of STL-10, CIFAR-10, CIFAR-100 (binary versions) or Tiny ImageNet, not a folder above them"
        )
    class_names = sorted({name.parts[0] for name in names})
    if set(class_names) <= {"train", "val", "valid", "validation", "test"}:
        raise ValueError(
            f"the sub-folders of {folder} are splits ({', '.join(class_names)}), not classes; give one of them, such "
            f"as {folder / class_names[-1]}: its images are dealt to the three splits by name"
        )
    index = members_of([name.as_posix() for name in names], split, folder, own_test=False)
    labels = np.array([class_names.index(names[i].parts[0]) for i in index], dtype=np.int64)
    return _decoded([folder / names[i] for i in index], labels, class_names, FOLDER_SIDE, split, folder)


def _decoded(
    paths: Sequence[Path], labels: np.ndarray, class_names: Sequence[str], side: int, split: Split, source: Path
) -> Arrays:
    """Decode the images that can be read, and name the others."""

    def build() -> Arrays:
        images = room((len(paths), side, side, 3), np.uint8)
        read, skipped = [], []
        for i, path in enumerate(progress(paths, total=len(paths), what=f"reading {source.name}")):
            image = _read_square(path, side)
            if image is None:
                skipped.append(str(path))
            else:
                images[len(read)] = image
                read.append(i)
        if not read:
            raise ValueError(f"no readable image of the {split} split in {source} ({len(paths)} files tried)")
        arrays = labelled(images[: len(read)], labels[read], class_names)
        return {**arrays, "skipped": np.array(skipped, dtype=np.str_)}

    return kept("images", paths, split, len(paths) * side * side * 3, build)


def _read_square(path: Path, side: int) -> np.ndarray | None:
    """Return the central square at `side` pixels, (side, side, 3) uint8 RGB; None if unreadable or without pixels."""
    import cv2

    try:
        data = np.fromfile(path, dtype=np.uint8)
        # JPEG has no transparency, and this flag heeds a camera's orientation; others keep their alpha and depth.
        flag = cv2.IMREAD_COLOR if data[:2].tobytes() == b"\xff\xd8" else cv2.IMREAD_UNCHANGED
        image = cv2.imdecode(data, flag) if data.size else None
    except (OSError, cv2.error):
        return None
    if image is None or image.size == 0 or image.dtype not in (np.uint8, np.uint16):
        return None
    if image.dtype == np.uint16:
        image = (image // 256).astype(np.uint8)
    image = image.reshape(*image.shape[:2], -1)
    if image.shape[2] == 4:
        alpha = image[..., 3:].astype(np.float32) / 255
        image = np.rint(image[..., :3] * alpha + BEHIND_ALPHA * (1 - alpha)).astype(np.uint8)
    square = np.ascontiguousarray(central_square(image))
    if square.shape[0] != side:
        interpolation = cv2.INTER_AREA if square.shape[0] > side else cv2.INTER_LINEAR
        square = cv2.resize(square, (side, side), interpolation=interpolation).reshape(side, side, -1)
    return np.broadcast_to(square[..., ::-1], (side, side, 3)) if square.shape[2] in (1, 3) else None
