"""The control benchmark's tasks, each at a stated difficulty, and their environments for a run's world.

Of the run of a world model come what its views are (size, images, colours); all that makes a task hard or easy is
stated here, so that figures of different models compare. Episodes have a fixed length and end by time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from ... import envs as _envs
from ...agents.fit import require_fit
from ...envs.environment import GlimpseVectorEnv
from ...envs.splits import Split
from ...world_model.protocol import WorldModel
from ..config import TrainConfig
from ..view_sets import ViewSet, balanced_items, make_view_set

TaskKind = Literal["reorient", "reach", "search", "homing", "classify"]

PLAY_THINGS, PLAY_VIEWS = 1_000, 8
"""Training objects or images, and views of each, that agents may be fitted on."""

_TURNS = {"rotation": "3diebench", "lighting": "step", "max_angle": math.pi / 4, "motion_signal": "realised"}
_SACCADES = {"max_amplitude": 1.0, "motion_signal": "realised"}
_HALF_GLIMPSE, _GLIMPSE = 1 / 3, 2 / 3
"""Image units, of a glimpse of 32 pixels in images of 96."""


@dataclass(frozen=True)
class ControlTask:
    """A task at a stated difficulty."""

    name: str
    """As the command line has it."""
    kind: TaskKind
    """What is to be done."""
    world: Literal["rotation", "saccade"]
    """The world it is in, as `TrainConfig.world` has it."""
    env_id: str
    """Its environment."""
    difficulty: str
    """What makes it as hard as it is, in one line."""
    steps: int
    """Motions of an episode, imposed ones among them."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the environment that are stated here; they come before those of the model's run."""
    within: tuple[float, ...] = ()
    """Further distances to be within at the end, in degrees or image units, beside the one that is success."""

    @property
    def imposed(self) -> int:
        """How many of the first motions are not the agent's."""
        return int(self.options.get("imposed", 0))

    @property
    def goal_entry(self) -> str | None:
        """The entry of the observation that shows what the goal looks like; None where nothing does."""
        if self.kind in ("reorient", "reach"):
            return "goal"
        return "cue" if self.options.get("cue") == "glimpse" else None

    @property
    def unit(self) -> str:
        """What distances are measured in."""
        return "degrees" if self.world == "rotation" else "image units"


def _reorient(name: str, low: float, high: float, *, free: bool = False) -> ControlTask:
    where, told = ("free", "turning freely") if free else ("3diebench", "in the range of 3DIEBench")
    return ControlTask(
        name,
        "reorient",
        "rotation",
        "GlimpseWorld/ObjectReorient-v0",
        f"goal {low:g}-{high:g} degrees away under other light, {told}, 45 degrees a component, 8 rotations, "
        "within 15 degrees",
        8,
        {**_TURNS, "rotation": where, "goal_angle": [low, high], "success_angle": 15.0},
        (30.0,),
    )


def _search(name: str, cue: Literal["class", "glimpse"]) -> ControlTask:
    return ControlTask(
        name,
        "search",
        "saccade",
        "GlimpseWorld/SaccadeSearch-v0",
        f"one of 6 objects in 128 x 128, named by a {cue}; 6 saccades; on its box",
        6,
        {**_SACCADES, "images": "search", "cue": cue},
    )


def _rotation_homing(imposed: int) -> ControlTask:
    return ControlTask(
        f"rotation-homing-{imposed}",
        "homing",
        "rotation",
        "GlimpseWorld/RotationHoming-v0",
        f"back after {imposed} rotations of up to 45 degrees a component, in 4 of one's own, within 15 degrees",
        imposed + 4,
        {**_TURNS, "imposed": imposed, "success_angle": 15.0},
        (30.0,),
    )


def _saccade_homing(imposed: int, *, noise: bool = False) -> ControlTask:
    missing = {"oculomotor": {"gain_std": 0.15, "scatter_slope": 0.1}, "motion_signal": "commanded"} if noise else {}
    how = " that miss (gain 15 %, scatter 10 % of the length) and are told as commanded" if noise else ""
    return ControlTask(
        f"saccade-homing-{imposed}{'-noise' if noise else ''}",
        "homing",
        "saccade",
        "GlimpseWorld/SaccadeHoming-v0",
        f"back after {imposed} saccades of up to an image unit a component{how}, in 3 of one's own, within 0.1",
        imposed + 3,
        {**_SACCADES, "imposed": imposed, "success_radius": 0.1, **missing},
        (_HALF_GLIMPSE, _GLIMPSE),
    )


