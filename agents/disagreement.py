"""How far predictions of one view differ that were made from different contexts: what a model does not know yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

from ..world_model.protocol import WorldModel


def predict_by_context(model: WorldModel, z: Tensor, motions: Tensor, ahead: Tensor) -> Tensor:
    """Return unit predictions of the same views from the last view alone, from the last two, and so on to all M.

    They are an ensemble without further weights: a model that knows what comes says the same from each.

    Args:
        model: Who predicts.
        z: Embeddings of M views, (n, M, D).
        motions: Motions between them, (n, M-1, A).
        ahead: K motions from the last view on, (n, K, A).

    Returns:
        (n, M, K, P) float32 of length 1, where targets live.
    """
    views = z.shape[1]
    parts = [model.predict_from(z[:, first:], motions[:, first:], ahead) for first in range(views - 1, -1, -1)]
    return F.normalize(torch.stack(parts, dim=1).float(), dim=-1)


def disagreement(predictions: Tensor) -> Tensor:
    """Return how far unit predictions (n, M, K, P) of K views differ, (n, K) in [0, 1].

    One minus the squared length of their mean direction: 0 where all M agree, and where there is one alone.
    """
    return (1 - predictions.mean(dim=1).square().sum(dim=-1)).clamp(min=0.0)


@contextmanager
def evaluating(model: WorldModel) -> Iterator[None]:
    """Put a model that may be learning in eval mode for a while, without gradients."""
    training = model.training
    if training:  # else there is nothing to visit all its modules for, at each step
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        if training:
            model.train()
