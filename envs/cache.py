"""Where built-in data lives on disk: generated once, keyed by its recipe, written atomically."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
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
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
    folder = cache_dir() / f"{recipe['name']}-{digest}"
    try:
        return _read_arrays(folder)
    except (OSError, ValueError, KeyError):  # not there, or damaged: make it anew
        _write_arrays(folder, recipe, build())
    return _read_arrays(folder)


def _read_arrays(folder: Path) -> dict[str, np.ndarray]:
    names = json.loads((folder / "recipe.json").read_text())["arrays"]
    arrays = {}
    for name in names:
        path = folder / f"{name}.npy"
        mode = "r" if path.stat().st_size >= MAPPED_FROM else None
        arrays[name] = np.load(path, mmap_mode=mode, allow_pickle=False)
    return arrays


def _write_arrays(folder: Path, recipe: Mapping[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write into a temporary folder and rename it, so that a reader sees all of it or nothing."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".writing-") as scratch:
            staged = Path(scratch) / folder.name
            staged.mkdir()
            for name, array in arrays.items():
                np.save(staged / f"{name}.npy", array, allow_pickle=False)
            (staged / "recipe.json").write_text(json.dumps({"recipe": recipe, "arrays": list(arrays)}, indent=1))
            # What is there is damaged, or another process's, just finished and as good as ours.
            if folder.exists():
                folder.rename(Path(scratch) / "replaced")
            staged.rename(folder)
    except OSError as error:
        raise OSError(
            f"cannot write built-in data to {folder.parent}: {error}. Free some space, or set GLIMPSEWORLD_CACHE to a "
            "folder that can be written."
        ) from error


def progress(items: Iterable[T], *, total: int, what: str) -> Iterator[T]:
    """Yield `items` under a progress bar on stderr; silent where stderr is not a terminal, or the work is short."""
    from tqdm import tqdm

    yield from tqdm(items, total=total, desc=what, leave=False, file=sys.stderr, delay=1.0, disable=None)
