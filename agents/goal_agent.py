"""Agents that bring the view to a goal view: by a belief over where it is, and by chance and memory as a rival."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..world_model.motion_tensors import relative
from ..world_model.protocol import WorldModel
from .belief import BeliefSettings, GoalBelief
from .context import Context
from .goals import Goals
from .inverse import InverseModel
from .motor import Motor
from .similarity import SimilarityCurve


@dataclass(frozen=True)
class GoalSettings:
    """How a `GoalAgent` acts on its belief."""

    belief: BeliefSettings = field(default_factory=BeliefSettings)
    """Weights of the evidence; without prediction and postdiction, the agent does without the predictor."""
    explore: float = 1.5
    """Until the last steps, places within so many tolerances of visited ones are inhibited, for the more that views
    from different places tell; 0 goes to the peak at once."""
    settle: int = 2
    """How many last steps lead to the peak, uninhibited."""
    recognise: float | None = None
    """Similarity from which on a view is taken for the goal's: it ends at the most similar such, not at the peak. See
    `calibrate_stop`; None is never."""
    stop: float | None = None
    """Similarity from which on it stays where it is, without a further look around; None is never."""


class GoalAgent:
    """Goes where it believes the goal to be, and takes every view on the way as evidence.

    With few steps left it considers only what they can reach.

    Args:
        model: Embeds views and goals, and predicts.
        motor: Actions and motions of the world.
        num_envs: B.
        hypotheses: (K, A), motions from an episode's first view to where the goal may be: `rotation_hypotheses`,
            `translation_hypotheses`.
        tolerance: Radians or image units within which a pose counts as the goal's.
        steps: Actions in an episode: where it is after the last is what counts. Longer episodes go on as if each step
            were the last.
        settings: How.
        inverse: An inverse model; needed unless its weight is 0.
        curve: What similarity tells of distance; needed unless its weight is 0.
        goal: Name of the goal view in the observation.

    Raises:
        ValueError: Something does not fit: `Context`, `GoalBelief` and `Goals` say what.
    """

    def __init__(
        self,
        model: WorldModel,
        motor: Motor,
        num_envs: int,
        *,
        hypotheses: Tensor,
        tolerance: float,
        steps: int,
        settings: GoalSettings | None = None,
        inverse: InverseModel | None = None,
        curve: SimilarityCurve | None = None,
        goal: str = "goal",
    ) -> None:
        if steps < 1 or tolerance <= 0:
            raise ValueError(f"steps must be at least 1 and tolerance above 0, got {steps} and {tolerance}")
        self.motor, self.steps, self.settings = motor, steps, settings or GoalSettings()
        self.context, self.goals = Context(model, motor.kind, num_envs), Goals(model, num_envs, name=goal)
        self.belief = GoalBelief(
            self.context, hypotheses, tolerance, self.settings.belief, inverse=inverse, curve=curve
        )

    @torch.no_grad()
    def act(self, observation: dict[str, np.ndarray], info: dict[str, Any]) -> np.ndarray:
        """Return (B, A) actions towards where the goal is believed to be."""
        first = info["step_index"] == 0
        self.goals.observe(observation, first)
        self.context.observe(observation["glimpse"], observation["motion"], first)
        self.belief.update(self.goals, first)
        here = self.context.here()
        left = torch.from_numpy(np.maximum(self.steps - info["step_index"], 1)).to(here.device)
        ways = relative(self.motor.kind, here[:, None], self.belief.hypotheses[None])
        within = self.motor.steps(ways) <= left[:, None]
        within |= ~within.any(dim=1, keepdim=True)  # else whatever is out of reach is approached
        pose, _ = self.belief.peak(within)
        if self.settings.explore:
            worth = self.belief.around() * self.belief.unexplored(self.settings.explore * self.belief.tolerance)
            new = self.belief.hypotheses[worth.masked_fill(~within, -1.0).argmax(dim=1)]
            pose = torch.where((left > self.settings.settle)[:, None], new, pose)
        if self.settings.recognise is not None:
            back, similarity, due = self._most_similar(here, left)
            pose = torch.where((due & (similarity >= self.settings.recognise))[:, None], back, pose)
        actions = self.motor.actions(relative(self.motor.kind, here, pose))
        if self.settings.stop is not None:
            held = self.context.held - 1
            seen = self.context.target[torch.arange(len(held)), held]
            stays = F.cosine_similarity(seen, self.goals.target, dim=-1) >= self.settings.stop
            actions = actions.masked_fill(stays[:, None], 0.0)
        return actions.cpu().double().numpy()

    def _most_similar(self, here: Tensor, left: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the visited pose (B, A) most like the goal, how much (B,), and whether it is time to return (B,)."""
        pose, similarity = most_similar(self.context, self.goals)
        needed = self.motor.steps(relative(self.motor.kind, here, pose)).ceil().clamp(min=1)
        return pose, similarity, needed >= left

    def state(self) -> dict[str, np.ndarray]:
        """Return what was seen, the goals, and the scores of the hypotheses."""
        return self.context.state() | self.goals.state() | {"belief_summed": self.belief.summed.cpu().numpy().copy()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what `state` returned."""
        self.belief.summed.copy_(torch.from_numpy(state["belief_summed"]))
        self.goals.set_state(state)
        self.context.set_state({k: v for k, v in state.items() if not k.startswith(("goal_", "belief_"))})


class RandomReturnAgent:
    """Moves at random, then returns to the pose whose view was most like the goal, in time to be there at the end.

    Args:
        model: Embeds views and goals.
        motor: Actions and motions of the world.
        num_envs: B.
        steps: Actions in an episode.
        rng: Where the draws come from.
        goal: Name of the goal view in the observation.
    """

    def __init__(
        self,
        model: WorldModel,
        motor: Motor,
        num_envs: int,
        *,
        steps: int,
        rng: np.random.Generator,
        goal: str = "goal",
    ) -> None:
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        self.motor, self.steps, self._rng = motor, steps, rng
        self.context, self.goals = Context(model, motor.kind, num_envs), Goals(model, num_envs, name=goal)

    @torch.no_grad()
    def act(self, observation: dict[str, np.ndarray], info: dict[str, Any]) -> np.ndarray:
        """Return (B, A) actions: random ones while there is time to undo one, then those that lead back."""
        first = info["step_index"] == 0
        self.goals.observe(observation, first)
        self.context.observe(observation["glimpse"], observation["motion"], first)
        here = self.context.here()
        back = relative(self.motor.kind, here, most_similar(self.context, self.goals)[0])
        needed = self.motor.steps(back).ceil().cpu().numpy()
        # One more random motion takes a step, and up to one more to undo.
        due = self.steps - info["step_index"] < needed + 2
        drawn = self._rng.uniform(-1.0, 1.0, (len(here), self.motor.action_size))
        return np.where(due[:, None], self.motor.actions(back).cpu().double().numpy(), drawn)

    def state(self) -> dict[str, np.ndarray]:
        """Return what was seen, and the goals."""
        return self.context.state() | self.goals.state()

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what `state` returned."""
        self.goals.set_state(state)
        self.context.set_state({name: value for name, value in state.items() if not name.startswith("goal_")})


def most_similar(context: Context, goals: Goals) -> tuple[Tensor, Tensor]:
    """Return the visited pose (B, A) whose view is most like the goal, and its cosine (B,)."""
    count = int(context.held.max())
    likeness = F.cosine_similarity(context.target[:, :count], goals.target[:, None], dim=-1)
    held = (torch.arange(count) < context.held[:, None]).to(likeness.device)
    similarity, best = likeness.masked_fill(~held, -2.0).max(dim=1)
    return context.pose[torch.arange(len(best), device=best.device), best], similarity
