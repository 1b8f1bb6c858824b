"""What a frozen model knows, measured on held-out things: the protocols of seq-JEPA, section 4, with intervals.

Every measure fits its probe on views of training things (`fit`) and scores it on things that neither the model nor the
probe has seen (`test`). An interval is a 95 % bootstrap over those things, not over views, which are not independent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..world_model.probes import linear_probe, quaternion_angle, regression_probe, retrieval
from ..world_model.protocol import WorldModel
from ..world_model.seq_jepa import SeqJEPA
from .view_sets import Embeddings, ViewSet, embed

Scores = dict[str, float]
"""Of one measure: `value`, and `low`, `high` of its 95 % interval; some measures add more."""


class Features(NamedTuple):
    """What stands for each view of the two view sets, with no model behind it: a floor for the measures of z."""

    fit: Embeddings
    test: Embeddings


class Subject(NamedTuple):
    """A model in eval mode and its embeddings of the two view sets."""

    model: WorldModel
    fit: Embeddings
    test: Embeddings


@dataclass(frozen=True)
class Material:
    """The view sets of an evaluation and how much of them is used.

    Attributes:
        fit: Views of training things.
        test: Views of held-out things.
        seed: Of every draw of pairs and contexts, and of every probe.
        fit_samples: Pairs or contexts that a probe is fitted on.
        test_samples: Pairs or contexts that it is scored on.
    """

    fit: ViewSet
    test: ViewSet
    seed: int = 0
    fit_samples: int = 20_000
    test_samples: int = 8_000

    def subject(self, model: WorldModel) -> Subject:
        """Embed both view sets with `model`, which is put in eval mode."""
        model.eval()
        return Subject(model, embed(model, self.fit.views), embed(model, self.test.views))

    def draw(self, part: str, views: int, purpose: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw sequences of different views of one thing, in random order; of scanpaths, one after another.

        Args:
            part: "fit" or "test".
            views: how many views a sequence has.
            purpose: sequences of different purposes are independent.

        Returns:
            `items` (n,) and `steps` (n, views): which thing, and which of its views, in order.
        """
        view_set, samples = (self.fit, self.fit_samples) if part == "fit" else (self.test, self.test_samples)
        things, available = view_set.poses.shape[:2]
        if views > available:
            raise ValueError(f"sequences of {views} views need as many views of each thing, got {available}")
        rng = np.random.default_rng([self.seed, purpose, part == "test"])
        items = np.arange(samples) % things
        order = rng.random((samples, available))
        if view_set.scanpath is not None:  # so that a sequence lies within one scanpath as far as it fits
            scanpath = np.arange(available) // view_set.scanpath
            order += rng.random((samples, scanpath[-1] + 1)).argsort(axis=1)[:, scanpath]
        return items, order.argsort(axis=1)[:, :views]


