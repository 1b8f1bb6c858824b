"""Reads a class off embeddings: a linear probe with calibrated probabilities."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..world_model.probes import fit_linear_classifier

TEMPERATURES = torch.logspace(-1, 1, 61)
"""Those that calibration chooses among."""


@dataclass(frozen=True, eq=False)
class ClassReader:
    """A linear softmax classifier over embeddings.

    Attributes:
        weight: (C, D).
        bias: (C,).
        temperature: What logits are divided by; above 0.

    Raises:
        ValueError: Shapes do not fit each other, or the temperature is not above 0.
    """

    weight: Tensor
    bias: Tensor
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            shapes = f"{tuple(self.weight.shape)} and {tuple(self.bias.shape)}"
            raise ValueError(f"a reader's weight is (C, D) and its bias (C,), got {shapes}")
        if self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}")

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.bias)

    def logs(self, features: Tensor) -> Tensor:
        """Return the log-probabilities (..., C) of the classes, nats, of `features` (..., D).

        Raises:
            ValueError: The features are of another length than those it was fitted on.
        """
        if features.shape[-1] != self.weight.shape[1]:
            raise ValueError(f"the reader reads {self.weight.shape[1]} numbers, got embeddings {tuple(features.shape)}")
        return F.log_softmax(F.linear(features.float(), self.weight, self.bias) / self.temperature, dim=-1)

    def calibrated(self, features: Tensor, labels: Tensor) -> ClassReader:
        """Return the reader with the temperature of the least cross-entropy (Guo et al. 2017).

        Args:
            features: (N, D) of things it was not fitted on.
            labels: (N,) int64.
        """
        logits = F.linear(features.float(), self.weight, self.bias)
        losses = torch.stack([F.cross_entropy(logits / t, labels.to(logits.device)) for t in TEMPERATURES.tolist()])
        return replace(self, temperature=float(TEMPERATURES[int(losses.argmin())]))


class ClassReaders(NamedTuple):
    """What a `ClassifierAgent` reads classes with.

    Attributes:
        view: Of unit embeddings of one view where targets live, `F.normalize(as_target(encode_target(view)))`, which
            is how predictions are read too.
        mean: Of the mean of z over views.
        aggregate: Of z_agg over a few views.
    """

    view: ClassReader
    mean: ClassReader
    aggregate: ClassReader


def fit_class_reader(features: Tensor, labels: np.ndarray, num_classes: int) -> ClassReader:
    """Fit a reader on `features` (N, D) of training things with `labels` (N,); see `probes.linear_probe`."""
    fitted = fit_linear_classifier(features.cpu().numpy(), labels, num_classes=num_classes, device=features.device)
    centre, scale = (torch.as_tensor(part, dtype=torch.float32, device=features.device) for part in fitted[:2])
    weight = fitted.weight / scale
    return ClassReader(weight, fitted.bias - weight @ centre)


def entropy(logs: Tensor) -> Tensor:
    """Return the entropy (...) in nats of distributions given by log-probabilities (..., C)."""
    return -(logs.exp() * logs).sum(dim=-1)
