"""What a plan can be wanted to bring about: a goal, a sure class, little motion, information, and sums of these.

Predictions live where targets do: goals are `as_target(encode_target(view))`. Objectives add up, `a + 0.2 * b`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..world_model.motion import MotionKind
from ..world_model.motion_tensors import size_of
from .class_reader import ClassReader, entropy
from .disagreement import disagreement
from .planner import Futures, PlanObjective, motions_reached

When = Literal["end", "any", "all"]
"""Which steps of a plan count: its last; the best of them; or all alike, so that what is good is wanted soon. An agent
that plans anew at every step can put off for ever what only has to come at the end."""
Predict = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Predictions (n, K, P) from z (n, M, D), the motions between them (n, M-1, A) and motions ahead (n, K, A)."""


class Addend:
    """What all objectives here have: they can be weighted and added up, and given goals."""

    def score(self, futures: Futures) -> Tensor:
        """Return (n, K), higher is better."""
        raise TypeError(f"{type(self).__name__} scores nothing: take one of the objectives in this module")

    def with_goals(self, goals: Tensor) -> Addend:
        """Return the objective with new goals (B, P); itself where it has none."""
        return self

    def __add__(self, other: PlanObjective) -> Sum:
        return Sum((*_terms(self), *_terms(other)))

    def __rmul__(self, weight: float) -> Sum:
        return Sum(tuple((weight * inner, objective) for inner, objective in _terms(self)))


@dataclass(frozen=True, eq=False)
class Sum(Addend):
    """The weighted sum of objectives.

    Attributes:
        terms: Weights and objectives.
    """

    terms: tuple[tuple[float, PlanObjective], ...]

    def score(self, futures: Futures) -> Tensor:
        """Return (n, K), higher is better."""
        return torch.stack([weight * objective.score(futures) for weight, objective in self.terms]).sum(dim=0)

    def with_goals(self, goals: Tensor) -> Sum:
        """Return the sum with new goals (B, P) in all terms that have goals."""
        return Sum(tuple((w, o.with_goals(goals) if isinstance(o, Addend) else o) for w, o in self.terms))


@dataclass(frozen=True, eq=False)
class ReachEmbedding(Addend):
    """To see the goal: the cosine of what is predicted with the goal's embedding, in [-1, 1].

    Attributes:
        goals: Embeddings of the goals, (B, P), one for each sub-environment; None until `with_goals` sets them.
        when: At the "end" of a plan, at "any" of its steps, or at "all": see `When`.

    Raises:
        ValueError: Goals are not (B, P); when scored, there are none, or they are not where predictions are.
    """

    goals: Tensor | None = None
    when: When = "end"

    def __post_init__(self) -> None:
        if self.goals is not None and self.goals.ndim != 2:
            raise ValueError(f"goals must be (B, P), one a sub-environment, got {tuple(self.goals.shape)}")

    def score(self, futures: Futures) -> Tensor:
        """Return (n, K)."""
        if self.goals is None:
            raise ValueError("no goal is set to reach: use with_goals(embeddings) first")
        size, last = futures.predictions.shape[-1], int(futures.rows.max())
        if self.goals.shape[1] != size or last >= len(self.goals):
            raise ValueError(
                f"goals are {tuple(self.goals.shape)}, and predictions are made of at least {last + 1} sub-environments"
                f" with {size} numbers each: embed one goal for each by as_target(encode_target(view)) of this model"
            )
        goals = F.normalize(self.goals[futures.rows].float(), dim=-1)[:, None, None]  # (n, 1, 1, P)
        seen = _counted(futures.predictions, self.when).float()  # (n, K, ·, P)
        along = (seen * goals).sum(dim=-1)  # unlike products of matrices, rounds a row alone as it does in company
        return _over_steps(along / torch.linalg.vector_norm(seen, dim=-1).clamp_(min=1e-8), self.when)

    def with_goals(self, goals: Tensor) -> ReachEmbedding:
        """Return the objective with new goals (B, P)."""
        return replace(self, goals=goals)


