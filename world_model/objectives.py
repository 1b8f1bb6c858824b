"""Losses: the paper's cosine, the additions that make a small model learn faster, and the statistics they need."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def cosine_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean of 1 - cos(prediction, target), a float32 scalar in [0, 2]; the norms do not matter.

    Args:
        prediction: (..., D), any float type.
        target: (..., D), the same shape.

    Source: seq-JEPA, section 3.
    """
    return 1 - F.cosine_similarity(prediction.float(), target.float(), dim=-1).mean()


def mean_and_std(x: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Return mean and std of `x` (..., D) over all leading axes, each (D,) float32; `eps` is added to the variance."""
    rows = x.float().flatten(0, -2)
    return rows.mean(0), torch.sqrt(rows.var(0, correction=0) + eps)


def standardize(x: Tensor, eps: float = 1e-6) -> Tensor:
    """Return `x` (..., D) as float32 with mean 0 and standard deviation 1 in each dimension over all leading axes.

    A constant dimension becomes 0: `eps` is added to the variance.
    """
    mean, std = mean_and_std(x, eps)
    return (x.float() - mean) / std


def variance_term(z: Tensor, eps: float = 1e-4) -> Tensor:
    """Return the mean over dimensions of relu(1 - std), a float32 scalar: 0 once each dimension of `z` has std 1.

    Args:
        z: (..., D), at least two rows; the standard deviation is over all leading axes.
        eps: Added to the variance, so that the gradient is finite where z has collapsed.

    Source: Bardes et al. 2022 (VICReg), equations 1 and 2.
    """
    std = torch.sqrt(z.float().flatten(0, -2).var(0) + eps)
    return F.relu(1 - std).mean()


def covariance_term(z: Tensor) -> Tensor:
    """Return the sum of squared off-diagonal covariances over D, a float32 scalar: 0 for uncorrelated dimensions.

    Args:
        z: (..., D), at least two rows; the covariance is over all leading axes.

    Source: Bardes et al. 2022 (VICReg), equations 3 and 4.
    """
    with torch.autocast(z.device.type, enabled=False):
        rows = z.float().flatten(0, -2)
        rows = rows - rows.mean(0)
        covariance = rows.T @ rows / (len(rows) - 1)  # (D, D)
        return (covariance.square().sum() - covariance.diagonal().square().sum()) / z.shape[-1]


def contrast_term(prediction: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Return the InfoNCE of predictions against all targets of a batch, float32 scalar: log of their number if alike.

    The other targets of a window are candidates too: they show the same thing after other motions, so that a prediction
    must tell what its motion changes, which the cosine alone does not ask for.

    Args:
        prediction: (B, K, D).
        target: (B, K, D).
        temperature: Of the softmax over cosines.

    Source: van den Oord et al. 2018 (CPC), equation 4, with cosines as Chen et al. 2020 (SimCLR).
    """
    queries, keys = (F.normalize(part.float().flatten(0, 1), dim=-1) for part in (prediction, target))
    return F.cross_entropy(queries @ keys.T / temperature, torch.arange(len(keys), device=keys.device))


@dataclass(frozen=True)
class Objective:
    """What is minimised: 1 - cos(prediction, target), plus weighted terms on the online embeddings. JSON-able.

    Attributes:
        standardize_targets: Standardise each dimension of the targets over the batch before the cosine, so that what
            all targets share earns nothing (this project; compare the centring of DINO, Caron et al. 2021).
        variance: Weight of `variance_term` (Bardes et al. 2022). 0 in the seq-JEPA paper.
        covariance: Weight of `covariance_term` (Bardes et al. 2022). 0 in the seq-JEPA paper.
        contrast: Weight of `contrast_term`; a seq-JEPA's only (this project).
        temperature: Of `contrast_term`.
        instance: Weight of `heads.InstanceContrast`; a seq-JEPA's only (this project).

    Raises:
        ValueError: A weight is negative, or the temperature is not above 0 or has no effect.
    """

    standardize_targets: bool = False
    variance: float = 0.0
    covariance: float = 0.0
    contrast: float = 0.0
    temperature: float = 0.1
    instance: float = 0.0

    def __post_init__(self) -> None:
        for name in ("variance", "covariance", "contrast", "instance"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is a weight and must be at least 0 and finite, got {getattr(self, name)}")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be above 0 and finite, got {self.temperature}")
        if not self.contrast and self.temperature != Objective.temperature:
            raise ValueError("temperature has no effect without contrast: leave it out, or set contrast above 0")

    @classmethod
    def paper(cls) -> Objective:
        """Return the seq-JEPA paper's objective: the cosine and nothing else."""
        return cls()

    @classmethod
    def plus(cls) -> Objective:
        """Return seq-JEPA+: standardised targets, variance 0.05, covariance 0.002.

        Chosen on validation objects: ten times these weights hold equivariance back, none at all costs class accuracy.
        """
        return cls(standardize_targets=True, variance=0.05, covariance=0.002)

    @classmethod
    def predictive(cls) -> Objective:
        """Return seq-JEPA+ with the contrast of targets, weight 2 at temperature 0.07, chosen on validation objects."""
        return replace(cls.plus(), contrast=2.0, temperature=0.07)

    def check_effect(self, method: str) -> None:
        """Raise ValueError if a term is wanted that baselines, such as `method`, have not."""
        for name in ("contrast", "instance"):
            if getattr(self, name):
                raise ValueError(f"objective.{name} has no effect with method {method}: leave it out")

    def __call__(
        self, prediction: Tensor, target: Tensor, z: Tensor, instance: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its unweighted terms, all float32 scalars, the terms detached.

        Args:
            prediction: (B, K, D).
            target: (B, K, D), already standardised if that is wanted: `SeqJEPA` does it, for it keeps the statistics.
                If there is a gradient to it, none is the cosine's, by which all embeddings would collapse.
            z: Online embeddings of the context, (B, M, D).
            instance: The value of the instance term; needed where its weight is above 0.

        Raises:
            ValueError: The instance term is needed and not given.
        """
        terms = {"cosine": cosine_loss(prediction, target.detach())}
        loss = terms["cosine"]
        if self.variance:
            terms["variance"] = variance_term(z)
            loss = loss + self.variance * terms["variance"]
        if self.covariance:
            terms["covariance"] = covariance_term(z)
            loss = loss + self.covariance * terms["covariance"]
        if self.contrast:
            terms["contrast"] = contrast_term(prediction, target, self.temperature)
            loss = loss + self.contrast * terms["contrast"]
        if self.instance:
            if instance is None:
                raise ValueError("an objective with an instance term needs its value: pass instance")
            terms["instance"] = instance
            loss = loss + self.instance * terms["instance"]
        return loss, {name: term.detach() for name, term in terms.items()}


class TargetStatistics(nn.Module):
    """Running mean, standard deviation and norm of the targets, which turn a prediction into an embedding again.

    The cosine leaves the norm of a prediction free, and standardised targets move its origin and axes as well. Fed back
    as a token without undoing both, a prediction is unlike anything the aggregator was trained on.

    Args:
        z_dim: Length D of a target.
        standardized: Whether predictions are scored against standardised targets.
        rate: Weight of the newest batch in the running averages; the first 1 / rate batches are averaged evenly.
    """

    mean: Tensor
    std: Tensor
    norm: Tensor
    batches: Tensor

    def __init__(self, z_dim: int, standardized: bool, rate: float = 0.01) -> None:
        super().__init__()
        self.standardized = standardized
        self.rate = rate
        self.register_buffer("mean", torch.zeros(z_dim))
        self.register_buffer("std", torch.ones(z_dim))
        self.register_buffer("norm", torch.tensor(float(z_dim)).sqrt())
        self.register_buffer("batches", torch.tensor(0.0))

    @torch.no_grad()
    def observe(self, target: Tensor) -> None:
        """Move the running averages towards a batch of raw targets (..., D)."""
        self.batches += 1
        weight = (1 / self.batches).clamp(min=self.rate)
        mean, std = mean_and_std(target)
        self.mean.lerp_(mean, weight)
        self.std.lerp_(std, weight)
        self.norm.lerp_(target.float().norm(dim=-1).mean(), weight)

    def as_target(self, z: Tensor) -> Tensor:
        """Return raw target embeddings (..., D) in the space where predictions are scored, by the running averages."""
        return self.standardized_z(z) if self.standardized else z

    def standardized_z(self, z: Tensor) -> Tensor:
        """Return embeddings (..., D), float32, with the running mean 0 and standard deviation 1 in each dimension."""
        return (z.float() - self.mean) / self.std

    def as_token(self, prediction: Tensor) -> Tensor:
        """Return predictions (..., D) as embeddings: given the norm that targets have, then the standardisation undone.

        A standardised target has norm sqrt(D) in the mean square; one that is not has the running mean norm.
        """
        direction = F.normalize(prediction.float(), dim=-1)
        if self.standardized:
            return direction * prediction.shape[-1] ** 0.5 * self.std + self.mean
        return direction * self.norm
