"""Image data sets in binary files and arrays, read into upright squares and labels; dealing and keeping them."""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ..cache import cache_dir, cached_arrays, fingerprint, progress
from ..splits import SPLITS, Split, dealt_to

STL10_SIDE = 96
CIFAR_SIDE = 32
CACHED_FROM = 32 << 20
"""Bytes from which on converted images are kept in the cache and memory-mapped; fewer are read anew each time."""
CHUNK = 1024
"""Images that are converted at a time."""


Arrays: TypeAlias = dict[str, np.ndarray]
"""What a reader returns: `images` (N, S, S, C) uint8, C = 3 (RGB) or 1; `labels` (N,) int64; `class_names` (K,) str;
`saliency` (N, S, S) uint8 or floating where the data set brings maps; `skipped` (M,) str, the files that cannot be
decoded, where there are files to decode."""


def check_saliency(maps: np.ndarray, source: str, *, first: int = 0) -> None:
    """Raise ValueError, naming `source` and the image, if one of (N, S, S) maps, counted from `first`, is unfit."""
    with np.errstate(invalid="ignore"):
        low, high = maps.min(axis=(1, 2)), maps.max(axis=(1, 2))
        bad = ~(np.isfinite(high) & (low >= 0) & (high > 0))
    if bad.any():
        i = int(bad.argmax())
        raise ValueError(
            f"{source}: expected saliency maps that are finite, not negative and not all zeros; "
            f"that of image {first + i} goes from {low[i]} to {high[i]}"
        )


def read_stl10(folder: Path, split: Split) -> Arrays:
    """Read `{train,test}_X.bin` (N, 3, column, row), labels from 1, and `saliency_{train,test}.npy` if it is there."""
    part = "test" if split == "test" else "train"
    pixels, targets, names = files = existing_files(folder, [f"{part}_X.bin", f"{part}_y.bin", "class_names.txt"])
    class_names = text_lines(names)
    labels = np.fromfile(targets, dtype=np.uint8).astype(np.int64) - 1
    shape = (len(labels), 3, STL10_SIDE, STL10_SIDE)
    expected, found = int(np.prod(shape)), pixels.stat().st_size
    if expected != found or not len(labels):
        raise ValueError(
            f"{pixels} holds {found} bytes; expected {expected}, {shape[1:]} for each of the {len(labels)} labels in "
            f"{targets.name}. One of them is cut short or damaged: fetch it again"
        )
    _check_labels(labels, len(class_names), targets)
    return _kept_stl10(pixels, labels, class_names, files, split, own_test=True)


