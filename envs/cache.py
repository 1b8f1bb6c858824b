"""Where built-in data lives on disk: generated once, keyed by its recipe, written atomically."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
_ABANDONED = 2 * 24 * 3600.0
"""Seconds since its beginning after which an unfinished write counts as abandoned."""
MAPPED_FROM = 1 << 20
"""Bytes from which on a cached array is a memory map."""


def cache_dir() -> Path:
    """Return the folder for generated data, which may not exist yet: ``$GLIMPSEWORLD_CACHE`` or the user's cache."""
    override = os.environ.get("GLIMPSEWORLD_CACHE")
    if override:
        return Path(override).expanduser()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("glimpseworld", appauthor=False))


def cached_arrays(recipe: Mapping[str, Any], build: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the arrays of `recipe`, from the cache if it has them, else from `build`, and keep them.

    Args:
        recipe: JSON-able description of everything the arrays depend on; its ``"name"`` begins the file's name. A
            change of the recipe is a new file; raise a ``"version"`` in it when the generating code changes.
        build: makes the arrays. It is called only when the cache has no readable file of this recipe.

    Returns:
        Name -> array, equal to what `build` returned. Each array of 1 MiB and over is a read-only memory map, so
        that many processes share one copy.

    Raises:
        OSError: if the cache folder cannot be written; the message names `GLIMPSEWORLD_CACHE` as the way out.
    """
    return streamed_arrays(recipe, lambda _: build())


def streamed_arrays(recipe: Mapping[str, Any], build: Callable[[Path], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Do as `cached_arrays`, for arrays larger than memory.

    Args:
        recipe: as for `cached_arrays`.
        build: makes the arrays. It is given an empty folder, and may write some of them there itself, each as
            NAME.npy (see `RowsFile`); it returns the others.

    Returns:
        As `cached_arrays`, of both kinds.

    Raises:
        OSError: as `cached_arrays`.
    """
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
    folder = cache_dir() / f"{recipe['name']}-{digest}"
    try:
        return _read_arrays(folder)
    except (OSError, ValueError, KeyError):  # not there, or damaged: make it anew
        _write_arrays(folder, recipe, build)
    return _read_arrays(folder)


class RowsFile:
    """An .npy file that is written piece by piece, of a length that is known only at the end; a context manager.

    Args:
        path: the file, which is written anew.
        row_shape: shape of a row.
        dtype: of the array.
    """

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._path, self._row_shape, self._dtype, self._rows = path, row_shape, dtype, 0
        self._file = path.open("wb")
        self._file.write(self._header())

    def __enter__(self) -> RowsFile:
        return self

    def __exit__(self, *_: object) -> None:
        with self._file:
            self._file.seek(0)
            self._file.write(self._header())

    def extend(self, rows: np.ndarray) -> None:
        """Write (n, *row_shape) more rows."""
        assert rows.shape[1:] == self._row_shape and rows.dtype == self._dtype
        with _writing(self._path.parent):
            self._file.write(np.ascontiguousarray(rows).data)
        self._rows += len(rows)

    def _header(self) -> bytes:
        """Return the header for the rows so far; NumPy leaves room in it for the first axis to grow."""
        described = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self._rows, *self._row_shape),
        }
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, described)
        return header.getvalue()


def _read_arrays(folder: Path) -> dict[str, np.ndarray]:
    names = json.loads((folder / "recipe.json").read_text())["arrays"]
    arrays = {}
    for name in names:
        path = folder / f"{name}.npy"
        mode = "r" if path.stat().st_size >= MAPPED_FROM else None
        arrays[name] = np.load(path, mmap_mode=mode, allow_pickle=False)
    return arrays


def _write_arrays(folder: Path, recipe: Mapping[str, Any], build: Callable[[Path], dict[str, np.ndarray]]) -> None:
    """Write into a temporary folder and rename it, so that a reader sees all of it or nothing."""
    with _writing(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder.parent)
        scratch = tempfile.TemporaryDirectory(dir=folder.parent, prefix=".writing-")
    with scratch:
        staged = Path(scratch.name) / folder.name
        staged.mkdir()
        arrays = build(staged)  # an error of reading is not one of writing
        with _writing(folder.parent):
            for name, array in arrays.items():
                np.save(staged / f"{name}.npy", array, allow_pickle=False)
            names = sorted(path.stem for path in staged.glob("*.npy"))
            (staged / "recipe.json").write_text(json.dumps({"recipe": recipe, "arrays": names}, indent=1))
            # What is there is damaged, or another process's, just finished and as good as ours.
            if folder.exists():
                folder.rename(Path(scratch.name) / "replaced")
            staged.rename(folder)


def _remove_leftovers(root: Path) -> None:
    """Remove what a process that was killed while it wrote left behind, once no other can still be writing it."""
    for leftover in root.glob(".writing-*"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > _ABANDONED:
                shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Name `GLIMPSEWORLD_CACHE` as the way out if the block cannot write to `folder`."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"cannot write built-in data to {folder}: {error}. Free some space, or set GLIMPSEWORLD_CACHE to a "
            "folder that can be written."
        ) from error


def fingerprint(paths: Iterable[Path]) -> str:
    """Return a digest of the absolute names, sizes and times of change of files or folders, in their order."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = path.stat()
        except FileNotFoundError:
            status = None
        change = f"{status.st_size}\0{status.st_mtime_ns}" if status else "missing"
        digest.update(os.fsencode(os.path.abspath(path)) + f"\0{change}\n".encode())
    return digest.hexdigest()


def progress(items: Iterable[T], *, total: int, what: str) -> Iterator[T]:
    """Yield `items` under a progress bar on stderr; silent where stderr is not a terminal, or the work is short."""
    from tqdm import tqdm

    yield from tqdm(items, total=total, desc=what, leave=False, file=sys.stderr, delay=1.0, disable=None)
