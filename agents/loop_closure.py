"""Loop closure: was what I see now seen before in this episode? And what does a likeness say of the distance?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .context import Context


class Return(NamedTuple):
    """Whether each of B rows sees again what it saw before.

    Attributes:
        seen: (B,) bool.
        slot: (B,) int64, the earlier view most like the present one; -1 where there is none to compare with.
        similarity: (B,) cosine of the two; -1 where there is none.
    """

    seen: Tensor
    slot: Tensor
    similarity: Tensor


def recognise_return(context: Context, threshold: float, *, skip: int = 1) -> Return:
    """Say whether the present view of each row is one of its earlier ones, by the cosine of their embeddings.

    Args:
        context: What was seen; only views count, where from does not.
        threshold: Least cosine of a return: see `best_threshold`.
        skip: How many of the last views before the present one are no return: after a small motion, the view before
            looks alike.

    Raises:
        ValueError: `skip` is negative.
    """
    if skip < 0:
        raise ValueError(f"skip must be at least 0, got {skip}")
    held = context.held.to(context.device)
    rows = torch.arange(context.num_envs, device=context.device)
    now = context.target[rows, (held - 1).clamp(min=0)]
    similarity = F.cosine_similarity(context.target, now[:, None], dim=-1)  # (B, capacity)
    comparable = torch.arange(context.capacity, device=context.device) < (held - 1 - skip)[:, None]
    best, slot = similarity.masked_fill(~comparable, -1.0).max(dim=1)
    known = comparable.any(dim=1)
    return Return(known & (best >= threshold), torch.where(known, slot, -1), best)


def roc_auc(same: np.ndarray, different: np.ndarray) -> float:
    """Return the area under the ROC curve: how often a score of `same` (n,) exceeds one of `different` (m,).

    Ties count one half (Mann and Whitney, 1947).

    Raises:
        ValueError: One of them is empty.
    """
    _check_scores(same, different)
    ordered = np.sort(different)
    below, upto = np.searchsorted(ordered, same, side="left"), np.searchsorted(ordered, same, side="right")
    return float((below + upto).mean() / (2 * len(different)))


def best_threshold(same: np.ndarray, different: np.ndarray) -> float:
    """Return the threshold, one of the scores, at which the shares rightly accepted and refused add up to most.

    That is Youden's (1950) J. A score is accepted that is at least the threshold.

    Raises:
        ValueError: `same` (n,) or `different` (m,) is empty.
    """
    _check_scores(same, different)
    thresholds = np.unique(np.concatenate([same, different]))
    accepted = 1 - np.searchsorted(np.sort(same), thresholds, side="left") / len(same)
    refused = np.searchsorted(np.sort(different), thresholds, side="left") / len(different)
    return float(thresholds[(accepted + refused).argmax()])


@dataclass(frozen=True)
class SimilarityCurve:
    """How alike two views of one thing are by how far apart they were seen from: a likelihood of the distance.

    Between the bins' centres mean and std are interpolated, beyond them they stay. JSON-able.

    Attributes:
        distances: Centres of the bins, rising, image units or radians.
        means: Mean cosine of the pairs in each.
        stds: Their standard deviation, above 0.

    Raises:
        ValueError: The bins are not rising, or not as many as means and stds above 0.
    """

    distances: tuple[float, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.distances, self.distances[1:], strict=False))
        if not rising or not len(self.distances) == len(self.means) == len(self.stds) > 0 or min(self.stds) <= 0:
            raise ValueError(f"expected rising distances, each with a mean and a std above 0, got {self}")

    @classmethod
    def fit(cls, distances: np.ndarray, similarities: np.ndarray, *, bins: int = 12) -> SimilarityCurve:
        """Return the curve of pairs with `distances` (n,) and `similarities` (n,), in bins of equally many pairs.

        Raises:
            ValueError: There are fewer than 2 pairs a bin.
        """
        if bins < 1 or len(distances) != len(similarities) or len(distances) < 2 * bins:
            raise ValueError(
                f"expected at least 2 pairs for each of {bins} bins, got {len(distances)} distances and "
                f"{len(similarities)} similarities"
            )
        order = np.argsort(distances, kind="stable")
        parts = [part for part in np.array_split(order, bins) if len(part)]
        found: dict[float, tuple[float, float]] = {}
        for part in parts:  # bins with one centre, as of pairs that never moved, are one
            std = max(float(similarities[part].std()), 1e-3)
            found.setdefault(float(distances[part].mean()), (float(similarities[part].mean()), std))
        means, stds = zip(*found.values(), strict=True)
        return cls(tuple(found), means, stds)

    def log_likelihood(self, similarity: Tensor, distance: Tensor) -> Tensor:
        """Return log p(similarity | distance) but for a constant: (n,) cosines and (n, K) distances give (n, K)."""
        mean, std = self._at(distance, self.means), self._at(distance, self.stds)
        return -0.5 * ((similarity[:, None] - mean) / std) ** 2 - std.log()

    def _at(self, distance: Tensor, values: tuple[float, ...]) -> Tensor:
        centres = torch.tensor(self.distances, dtype=distance.dtype, device=distance.device)
        heights = torch.tensor(values, dtype=distance.dtype, device=distance.device)
        if len(centres) == 1:
            return heights.expand_as(distance)
        inside = distance.clamp(centres[0], centres[-1])
        upper = torch.searchsorted(centres, inside.contiguous()).clamp(1, len(centres) - 1)
        share = (inside - centres[upper - 1]) / (centres[upper] - centres[upper - 1])
        return torch.lerp(heights[upper - 1], heights[upper], share)


def _check_scores(same: np.ndarray, different: np.ndarray) -> None:
    if not len(same) or not len(different):
        raise ValueError(f"expected scores of both kinds of pairs, got {len(same)} same and {len(different)} different")
