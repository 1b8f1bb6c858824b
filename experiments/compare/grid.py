"""What a grid of `glimpseworld compare` is: arms, each some settings, times seeds.

An arm is a name and the settings in which it departs from the grid's preset and common settings, as dotted paths into
`TrainConfig`: `{"model.condition": "none"}`. One key is no setting: "preset", for an arm that starts from another
preset than the grid's (saccades beside rotations), after which the common settings apply all the same.

A grid of your own is a JSON file with the fields of `Grid`:

    {"name": "mine", "preset": "quick", "seeds": [0, 1, 2],
     "common": {"learner.total_steps": 2400},
     "arms": {"plus": {}, "no-actions": {"model.condition": "none"}}}
"""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any

from ..config import Effort, TrainConfig, from_dict, presets

Settings = Mapping[str, Any]
"""Dotted paths into `TrainConfig` -> values."""


@dataclass(frozen=True)
class Grid:
    """What is compared: every arm with every seed. JSON-able."""

    name: str
    """Names the folder."""
    preset: str
    """Where arms start from."""
    arms: Mapping[str, Settings]
    """Name -> settings; the first arm of a world is what the others in that world are compared with."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the runs of each arm. Runs of equal seeds start from the same data."""
    common: Settings = field(default_factory=dict)
    """Settings of all arms, before their own."""
    effort: Effort = "quick"
    """How thoroughly runs are evaluated; see `glimpseworld evaluate`."""

    def __post_init__(self) -> None:
        if not self.arms or not self.seeds:
            raise ValueError(f"grid {self.name!r} needs at least one arm and one seed")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"grid {self.name!r} names a seed twice: {list(self.seeds)}")
        for name in (self.name, *self.arms):
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
                raise ValueError(f"{name!r} names a folder: use letters, digits, dots, hyphens and underscores")
        for name in self.arms:
            self.config(name, self.seeds[0])

    def config(self, arm: str, seed: int) -> TrainConfig:
        """Return the settings of one run.

        Raises:
            ValueError: if the arm has an unknown preset, setting or value, or settings that do not go together.
        """
        changes = {**self.common, **self.arms[arm]}
        preset = changes.pop("preset", self.preset)
        known = presets()
        if preset not in known:
            raise ValueError(f"arm {arm!r}: no preset {preset!r}; there are {', '.join(known)}")
        for key in ("seed", "folder"):
            if key in changes:
                raise ValueError(f"arm {arm!r} sets {key!r}, which the comparison itself decides: leave it out")
        try:
            return with_settings(known[preset][1], {**changes, "seed": seed})
        except ValueError as error:
            raise ValueError(f"arm {arm!r}: {error}") from error


def with_settings(config: TrainConfig, changes: Settings) -> TrainConfig:
    """Return `config` with the settings at dotted paths changed, all at once.

    Raises:
        ValueError: if there is no such setting, the value is not one it can have, or settings do not go together.
    """
    settings = asdict(config)
    for path, value in changes.items():
        *parents, last = path.split(".")
        kind, place = TrainConfig, settings
        for parent in parents:
            hint = typing.get_type_hints(kind).get(parent)
            if not (isinstance(hint, type) and is_dataclass(hint)):
                raise ValueError(f"no setting {path!r}: {kind.__name__} has no group {parent!r}")
            kind, place = hint, place[parent]
        hints = typing.get_type_hints(kind)
        if last not in hints or is_dataclass(hints[last]):
            leaves = [name for name, hint in hints.items() if not is_dataclass(hint)]
            raise ValueError(f"no setting {path!r}; {kind.__name__} has {', '.join(leaves)}")
        place[last] = value
    return from_dict(TrainConfig, settings)
