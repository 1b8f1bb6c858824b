"""Fits what agents read classes with, on views of training things, calibrated on validation things."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..agents.class_reader import ClassReaders, fit_class_reader
from ..world_model.protocol import WorldModel
from .measure import context_motions
from .view_sets import Embeddings, ViewSet, embed


def fit_class_readers(
    model: WorldModel, fit: ViewSet, validation: ViewSet, *, longest: int = 3, seed: int = 0
) -> ClassReaders:
    """Return readers of single views, of means of z, and of aggregates of 1 to `longest` views.

    Args:
        model: In eval mode.
        fit: Views of training things.
        validation: Views of others, for the temperatures.
        longest: Most views of a context; each of 1 to so many is drawn equally often.
        seed: Of the contexts.

    Raises:
        ValueError: There are fewer views of a thing than `longest`.
    """
    for view_set in (fit, validation):
        if view_set.views.shape[1] < longest:
            raise ValueError(f"contexts of {longest} views need as many of each thing, got {view_set.views.shape[1]}")
    parts = [(s, embed(model, s.views), np.random.default_rng([seed, i])) for i, s in enumerate((fit, validation))]
    features = [_features(model, *part, longest=longest) for part in parts]
    readers = []
    for name in ClassReaders._fields:
        (x, y), (held_out, truth) = (part[name] for part in features)
        reader = fit_class_reader(x, y, fit.num_classes)
        readers.append(reader.calibrated(held_out, torch.from_numpy(truth)))
    return ClassReaders(*readers)


@torch.no_grad()
def read_targets(model: WorldModel, targets: Tensor) -> Tensor:
    """Return raw target embeddings (..., D) as `ClassReaders.view` reads them, unit (..., P), on the model's device."""
    device = next(model.parameters()).device
    return F.normalize(model.as_target(targets.to(device)).float(), dim=-1)


@torch.no_grad()
def _features(
    model: WorldModel, view_set: ViewSet, embedded: Embeddings, rng: np.random.Generator, *, longest: int
) -> dict[str, tuple[Tensor, np.ndarray]]:
    """Return what each reader reads, (N, ·), and the classes (N,)."""
    things, views = view_set.views.shape[:2]
    device = next(model.parameters()).device
    items, rounds = np.arange(things), max(1, views // longest)
    mean, aggregate = [], []
    for count in range(1, longest + 1):
        for _ in range(rounds):
            steps = rng.random((things, views)).argsort(axis=1)[:, :count]
            z = embedded.online[items[:, None], steps].to(device)
            motions = torch.from_numpy(context_motions(view_set, items, steps)).to(device)
            mean.append(z.mean(dim=1))
            aggregate.append(model.aggregate(z, motions).float())
    labels = view_set.labels
    repeated = np.tile(labels, len(mean))
    return {
        "view": (read_targets(model, embedded.target).flatten(0, 1), np.repeat(labels, views)),
        "mean": (torch.cat(mean), repeated),
        "aggregate": (torch.cat(aggregate), repeated),
    }
