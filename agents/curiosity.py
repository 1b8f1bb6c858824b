"""Curiosity: going where a world model is not sure of what it will see, and reward for what it did not foresee."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..world_model.motion import MotionKind
from ..world_model.protocol import WorldModel
from .context import Context
from .disagreement import disagreement, evaluating, predict_by_context
from .motor import Motor


@dataclass(frozen=True)
class CuriosityConfig:
    """How a curious agent chooses."""

    candidates: int = 64
    """Actions that are drawn, of which it takes one."""
    longest: int = 3
    """Most views that the model is asked with; predictions from 1 to so many of the last ones are compared."""
    explore: float = 0.1
    """Share of actions that are drawn evenly instead, in [0, 1]."""

    def __post_init__(self) -> None:
        if self.candidates < 1 or self.longest < 2 or not 0 <= self.explore <= 1:
            raise ValueError(f"candidates must be at least 1, longest at least 2 and explore in [0, 1], got {self}")


class CuriousAgent:
    """Takes the action after which predictions from shorter and longer contexts differ most.

    The expected disagreement of an ensemble is what there is to learn (Pathak et al. 2019, Sekar et al. 2020); here
    the ensemble is one model asked with its last view alone, with its last two, and so on. After a reset, with one view
    seen, all actions are alike to it, and it draws one. The model may learn while it acts: it is asked in eval mode and
    left in the mode it was in.

    Args:
        model: Whose predictions; it must predict.
        motor: What actions do.
        num_envs: B.
        rng: Where all draws come from.
        config: How it chooses.

    Raises:
        ValueError: The model predicts nothing, or its motions are not the motor's.
    """

    def __init__(
        self,
        model: WorldModel,
        motor: Motor,
        num_envs: int,
        rng: np.random.Generator,
        config: CuriosityConfig = CuriosityConfig(),
    ) -> None:
        _require_predictions(model)
        self.motor, self.config, self._rng = motor, config, rng
        with evaluating(model):
            self.context = Context(model, motor.kind, num_envs, capacity=config.longest)

    def act(self, observation: dict[str, np.ndarray], info: dict[str, Any]) -> np.ndarray:
        """Return (B, A) actions."""
        context, count = self.context, self.config.candidates
        drawn = self._rng.uniform(-1.0, 1.0, (context.num_envs, count, self.motor.action_size))
        evenly = self._rng.random(context.num_envs) < self.config.explore
        with evaluating(context.model):
            context.observe(observation["glimpse"], observation["motion"], info["step_index"] == 0)
            best = self._surprising(torch.from_numpy(drawn)).cpu().numpy()
        best[evenly] = 0
        return drawn[np.arange(context.num_envs), best]

    def _surprising(self, actions: Tensor) -> Tensor:
        """Return which of the (B, C, A) actions leads where predictions differ most, (B,); 0 after a reset."""
        best = torch.zeros(len(actions), dtype=torch.int64)
        for rows, views in self.context.groups(self.config.longest):
            if views > 1:
                ahead = self.motor.motions(actions[rows]).float().to(self.context.device)
                predictions = predict_by_context(self.context.model, *self.context.recent(rows, views), ahead)
                best[rows] = disagreement(predictions).argmax(dim=1).cpu()
        return best

    def state(self) -> dict[str, np.ndarray]:
        """Return what it has seen."""
        return self.context.state()

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what it had seen."""
        self.context.set_state(state)