def context_motions(view_set: ViewSet, items: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return (n, M - 1, P) float32 motions between successive views of (n, M) sequences."""
    if steps.shape[1] < 2:
        return np.zeros((len(items), 0, view_set.poses.shape[2]), dtype=np.float32)
    return view_set.motions(items[:, None], steps[:, :-1], steps[:, 1:])


def pixels(material: Material) -> Features:
    """Return the pixels of each view as its features, averaged over areas to at most 8 x 8, in place of z.

    That is about as many numbers as an embedding has.
    """
    return Features(_small_pixels(material.fit.views), _small_pixels(material.test.views))


def top1_from_context(
    subject: Subject | Features, material: Material, context: int, *, aggregate: bool = True
) -> Scores:
    """Class accuracy from z_agg over `context` views, or from the mean of their z; a linear probe (section 4.1)."""
    features, labels = {}, {}
    for part, view_set, z in _parts(subject, material):
        items, steps = material.draw(part, context, purpose=10 + context)
        rows = z.online[items[:, None], steps]
        if aggregate:
            assert isinstance(subject, Subject)
            features[part] = _aggregate(subject.model, rows, context_motions(view_set, items, steps))
        else:
            features[part] = rows.mean(dim=1).numpy()
        labels[part] = (view_set.labels[items], items)
    probe = linear_probe(
        features["fit"],
        labels["fit"][0],
        features["test"],
        labels["test"][0],
        num_classes=material.fit.num_classes,
    )
    return _mean_over_things(probe.correct, labels["test"][1], material.seed)


def relative_r2(subject: Subject | Features, material: Material) -> Scores:
    """R2 of the motion between two views, regressed from [z_1; z_2] (section 4.1).

    A 1024-unit MLP for rotations, a linear regression for saccades. Adds `median_error`: degrees of geodesic
    distance, or image units.
    """
    features, motions, items = {}, {}, {}
    for part, view_set, z in _parts(subject, material):
        items[part], steps = material.draw(part, 2, purpose=1)
        features[part] = z.online[items[part][:, None], steps].flatten(1).numpy()
        motions[part] = view_set.motions(items[part], steps[:, 0], steps[:, 1])
    return _regression(features, motions, items["test"], material)


def individual_r2(subject: Subject | Features, material: Material) -> Scores:
    """R2 of the pose itself, regressed from one z; as `relative_r2`."""
    features, poses, items = {}, {}, {}
    for part, view_set, z in _parts(subject, material):
        items[part], steps = material.draw(part, 1, purpose=2)
        features[part] = z.online[items[part], steps[:, 0]].numpy()
        poses[part] = view_set.poses[items[part], steps[:, 0]].astype(np.float32)
    return _regression(features, poses, items["test"], material)


def predictor_quality(subject: Subject, material: Material, context: int) -> dict[str, Scores]:
    """Rank all views of a thing by their distance to the predicted one (section 4.1): `mrr`, `hit_at_1`, `hit_at_5`.

    The target is drawn among the views outside the context; all views of the thing are candidates. Adds `chance`.
    """
    items, steps = material.draw("test", context + 1, purpose=3)
    motions = context_motions(material.test, items, steps)
    prediction = _predict(subject, items, steps[:, :-1], motions)
    ranked = retrieval(prediction, _targets(subject)[items], steps[:, -1])
    candidates = material.test.poses.shape[1]
    ranks = np.arange(1, candidates + 1)
    return {
        "mrr": _mean_over_things(ranked.reciprocal_rank, items, material.seed) | {"chance": float((1 / ranks).mean())},
        "hit_at_1": _mean_over_things(ranked.hit_at_1, items, material.seed) | {"chance": 1 / candidates},
        "hit_at_5": _mean_over_things(ranked.hit_at_5, items, material.seed) | {"chance": min(1.0, 5 / candidates)},
    }


def motion_rank(subject: Subject, material: Material, context: int, *, candidates: int = 1000) -> Scores:
    """Median rank of the motion that was made among `candidates`, by how near each one's prediction is to what is seen.

    The other candidates are motions between random views of random things. Adds `chance`, the middle rank.
    """
    per_thing = 2
    items, steps = material.draw("test", context + 1, purpose=4)
    count = min(len(items), per_thing * len(material.test.labels))
    items, steps = items[:count], steps[:count]
    motions = context_motions(material.test, items, steps)
    rng = np.random.default_rng([material.seed, 6])
    things, views = material.test.poses.shape[:2]
    start, step = rng.integers(views, size=(count, candidates)), rng.integers(1, views, size=(count, candidates))
    others = material.test.motions(rng.integers(things, size=start.shape), start, (start + step) % views)
    others[:, 0] = motions[:, -1]
    nearness = _nearness(subject, items, steps, motions[:, :-1], others)
    closer = (nearness > nearness[:, :1]).sum(axis=1)
    rank = 1 + closer + 0.5 * ((nearness == nearness[:, :1]).sum(axis=1) - 1)
    of_thing = [np.flatnonzero(items == thing) for thing in range(things)]

    def median(chosen: np.ndarray) -> float:
        return float(np.median(rank[np.concatenate([of_thing[thing] for thing in chosen])]))

    return _with_interval(median, things, material.seed) | {"chance": (candidates + 1) / 2}


class Retrieved(NamedTuple):
    """What `nearest_views` found for n queries.

    `items` (n,) things; `steps` (n, M + 1) their context views and the true target; `nearest` (n, count, 2) thing and
    view of the nearest ones, best first; `rank` (n,) that of the true target among `candidates` views, from 1.
    """

    items: np.ndarray
    steps: np.ndarray
    nearest: np.ndarray
    rank: np.ndarray
    candidates: int


def nearest_views(subject: Subject, material: Material, context: int, *, queries: int, count: int) -> Retrieved:
    """Retrieve the `count` views nearest, by cosine, to predictions from `context` views, among all held-out ones.

    The context views of a query are no candidates.
    """
    items, steps = material.draw("test", context + 1, purpose=90)
    chosen = np.random.default_rng([material.seed, 9]).permutation(len(material.test.labels))[:queries]
    items, steps = items[chosen], steps[chosen]
    prediction = _predict(subject, items, steps[:, :-1], context_motions(material.test, items, steps))
    targets = _targets(subject)
    things, views = targets.shape[:2]
    unit = targets.reshape(things * views, -1)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    similarity = (prediction / np.linalg.norm(prediction, axis=1, keepdims=True)) @ unit.T  # (n, things * views)
    np.put_along_axis(similarity, items[:, None] * views + steps[:, :-1], -np.inf, axis=1)
    order = np.argsort(-similarity, axis=1, kind="stable")
    rank = 1 + np.argmax(order == (items * views + steps[:, -1])[:, None], axis=1)
    nearest = np.stack(np.divmod(order[:, :count], views), axis=-1)
    return Retrieved(items, steps, nearest, rank, things * views - context)


def pooled_views(subject: Subject, material: Material, context: int, *, aggregate: bool = True) -> np.ndarray:
    """Return z_agg over the first `context` test views of each thing, or the mean of their z; one row a thing."""
    items = np.arange(len(material.test.labels))
    steps = np.tile(np.arange(context), (len(items), 1))
    rows = subject.test.online[:, :context]
    if not aggregate:
        return rows.mean(dim=1).numpy()
    return _aggregate(subject.model, rows, context_motions(material.test, items, steps))


ReturnControl = Literal["last_view", "no_motions", "other_path"]


def view_return(
    subject: Subject, material: Material, views: int, *, control: ReturnControl | None = None, recall: bool = False
) -> Scores:
    """Share of times that a motion leading back to an earlier view is answered by that view.

    After `views` views, the next motion leads back to one of the earlier ones but the current; the prediction should be
    nearest, by cosine, to its embedding among the embeddings of those. Adds `chance`, 1 / (views - 1).

    Controls tell what it is due to. Only the excess over all of them is path integration.

    Args:
        subject: Who is measured.
        material: On what.
        views: Views seen before the motion, at least 3.
        control: None; "last_view": the model sees the last view alone, with the true motion back: no memory is needed;
            "no_motions": each sequence has all the motions of another one: no path; "other_path": the motion back is
            the true one and the motions before it are of another sequence: places must be recognised by sight.
        recall: Ask the path memory instead of the predictor.
    """
    items, steps = material.draw("test", views, purpose=40 + views)
    rng = np.random.default_rng([material.seed, 5, views])
    back = rng.integers(views - 1, size=len(items))
    rows = np.arange(len(items))
    sequence = np.concatenate([steps, steps[rows, back][:, None]], axis=1)
    motions = context_motions(material.test, items, sequence)
    context = steps
    if control == "last_view":
        context, motions = steps[:, -1:], motions[:, -1:]
    elif control == "no_motions":
        motions = motions[rng.permutation(len(items))]
    elif control == "other_path":
        motions = np.concatenate([motions[rng.permutation(len(items)), :-1], motions[:, -1:]], axis=1)
    answer = _predict(subject, items, context, motions, recall=recall)
    candidates = _targets(subject)[items[:, None], steps[:, :-1]]
    ranked = retrieval(answer, candidates, back)
    return _mean_over_things(ranked.hit_at_1, items, material.seed) | {"chance": 1 / (views - 1)}


def path_decoding(subject: Subject, material: Material, motions: int, *, ablate: str | None = None) -> Scores:
    """R2 of the motion from the first view to the last, regressed from [z_agg; embedded last motion] (section 4.4).

    It proves little alone: a random network carries the motions through. Show it with its controls.

    Args:
        subject: Who is measured.
        material: On what.
        motions: M, the length of the path.
        ablate: None, "motions" (their embeddings are zeroed) or "vision" (z is zeroed).
    """
    model = subject.model
    assert isinstance(model, SeqJEPA) and model.motion_embedding is not None
    features, paths, items = {}, {}, {}
    for part, view_set, z in _parts(subject, material):
        items[part], steps = material.draw(part, motions + 1, purpose=60 + motions)
        rows = z.online[items[part][:, None], steps[:, :-1]]
        steps_motions = torch.from_numpy(context_motions(view_set, items[part], steps))
        features[part] = _path_features(model, rows, steps_motions, ablate)
        paths[part] = view_set.motions(items[part], steps[:, 0], steps[:, -1])
    return _regression(features, paths, items["test"], material)


def path_from_motions(material: Material, motions: int) -> Scores:
    """R2 of the path regressed from the raw motions: the control that `path_decoding` has to be read against."""
    features, paths, items = {}, {}, {}
    for part, view_set in (("fit", material.fit), ("test", material.test)):
        items[part], steps = material.draw(part, motions + 1, purpose=60 + motions)
        features[part] = context_motions(view_set, items[part], steps).reshape(len(items[part]), -1)
        paths[part] = view_set.motions(items[part], steps[:, 0], steps[:, -1])
    return _regression(features, paths, items["test"], material)


def _small_pixels(views: np.ndarray, *, side: int = 8, batch: int = 1024) -> Embeddings:
    """Return (N, V, H, W, C) uint8 views as (N, V, C h w) features; sides up to `side` stay as they are."""
    items, count = views.shape[:2]
    flat = torch.from_numpy(views.reshape(items * count, *views.shape[2:]))
    size = min(side, views.shape[2]), min(side, views.shape[3])
    parts = [F.adaptive_avg_pool2d(p.movedim(-1, 1).float(), size).flatten(1) for p in flat.split(batch)]
    features = torch.cat(parts).unflatten(0, (items, count))
    return Embeddings(features, features)


def _parts(subject: Subject | Features, material: Material) -> tuple[tuple[str, ViewSet, Embeddings], ...]:
    return ("fit", material.fit, subject.fit), ("test", material.test, subject.test)


@torch.no_grad()
def _aggregate(model: WorldModel, z: Tensor, motions: np.ndarray, *, batch: int = 4096) -> np.ndarray:
    """Return (n, E) float32 aggregates of (n, M, D) embeddings and (n, M - 1, P) motions."""
    device = next(model.parameters()).device
    parts = []
    for i in range(0, len(z), batch):
        moved = torch.from_numpy(motions[i : i + batch]).to(device)
        parts.append(model.aggregate(z[i : i + batch].to(device), moved).float().cpu())
    return torch.cat(parts).numpy()


@torch.no_grad()
def _predict(
    subject: Subject,
    items: np.ndarray,
    context: np.ndarray,
    motions: np.ndarray,
    *,
    recall: bool = False,
    batch: int = 4096,
) -> np.ndarray:
    """Predict from (n, M) test views after (n, M, A) motions, the last one leading to the predicted view; (n, P).

    By the path memory where `recall`.
    """
    model = subject.model
    device = next(model.parameters()).device
    z = subject.test.online[items[:, None], context]
    parts = []
    for i in range(0, len(z), batch):
        seen, moved = z[i : i + batch].to(device), torch.from_numpy(motions[i : i + batch]).to(device)
        ask = model.recall if recall else model.predict_from
        parts.append(ask(seen, moved[:, :-1], moved[:, -1]).float().cpu())
    return torch.cat(parts).numpy()


@torch.no_grad()
def _nearness(
    subject: Subject, items: np.ndarray, steps: np.ndarray, motions: np.ndarray, ahead: np.ndarray, *, batch: int = 32
) -> np.ndarray:
    """Return (n, K) cosines of what is predicted after each motion `ahead` (n, K, A) with a sequence's last view."""
    device = next(subject.model.parameters()).device
    z, targets = subject.test.online[items[:, None], steps[:, :-1]], subject.test.target[items, steps[:, -1]]
    parts = []
    for i in range(0, len(items), batch):
        rows = slice(i, i + batch)
        moved, asked = (torch.from_numpy(part[rows]).to(device) for part in (motions, ahead))
        prediction = subject.model.predict_from(z[rows].to(device), moved, asked)
        target = subject.model.as_target(targets[rows].to(device))[:, None]
        parts.append(torch.cosine_similarity(prediction.float(), target.float(), dim=-1).cpu())
    return torch.cat(parts).numpy()


@torch.no_grad()
def _targets(subject: Subject) -> np.ndarray:
    """Return the (N, V, P) embeddings of the test views where predictions are scored."""
    device = next(subject.model.parameters()).device
    return subject.model.as_target(subject.test.target.to(device)).float().cpu().numpy()


@torch.no_grad()
def _path_features(model: SeqJEPA, z: Tensor, motions: Tensor, ablate: str | None) -> np.ndarray:
    """Return (n, E + embedding) features of paths: [z_agg; embedded last motion]."""
    assert model.motion_embedding is not None
    device = next(model.parameters()).device
    z, motions = z.to(device), motions.to(device)
    carried = torch.cat([model.token_motions(motions[:, :-1]), motions[:, -1:]], dim=1)
    embedded = model.motion_embedding(carried)  # (n, M, ·)
    if ablate == "motions":
        embedded = torch.zeros_like(embedded)
    if ablate == "vision":
        z = torch.zeros_like(z)
    between = embedded[:, :-1] if model.config.aggregator_sees_motion else None
    z_agg = model.aggregator(z, between)
    return torch.cat([z_agg, embedded[:, -1]], dim=1).float().cpu().numpy()


def _regression(
    features: dict[str, np.ndarray], targets: dict[str, np.ndarray], items: np.ndarray, material: Material
) -> Scores:
    """Fit on "fit", score on "test"; R2 is averaged over the outputs, for colours behind a rotation apart: `colour`."""
    kind = material.test.motion_kind
    result = regression_probe(
        features["fit"],
        targets["fit"],
        features["test"],
        targets["test"],
        hidden=None if kind == "translation" else 1024,
        seed=material.seed,
    )
    truth = targets["test"]
    things = int(items.max()) + 1
    residual, total = np.zeros((things, truth.shape[1])), np.zeros((things, truth.shape[1]))
    np.add.at(residual, items, (truth - result.prediction) ** 2)
    np.add.at(total, items, (truth - truth.mean(axis=0)) ** 2)

    def r2_of(outputs: slice, chosen: np.ndarray) -> float:
        shares = residual[chosen, outputs].sum(axis=0) / total[chosen, outputs].sum(axis=0)
        return float(np.mean(1 - shares))

    if kind == "translation":  # the error is of the place alone, where the zoom moves too
        error, moved = np.linalg.norm((result.prediction - truth)[:, :2], axis=1), slice(None)
    else:
        error, moved = quaternion_angle(result.prediction[:, :4], truth[:, :4]), slice(0, 4)
    scores = _with_interval(partial(r2_of, moved), things, material.seed) | {"median_error": float(np.median(error))}
    return scores if kind != "rotation-colour" else scores | {"colour": r2_of(slice(4, 6), np.arange(things))}


def _mean_over_things(values: np.ndarray, items: np.ndarray, seed: int) -> Scores:
    """Average (n,) values within each thing, then over things."""
    count = np.bincount(items)
    per_thing = np.bincount(items, weights=values.astype(np.float64)) / count
    return _with_interval(lambda chosen: float(per_thing[chosen].mean()), len(per_thing), seed)


def _with_interval(
    statistic: Callable[[np.ndarray], float], things: int, seed: int, *, resamples: int = 1000
) -> Scores:
    """Return the statistic over all things and its 95 % percentile interval over resampled things."""
    rng = np.random.default_rng([seed, 7])
    draws = [statistic(rng.integers(things, size=things)) for _ in range(resamples)]
    low, high = np.percentile(draws, [2.5, 97.5])
    return {"value": statistic(np.arange(things)), "low": float(low), "high": float(high)}
