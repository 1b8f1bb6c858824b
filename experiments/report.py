"""Tables and figures of results, and the words that several commands share."""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .intervals import wilson_interval

_ROWS = (
    ("relative_r2", "motion between two views, R2"),
    ("individual_r2", "pose of one view, R2"),
    ("top1_z", "class from one view, top-1"),
    ("top1_z_agg_3", "class from z_agg of 3 views, top-1"),
    ("top1_z_agg_5", "class from z_agg of 5 views, top-1"),
    ("predictor_mrr", "predicted view among all, MRR"),
    ("predictor_hit_at_1", "predicted view among all, Hit@1"),
    ("motion_rank", "motion made, median rank of 1,000"),
    ("view_return_4", "way back among 4 views"),
    ("view_return_4_last_view", "  the same, from the last view alone"),
    ("view_return_4_no_motions", "  the same, all motions of another path"),
    ("recall_4", "way back among 4 views, path memory"),
    ("recall_4_other_path", "  the same, another path, true way back"),
)


def evaluation_table(results: dict[str, Any]) -> str:
    """Return the main measures as text: the trained model beside the untrained one, with 95 % intervals."""
    sizes = results["sizes"]
    lines = [
        f"{sizes['test_things']} held-out things ({results['split']} split), {sizes['classes']} classes, "
        f"after {results['step']} updates",
        "",
        f"{'':40}{'trained':>25}{'untrained':>25}",
    ]
    for key, title in _ROWS:
        if key in results["trained"]:
            lines.append(f"{title:40}{_cell(results['trained'][key]):>25}{_cell(results['untrained'][key]):>25}")
    angle = [f"{results[who]['relative_r2']['median_error']:.3g}" for who in ("trained", "untrained")]
    unit = "image units" if results["config"]["world"] == "saccade" else "degrees"
    lines.insert(4, f"{'  its median error, ' + unit:40}{angle[0]:>25}{angle[1]:>25}")
    return "\n".join(lines)


def kept_paths(folder: Path, name: str, split: str, condition: str = "") -> tuple[Path, Path]:
    """Return where results `name` on `split`, under a condition, are kept in `folder`: JSON and figure.

    Both are in the name: choosing settings on validation things must not overwrite the results on test things.
    """
    stem = "-".join([name, *([] if split == "test" else [split]), *([condition] if condition else [])])
    return folder / f"{stem}.json", folder / f"{stem}.png"


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns line up."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    padded = [[text.ljust(width) for text, width in zip(row, widths, strict=True)] for row in (titles, *rows)]
    head, *body = [f"| {' | '.join(row)} |" for row in padded]
    return "\n".join([head, f"|{'|'.join('-' * (width + 2) for width in widths)}|", *body])


def _cell(scores: dict[str, float]) -> str:
    return f"{scores['value']:.2f}  ({scores['low']:.2f}-{scores['high']:.2f})"


def evaluation_figure(results: dict[str, Any], path: Path) -> None:
    """Draw the measures of `results` and write them to `path` (a PNG)."""
    panels = [_draw_bars, _draw_accuracy]
    panels += [_draw_returns] if measured_numbers(results["trained"], "view_return_", "") else []
    panels += [_draw_paths] if measured_numbers(results["trained"], "path_r2_", "") else []
    rows = (len(panels) + 1) // 2
    figure = new_figure(11, 3.5 * rows)
    for draw, axes in zip(panels, figure.subplots(rows, 2).flat, strict=False):
        draw(axes, results)
    for axes in figure.axes[len(panels) :]:
        axes.set_axis_off()
    figure.suptitle(
        f"{results['config']['world']} world, {results['step']} updates, "
        f"{results['sizes']['test_things']} held-out things; bars and bands are 95 % intervals"
    )
    save_figure(figure, path)


def episodes_line(returns: Sequence[float] | np.ndarray, successes: Sequence[bool] | np.ndarray) -> str:
    """Return how many episodes there are, their mean return and share of successes, each with a 95 % interval.

    The interval is normal for returns and Wilson's for successes. Without `successes` nothing is said of them.
    """
    count, values = len(returns), np.asarray(returns, dtype=np.float64)
    line = f"{count} episodes: mean return {values.mean():.3f}"
    if count > 1:
        line += f" +- {1.96 * values.std(ddof=1) / math.sqrt(count):.3f}"
    if not len(successes):
        return line
    reached = int(np.sum(successes))
    low, high = wilson_interval(reached, len(successes))
    return f"{line}, success {100 * reached / len(successes):.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def failure_text(error: Exception) -> str:
    """Return what is kept of an error: its kind and message, and below where it arose."""
    return f"{type(error).__name__}: {error}\n\n{''.join(traceback.format_exception(error))}"


