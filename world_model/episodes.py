"""Recorded episodes: whole ones, of any lengths, end to end in arrays; to and from a `.npz` file and into a replay."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .motion import MotionKind
from .replay import SequenceReplay

_FORMAT = 1
_ENTRY = "observation."


@dataclass(frozen=True)
class Episodes:
    """E episodes of T views in total, one after the other, each from its reset to its end.

    Attributes:
        views: (T, H, W, C) uint8.
        motions: (T, A) float32, the motion that led to each view; zeros at an episode's first view.
        first: (T,) bool, where an episode begins.
        actions: (T, N) float32, the action that led to each view; zeros at an episode's first view.
        rewards: (T,) float64, what that action earned; 0 at an episode's first view.
        terminated: (T,) bool, where an episode ended by itself. One whose last view has False was cut by its time
            limit.
        label: (E,) int64, the class of what each episode showed.
        index: (E,) int64, which thing it was.
        motion_kind: how motions compose.
        entries: further entries of the observation, such as a task's goal, by name, each (T, ...).
        source: where the episodes come from: `env` (id), `kwargs`, `seed` and so on; JSON-able.

    Raises:
        ValueError: if shapes or dtypes are not as said, or the first view begins no episode.
    """

    views: np.ndarray
    motions: np.ndarray
    first: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    label: np.ndarray
    index: np.ndarray
    motion_kind: MotionKind
    entries: dict[str, np.ndarray] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        total, count = len(self.first), int(np.count_nonzero(self.first))
        if not total or self.first.dtype != np.bool_ or not self.first[0]:
            raise ValueError("first must be (T,) bool, T at least 1, and True where the first episode begins")
        expected = {"views": (np.uint8, 4), "motions": (np.float32, 2), "actions": (np.float32, 2)}
        expected |= {"rewards": (np.float64, 1), "terminated": (np.bool_, 1)}
        for name, (dtype, dimensions) in expected.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.ndim != dimensions or len(array) != total:
                kind = np.dtype(dtype).name
                raise ValueError(
                    f"{name} must be {kind} with {dimensions} axes, {total} long as first is, got {array.dtype} "
                    f"{array.shape}"
                )
        for name in ("label", "index"):
            if getattr(self, name).shape != (count,):
                raise ValueError(f"{name} must have one entry for each of {count} episodes")
        if any(len(array) != total for array in self.entries.values()):
            raise ValueError(f"every further entry must be {total} long as first is")

    def __len__(self) -> int:
        """How many episodes there are."""
        return len(self.label)

    @property
    def starts(self) -> np.ndarray:
        """Where each episode begins and, last, T: episode e is the views starts[e] … starts[e + 1] - 1; (E + 1,)."""
        return np.append(np.flatnonzero(self.first), len(self.first))

    def to_replay(self) -> SequenceReplay:
        """Return a replay that holds exactly these views, so that a learner samples windows from it.

        It has one ring, in which the episodes follow one another, so they may differ in length; no window crosses from
        one to the next. `Windows.episode` is the episode's number here and `Windows.step` the view's.
        """
        shape: tuple[int, int, int] = self.views.shape[1:]  # pyright: ignore[reportAssignmentType]
        replay = SequenceReplay(len(self.first), shape, self.motion_kind, self.motions.shape[1], num_envs=1)
        for t in range(len(self.first)):
            replay.add(self.views[t, None], self.motions[t, None], self.first[t, None])
        return replay

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a `.npz` file, uncompressed and without pickle, that appears whole or not at all.

        It holds the arrays by their names here, further entries as `observation.NAME`, and `meta`, a JSON string with
        `format`, `motion_kind` and `source`.

        Raises:
            ValueError: if the name does not end in .npz.
        """
        path = Path(path)
        if path.suffix != ".npz":
            raise ValueError(f"expected a file name that ends in .npz, got {str(path)!r}")
        meta = json.dumps({"format": _FORMAT, "motion_kind": self.motion_kind, "source": self.source})
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        arrays |= {_ENTRY + name: array for name, array in self.entries.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.stem}.{os.getpid()}.partial.npz")
        try:
            np.savez(partial, allow_pickle=False, meta=np.array(meta), **arrays)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


_ARRAYS = ("views", "motions", "first", "actions", "rewards", "terminated", "label", "index")


def load_episodes(path: str | os.PathLike[str]) -> Episodes:
    """Return the episodes that `Episodes.save` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such file, or of another version.
    """
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            stored = {name: file[name] for name in file.files}
        meta = json.loads(str(stored.pop("meta")))
        version = meta["format"]
        arrays = {name: stored.pop(name) for name in _ARRAYS} if version == _FORMAT else {}
    except (zipfile.BadZipFile, EOFError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} holds no recorded episodes, or is damaged: {error}") from error
    if version != _FORMAT:
        raise ValueError(f"{path} has format {version}, this version reads {_FORMAT}: record the episodes again")
    entries = {name.removeprefix(_ENTRY): array for name, array in stored.items()}
    return Episodes(**arrays, motion_kind=meta["motion_kind"], entries=entries, source=meta["source"])
