"""How paired embeddings are matched, and what keeps them from collapsing: losses beside the paper's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .objectives import covariance_term, variance_term


def mean_squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean over entries of (a - b)^2, a float32 scalar.

    Args:
        a: (..., D), any float type.
        b: (..., D), the same shape.

    Source: Bardes et al. 2022 (VICReg), equation 5, averaged over D as their code does.
    """
    return F.mse_loss(a.float(), b.float())


def info_nce(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Return NT-Xent, a float32 scalar: the cross-entropy of picking each embedding's partner among all others.

    Of the 2 B embeddings of a slot p, each is compared by cosine with the 2 B - 1 others, among them its partner:
    log(2 B - 1) if all are identical. Slots are averaged; embeddings of different slots are never compared, so that
    several pairs from one window are not each other's negatives.

    Args:
        a: (B, P, D), any float type: B windows, P pairs of each.
        b: (B, P, D): b[i, p] is the partner of a[i, p].
        temperature: Divides the cosines, above 0.

    Source: Chen et al. 2020 (SimCLR), equation 1.
    """
    with torch.autocast(a.device.type, enabled=False):
        rows = F.normalize(torch.cat([a.float(), b.float()]).transpose(0, 1), dim=-1)  # (P, 2 B, D)
        logits = rows @ rows.transpose(1, 2) / temperature  # (P, 2 B, 2 B)
        count = len(a)
        itself = torch.eye(2 * count, dtype=torch.bool, device=a.device)
        partner = torch.arange(2 * count, device=a.device).roll(count).expand(rows.shape[0], -1)
        return F.cross_entropy(logits.masked_fill(itself, -torch.inf).flatten(0, 1), partner.flatten())


def paired_variance(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean of `variance_term` over both sides (..., D) of the pairs: 0 once every std is at least 1.

    Source: Bardes et al. 2022 (VICReg); the mean where their equation 6 has the sum, as in their code.
    """
    return (variance_term(a) + variance_term(b)) / 2


def paired_covariance(a: Tensor, b: Tensor) -> Tensor:
    """Return the sum of `covariance_term` over both sides (..., D) of the pairs: Bardes et al. 2022, equation 6."""
    return covariance_term(a) + covariance_term(b)


def trajectory_term(z: Tensor) -> Tensor:
    """Return the mean of 1 - cos(z_{t+1} - z_t, z_{t+2} - z_{t+1}), a float32 scalar: 0 where z moves straight on.

    Args:
        z: Embeddings of consecutive views, (B, T, D), T >= 3.

    Raises:
        ValueError: There are fewer than three views.

    Source: Wang, Chen and Yu 2024 (viewpoint trajectory regularisation), on views that are neighbours of each other;
    where windows hold views in any order, as here by default and in 3DIEBench, it has little to hold on to.
    """
    if z.shape[1] < 3:
        raise ValueError(f"a trajectory needs at least 3 consecutive views, got {z.shape[1]}: use longer windows")
    steps = z.float().diff(dim=1)
    return 1 - F.cosine_similarity(steps[:, :-1], steps[:, 1:], dim=-1).mean()
