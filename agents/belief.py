"""A belief over where the goal is: hypotheses of its pose, and the evidence of every view for each of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..world_model.motion import MotionKind
from ..world_model.motion_tensors import inverse, relative
from .context import Context
from .goals import Goals
from .inverse import InverseModel
from .similarity import SimilarityCurve, pairwise_distance

_CHUNK = 32768
"""Hypotheses asked of a predictor at once, over all rows, so that what it holds meanwhile stays small."""

_SHIFTS = 4
"""Steps of mean shift (Comaniciu and Meer 2002) from the best hypothesis to the peak between hypotheses."""


@dataclass(frozen=True)
class BeliefSettings:
    """What counts how much as evidence; 0 leaves a source out."""

    prediction: float = 2.0
    """Weight of the cosine between the goal and what is predicted at a hypothesis: 1 / temperature. This and the others
    are low, as the errors of several views have causes in common."""
    postdiction: float = 1.0
    """Weight of the cosine between what was seen and what is predicted for there from the goal at a hypothesis."""
    inverse: float = 0.3
    """Weight of the inverse model's log density."""
    similarity: float = 1.0
    """Weight of the log likelihood of the similarities of all views to the goal, by their distances from a hypothesis.
    Where little similarity was found, it inhibits the return."""
    longest: int = 3
    """Last views that a prediction is made from, at most."""


def rotation_hypotheses(count: int, *, reach: float = np.pi) -> Tensor:
    """Return about `count` rotations (K, 4) spread evenly over those of at most `reach` radians; float32, w >= 0.

    Those of a super-Fibonacci spiral over all rotations (Alexa, "Super-Fibonacci Spirals", CVPR 2022) that are near
    enough.

    Raises:
        ValueError: `count` is below 1, or `reach` is not in (0, pi].
    """
    if count < 1 or not 0 < reach <= np.pi:
        raise ValueError(f"expected a count of at least 1 and a reach in (0, pi], got {count} and {reach}")
    whole = max(round(count * np.pi / (reach - np.sin(reach))), 1)
    s = np.arange(whole) + 0.5
    inner, outer = np.sqrt(s / whole), np.sqrt(1 - s / whole)
    alpha, beta = 2 * np.pi * s / np.sqrt(2), 2 * np.pi * s / 1.533751168755204288118041
    spiral = np.stack(
        [inner * np.sin(alpha), inner * np.cos(alpha), outer * np.sin(beta), outer * np.cos(beta)], axis=1
    )
    spiral *= np.where(spiral[:, 3:] < 0, -1, 1)
    near = 2 * np.arccos(spiral[:, 3].clip(max=1)) <= reach
    return torch.from_numpy(spiral[near]).float()


def translation_hypotheses(spacing: float, *, reach: float, motion_size: int = 2) -> Tensor:
    """Return the displacements (K, motion_size) of a square grid of `spacing` within `reach`, image units; zoom is 0.

    Raises:
        ValueError: The two are not above 0, or the grid is of one point.
    """
    if not 0 < spacing <= reach:
        raise ValueError(f"expected 0 < spacing <= reach, got {spacing} and {reach}")
    steps = torch.arange(-int(reach / spacing), int(reach / spacing) + 1) * spacing
    grid = torch.cartesian_prod(steps, steps)
    grid = grid[grid.norm(dim=1) <= reach]
    return F.pad(grid, (0, motion_size - 2))


