"""Where an agent of the control benchmark is to act, and what it may be made of and fitted on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from ...agents.motor import Motor
from ...envs.environment import GlimpseVectorEnv
from ...envs.saccade import SaccadeWorld
from ...envs.splits import Split
from ...envs.tasks.task import GoalTask
from ...envs.world import World
from ...world_model.protocol import WorldModel
from ..view_sets import ViewSet, embed
from ..worlds import motor_of
from .tasks import ControlTask, Playground

Fitted = TypeVar("Fitted")


@dataclass(frozen=True)
class ControlSetting:
    """Where an agent is to act, and what it may be made of."""

    playground: Playground
    """The task's environments and the material to fit on."""
    split: Split
    """Whose episodes are played."""
    model: WorldModel | None
    """In eval mode; None for agents that need none."""
    seed: int
    """Of the benchmark."""
    policy: Path | None = None
    """The folder of a policy by reinforcement learning, for the agent that is one."""
    device: str = "cpu"
    """Where models and policies compute."""

    @property
    def task(self) -> ControlTask:
        """What is to be done."""
        return self.playground.task

    @property
    def envs(self) -> GlimpseVectorEnv:
        """Where it is played: for privileged agents only, but for its spaces."""
        return self.playground.envs(self.split)

    @property
    def world(self) -> World:
        """The world of `envs`: for privileged agents only, but for its spaces."""
        return self.envs.world

    @property
    def motor(self) -> Motor:
        """What actions do."""
        return motor_of(self.world)

    @property
    def steps(self) -> int:
        """Motions of an episode."""
        return self.task.steps

    @property
    def tolerance(self) -> float:
        """Distance to the goal within which it counts as reached, degrees or image units."""
        task = self.envs.task
        assert isinstance(task, GoalTask)
        return task.tolerance

    @property
    def reach(self) -> float:
        """How far from an image's centre the gaze goes along x and y, image units."""
        assert isinstance(self.world, SaccadeWorld)
        return self.world.reach

    @property
    def num_envs(self) -> int:
        """B, rows in lockstep."""
        return self.playground.num_envs

    @property
    def action_size(self) -> int:
        """Components of an action, a task's own among them."""
        return self.envs.simulator.action_space.shape[0]

    def require_model(self) -> WorldModel:
        """Return the model of an agent that needs one."""
        if self.model is None:
            raise ValueError(
                f"an agent of task {self.task.name!r} needs a world model: name one with --world-model RUN"
            )
        return self.model

    def require_policy(self) -> Path:
        """Return the folder of an agent that is a policy."""
        if self.policy is None:
            raise ValueError(
                f"this agent of task {self.task.name!r} is a policy trained in {self.task.env_id}: name one with "
                "--policy FOLDER"
            )
        return self.policy

    def rng(self) -> np.random.Generator:
        """Return a new generator of the benchmark's seed."""
        return np.random.default_rng([self.seed, 1])

    def generator(self) -> torch.Generator:
        """Return a new generator of the benchmark's seed, on the CPU."""
        return torch.Generator().manual_seed(self.seed)

    def play(self, split: Literal["train", "validation"] = "train") -> ViewSet:
        """Return views from known poses: of training things to fit an agent on, of validation things to calibrate."""
        return self.playground.play(split)

    def fitted(self, name: str, make: Callable[[], Fitted]) -> Fitted:
        """Return what `make` makes, once for this task and model; `name` says what it is."""
        key = (name, None if self.model is None else id(self.model))
        if key not in self.playground.fitted:
            self.playground.fitted[key] = make()
        return self.playground.fitted[key]

    def embedded(self, split: Literal["train", "validation"] = "train") -> tuple[Tensor, Tensor]:
        """Return embeddings of `play` where targets live, (N, V, P), and poses (N, V, A), on the CPU."""
        model, play = self.require_model(), self.play(split)
        device = next(model.parameters()).device
        target = self.fitted(f"{split} embeddings", lambda: embed(model, play.views).target)
        poses = torch.from_numpy(play.poses[..., : self.motor.motion_size]).float()
        return model.as_target(target.to(device)).cpu(), poses

    def on_validation(self) -> ControlSetting:
        """Return the same with validation things, to choose settings on."""
        return replace(self, split="validation")
