"""Views of many objects or images from drawn poses, and what a model makes of them: the material of every probe."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..envs.saccade import SaccadeWorld
from ..envs.world import World
from ..world_model.motion import MotionKind, relative
from ..world_model.protocol import WorldModel
from ..world_model.views import normalize_views
from .config import TrainConfig

Fixations = Literal["uniform", "saliency"]
SCANPATH = 7
"""Fixations of a scanpath: those of the longest sequences that are measured keep clear of each other."""


def own_fixations(config: TrainConfig) -> Fixations | None:
    """Return how the agent of a run fixates, and so its probes: by the priority map or evenly; None without a gaze."""
    if config.world != "saccade":
        return None
    return "saliency" if config.agent == "saliency" else "uniform"


class ViewSet(NamedTuple):
    """V views of each of N objects or images.

    `views` (N, V, H, W, C) uint8; `poses` (N, V, P) float64; `labels` (N,) int64; `motion_kind`; `num_classes`;
    `scanpath`: how many views in a row are one scanpath, whose fixations keep clear of each other, or None for
    independent views.
    """

    views: np.ndarray
    poses: np.ndarray
    labels: np.ndarray
    motion_kind: MotionKind
    num_classes: int
    scanpath: int | None = None

    def motions(self, items: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Return the (..., P) float32 motions from views `start` to views `end` of `items` (index arrays, (...))."""
        return relative(self.motion_kind, self.poses[items, start], self.poses[items, end]).astype(np.float32)


def make_view_set(
    world: World, items: np.ndarray, views: int, rng: np.random.Generator, *, fixations: Fixations | None = None
) -> ViewSet:
    """Draw `views` poses of each of `items` (n,) and look from them.

    Args:
        world: The things.
        items: Which of them.
        views: V.
        rng: Where every draw comes from.
        fixations: "saliency" for scanpaths by saliency and inhibition of return, as the priority map of a world of
            saccades has them; "uniform" or None for independent poses, spread as episodes start.
    """
    uniform = rng.random((len(items), views, 3))
    randomness = rng.random((len(items), views, world.view_randomness))
    if fixations == "saliency":
        assert isinstance(world, SaccadeWorld)
        poses = world.draw_scanpaths(items, uniform, SCANPATH)
        seen = world.views_from(items, poses, randomness)
    else:
        poses, seen = world.draw_views(items, uniform, randomness)
    return ViewSet(
        views=seen,
        poses=poses,
        labels=world.labels[items],
        motion_kind=world.motion_kind,
        num_classes=len(world.class_names),
        scanpath=SCANPATH if fixations == "saliency" else None,
    )


def balanced_items(world: World, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return up to `count` different things of `world`, drawn so that classes are as even as can be; (n,) int64."""
    order = rng.permutation(len(world.labels))
    labels = world.labels[order]
    by_class = np.argsort(labels, kind="stable")
    first = np.searchsorted(labels[by_class], np.arange(len(world.class_names)))
    rank = np.arange(len(order)) - first[labels[by_class]]  # how many of its class come before
    return order[by_class][np.argsort(rank, kind="stable")][:count]


class Embeddings(NamedTuple):
    """What a model makes of a view set: `online` and `target` (N, V, D) float32, by the encoder and that of targets."""

    online: Tensor
    target: Tensor


@torch.no_grad()
def embed(model: WorldModel, views: np.ndarray, *, batch: int = 256) -> Embeddings:
    """Embed (N, V, H, W, C) uint8 views with a model in eval mode."""
    assert not model.training
    device = next(model.parameters()).device
    items, count = views.shape[:2]
    flat = views.reshape(items * count, *views.shape[2:])
    online, target = [], []
    for start in range(0, len(flat), batch):
        pixels = normalize_views(flat[start : start + batch], device=device)[None]
        online.append(model.encode(pixels)[0].float().cpu())
        target.append(model.encode_target(pixels)[0].float().cpu())
    return Embeddings(torch.cat(online).reshape(items, count, -1), torch.cat(target).reshape(items, count, -1))


@torch.no_grad()
def calibrate_untrained(model: WorldModel, view_set: ViewSet, *, batch: int = 256) -> None:
    """Give every BatchNorm of an untrained model the statistics of a view set, so that it is a fair control.

    The model sees each thing's first views and the motions between them, as in training, but learns nothing.
    """
    device = next(model.parameters()).device
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # a plain average over the batches
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.eval()
    steps = np.arange(min(4, view_set.poses.shape[1]))
    things = np.arange(len(view_set.labels))
    for items in np.array_split(things, -(-len(things) // batch)):  # alike in size: BatchNorm needs two in each
        items = items[:, None]
        views = normalize_views(view_set.views[items, steps], device=device)
        motions = torch.from_numpy(view_set.motions(items, steps[:-1], steps[1:])).to(device)
        labels = torch.from_numpy(view_set.labels[items[:, 0]]).to(device)
        z = model(views, motions, **({"labels": labels} if model.needs_labels else {})).z
        if model.memory is not None:  # a forward pass without paths leaves it out
            model.recall(z, motions[:, :-1], motions[:, -1])
    model.eval()
    model.update_target(0.0)