_ALL = (
    _reorient("reorient", 30.0, 120.0),
    _reorient("reorient-near", 20.0, 60.0),
    _reorient("reorient-free", 30.0, 120.0, free=True),
    ControlTask(
        "reach",
        "reach",
        "saccade",
        "GlimpseWorld/SaccadeReach-v0",
        "goal glimpse 0.2-0.7 image units away, 6 saccades, within 0.125 (6 pixels of 96)",
        6,
        {**_SACCADES, "goal_distance": [0.2, 0.7], "success_radius": 0.125},
        (_HALF_GLIMPSE,),
    ),
    _search("search", "class"),
    _search("search-glimpse", "glimpse"),
    _rotation_homing(2),
    _rotation_homing(4),
    _saccade_homing(2),
    _saccade_homing(4),
    _saccade_homing(4, noise=True),
    ControlTask(
        "rotation-classify",
        "classify",
        "rotation",
        "GlimpseWorld/ObjectClassify-v0",
        "the family of a held-out object after 4 views, 45 degrees a component",
        4,
        dict(_TURNS),
    ),
    ControlTask(
        "saccade-classify",
        "classify",
        "saccade",
        "GlimpseWorld/SaccadeClassify-v0",
        "the class of a held-out image after 4 glimpses",
        4,
        dict(_SACCADES),
    ),
)
TASKS = {task.name: task for task in _ALL}


def task_named(name: str) -> ControlTask:
    """Return the task called `name`.

    Raises:
        ValueError: if there is none.
    """
    if name not in TASKS:
        raise ValueError(f"no task {name!r}; there are {', '.join(TASKS)}")
    return TASKS[name]


class Playground:
    """The environments of one task, by split, and what agents may be fitted on: made when first asked for, then kept.

    Args:
        task: What is to be done.
        config: The run whose world it is done in.
        num_envs: B, rows in lockstep.

    Raises:
        ValueError: the run is of another world than the task's.
    """

    def __init__(self, task: ControlTask, config: TrainConfig, num_envs: int) -> None:
        if config.world != task.world:
            raise ValueError(
                f"task {task.name!r} is in the world {task.world!r}, and the world model was trained in "
                f"{config.world!r}: name a run of --world {task.world}, or choose another task"
            )
        self.task, self.config, self.num_envs = task, config, num_envs
        self._envs: dict[Split, GlimpseVectorEnv] = {}
        self._play: dict[Split, ViewSet] = {}
        self.fitted: dict[Any, Any] = {}  # what agents were fitted on it, by what it is and of which model

    def arguments(self, split: Split) -> dict[str, Any]:
        """Return the arguments of the task's environment with the objects or images of `split`."""
        rotation, saccade = self.config.rotation, self.config.saccade
        own = rotation.arguments(split) if self.task.world == "rotation" else saccade.arguments(split, probing=True)
        ends = {} if self.task.kind == "classify" else {"ends": "time"}
        return own | dict(self.task.options) | ends

    def envs(self, split: Split) -> GlimpseVectorEnv:
        """Return the vector environment with the objects or images of `split`, of B rows."""
        if split not in self._envs:
            self._envs[split] = self._make(split, self.num_envs)
        return self._envs[split]

    def play(self, split: Literal["train", "validation"] = "train") -> ViewSet:
        """Return views of objects or images from poses spread as episodes start.

        Those of training things are to fit agents on, those of validation things to calibrate them: what a model was
        trained on looks more alike to it.
        """
        if split not in self._play:
            world = self._make(split, 1).world
            rng = np.random.default_rng([0, 2])  # whichever run is named first, what is fitted sees the same
            self._play[split] = make_view_set(world, balanced_items(world, PLAY_THINGS, rng), PLAY_VIEWS, rng)
        return self._play[split]

    def check_model(self, model: WorldModel) -> None:
        """Check that `model` sees and moves as this task does.

        Raises:
            ValueError: if not, naming both sides.
        """
        world = self.envs("validation").world
        views, (motion_dim,) = world.glimpse_space.shape, world.motion_space.shape
        whose = f"task {self.task.name!r}"
        require_fit(model, whose, views=views, kind=world.motion_kind, motion_dim=motion_dim)

    def _make(self, split: Split, num_envs: int) -> GlimpseVectorEnv:
        assert self.task.env_id in _envs.ENV_IDS
        envs = gym.make_vec(
            self.task.env_id,
            num_envs,
            vectorization_mode="vector_entry_point",
            max_episode_steps=self.task.steps,
            **self.arguments(split),
        )
        assert isinstance(envs, GlimpseVectorEnv)
        return envs
