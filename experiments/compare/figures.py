"""Figures of a comparison: what `aggregate` found, drawn. Bars and bands are 95 % t-intervals over training seeds.

- `scatter.png`: top-1 against relative R2 of each arm, as figure 1 of the seq-JEPA paper; small points are seeds.
- `r2_compute.png`: the R2 of the probe in training, on validation things, against core-seconds; thin lines are seeds.
- `view_return.png`: share of motions back to an earlier view that predict that view, with its controls; `recall.png`:
  the same by the path memory, of arms that have one.
- `path_r2.png`: R2 of the path decoded from [z_agg; last motion], with its controls, where it was measured.
- `context.png`: top-1 by context in training and at inference (M_tr, M_val), where arms differ in that alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..report import measured_numbers, new_figure, save_figure
from .aggregate import Pooled

MARKERS = "osD^vP*X"
COLUMNS = 4
"""Panels in a row, where each arm has one."""


def comparison_figures(results: Mapping[str, Any], out: Path) -> None:
    """Draw all figures of `results` (see `compare`) into `out`; those that the grid gives nothing for are left out."""
    _draw_scatter(results, out / "scatter.png")
    _draw_compute(results, out / "r2_compute.png")
    _draw_curves(results, out / "view_return.png", "view_return_", RETURN_CURVES)
    _draw_curves(results, out / "recall.png", "recall_", RETURN_CURVES)
    if any(measured_numbers(arm["trained"], "path_r2_", "") for arm in results["arms"].values()):
        _draw_curves(results, out / "path_r2.png", "path_r2_", PATH_CURVES)
    groups = context_groups(results)
    if groups:
        _draw_contexts(results, groups, out / "context.png")


def arm_styles(arms: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return colour and marker of each arm, alike in all figures."""
    from matplotlib import colormaps

    colors = colormaps["tab10"].colors  # pyright: ignore[reportAttributeAccessIssue]
    return {
        arm: {"color": colors[i % len(colors)], "marker": MARKERS[i // len(colors) % len(MARKERS)]}
        for i, arm in enumerate(arms)
    }


def _worlds(results: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return world -> its arms."""
    worlds: dict[str, list[str]] = {}
    for name, arm in results["arms"].items():
        worlds.setdefault(arm["world"], []).append(name)
    return worlds


def _panels(results: Mapping[str, Any], title: str) -> tuple[Any, list[tuple[str, list[str], Any]]]:
    """Return a figure with a panel for each world: (world, arms, axes)."""
    worlds = _worlds(results)
    figure = new_figure(2.6 + 4.6 * len(worlds), 4.6)
    axes = figure.subplots(1, len(worlds), squeeze=False)[0]
    figure.suptitle(title, fontsize=11)
    panels = [(world, arms, ax) for (world, arms), ax in zip(worlds.items(), axes, strict=True)]
    for world, _, ax in panels:
        ax.set_title(f"{world} world", fontsize=10)
        ax.grid(alpha=0.25)
    return figure, panels


def _legend(figure: Any, panels: Sequence[tuple[str, list[str], Any]]) -> None:
    handles = [handle for _, _, ax in panels for handle in ax.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=9)


def _draw_scatter(results: Mapping[str, Any], path: Path) -> None:
    styles = arm_styles(list(results["arms"]))
    split = results["split"]
    figure, panels = _panels(results, "Invariance against equivariance")
    for _, arms, ax in panels:
        context = max(n for arm in arms for n in measured_numbers(results["arms"][arm]["trained"], "top1_z_agg_", ""))
        points = {arm: _points(results, arm, f"top1_z_agg_{context}") for arm in arms}
        for arm in (arm for arm in arms if len(points[arm])):
            found, style = results["arms"][arm]["trained"], styles[arm]
            x, y = found["relative_r2"], found[f"top1_z_agg_{context}"]
            ax.errorbar(
                x["mean"], y["mean"], xerr=_ends(x), yerr=_ends(y), capsize=2, lw=1, markersize=7, label=arm, **style
            )
            ax.scatter(*points[arm].T, s=10, alpha=0.5, marker=style["marker"], color=style["color"], lw=0)
        seen = np.concatenate([found for found in points.values() if len(found)])
        low, high = seen.min(axis=0), seen.max(axis=0)
        margin = 0.3 * (high - low) + 0.02
        ax.set_xlim(low[0] - margin[0], high[0] + margin[0])  # by the seeds: intervals over few of them are wide
        ax.set_ylim(low[1] - margin[1], high[1] + margin[1])
        ax.set_xlabel(f"relative R2 ({split} split)")
        ax.set_ylabel(f"top-1 from z_agg of {context} views ({split} split)")
    _legend(figure, panels)
    save_figure(figure, path)


def _points(results: Mapping[str, Any], arm: str, measure: str) -> np.ndarray:
    """Return (relative R2, measure) of each finished run of an arm; (n, 2)."""
    runs = [run["trained"] for run in results["runs"] if run["arm"] == arm and run["status"] == "finished"]
    pairs = [(run["relative_r2"]["value"], run[measure]["value"]) for run in runs if measure in run]
    return np.array(pairs).reshape(-1, 2)


def _ends(pooled: Pooled) -> list[list[float]] | None:
    """Return an interval as matplotlib wants it, None where there is none."""
    if pooled["low"] is None:
        return None
    return [[pooled["mean"] - pooled["low"]], [pooled["high"] - pooled["mean"]]]


def _draw_compute(results: Mapping[str, Any], path: Path) -> None:
    styles = arm_styles(list(results["arms"]))
    figure, panels = _panels(results, "When equivariance appears")
    for _, arms, ax in panels:
        for arm in arms:
            runs = [run for run in results["runs"] if run["arm"] == arm and run["status"] == "finished"]
            curves = np.array([run["curve"] for run in runs])  # (seeds, probes, 2)
            for curve in curves if len(curves) > 1 else ():
                ax.plot(*curve.T, color=styles[arm]["color"], lw=0.7, alpha=0.5)
            ax.plot(*curves.mean(axis=0).T, lw=2, markersize=4, label=arm, **styles[arm])
        ax.set_xlabel("core-seconds of acting and learning")
        ax.set_ylabel("relative R2 of the probe in training (validation split)")
        ax.set_xlim(left=0)
    _legend(figure, panels)
    save_figure(figure, path)


RETURN_CURVES = (
    ("trained", "", "trained", "#1f6f8b", "-"),
    ("trained", "_last_view", "from the last view alone", "#d1603d", "--"),
    ("trained", "_no_motions", "motions of another path", "#d1603d", ":"),
    ("trained", "_other_path", "another path, the true way back", "#d1603d", "-."),
    ("untrained", "", "untrained", "#a09a8b", "-"),
)
PATH_CURVES = (
    ("trained", "", "trained", "#1f6f8b", "-"),
    ("trained", "_no_motions", "motions zeroed", "#1f6f8b", ":"),
    ("trained", "_no_vision", "vision zeroed", "#1f6f8b", "--"),
    ("untrained", "", "untrained", "#a09a8b", "-"),
    ("controls", "_raw_motions", "raw motions, no model", "#d1603d", "-"),
)
"""Group of measures, suffix of their names, label, colour and line style."""
TITLES = {
    "view_return_": "The motion back to an earlier view predicts that view",
    "recall_": "The path memory recalls the view that a motion leads back to",
    "path_r2_": "Path decoded from [z_agg; motion]",
}


def _draw_curves(
    results: Mapping[str, Any], path: Path, prefix: str, curves: Sequence[tuple[str, str, str, str, str]]
) -> None:
    """Draw a panel for each arm, with the measure and its controls over the numbers in its name."""
    arms = {name: arm for name, arm in results["arms"].items() if measured_numbers(arm["trained"], prefix, "")}
    if not arms:
        return
    returning = prefix != "path_r2_"
    columns = min(COLUMNS, len(arms))
    rows = -(-len(arms) // columns)
    figure = new_figure(max(2.7 * columns, 6.5), 2.5 * rows + 1.2)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for ax, (name, arm) in zip(axes, arms.items(), strict=False):
        for group, suffix, label, color, style in curves:
            found = [(n, arm[group][f"{prefix}{n}{suffix}"]) for n in measured_numbers(arm[group], prefix, suffix)]
            if not found:
                continue
            counts, means = [n for n, _ in found], [pooled["mean"] for _, pooled in found]
            ax.plot(counts, means, style, color=color, marker="o", markersize=3, label=label)
            if found[0][1]["low"] is not None:
                low, high = [p["low"] for _, p in found], [p["high"] for _, p in found]
                ax.fill_between(counts, low, high, color=color, alpha=0.15, lw=0)
            ax.set_xticks(counts)
        if returning:
            counts = measured_numbers(arm["trained"], prefix, "")
            ax.plot(counts, [1 / (n - 1) for n in counts], color="black", lw=1, ls=(0, (1, 2)), label="chance")
        ax.set_title(name, fontsize=10)
        ax.grid(alpha=0.25)
    axes[0].set_ylim((0, 1.02) if returning else _r2_limits(axes[: len(arms)]))
    for ax in axes[len(arms) :]:
        ax.set_visible(False)
    for ax in axes[max(0, len(arms) - columns) : len(arms)]:  # the lowest of each column
        ax.set_xlabel("views seen" if returning else "motions of the path", fontsize=10)
    figure.supylabel("share right" if returning else "R2 of the path", fontsize=10)
    title = TITLES[prefix]
    figure.suptitle(f"{title} ({results['split']} split)", fontsize=11)
    handles = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles=list(handles.values()), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    save_figure(figure, path)


def _r2_limits(axes: Sequence[Any]) -> tuple[float, float]:
    """Return limits that hold all means, but not all of the intervals over few seeds."""
    values = [value for ax in axes for line in ax.get_lines() for value in line.get_ydata()]
    return min(0.0, min(values)) - 0.05, 1.05


def context_groups(results: Mapping[str, Any]) -> list[list[str]]:
    """Return the finished arms that differ in `replay.context` alone, in groups of two and more."""
    grid = results["grid"]
    groups: dict[str, list[str]] = {}
    for name in results["arms"]:
        settings = {**grid["common"], **grid["arms"][name]}
        settings.pop("replay.context", None)
        groups.setdefault(json.dumps(settings, sort_keys=True), []).append(name)
    return [members for members in groups.values() if len(members) > 1]


def _draw_contexts(results: Mapping[str, Any], groups: Sequence[Sequence[str]], path: Path) -> None:
    contexts = {run["arm"]: run["context"] for run in results["runs"]}
    deepest = max(len(group) for group in groups)
    figure = new_figure(1.5 + 5 * len(groups), 1.6 + 0.6 * deepest)
    for ax, group in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
        arms = sorted(group, key=lambda arm: contexts[arm])
        lengths = measured_numbers(results["arms"][arms[0]]["trained"], "top1_z_agg_", "")
        means = np.array([[results["arms"][a]["trained"][f"top1_z_agg_{m}"]["mean"] for m in lengths] for a in arms])
        image = ax.imshow(means, cmap="viridis", aspect="auto")
        middle = (means.min() + means.max()) / 2
        for (row, column), value in np.ndenumerate(means):
            color = "white" if value < middle else "black"
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=color, fontsize=9)
        ax.set_xticks(range(len(lengths)), lengths)
        spans = [f"{low}" if low == high else f"{low} to {high}" for low, high in (contexts[a] for a in arms)]
        ax.set_yticks(range(len(arms)), [f"{span}\n({arm})" for span, arm in zip(spans, arms, strict=True)], fontsize=8)
        ax.set_xlabel("context views at inference, M_val")
        ax.set_ylabel("context views in training, M_tr")
        figure.colorbar(image, ax=ax, label=f"top-1 from z_agg ({results['split']} split)")
    figure.suptitle("Context in training and at inference", fontsize=11)
    save_figure(figure, path)
