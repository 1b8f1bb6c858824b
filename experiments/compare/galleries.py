"""Pictures of what one model of each arm knows: projections of its embeddings, and the views nearest to predictions.

- `projections/ARM.png`: embeddings z of held-out views in two dimensions, coloured by class and by pose, and z_agg over
  five views coloured by class. By UMAP where that is installed (the extra "umap"), by PCA otherwise.
- `retrievals/ARM.png`: from three context views and a motion, the true view and the held-out views, of all things,
  whose embeddings are nearest to the prediction.

The model is that of the arm's first finished seed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..config import make_world
from ..evaluate import Plan, make_material
from ..measure import Material, Subject, nearest_views, pooled_views
from ..report import new_figure, save_figure
from ..run_folder import load_model
from ..summary import load_results
from .grid_runs import GridRun

PLAN = Plan(48, 240, 2, 8, 96, 1_920, (), (), ())
"""Held-out things and views that are shown."""
CLASSES = 8
"""Classes that are told apart by colour; more cannot be."""
QUERIES, CONTEXT, NEAREST = 6, 3, 5
POOLED = 5
"""Views behind the z_agg of projections."""


def gallery_figures(runs: Sequence[GridRun], out: Path) -> None:
    """Draw the pictures of each run into `out`, but for those that have been drawn of its results as they are."""
    for folder in ("projections", "retrievals"):
        (out / folder).mkdir(exist_ok=True)
    for run in runs:
        measured = load_results(run.folder, run.results.name)["trained"]
        projections, retrievals = (out / folder / f"{run.arm}.png" for folder in ("projections", "retrievals"))
        pictures = [projections, retrievals] if "predictor_mrr" in measured else [projections]
        evaluated = run.results.stat().st_mtime_ns  # pictures are given the same time, by which they are known
        if all(picture.is_file() and picture.stat().st_mtime_ns == evaluated for picture in pictures):
            continue
        material = make_material(run.config, run.evaluation, PLAN)
        subject = material.subject(load_model(run.folder, run.config.device)[0])
        title = f"{run.arm}, seed {run.seed}"
        aggregates = f"top1_z_agg_{POOLED}" in measured
        names = make_world(run.config, run.split, probing=True).class_names
        _draw_projections(subject, material, title, names, aggregates, projections)
        if retrievals in pictures:
            _draw_retrievals(subject, material, title, retrievals)
        for picture in pictures:
            os.utime(picture, ns=(evaluated, evaluated))


def project(features: np.ndarray) -> tuple[np.ndarray, str]:
    """Return (n, D) features in two dimensions, (n, 2), and how that was done; equal in every call.

    Features are standardised. UMAP (McInnes et al. 2018) where it is installed, else the first principal components.
    """
    x = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6)
    try:
        from umap import UMAP  # pyright: ignore[reportMissingImports]
    except ImportError:
        pass
    else:
        return np.asarray(UMAP(random_state=0, n_jobs=1).fit_transform(x)), "UMAP"
    left, scales, _ = np.linalg.svd(x, full_matrices=False)
    return left[:, :2] * scales[:2], "PCA"


def pose_angle(motion_kind: str, poses: np.ndarray) -> tuple[np.ndarray, str]:
    """Return one number of each pose (..., P) to colour by, (...), and its name with the unit.

    Rotations: the angle about the vertical axis, the last of the extrinsic xyz Euler angles. Saccades: the horizontal
    place.
    """
    if motion_kind == "translation":
        return poses[..., 0], "horizontal place (image units)"
    from scipy.spatial.transform import Rotation

    flat = Rotation.from_quat(poses[..., :4].reshape(-1, 4)).as_euler("xyz", degrees=True)[:, 2]
    return flat.reshape(poses.shape[:-1]), "angle about the vertical axis (degrees)"


def _draw_projections(
    subject: Subject, material: Material, title: str, classes: Sequence[str], aggregates: bool, path: Path
) -> None:
    views = material.test
    things, count = views.poses.shape[:2]
    z, how = project(subject.test.online.flatten(0, 1).numpy())
    pooled, _ = project(pooled_views(subject, material, POOLED, aggregate=aggregates))
    figure = new_figure(13.5, 4.6)
    axes = figure.subplots(1, 3)
    labels = np.repeat(views.labels, count)
    _by_class(axes[0], z, labels, classes)
    axes[0].set_title("z of one view, by class", fontsize=10)
    angle, name = pose_angle(views.motion_kind, views.poses.reshape(things * count, -1))
    turns = np.abs(angle).max() > 90 and views.motion_kind != "translation"
    shown = axes[1].scatter(*z.T, c=angle, s=5, cmap="twilight" if turns else "viridis", lw=0)
    figure.colorbar(shown, ax=axes[1], label=name)
    axes[1].set_title("z of one view, by pose", fontsize=10)
    _by_class(axes[2], pooled, views.labels, classes, size=16)
    what = "z_agg" if aggregates else "mean z"
    axes[2].set_title(f"{what} of {POOLED} views, by class", fontsize=10)
    for ax in axes:
        ax.set_xlabel(f"{how} 1")
        ax.set_ylabel(f"{how} 2")
        ax.set_xticks([])
        ax.set_yticks([])
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower center", ncols=len(names), frameon=False, markerscale=3, fontsize=9
    )
    figure.suptitle(f"{title}: {things} held-out things", fontsize=11)
    save_figure(figure, path)


def _by_class(ax: Any, points: np.ndarray, labels: np.ndarray, classes: Sequence[str], *, size: float = 5) -> None:
    """Scatter (n, 2) points, the first classes in colours of their own and the rest in grey."""
    rest = labels >= CLASSES
    if rest.any():
        ax.scatter(*points[rest].T, s=size, color="#d8d5cc", lw=0, label="other classes")
    from matplotlib import colormaps

    for label in range(min(CLASSES, int(labels.max()) + 1)):
        ax.scatter(*points[labels == label].T, s=size, color=colormaps["Dark2"](label), lw=0, label=classes[label])


KINDS = (("the true view", "#2a9d4b"), ("another view of the same thing", "#e9a13b"), ("another thing", "#b9b4a7"))
"""What a retrieved view may be, and the colour of its frame."""


def _draw_retrievals(subject: Subject, material: Material, title: str, path: Path) -> None:
    from matplotlib.patches import Patch

    found = nearest_views(subject, material, CONTEXT, queries=QUERIES, count=NEAREST)
    columns = CONTEXT + 1 + NEAREST
    figure = new_figure(1.15 * columns + 0.6, 1.15 * len(found.items) + 1.1)
    axes = figure.subplots(len(found.items), columns, squeeze=False)
    headings = (
        [f"context {i + 1}" for i in range(CONTEXT)] + ["true view"] + [f"nearest {i + 1}" for i in range(NEAREST)]
    )
    for ax, heading in zip(axes[0], headings, strict=True):
        ax.set_title(heading, fontsize=9)
    for row, (item, steps, nearest, rank) in enumerate(
        zip(found.items, found.steps, found.nearest, found.rank, strict=True)
    ):
        shown = [(item, step) for step in steps] + [tuple(pair) for pair in nearest]
        for column, (ax, (thing, view)) in enumerate(zip(axes[row], shown, strict=True)):
            kind = 0 if (thing, view) == (item, steps[-1]) else 1 if thing == item else 2
            _show(ax, material.test.views[thing, view], KINDS[kind][1] if column >= CONTEXT else None)
        axes[row, 0].set_ylabel(f"true view\nis no. {rank:,}", fontsize=8)
    handles = [Patch(color=color, label=label) for label, color in KINDS]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(KINDS), frameon=False, fontsize=9)
    figure.suptitle(f"{title}: nearest to the prediction among {found.candidates:,} held-out views", fontsize=11)
    save_figure(figure, path)


def _show(ax: Any, view: np.ndarray, frame: str | None) -> None:
    """Show an (H, W, C) view, of more than three channels the first three, with a coloured frame or none."""
    ax.imshow(view[..., :3] if view.shape[2] >= 3 else view[..., 0], cmap="gray", vmin=0, vmax=255)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(frame is not None)
        spine.set_color(frame)
        spine.set_linewidth(3)