class GoalBelief:
    """Log scores of hypotheses of the goal's pose, seen from where an episode began, summed over its views.

    Motions are known, so that whatever a view tells of the way from itself to the goal is told of the same hypotheses.

    Args:
        context: What was seen and where from.
        hypotheses: (K, A), the motions from an episode's first view to where the goal may be.
        tolerance: Radians or image units within which a pose counts as the goal's.
        settings: Weights of the evidence.
        inverse: Needed where its weight is not 0.
        curve: What similarity tells of distance; needed where its weight is not 0.

    Attributes:
        summed: (B, K) float32, what each view in turn told by predictions and the inverse model.
        score: (B, K) float32, that and what all views together tell by their similarity to the goal.

    Raises:
        ValueError: A weight asks for what is not there.
    """

    def __init__(
        self,
        context: Context,
        hypotheses: Tensor,
        tolerance: float,
        settings: BeliefSettings,
        *,
        inverse: InverseModel | None = None,
        curve: SimilarityCurve | None = None,
    ) -> None:
        size = context.pose.shape[2]
        if hypotheses.ndim != 2 or hypotheses.shape[1] != size:
            raise ValueError(f"hypotheses must be (K, {size}), as the motions are, got {tuple(hypotheses.shape)}")
        if (settings.inverse and inverse is None) or (settings.similarity and curve is None):
            raise ValueError(
                "weights above 0 need what they weigh: settings.inverse an inverse model (fit_inverse), "
                "settings.similarity a curve (fit_similarity)"
            )
        if (settings.prediction or settings.postdiction) and not context.model.predicts:
            raise ValueError("this model predicts nothing: set the weights of prediction and postdiction to 0")
        self.context, self.settings, self.tolerance = context, settings, tolerance
        self.hypotheses = hypotheses.to(context.device)
        self.summed = torch.zeros(context.num_envs, len(hypotheses), device=context.device)
        self.score = torch.zeros_like(self.summed)
        self._inverse, self._curve = inverse, curve
        # A pose is as good as what lies around it: the weight of each hypothesis for a pose at each.
        self._around = self._nearness(pairwise_distance(context.kind, self.hypotheses, self.hypotheses))

    @property
    def kind(self) -> MotionKind:
        """Of the motions."""
        return self.context.kind

    @property
    def probability(self) -> Tensor:
        """How likely each hypothesis is, (B, K)."""
        return self.score.softmax(dim=1)

    @torch.no_grad()
    def update(self, goals: Goals, first: np.ndarray) -> None:
        """Add the evidence of the view that the context took in last.

        Args:
            goals: What is looked for.
            first: (B,) bool, whether an episode began with that view.
        """
        self.summed[torch.from_numpy(np.asarray(first, dtype=bool)).to(self.summed.device)] = 0
        for rows, views in self.context.groups(self.settings.longest):
            for part in rows.split(max(1, _CHUNK // len(self.hypotheses))):
                self.summed[part] += self._evidence(part, views, goals)
        self.score.copy_(self.summed)
        if self._curve is not None and self.settings.similarity:
            for rows, views in self.context.groups(self.context.capacity):
                for part in rows.split(max(1, 16 * _CHUNK // (views * len(self.hypotheses)))):
                    self.score[part] += self.settings.similarity * self._likelihood(part, views, goals)

    def around(self) -> Tensor:
        """Return how much belief lies around each hypothesis, in [0, 1], (B, K)."""
        return self.probability @ self._around

    def peak(self, allowed: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pose (B, A) with the most belief around it, finer than the hypotheses lie, and how much, (B,).

        Args:
            allowed: (B, K) bool, hypotheses to choose from, at least one a row.
        """
        probability = self.probability
        around = self.around().masked_fill(~allowed, -1.0)
        pose = self.hypotheses[around.argmax(dim=1)]
        for _ in range(_SHIFTS):
            # Twice as wide as what counts: few hypotheses lie within the tolerance to average over.
            nearness = self._nearness(pairwise_distance(self.kind, pose, self.hypotheses) / 2)
            pose = self._mean(probability * nearness, pose)
        return pose, self.mass(pose[:, None])[:, 0]

    def mass(self, poses: Tensor) -> Tensor:
        """Return how much belief lies around `poses` (B, N, A), in [0, 1], (B, N)."""
        rows, count = poses.shape[:2]
        nearness = self._nearness(pairwise_distance(self.kind, poses.flatten(0, 1), self.hypotheses))
        return torch.einsum("bnk,bk->bn", nearness.unflatten(0, (rows, count)), self.probability)

    def unexplored(self, width: float) -> Tensor:
        """Return in [0, 1] how far each hypothesis is from all that was visited, (B, K): 0 there, 0.87 at `width`."""
        count = int(self.context.held.max())
        visited = self.context.pose[:, :count]
        distance = pairwise_distance(self.kind, visited.flatten(0, 1), self.hypotheses).unflatten(0, visited.shape[:2])
        held = torch.arange(count) < self.context.held[:, None]
        nearest = distance.masked_fill(~held[..., None].to(distance.device), torch.inf).amin(dim=1)
        return 1 - (-2 * (nearest / width).square()).exp()

    def _nearness(self, distance: Tensor) -> Tensor:
        """Return weights in [0, 1]: 1 at the same place, 0.6 at half the tolerance, and 0.13 at the tolerance."""
        return (-2 * (distance / self.tolerance).square()).exp()

    def _mean(self, weight: Tensor, about: Tensor) -> Tensor:
        """Return the mean (B, A) of the hypotheses by `weight` (B, K), all on the side of `about` (B, A)."""
        if self.kind == "translation":
            return weight @ self.hypotheses / weight.sum(dim=1, keepdim=True).clamp(min=1e-30)
        side = (about @ self.hypotheses.T).sign()
        mean = F.normalize((weight * side) @ self.hypotheses + 1e-12 * about, dim=1)
        return torch.where(mean[:, 3:] < 0, -mean, mean)

    def _evidence(self, rows: Tensor, views: int, goals: Goals) -> Tensor:
        """Return (n, K), from the last views of `rows`."""
        goal = goals.target[rows]
        settings, here = self.settings, self.context.here(rows)
        seen = self.context.target[rows, self.context.held[rows] - 1]
        ahead = relative(self.kind, here[:, None], self.hypotheses[None])  # (n, K, A)
        total = torch.zeros(ahead.shape[:2], device=ahead.device)
        if settings.prediction:
            predicted = self.context.model.predict_from(*self.context.recent(rows, views), ahead)
            total += settings.prediction * F.cosine_similarity(predicted.float(), goal[:, None], dim=-1)
        if settings.postdiction:
            back = inverse(self.kind, ahead)
            predicted = self.context.model.predict_from(goals.z[rows, None], back[:, :0], back)
            total += settings.postdiction * F.cosine_similarity(predicted.float(), seen[:, None], dim=-1)
        if self._inverse is not None and settings.inverse:
            total += settings.inverse * self._inverse.log_density(seen, goal, ahead)
        return total

    def _likelihood(self, rows: Tensor, views: int, goals: Goals) -> Tensor:
        """Return (n, K): how likely the similarities of all `views` of `rows` are at each hypothesis."""
        assert self._curve is not None
        similarity = F.cosine_similarity(self.context.target[rows, :views], goals.target[rows, None], dim=-1)
        poses = self.context.pose[rows, :views].flatten(0, 1)
        distance = pairwise_distance(self.kind, poses, self.hypotheses)
        return self._curve.log_likelihood(similarity, distance.unflatten(0, similarity.shape))
