"""Checkpoints that survive a kill at any moment: safetensors and JSON in a folder that appears whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

_PREFIX = "step-"


class CheckpointError(Exception):
    """A checkpoint could not be written or read; the message says which, why, and what to do."""


def save_checkpoint(
    root: Path, step: int, arrays: Mapping[str, Mapping[str, np.ndarray]], state: Mapping[str, Any], *, keep: int = 2
) -> Path:
    """Write a checkpoint and drop the oldest beyond `keep`.

    Everything is written to a temporary folder, flushed to disk and renamed, so that a kill or a full disk leaves the
    checkpoints before it as they were.

    Args:
        root: the folder of checkpoints; made if need be.
        step: the training step, which names the checkpoint.
        arrays: file name (without suffix) -> array name -> array.
        state: JSON-able.
        keep: how many checkpoints stay, at least 1.

    Returns:
        The checkpoint's folder, `root/step-00000042`.

    Raises:
        CheckpointError: if it cannot be written.
    """
    final = root / f"{_PREFIX}{step:08d}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        for leftover in root.glob(".writing-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        staged = Path(tempfile.mkdtemp(dir=root, prefix=".writing-"))
        staged.chmod(0o777 & ~_umask())
        replaced = root / ".writing-replaced"
        try:
            _write(staged, step, arrays, state)
            if final.exists():
                final.rename(replaced)  # at once: one that is half removed would still look complete
            staged.rename(final)
            _flush(root)
        finally:
            for leftover in (staged, replaced):
                shutil.rmtree(leftover, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        last = latest_checkpoint(root)
        raise CheckpointError(
            f"cannot write checkpoint {final}: {error}. "
            + (f"The last good one is {last}: free some space and go on with --resume" if last else "Free some space")
        ) from error
    for old in list_checkpoints(root)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def load_checkpoint(
    folder: Path, *, only: Sequence[str] | None = None
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Any]]:
    """Read what `save_checkpoint` wrote.

    Args:
        folder: the checkpoint's folder.
        only: names of the files wanted (without suffix); None for all.

    Returns:
        The arrays, file name -> array name -> array, and the state.

    Raises:
        CheckpointError: if the folder is no checkpoint, or a file is missing, truncated or damaged.
    """
    manifest_path = folder / "state.json"
    if not manifest_path.is_file():
        raise CheckpointError(f"{folder} is no checkpoint: expected a folder with a state.json in it")
    try:
        manifest = json.loads(manifest_path.read_text())
        arrays = {}
        for name in manifest["files"] if only is None else only:
            if name not in manifest["files"]:
                held = ", ".join(manifest["files"])
                raise CheckpointError(f"checkpoint {folder} is of another kind: expected one with {name}, got {held}")
            size = manifest["files"][name]
            path = folder / f"{name}.safetensors"
            found = path.stat().st_size
            if found != size:
                raise CheckpointError(f"{path} is truncated: expected {size} bytes, found {found}. {_way_out(folder)}")
            arrays[name] = load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"cannot read checkpoint {folder}: {error}. {_way_out(folder)}") from error
    return arrays, manifest["state"]


def list_checkpoints(root: Path) -> list[Path]:
    """Return the complete checkpoints below `root`, oldest first."""
    return sorted(p for p in root.glob(f"{_PREFIX}*") if (p / "state.json").is_file())


def latest_checkpoint(root: Path) -> Path | None:
    """Return the newest complete checkpoint below `root`, or None."""
    found = list_checkpoints(root)
    return found[-1] if found else None


@contextmanager
def saving(what: str, way_out: str = "Free some space") -> Iterator[None]:
    """Turn an OSError of the block, which writes `what`, into a CheckpointError that says what to do."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"cannot write {what}: {error}. {way_out}") from error


def check_writable(*paths: Path) -> None:
    """See, before the work for it, that files can be written at `paths`, folders that are missing being made then.

    Raises:
        CheckpointError: if one cannot: a folder has its name, or what is to hold it is no folder or takes no files.
    """
    for path in paths:
        with saving(str(path), "Choose another place"):
            if path.is_dir():
                raise IsADirectoryError("expected a file or nothing there, found a folder")
            folder = next(parent for parent in path.absolute().parents if parent.exists())
            if not folder.is_dir():
                raise NotADirectoryError(f"expected a folder at {folder}, found a file")
            try:
                tempfile.TemporaryFile(dir=folder).close()
            except OSError as error:
                raise OSError(f"{folder} takes no files ({error.strerror})") from error


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON so that a reader sees the old file or the new one, never half of it."""
    write_text(path, json.dumps(value, indent=2))


def write_csv(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    """Write rows as CSV so that a reader sees the old file or the new one, never half of it."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    write_text(path, text.getvalue())


def write_text(path: Path, text: str) -> None:
    """Write `text` in UTF-8, lines ending as they do, so that a reader sees the old file or the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        os.chmod(name, 0o666 & ~_umask())
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _write(folder: Path, step: int, arrays: Mapping[str, Mapping[str, np.ndarray]], state: Mapping[str, Any]) -> None:
    files = {}
    for name, group in arrays.items():
        path = folder / f"{name}.safetensors"
        save_file({key: np.asarray(value, order="C") for key, value in group.items()}, path)
        _flush(path)
        files[name] = path.stat().st_size
    write_json(folder / "state.json", {"step": step, "files": files, "state": dict(state)})
    _flush(folder)


def _umask() -> int:
    """Return the process's file mode mask: temporary files are private, but what they become is not meant to be."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _flush(path: Path) -> None:
    """Force a file or folder to disk; folders cannot be opened on every platform, and need not be."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _way_out(folder: Path) -> str:
    others = [p for p in list_checkpoints(folder.parent) if p != folder]
    if not others:
        return "There is no other checkpoint beside it; start the run again."
    return f"Remove that folder to go on from {others[-1].name}."