class RunningMoments:
    """Mean and variance of all numbers so far, batch by batch (Chan et al. 1983)."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0.0, 0.0, 0.0

    def add(self, values: np.ndarray) -> None:
        """Take in (n,) numbers."""
        if not len(values):
            return
        total, shift = self.count + len(values), float(values.mean()) - self.mean
        self.squares += float(np.square(values - values.mean()).sum()) + shift**2 * self.count * len(values) / total
        self.mean += shift * len(values) / total
        self.count = total

    @property
    def std(self) -> float:
        """Standard deviation; 1 before there are two numbers that differ."""
        return float(np.sqrt(self.squares / self.count)) if self.squares > 0 else 1.0


class IntrinsicReward:
    """How badly each view was foreseen: 1 - cos(prediction, what is seen), divided by a running deviation.

    As RND has it (Burda et al. 2019, section 2.4), the divisor is the standard deviation of the discounted sum of
    errors, so that rewards keep one scale as the model improves; the mean is not taken off.

    Args:
        model: Whose predictions; it must predict. It may learn meanwhile.
        kind: How motions compose.
        num_envs: B.
        longest: Most views that the model is asked with.
        discount: Of the sum, in [0, 1).

    Raises:
        ValueError: The model predicts nothing, its motions are of another kind, or the discount is out of range.
    """

    def __init__(
        self, model: WorldModel, kind: MotionKind, num_envs: int, *, longest: int = 3, discount: float = 0.99
    ) -> None:
        _require_predictions(model)
        if not 0 <= discount < 1:
            raise ValueError(f"discount must be in [0, 1), got {discount}")
        self.longest, self.discount = longest, discount
        with evaluating(model):
            self.context = Context(model, kind, num_envs, capacity=longest + 1)
        self.moments, self._sum = RunningMoments(), np.zeros(num_envs)

    def __call__(self, observation: dict[str, np.ndarray], info: dict[str, Any]) -> np.ndarray:
        """Take in what a step brought and return its reward, (B,) float64; 0 where an episode begins."""
        first = np.asarray(info["step_index"] == 0)
        error = self.errors(observation["glimpse"], observation["motion"], first)
        moved = ~first
        self._sum[moved] = self.discount * self._sum[moved] + error[moved]
        self.moments.add(self._sum[moved])
        return error / self.moments.std

    def errors(self, glimpse: np.ndarray, motion: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Take in one view of every row, as `Context.observe` does, and return how badly it was foreseen.

        Returns:
            (B,) float64 in [0, 2]; 0 where `first`.
        """
        context = self.context
        error = np.zeros(context.num_envs)
        with evaluating(context.model):
            context.observe(glimpse, motion, first)
            for rows, views in context.groups(self.longest + 1):
                if views == 1:
                    continue
                z, motions = context.recent(rows, views)
                prediction = context.model.predict_from(z[:, :-1], motions[:, :-1], motions[:, -1])
                seen = context.target[rows, context.held[rows] - 1]
                error[rows.numpy()] = 1 - F.cosine_similarity(prediction.float(), seen, dim=-1).cpu().numpy()
        return error

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of all that its future depends on but the model."""
        moments = np.array([self.moments.count, self.moments.mean, self.moments.squares])
        return self.context.state() | {"moments": moments, "sum": self._sum.copy()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what `state` returned."""
        self.moments.count, self.moments.mean, self.moments.squares = state["moments"].tolist()
        self._sum = state["sum"].copy()
        self.context.set_state({name: value for name, value in state.items() if name not in ("moments", "sum")})


class CuriosityReward(gym.vector.VectorWrapper):
    """Adds an intrinsic reward to the environment's own.

    The info tells the two apart: `intrinsic_reward` and `extrinsic_reward`, (B,) float64. In autoreset mode SameStep
    the last step of an episode has no intrinsic reward, since its view is not in the observation.

    Args:
        env: A vector environment of this package.
        intrinsic: For as many rows.
        weight: Of the intrinsic reward.
        extrinsic_weight: Of the environment's own; 0 for curiosity alone.

    Raises:
        ValueError: The numbers of rows differ.
    """

    def __init__(
        self,
        env: gym.vector.VectorEnv,
        intrinsic: IntrinsicReward,
        *,
        weight: float = 1.0,
        extrinsic_weight: float = 1.0,
    ) -> None:
        super().__init__(env)
        rows = intrinsic.context.num_envs
        if env.num_envs != rows:
            raise ValueError(f"the environment has {env.num_envs} rows, and the intrinsic reward is for {rows}")
        self.intrinsic, self._weight, self._extrinsic = intrinsic, weight, extrinsic_weight

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Reset as the environment does, and take in the first views.

        Raises:
            ValueError: Some rows alone are to be reset.
        """
        if options and "reset_mask" in options:
            raise ValueError("curiosity resets all rows at once: use autoreset mode NextStep or SameStep")
        observation, info = self.env.reset(seed=seed, options=options)  # pyright: ignore[reportArgumentType]
        self.intrinsic(observation, info)
        return observation, info

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step as the environment does and return the weighted sum of both rewards."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        found = self.intrinsic(observation, info)
        info = {**info, "intrinsic_reward": found, "extrinsic_reward": np.asarray(reward)}
        total = self._weight * found + self._extrinsic * np.asarray(reward)
        return observation, total, terminated, truncated, info


def _require_predictions(model: WorldModel) -> None:
    if not model.predicts:
        raise ValueError(f"{type(model).__name__} predicts nothing to be curious about: take a model that does")