@dataclass(frozen=True, eq=False)
class ClassConfidence(Addend):
    """To see what is surely of a class: a class's log-probability, or minus the entropy over all, in nats.

    Attributes:
        reader: Reads the classes.
        label: The class to see, or None for any.
        when: At the "end" of a plan, at "any" of its steps, or at "all": see `When`.
        embed: Makes of predictions (..., P) what the reader was fitted on, as `SeqJEPA.as_token` does for one of z;
            None for one that was fitted where targets live.

    Raises:
        ValueError: The reader knows no such class or, when scored, reads embeddings of another length.
    """

    reader: ClassReader
    label: int | None = None
    when: When = "end"
    embed: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        if self.label is not None and not 0 <= self.label < self.reader.num_classes:
            raise ValueError(f"label must be one of {self.reader.num_classes} classes, from 0, got {self.label}")

    def score(self, futures: Futures) -> Tensor:
        """Return (n, K)."""
        seen = _counted(futures.predictions, self.when)
        logs = self.reader.logs(seen if self.embed is None else self.embed(seen))  # (n, K, ·, C)
        scores = -entropy(logs) if self.label is None else logs[..., self.label]
        return _over_steps(scores, self.when)


@dataclass(frozen=True)
class MotionCost(Addend):
    """To move little: minus the length of the way, radians or image units.

    Attributes:
        kind: Of the motions.
    """

    kind: MotionKind

    def score(self, futures: Futures) -> Tensor:
        """Return (n, K), at most 0."""
        return -size_of(self.kind, futures.ahead).sum(dim=-1)


@dataclass(frozen=True, eq=False)
class Disagreement(Addend):
    """To learn: how far predictions of the same view differ, averaged over the steps, in [0, 1].

    It is one minus the squared length of the mean of the predictions' directions: 0 where all agree, and what a view
    would tell about which of them is right is the more, the higher it is (Pathak et al. 2019).

    Attributes:
        members: An ensemble, of at least two: `predict_from` of models that share the encoder that embedded the context
            and the space of targets, or `dropped` versions of one.
        kind: Of the motions.
    """

    members: tuple[Predict, ...]
    kind: MotionKind

    def __post_init__(self) -> None:
        if len(self.members) < 2:
            raise ValueError(f"to disagree takes at least 2 members, got {len(self.members)}")

    def score(self, futures: Futures) -> Tensor:
        """Return (n, K)."""
        jumps = motions_reached(self.kind, futures.ahead).flatten(1, 2)
        members = [F.normalize(member(futures.z, futures.motions, jumps).float(), dim=-1) for member in self.members]
        apart = disagreement(torch.stack(members, dim=1))  # (n, K H)
        return apart.unflatten(1, futures.ahead.shape[1:3]).mean(dim=-1)


def dropped(predict: Predict, samples: int, rate: float, generator: torch.Generator) -> Sequence[Predict]:
    """Return `samples` versions of `predict`, each blind to other entries of z (dropout, Gal and Ghahramani 2016).

    What a version drops is drawn once, the same for all views and rows, so that its predictions can be compared.

    Args:
        predict: Such as `model.predict_from`.
        samples: How many.
        rate: Share of entries that are dropped, in (0, 1); the others are scaled up.
        generator: Where the draws come from.
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate must be above 0 and below 1, got {rate}")

    def version(seed: int) -> Predict:
        def dropping(z: Tensor, motions: Tensor, ahead: Tensor) -> Tensor:
            draws = torch.rand(z.shape[-1], generator=torch.Generator().manual_seed(seed))
            kept = (draws >= rate).to(z) / (1 - rate)
            return predict(z * kept, motions, ahead)

        return dropping

    seeds = torch.randint(2**62, (samples,), generator=generator, device=generator.device)
    return tuple(version(seed) for seed in seeds.tolist())


def _counted(predictions: Tensor, when: When) -> Tensor:
    """Return the predictions (n, K, ·, P) of the steps that count."""
    return predictions[:, :, -1:] if when == "end" else predictions


def _over_steps(scores: Tensor, when: When) -> Tensor:
    """Return scores (n, K) of those (n, K, ·) of the steps that count."""
    return scores.mean(dim=-1) if when == "all" else scores.amax(dim=-1)


def _terms(objective: PlanObjective) -> tuple[tuple[float, PlanObjective], ...]:
    return objective.terms if isinstance(objective, Sum) else ((1.0, objective),)
