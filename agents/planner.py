"""A planner: looks ahead with a world model, scores what it foresees by an objective, and takes the first action."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..world_model.motion import MotionKind
from ..world_model.motion_tensors import compose
from ..world_model.protocol import WorldModel
from ..world_model.seq_jepa import SeqJEPA
from .context import Context
from .fit import require_fit
from .motor import Motor
from .plan_search import (
    Found,
    PlannerConfig,
    Score,
    Warm,
    cem,
    grid_actions,
    jump,
    mppi,
    spread_motions,
    still_motions,
)

__all__ = ["Futures", "PlanObjective", "Planner", "PlannerConfig", "motions_reached"]
PREDICTED_AT_ONCE = 4096
"""Predictions made in one call; more at a time do not stay in a processor's cache."""


class Futures(NamedTuple):
    """K candidate futures of H steps for n rows, which share one context length.

    Attributes:
        rows: Which sub-environments, (n,) int64.
        z: Embeddings of the context that the model was asked with, (n, M, D).
        motions: The motions between them, (n, M-1, A).
        here: The pose now, seen from the episode's first view, (n, A).
        actions: (n, K, H, action_size) in [-1, 1]; of a jump, which is one step, the action that begins it.
        ahead: The motion of each step, (n, K, H, A); of a jump, the whole of it.
        predictions: What will be seen after each step, where targets live, (n, K, H, P).
    """

    rows: Tensor
    z: Tensor
    motions: Tensor
    here: Tensor
    actions: Tensor
    ahead: Tensor
    predictions: Tensor


FutureScore = Callable[[Tensor, Tensor], Tensor]
"""Scores (n, K) the futures of actions (n, K, H, action_size) and the motions (n, K, H, A) of each step."""


class PlanObjective(Protocol):
    """What a plan should bring about."""

    def score(self, futures: Futures) -> Tensor:
        """Return how good each future is, (n, K), higher is better; rows are scored some at a time, each by itself."""
        ...


def motions_reached(kind: MotionKind, ahead: Tensor) -> Tensor:
    """Return the motion from the start to the end of each of H steps, (..., H, A), of the steps' own, (..., H, A)."""
    if kind == "translation":
        return ahead.cumsum(dim=-2)
    reached = [ahead[..., 0, :]]
    for step in range(1, ahead.shape[-2]):
        reached.append(compose(kind, reached[-1], ahead[..., step, :]))
    return torch.stack(reached, dim=-2)


