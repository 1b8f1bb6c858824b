"""The folder of a training run: made, locked, and read again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from ..world_model.build import build_model
from ..world_model.checkpoint import CheckpointError, latest_checkpoint, load_checkpoint, saving, write_json
from ..world_model.protocol import WorldModel
from ..world_model.settings import flat_settings
from .config import TrainConfig, from_dict
from .device import checked_device

RESUMABLE = ("device", "folder", "log_every", "probe_every", "checkpoint_every", "final_evaluation")
"""Settings that may differ when a run is gone on with: what is learned does not depend on them."""


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes from training in `folder` meanwhile; the end of this process, however it comes, frees it.

    Raises:
        CheckpointError: if another process trains there, or the lock cannot be written.
    """
    with saving(f"the lock of {folder}"):
        lock = FileLock(folder / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise CheckpointError(f"another process trains in {folder}: let it end, or stop it first") from error
    try:
        yield
    finally:
        lock.release()


def refuse_edited(config: TrainConfig, folder: Path, checkpoint: Path) -> None:
    """Raise CheckpointError if `config` departs, `RESUMABLE` apart, from what the run has gone by so far."""
    saved = load_checkpoint(checkpoint, only=[])[1].get("config")
    if saved is None:  # as in the run of a published checkpoint, or of a version that kept none
        return
    try:  # what the version that wrote it did not have yet was as by default
        before = flat_settings(asdict(from_dict(TrainConfig, saved)))
    except ValueError as error:
        raise CheckpointError(f"cannot go on from {checkpoint}, of another version: {error}") from error
    now = flat_settings(asdict(config))
    edited = [key for key in now if now[key] != before[key] and key not in RESUMABLE]
    if edited:
        differences = "; ".join(f"{key} {now[key]}, was {before[key]}" for key in edited)
        raise CheckpointError(
            f"{folder / 'config.json'} differs from what the run has gone by so far: {differences}. Put these back, or "
            f"start another run; only {', '.join(RESUMABLE)} may change"
        )


def new_run_folder(root: Path, name: str, seed: int) -> Path:
    """Make and return a folder named by preset, seed and time, with a number where that is taken."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    for attempt in range(100):
        folder = root / (f"{name}-seed{seed}-{stamp}" + (f"-{attempt}" if attempt else ""))
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"no free name for a run in {root}")


def save_config(config: TrainConfig, folder: Path) -> None:
    """Write `config.json`, which `load_config` reads."""
    with saving(str(folder / "config.json"), "Free some space and start again"):
        write_json(folder / "config.json", asdict(config))


def load_config(folder: Path) -> TrainConfig:
    """Return the settings of the run in `folder`.

    Raises:
        CheckpointError: if the folder is no run, or its config.json is damaged or of another version.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(
            f"{folder} is no run: expected a folder that `glimpseworld train` made, with config.json in it"
        )
    try:
        return from_dict(TrainConfig, json.loads(path.read_text()))
    except ValueError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error


def require_checkpoint(folder: Path) -> Path:
    """Return the newest checkpoint of the run in `folder`.

    Raises:
        CheckpointError: if there is none.
    """
    if not folder.is_dir():
        raise CheckpointError(f"there is no folder {folder}: name one that `glimpseworld train` made")
    checkpoint = latest_checkpoint(folder / "checkpoints")
    if checkpoint is None:
        raise CheckpointError(f"no checkpoint in {folder} yet: let the run reach its first one")
    return checkpoint


def load_model(folder: Path, device: str = "cpu") -> tuple[WorldModel, int]:
    """Return the newest model of the run in `folder`, in eval mode, and the update it is from.

    Raises:
        CheckpointError: if there is none, it cannot be read, or it is of another version.
        ValueError: if the device cannot be had.
    """
    place, checkpoint = checked_device(device), require_checkpoint(folder)
    arrays, state = load_checkpoint(checkpoint, only=["model"])
    try:
        model = build_model(state["model"])
        model.load_weights(arrays["model"])
    except ValueError as error:
        raise CheckpointError(f"cannot build the model of {checkpoint}: {error}") from error
    return model.to(place).eval(), state["steps"]


def load_budget(folder: Path) -> dict[str, float] | None:
    """Return what the newest model of the run in `folder` has cost: `steps`, `glimpses`, `seconds` and `Budget`'s.

    None for a run of a version that counted no budget.

    Raises:
        CheckpointError: if there is no checkpoint, or it cannot be read.
    """
    checkpoint = require_checkpoint(folder)
    state = load_checkpoint(checkpoint, only=[])[1]
    if "budget" not in state:
        return None
    return {key: state[key] for key in ("steps", "glimpses", "seconds")} | state["budget"]
