"""An agent that plans: keeps what it saw, embeds the goal that it is shown, and acts by a planner."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .context import Context
from .goals import Goals
from .plan_objectives import Addend
from .planner import Planner


class PlannerAgent:
    """Acts by a planner. It is not privileged: it sees glimpses, motions and the goal's glimpse alone.

    Args:
        planner: Who plans; its objective is given the goals of the episodes as they begin.
        num_envs: B.
        generator: Where the planner's draws come from.
        goal: Observation entry that shows the goal, (B, H, W, C) uint8, such as "goal" or "cue"; None for an objective
            without goals.
        capacity: Views of an episode that are kept.

    Raises:
        ValueError: The planner's objective takes no goals, and `goal` names an entry.
    """

    def __init__(
        self,
        planner: Planner,
        num_envs: int,
        generator: torch.Generator,
        *,
        goal: str | None = "goal",
        capacity: int = 64,
    ) -> None:
        if goal is not None and not isinstance(planner.objective, Addend):
            raise ValueError(f"{type(planner.objective).__name__} takes no goals: pass goal=None, or ReachEmbedding")
        self.planner, self.generator = planner, generator
        self.context = Context(planner.model, planner.motor.kind, num_envs, capacity=capacity)
        self.goals = None if goal is None else Goals(planner.model, num_envs, name=goal)
        self._objective = planner.objective

    def act(self, observation: dict[str, np.ndarray], info: dict[str, Any]) -> np.ndarray:
        """Return (B, A) float64 actions in [-1, 1].

        Raises:
            ValueError: There is no such goal entry, or its shape is not the model's.
        """
        first = info["step_index"] == 0
        self.context.observe(observation["glimpse"], observation["motion"], first)
        if self.goals is not None:
            assert isinstance(self._objective, Addend)
            self.goals.observe(observation, first)
            self.planner.objective = self._objective.with_goals(self.goals.target)
        return self.planner.plan(self.context, self.generator).double().cpu().numpy()

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of the arrays that the agent's future depends on, but for its generator."""
        found = {f"context.{name}": value for name, value in self.context.state().items()}
        found |= {f"planner.{name}": value for name, value in self.planner.state().items()}
        if self.goals is not None:
            found |= {f"goals.{name}": value for name, value in self.goals.state().items()}
        return found

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what `state` returned."""
        parts = {"context": self.context, "planner": self.planner, "goals": self.goals}
        for name, part in parts.items():
            if part is not None:
                start = f"{name}."
                part.set_state({k.removeprefix(start): v for k, v in state.items() if k.startswith(start)})