class Planner:
    """Chooses actions for the rows of a context by what a world model predicts of them.

    It remembers each row's plan, to begin the next search with what is left of it, until the row's episode ends. All
    rows search with the same random draws, so that none depends on the company it is in.

    Args:
        model: In eval mode. A seq-JEPA aggregates its context once a decision; others are asked by `predict_from`.
        motor: What actions do.
        objective: What is wanted; it may be replaced at any time.
        config: Settings.

    Raises:
        ValueError: The model predicts nothing from a motion, its motions are not the motor's, or it cannot look ahead
            as the settings say.
    """

    def __init__(
        self, model: WorldModel, motor: Motor, objective: PlanObjective, config: PlannerConfig | None = None
    ) -> None:
        config = config or PlannerConfig()
        _check(model, motor, config)
        self.model, self.motor, self.objective, self.config = model, motor, objective, config
        self.device = next(model.parameters()).device
        self._horizon = config.horizon if config.method in ("cem", "mppi") else 1
        self._held = torch.zeros(0, dtype=torch.int64)
        self._plan = torch.zeros(0, self._horizon, motor.action_size, device=self.device)
        self._elites = torch.zeros(0, config.kept_elites, self._horizon, motor.action_size, device=self.device)
        self._search = {"cem": self._by_plans, "mppi": self._by_plans, "grid": self._by_grid, "jump": self._by_jumps}

    @torch.no_grad()
    def plan(self, context: Context, generator: torch.Generator) -> Tensor:
        """Return actions (B, action_size) for what the rows of `context` have seen; zeros where that is nothing.

        To be called once a step.

        Args:
            context: Of the same model and kind of motions.
            generator: Where every draw comes from, as many of them whatever the context holds.

        Raises:
            ValueError: The context is of another model or kind of motions.
        """
        if context.model is not self.model or context.kind != self.motor.kind:
            raise ValueError(
                f"the planner asks a {type(self.model).__name__} about motions of kind {self.motor.kind!r}, and the "
                f"context is of {'the same' if context.model is self.model else 'another'} model and kind "
                f"{context.kind!r}: make both of one model and kind"
            )
        self._shift(context)
        search = self._search[self.config.method](generator)
        for rows, views in context.groups(self.config.longest):
            z, motions = context.recent(rows, views)
            score_futures = self._future_score(rows, z, motions, context.here(rows))
            found = search(rows, score_futures)
            self._plan[rows], self._elites[rows] = found.plan, found.elites
        self._held = context.held.clone()
        return self._plan[:, 0].clone()

    def forget(self, rows: Tensor) -> None:
        """Forget the plans of `rows` (n,), as happens where an episode begins."""
        self._held[rows] = 0
        self._plan[rows] = 0
        self._elites[rows] = 0

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of the plans and elites that the next search begins with."""
        kept = {"held": self._held, "plan": self._plan, "elites": self._elites}
        return {name: value.cpu().numpy().copy() for name, value in kept.items()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what `state` returned."""
        self._held = torch.from_numpy(state["held"].copy())
        self._plan = torch.from_numpy(state["plan"].copy()).to(self.device)
        self._elites = torch.from_numpy(state["elites"].copy()).to(self.device)

    def _shift(self, context: Context) -> None:
        """Leave the step that was taken out of every plan, and forget those of rows whose episode began since."""
        if len(self._held) != context.num_envs:
            self._held = torch.zeros(context.num_envs, dtype=torch.int64)
            self._plan = self._plan.new_zeros(context.num_envs, *self._plan.shape[1:])
            self._elites = self._elites.new_zeros(context.num_envs, *self._elites.shape[1:])
        for kept in (self._plan, self._elites):
            kept[..., :-1, :] = kept[..., 1:, :].clone()
            kept[..., -1, :] = 0
        self.forget(torch.nonzero((context.held < 2) | (context.held < self._held))[:, 0])

    def _by_plans(self, generator: torch.Generator) -> Callable[[Tensor, FutureScore], Found]:
        config = self.config
        shape = (config.iterations, config.candidates, self._horizon, self.motor.action_size)
        noise = torch.randn(shape, generator=generator, device=generator.device).to(self.device)
        method = {"cem": cem, "mppi": mppi}[config.method]

        def search(rows: Tensor, score_futures: FutureScore) -> Found:
            warm = Warm(self._plan[rows], self._elites[rows], (self._held[rows] > 0).to(self.device))
            return method(self._score_actions(score_futures), warm, noise, config)

        return search

    def _by_grid(self, generator: torch.Generator) -> Callable[[Tensor, FutureScore], Found]:
        grid = grid_actions(self.motor.action_size, self.config.candidates, device=self.device)[:, None]  # (K, 1, A)

        def search(rows: Tensor, score_futures: FutureScore) -> Found:
            best = self._score_actions(score_futures)(grid.expand(len(rows), *grid.shape)).argmax(dim=1)
            return Found(grid[best], self._elites[rows])

        return search

    def _by_jumps(self, generator: torch.Generator) -> Callable[[Tensor, FutureScore], Found]:
        spread = [motions.to(self.device) for motions in spread_motions(self.motor, self.config, generator)]

        def search(rows: Tensor, score_futures: FutureScore) -> Found:
            def score(jumps: Tensor) -> Tensor:
                return score_futures(self.motor.actions(jumps)[:, :, None], jumps[:, :, None])

            best = jump(score, still_motions(self.motor, len(rows), self.device), spread, self.motor.kind)
            return Found(self.motor.actions(best)[:, None], self._elites[rows])

        return search

    def _score_actions(self, score_futures: FutureScore) -> Score:
        return lambda actions: score_futures(actions, self.motor.motions(actions))

    def _future_score(self, rows: Tensor, z: Tensor, motions: Tensor, here: Tensor) -> FutureScore:
        """Return what scores futures of `rows` from their context, which is aggregated once.

        Each part is scored while its predictions are still in the cache.
        """
        model, kind, feedback = self.model, self.motor.kind, self.config.far == "feedback"
        z_agg = model.aggregate(z, motions) if isinstance(model, SeqJEPA) else None

        def predict(part: slice, ways: Tensor) -> Tensor:
            if feedback:
                assert isinstance(model, SeqJEPA)
                return model.rollout(z[part], motions[part], ways[part])
            jumps = ways[part].flatten(1, 2)  # (n, K H, A)
            if isinstance(model, SeqJEPA) and z_agg is not None:
                predictions = model.predict(z_agg[part], jumps)
            else:
                predictions = model.predict_from(z[part], motions[part], jumps)
            return predictions.unflatten(1, ways.shape[1:3])

        def score_futures(actions: Tensor, ahead: Tensor) -> Tensor:
            ways = ahead if feedback else motions_reached(kind, ahead)
            at_once = max(1, PREDICTED_AT_ONCE // (ahead.shape[1] * ahead.shape[2]))
            scores: list[Tensor] = []
            for part in (slice(i, i + at_once) for i in range(0, len(rows), at_once)):
                asked = rows[part], z[part], motions[part], here[part], actions[part], ahead[part]
                scores.append(self.objective.score(Futures(*asked, predict(part, ways))))
            return torch.cat(scores)

        return score_futures


def _check(model: WorldModel, motor: Motor, config: PlannerConfig) -> None:
    name = type(model).__name__
    sees = getattr(model.config, "predictor_sees_motion", True)
    if not (model.predicts and sees):
        raise ValueError(
            f"a planner chooses motions by what is predicted after them, and this {name} predicts nothing from a "
            f"motion of kind {motor.kind!r}: take a model with a predictor that sees motions"
        )
    require_fit(model, "the motor", kind=motor.kind, motion_dim=motor.motion_size)
    if config.far == "feedback" and not isinstance(model, SeqJEPA):
        raise ValueError(f'far="feedback" needs a SeqJEPA, which can undo the standardisation of targets, got a {name}')