def read_stl10_unlabelled(pixels: Path, split: Split) -> Arrays:
    """Read `unlabeled_X.bin`, laid out as the labelled parts, and `saliency_unlabeled.npy` if it is beside it."""
    record, size = 3 * STL10_SIDE**2, pixels.stat().st_size
    if size == 0 or size % record:
        raise ValueError(
            f"{pixels} holds {size} bytes; expected a whole number of images of {record} bytes. It is cut short or "
            "damaged: fetch it again"
        )
    labels = np.zeros(size // record, dtype=np.int64)
    return _kept_stl10(pixels, labels, ["unlabelled"], [pixels], split, own_test=False)


def _kept_stl10(
    pixels: Path, labels: np.ndarray, class_names: Sequence[str], files: Sequence[Path], split: Split, *, own_test: bool
) -> Arrays:
    """Turn the pixels, (N, 3, column, row) on disk, upright; take the saliency maps that are beside them."""
    published = pixels.with_name(f"saliency_{pixels.name.removesuffix('_X.bin')}.npy")
    maps = [published] if published.exists() else []

    def build() -> Arrays:
        index = members_of([str(i) for i in range(len(labels))], split, pixels, own_test=own_test)
        shape = (len(labels), 3, STL10_SIDE, STL10_SIDE)
        stored = np.memmap(pixels, dtype=np.uint8, mode="r", shape=shape)
        arrays = labelled(taken(stored.transpose(0, 3, 2, 1), index), labels[index], class_names)
        for path in maps:
            arrays["saliency"] = taken(_open_saliency(path, len(labels), STL10_SIDE), index)
        return arrays

    return kept("stl10", [*files, *maps], split, pixels.stat().st_size, build)


def _open_saliency(path: Path, count: int, side: int) -> np.ndarray:
    """Return the maps of `path` as a memory map (count, side, side); the published ones are (N, 1, S, S)."""
    maps = _load_npy(path)
    if maps.shape not in ((count, side, side), (count, 1, side, side)):
        raise ValueError(
            f"{path} holds maps of shape {maps.shape}; expected {(count, side, side)} or {(count, 1, side, side)}, "
            "one for each image"
        )
    if maps.dtype != np.uint8 and not np.issubdtype(maps.dtype, np.floating):
        raise ValueError(f"{path} holds {maps.dtype} maps; expected uint8 or floating point")
    maps = maps.reshape(count, side, side)
    for start in range(0, count, CHUNK):
        check_saliency(maps[start : start + CHUNK], str(path), first=start)
    return maps


def read_cifar10(folder: Path, split: Split) -> Arrays:
    """Read `data_batch_{1..5}.bin` or `test_batch.bin`."""
    files = ["test_batch.bin"] if split == "test" else [f"data_batch_{i}.bin" for i in range(1, 6)]
    return _read_cifar(folder, split, files, label_bytes=1, names_file="batches.meta.txt")


def read_cifar100(folder: Path, split: Split) -> Arrays:
    """Read `train.bin` or `test.bin`, with the fine labels."""
    files = ["test.bin"] if split == "test" else ["train.bin"]
    return _read_cifar(folder, split, files, label_bytes=2, names_file="fine_label_names.txt")


def _read_cifar(folder: Path, split: Split, batches: Sequence[str], *, label_bytes: int, names_file: str) -> Arrays:
    """Read records of `label_bytes` labels, the finest last, and 3 x 32 x 32 pixels, rows from the top."""
    *paths, names = files = existing_files(folder, [*batches, names_file])
    class_names = text_lines(names)
    record = label_bytes + 3 * CIFAR_SIDE**2
    sizes = [path.stat().st_size for path in paths]
    for path, size in zip(paths, sizes, strict=True):
        if size == 0 or size % record or size != max(sizes):  # batches are of one size
            whole = -(-max(sizes) // record) * record
            raise ValueError(
                f"{path} holds {size} bytes; expected {whole or record}, a whole number of {record}-byte records and "
                "as many as the other batches. It is cut short or damaged: fetch it again"
            )

    def build() -> Arrays:
        records = np.concatenate([np.fromfile(path, dtype=np.uint8).reshape(-1, record) for path in paths])
        index = members_of([str(i) for i in range(len(records))], split, folder, own_test=True)
        labels = records[:, label_bytes - 1].astype(np.int64)
        _check_labels(labels, len(class_names), folder)
        pixels = records[index, label_bytes:].reshape(-1, 3, CIFAR_SIDE, CIFAR_SIDE)
        return labelled(pixels.transpose(0, 2, 3, 1), labels[index], class_names)

    return kept("cifar", files, split, sum(sizes), build)


def refuse_pickles(folder: Path) -> None:
    """Refuse the Python versions of CIFAR: unpickling a file can run any code that is in it."""
    for first, version in (("data_batch_1", "CIFAR-10 binary version"), ("train", "CIFAR-100 binary version")):
        meta = folder / ("batches.meta" if first == "data_batch_1" else "meta")
        if (folder / first).is_file() and (meta.is_file() or first == "data_batch_1"):
            raise ValueError(
                f"{folder} holds the pickled Python version of CIFAR, which is not read since unpickling can run any "
                f'code. Get the "{version} (suitable for C programs)" from the same page'
            )


def read_array_file(path: Path, split: Split) -> Arrays:
    """Read `.npy` images, or `.npz` with `images` and, if they are there, `labels` and `class_names`."""

    def build() -> Arrays:
        arrays = {"images": _load_npy(path)} if path.suffix == ".npy" else _load_npz(path)
        images = arrays.get("images", np.empty(0))
        images = images[..., None] if images.ndim == 3 else images
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
            raise ValueError(
                f"{path}: expected `images` (N, H, W), (N, H, W, 1) or (N, H, W, 3) uint8, none of them 0; "
                f"got {images.dtype} {images.shape}, keys {sorted(arrays)}"
            )
        labels = arrays.get("labels", np.zeros(len(images), dtype=np.int64))
        if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"{path}: expected {len(images)} integer `labels`, got {labels.dtype} {labels.shape}")
        default = [str(i) for i in range(int(labels.max()) + 1)] if "labels" in arrays else ["unlabelled"]
        class_names = [str(name) for name in arrays.get("class_names", default)]
        _check_labels(labels, len(class_names), path)
        index = members_of([str(i) for i in range(len(images))], split, path, own_test=False)
        return labelled(taken(central_square(images), index), labels[index].astype(np.int64), class_names)

    return kept("array", [path], split, path.stat().st_size, build)


def _load_npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"cannot read {path}: {error}. Expected an array that np.save wrote, not pickled") from error


