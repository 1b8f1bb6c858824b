"""What the similarity of two views tells of how far apart they were taken: measured on play, used as evidence."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ..world_model.checkpoint import write_json
from ..world_model.motion import MotionKind


def pairwise_distance(kind: MotionKind, a: Tensor, b: Tensor) -> Tensor:
    """Return how far each of poses `a` (n, A) is from each of `b` (K, A), or of its own (n, K, A): (n, K).

    Radians between orientations, image units between positions; zoom does not count.
    """
    shared = b.ndim == 2
    if kind == "translation":
        return (a[:, None, :2] - (b[None] if shared else b)[..., :2]).norm(dim=-1)
    cosine = a @ b.T if shared else torch.einsum("na,nka->nk", a, b)
    return 2 * cosine.abs().clamp(max=1).acos()


@dataclass(frozen=True)
class SimilarityCurve:
    """The cosine of two views of one thing by the distance of their poses: normal, its mean and spread by distance.

    Attributes:
        distances: Middles of the bins, rising, radians or image units; what is nearer or further counts as the first
            or the last.
        means: Of the cosine, a bin.
        stds: Its standard deviation, a bin.
        shared: Share of the variance, in [0, 1), that all views compared with one goal have in common: some things
            look alike from everywhere.

    Raises:
        ValueError: The bins are not rising, or not as many as means and stds above 0, or the share is out of range.
    """

    distances: tuple[float, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]
    shared: float = 0.0

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in pairwise(self.distances))
        if not rising or not len(self.distances) == len(self.means) == len(self.stds) > 0 or min(self.stds) <= 0:
            raise ValueError(f"expected rising distances, each with a mean and a std above 0, got {self}")
        if not 0 <= self.shared < 1:
            raise ValueError(f"shared must be at least 0 and below 1, got {self.shared}")

    def residual(self, similarity: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far `similarity` (n, 1) is from what is expected at `distance` (n, K), in stds, and the stds."""
        middles, means, stds = (
            torch.tensor(x, dtype=distance.dtype, device=distance.device)
            for x in (self.distances, self.means, self.stds)
        )
        if len(middles) == 1:
            return (similarity - means) / stds, stds.expand_as(distance)
        above = torch.searchsorted(middles, distance.contiguous()).clamp(1, len(middles) - 1)
        share = ((distance - middles[above - 1]) / (middles[above] - middles[above - 1])).clamp(0, 1)
        mean, std = (torch.lerp(x[above - 1], x[above], share) for x in (means, stds))
        return (similarity - mean) / std, std

    def log_likelihood(self, similarity: Tensor, distance: Tensor) -> Tensor:
        """Return how likely similarities of V views to a goal are, less a constant, at each of K hypotheses, (n, K).

        Args:
            similarity: (n, V).
            distance: Of each view from each hypothesis, (n, V, K).
        """
        residual, std = self.residual(similarity[..., None], distance)
        own, views = 1 - self.shared, similarity.shape[1]
        common = self.shared / (own + views * self.shared) * residual.sum(dim=1).square()
        return -0.5 * (residual.square().sum(dim=1) - common) / own - std.log().sum(dim=1)

    def save(self, path: Path) -> None:
        """Write as JSON."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> SimilarityCurve:
        """Read what `save` wrote."""
        told = json.loads(path.read_text())
        lists = {name: tuple(told[name]) for name in ("distances", "means", "stds")}
        return cls(**lists, shared=told["shared"])


def pairs_of_views(kind: MotionKind, embeddings: Tensor, poses: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cosine and the distance of every pair of views of one thing, both (pairs,).

    Args:
        kind: How motions compose.
        embeddings: Of V views of each of N things, where targets live, (N, V, P).
        poses: Where they were taken, (N, V, A).
    """
    cosines, distances = _square(kind, embeddings, poses)
    upper = torch.triu_indices(poses.shape[1], poses.shape[1], 1)
    return cosines[:, upper[0], upper[1]].flatten(), distances[:, upper[0], upper[1]].flatten()


