"""Loop closure: was what I see now seen before in this episode?"""

from __future__ import annotations

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
        threshold: Least cosine of a return: see `similarity.calibrate_stop`.
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
    if not len(same) or not len(different):
        raise ValueError(f"expected scores of both kinds of pairs, got {len(same)} same and {len(different)} different")
    ordered = np.sort(different)
    below, upto = np.searchsorted(ordered, same, side="left"), np.searchsorted(ordered, same, side="right")
    return float((below + upto).mean() / (2 * len(different)))