def _load_npz(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"cannot read {path}: {error}. Expected arrays that np.savez wrote, not pickled") from error


def central_square(images: np.ndarray) -> np.ndarray:
    """Cut (..., H, W, C) to (..., S, S, C), S the smaller of H and W."""
    height, width = images.shape[-3:-1]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[..., top : top + side, left : left + side, :]


def room(shape: tuple[int, ...], dtype: np.dtype[Any] | type) -> np.ndarray:
    """Return an array to fill; from `CACHED_FROM` bytes on it is a nameless file in the cache, not memory."""
    if int(np.prod(shape)) * np.dtype(dtype).itemsize < CACHED_FROM:
        return np.empty(shape, dtype)
    folder = cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:  # the map keeps it open
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)


def taken(rows: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return rows[index], C-contiguous, copied piece by piece, so that more than fits in memory can be."""
    out = room((len(index), *rows.shape[1:]), rows.dtype)
    starts = range(0, len(index), CHUNK)
    for start in progress(starts, total=len(starts), what="converting images"):
        out[start : start + CHUNK] = rows[index[start : start + CHUNK]]
    return out


def members_of(names: Sequence[str], split: Split, source: Path, *, own_test: bool) -> np.ndarray:
    """Return which of `names` fall to `split`: (n,) int64.

    A hash of each name alone decides, so that adding images moves none. With `own_test` the data set brings a test
    split of its own: all names belong to it, or all to train and validation.
    """
    if own_test and split == "test":
        return np.arange(len(names))
    dealt = [dealt_to(name) for name in names]
    if own_test:
        dealt = ["train" if part == "test" else part for part in dealt]
    empty = [part for part in SPLITS if part not in dealt and not (own_test and part == "test")]
    if empty:
        raise ValueError(
            f"{source} has {len(names)} images, too few to deal to all splits: none falls to {', '.join(empty)}"
        )
    return np.array([i for i, part in enumerate(dealt) if part == split], dtype=np.int64)


def kept(name: str, files: Sequence[Path], split: Split, size: int, build: Callable[[], Arrays]) -> Arrays:
    """Return what `build` makes; from `CACHED_FROM` bytes on from the cache, until one of `files` changes."""
    if size < CACHED_FROM:
        return build()
    recipe = {"name": f"{name}-{split}", "version": 1, "files": fingerprint(files)}
    return cached_arrays(recipe, build)


def labelled(images: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> Arrays:
    """Return (N, S, S, C) images, (N,) labels and the names of classes as `Arrays`."""
    names = np.array(class_names, dtype=np.str_)
    return {"images": np.ascontiguousarray(images), "labels": labels, "class_names": names}


def _check_labels(labels: np.ndarray, count: int, source: Path) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= count))
    if len(wrong):
        raise ValueError(
            f"{source}: image {wrong[0]} is of class number {labels[wrong[0]]}, counted from 0, of {count}; "
            f"{len(wrong)} such labels. The file is damaged or not of this format"
        )


def existing_files(folder: Path, names: Sequence[str]) -> list[Path]:
    """Return the paths of `names` in `folder`; raise a ValueError that lists those that are not there."""
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} lacks {', '.join(missing)}; expected all of {', '.join(names)}")
    return [folder / name for name in names]


def text_lines(path: Path) -> list[str]:
    """Return the lines of a text file that are not empty, stripped."""
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