def duration(seconds: float) -> str:
    """Return a rough length of time in words."""
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def training_bar(total: int, done: int) -> tqdm[Any]:
    """Return a bar on stderr of steps, the time left and what else is told, renewed as often as suits where it goes."""
    pause = 0.5 if sys.stderr.isatty() else 30.0  # seconds; a log file needs fewer lines than a terminal
    return tqdm(total=total, initial=done, unit="step", dynamic_ncols=True, mininterval=pause)


def new_figure(width: float, height: float) -> Any:
    """Return an empty matplotlib figure of so many inches, which needs no display and no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure as a PNG so that a reader sees the old file or the new one."""
    staged = path.with_name(f".{path.name}")
    figure.savefig(staged, dpi=110, format="png")
    staged.replace(path)


_COLORS = {"trained": "#1f6f8b", "untrained": "#b9b4a7", "control": "#d1603d"}


def _draw_bars(axes: Any, results: dict[str, Any]) -> None:
    titles = {
        "relative_r2": "relative\nR2",
        "individual_r2": "individual\nR2",
        "predictor_mrr": "predictor\nMRR",
        "predictor_hit_at_1": "predictor\nHit@1",
    }
    names = [name for name in titles if name in results["trained"]]
    for offset, who in ((-0.2, "trained"), (0.2, "untrained")):
        for place, name in enumerate(names):
            scores = results[who][name]
            error = [[scores["value"] - scores["low"]], [scores["high"] - scores["value"]]]
            label = who if place == 0 else None
            axes.bar(place + offset, scores["value"], 0.38, yerr=error, capsize=2, color=_COLORS[who], label=label)
    axes.set_xticks(range(len(names)), [titles[name] for name in names])
    axes.set_title("Equivariance and prediction")
    axes.legend(frameon=False)


def _draw_accuracy(axes: Any, results: dict[str, Any]) -> None:
    for who in ("trained", "untrained"):
        _draw_curve(axes, results[who], "top1_z_agg_", who, _COLORS[who])
        axes.axhline(results[who]["top1_z"]["value"], color=_COLORS[who], linestyle=":", label=f"{who}, one z")
    axes.set_title("Class from z_agg")
    axes.set_xlabel("views")
    axes.set_ylabel("top-1")
    axes.legend(frameon=False)


def _draw_returns(axes: Any, results: dict[str, Any]) -> None:
    _draw_curve(axes, results["trained"], "view_return_", "trained", _COLORS["trained"])
    for suffix, label, style in (
        ("_last_view", "last view alone", "--"),
        ("_no_motions", "motions of another path", ":"),
        ("_other_path", "another path, true way back", "-."),
    ):
        _draw_curve(axes, results["trained"], "view_return_", label, _COLORS["control"], suffix=suffix, style=style)
    _draw_curve(axes, results["untrained"], "view_return_", "untrained", _COLORS["untrained"])
    numbers = measured_numbers(results["trained"], "view_return_", "")
    chance = [results["trained"][f"view_return_{n}"]["chance"] for n in numbers]
    axes.plot(numbers, chance, color="black", linestyle=":", label="chance")
    axes.set_title("The motion back to an earlier view predicts that view")
    axes.set_xlabel("views seen")
    axes.set_ylabel("share right")
    axes.set_ylim(0, 1)
    axes.legend(frameon=False)


def _draw_paths(axes: Any, results: dict[str, Any]) -> None:
    for group, suffix, label, color, style in (
        ("trained", "", "trained", _COLORS["trained"], "-"),
        ("trained", "_no_motions", "motions zeroed", _COLORS["trained"], ":"),
        ("trained", "_no_vision", "vision zeroed", _COLORS["trained"], "--"),
        ("untrained", "", "untrained", _COLORS["untrained"], "-"),
        ("controls", "_raw_motions", "raw motions", _COLORS["control"], "-"),
    ):
        if measured_numbers(results[group], "path_r2_", suffix):
            _draw_curve(axes, results[group], "path_r2_", label, color, suffix=suffix, style=style)
    axes.set_title("Path decoded from [z_agg; last motion], with its controls")
    axes.set_xlabel("motions")
    axes.set_ylabel("R2")
    axes.legend(frameon=False)


def measured_numbers(measures: Mapping[str, Any], prefix: str, suffix: str) -> list[int]:
    """Return the numbers n for which `measures` has prefix + n + suffix."""
    middles = [k[len(prefix) : len(k) - len(suffix)] for k in measures if k.startswith(prefix) and k.endswith(suffix)]
    return sorted(int(m) for m in middles if m.isdigit())


def _draw_curve(
    axes: Any, measures: dict[str, Any], prefix: str, label: str, color: str, *, suffix: str = "", style: str = "-"
) -> None:
    numbers = measured_numbers(measures, prefix, suffix)
    scores = [measures[f"{prefix}{n}{suffix}"] for n in numbers]
    axes.plot(numbers, [s["value"] for s in scores], style, marker="o", markersize=3, color=color, label=label)
    axes.fill_between(numbers, [s["low"] for s in scores], [s["high"] for s in scores], color=color, alpha=0.15, lw=0)
    axes.set_xticks(numbers)
