"""Fits what agents read classes with, on views of training things, calibrated on validation things."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...agents.class_reader import ClassReader, ClassReaders, fit_class_reader
from ...envs.saccade import SaccadeWorld
from ...world_model.protocol import WorldModel
from ..measure import context_motions
from ..view_sets import Embeddings, ViewSet, balanced_items, embed


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


def fit_place_reader(
    model: WorldModel,
    fit: SaccadeWorld,
    validation: SaccadeWorld,
    *,
    foreseen: bool = True,
    images: int = 600,
    views: int = 8,
    seed: int = 0,
) -> ClassReader:
    """Return a reader of what the gaze rests on: one of C classes, or, as class C, nothing.

    Half of the fixations it is fitted on lie in the box of an object of the image, the others anywhere in reach. A
    reader of what is foreseen knows how much predictions tell: of those that tell nothing it says what is usual.

    Args:
        model: In eval mode.
        fit: Training images, with boxes of their objects.
        validation: Others, for the temperature.
        foreseen: Read what the model predicts of a fixation from another one in the image, not what is seen there.
        images: Most images of each.
        views: Fixations in each image, at least 2.
        seed: Of images and fixations.

    Raises:
        ValueError: The images have no boxes, or the eye zooms.
    """
    rng = np.random.default_rng(seed)
    worlds = fit, validation
    (x, y), (held_out, truth) = (_fixated(model, world, images, views, rng, foreseen=foreseen) for world in worlds)
    reader = fit_class_reader(x, y, len(fit.class_names) + 1)
    return reader.calibrated(held_out, torch.from_numpy(truth))


@torch.no_grad()
def _fixated(
    model: WorldModel, world: SaccadeWorld, images: int, views: int, rng: np.random.Generator, *, foreseen: bool
) -> tuple[Tensor, np.ndarray]:
    """Return unit embeddings (n V, P) of what is seen or foreseen at fixations, and the class under each (n V,)."""
    source = world.images
    boxes = source.boxes[:, None] if source.object_boxes is None and source.boxes is not None else source.object_boxes
    classes = source.labels[:, None] if source.object_labels is None else source.object_labels
    if boxes is None or world.zoom is not None:
        raise ValueError("a reader of places needs images with boxes of their objects, and an eye without zoom")
    items = balanced_items(world, images, rng)
    box = boxes[items] * (2 / source.side) - 1  # (n, objects, 4), image units
    positions = rng.uniform(-world.reach, world.reach, (len(items), views, 2))
    inside = views // 2
    chosen = box[np.arange(len(items))[:, None], rng.integers(box.shape[1], size=(len(items), inside))]
    share = rng.random((len(items), inside, 2))
    positions[:, :inside] = chosen[..., :2] + share * (chosen[..., 2:] - chosen[..., :2])
    positions = positions.clip(-world.reach, world.reach)
    seen = world.views_from(items, positions, rng.random((len(items), views, world.view_randomness)))
    labels = class_under(positions, box, classes[items], nothing=len(world.class_names))
    embedded = embed(model, seen)
    if not foreseen:
        return read_targets(model, embedded.target).flatten(0, 1), labels.reshape(-1)
    rows, step = np.arange(len(items))[:, None], rng.integers(1, views, size=(len(items), 1))
    origin = (np.arange(views) + step) % views
    ahead = torch.from_numpy((positions - positions[rows, origin]).astype(np.float32)).flatten(0, 1)
    device = next(model.parameters()).device
    z, ahead = embedded.online[rows, origin].flatten(0, 1)[:, None].to(device), ahead.to(device)  # (n V, 1, D)
    prediction = model.predict_from(z, ahead[:, None][:, :0], ahead)
    return F.normalize(prediction.float(), dim=-1), labels.reshape(-1)


def class_under(positions: np.ndarray, boxes: np.ndarray, classes: np.ndarray, *, nothing: int) -> np.ndarray:
    """Return the class of the object in whose box each position lies, (n, V); of several, that with the nearest middle.

    Args:
        positions: (n, V, 2).
        boxes: (n, K, 4), x0, y0, x1, y1 of K objects.
        classes: (n, K).
        nothing: What to return outside of all boxes.
    """
    at = positions[:, :, None]  # (n, V, 1, 2)
    low, high = boxes[:, None, :, :2], boxes[:, None, :, 2:]
    within = ((low <= at) & (at <= high)).all(axis=-1)  # (n, V, K)
    distance = np.where(within, np.linalg.norm(at - (low + high) / 2, axis=-1), np.inf)
    found = np.take_along_axis(np.broadcast_to(classes[:, None], distance.shape), distance.argmin(-1)[..., None], -1)
    return np.where(within.any(axis=-1), found[..., 0], nothing)


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