def fit_similarity(kind: MotionKind, embeddings: Tensor, poses: Tensor, *, bins: int = 16) -> SimilarityCurve:
    """Return the curve of `pairs_of_views`, in bins of equally many pairs, the nearest of which is split.

    Bins with one middle, as of pairs that never moved, are one: the first of them stays.

    Args:
        kind, embeddings, poses: See `pairs_of_views`. Views of things that the model was trained on seem more alike
            than those of others: take validation things where there are some to spare.
        bins: At least 2.

    Raises:
        ValueError: There are too few pairs, or shapes do not fit.
    """
    cosines, distances = pairs_of_views(kind, embeddings, poses)
    if bins < 2 or len(cosines) < 8 * bins:
        raise ValueError(f"expected at least 2 bins and 8 pairs of views a bin, got {len(cosines)} pairs, {bins} bins")
    order = distances.argsort()
    edges = [round(len(order) * share) for share in (0, 0.25 / bins, *(n / bins for n in range(1, bins + 1)))]
    parts = [order[low:high] for low, high in pairwise(edges) if high - low > 1]
    found: list[tuple[float, float, float]] = []
    for part in parts:
        middle = distances[part].mean().item()
        if not found or middle > found[-1][0] + 1e-6:
            std = cosines[part].std().clamp(min=1e-3)
            found.append((middle, cosines[part].mean().item(), std.item()))
    middles, means, stds = zip(*found, strict=True)
    curve = SimilarityCurve(middles, means, stds)
    return replace(curve, shared=_shared(curve, *_square(kind, embeddings, poses)))


def calibrate_stop(similarity: Tensor, distance: Tensor, tolerance: float) -> float:
    """Return the similarity from which on a view is within `tolerance` of the goal more likely than not.

    It is the one of `similarity` at which the shares of near pairs accepted and of far ones refused add up to most
    (Youden's J, 1950); accepted is what is at least as similar. Near and far pairs count alike, for an agent that
    arrives: of views drawn at random, hardly any would be near.

    Args:
        similarity: Of pairs of views, (pairs,).
        distance: Of their poses, (pairs,), of a range that the agent could confuse with the goal.
        tolerance: In the distance's unit.

    Raises:
        ValueError: All pairs are near, or all are far.
    """
    near = distance <= tolerance
    if bool(near.all()) or not bool(near.any()):
        raise ValueError(f"expected pairs within {tolerance:g} and beyond, got {int(near.sum())} of {len(near)} within")
    same, different = similarity[near].sort().values, similarity[~near].sort().values
    thresholds = similarity.unique()
    accepted = 1 - torch.searchsorted(same, thresholds) / len(same)
    refused = torch.searchsorted(different, thresholds) / len(different)
    return thresholds[(accepted + refused).argmax()].item()


def _square(kind: MotionKind, embeddings: Tensor, poses: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cosine and the distance of every view of a thing and every other, both (N, V, V)."""
    check_views(embeddings, poses)
    unit = F.normalize(embeddings.float(), dim=-1)
    return unit @ unit.transpose(1, 2), torch.stack([pairwise_distance(kind, own, own) for own in poses.float()])


def _shared(curve: SimilarityCurve, cosines: Tensor, distances: Tensor) -> float:
    """Return how far residuals of the same goal correlate, with each view of each thing as the goal."""
    views = cosines.shape[1]
    if views < 3:
        return 0.0
    residual, _ = curve.residual(cosines.reshape(-1, 1), distances.reshape(-1, 1))
    others = residual.view(cosines.shape) * (1 - torch.eye(views, device=cosines.device))
    square, total = others.square().sum(dim=1), others.sum(dim=1).square()
    return (((total - square).mean() / (views - 2)) / square.mean()).clamp(0, 0.95).item()


def check_views(embeddings: Tensor, poses: Tensor) -> None:
    """Raise ValueError unless there are poses (N, V, A) of embeddings (N, V, P), with V >= 2."""
    if embeddings.ndim != 3 or poses.ndim != 3 or embeddings.shape[:2] != poses.shape[:2] or poses.shape[1] < 2:
        raise ValueError(
            "expected embeddings (N, V, P) and poses (N, V, A) of V >= 2 views of each of N things, "
            f"got {tuple(embeddings.shape)} and {tuple(poses.shape)}"
        )
