"""`glimpseworld summary RUN ...`: evaluated runs side by side, with seeds of equal settings pooled.

A row is a group of runs whose settings differ in the seed alone, with the untrained models of the same seeds below it.
A cell is the mean over its runs, with the 95 % t-interval over seeds in brackets where there are two or more. The
interval speaks of training seeds; that of one run's held-out things is in its `results.json`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from ..world_model.checkpoint import CheckpointError

COLUMNS = (
    ("relative_r2", "relative R2"),
    ("individual_r2", "indiv. R2"),
    ("top1_z", "top-1 z"),
    ("top1_z_agg_3", "z_agg 3"),
    ("top1_z_agg_5", "z_agg 5"),
    ("predictor_mrr", "MRR"),
    ("predictor_hit_at_1", "Hit@1"),
    ("view_return_4", "return 4"),
    ("view_return_4_last_view", "last view"),
    ("view_return_4_no_motions", "no motions"),
)


@dataclass(frozen=True)
class SummaryConfig:
    """Set evaluated runs side by side; runs that differ in their seed alone are pooled."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders that `glimpseworld train` made and evaluated."""


def main(arguments: list[str]) -> None:
    """Run the command."""
    config = tyro.cli(SummaryConfig, args=arguments, prog="glimpseworld summary")
    if not config.runs:
        raise ValueError("no runs given: name the folders of evaluated runs, such as runs/*")
    print(summary_table([load_results(run) for run in config.runs]))


def load_results(run: Path) -> dict[str, Any]:
    """Return the `results.json` of a run.

    Raises:
        CheckpointError: if there is none.
    """
    path = run / "results.json"
    if not path.is_file():
        raise CheckpointError(f"{run} has no results.json: run `glimpseworld evaluate {run}` first")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"cannot read {path}: {error}; run `glimpseworld evaluate {run}` again") from error


def summary_table(results: list[dict[str, Any]]) -> str:
    """Return a Markdown table: a row for each group's trained models, and one for its untrained ones.

    Raises:
        ValueError: if the results were not measured alike (split, sizes, evaluation seed), or a run is given twice.
    """
    conditions = {json.dumps([r["split"], r["sizes"], r["seed"]], sort_keys=True) for r in results}
    if len(conditions) > 1:
        raise ValueError(
            f"these runs were not evaluated alike: {' and '.join(sorted(conditions))}; evaluate them with equal "
            "--split, --effort and --seed first"
        )
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        settings = {key: value for key, value in result["config"].items() if key not in ("seed", "folder")}
        group = groups.setdefault(json.dumps(settings, sort_keys=True), [])
        if any(other["config"]["seed"] == result["config"]["seed"] for other in group):
            raise ValueError(f"two runs have equal settings and seed {result['config']['seed']}: give one of them")
        group.append(result)
    lines = [f"| runs | seeds | {' | '.join(title for _, title in COLUMNS)} |", "| --- " * (len(COLUMNS) + 2) + "|"]
    common = _common([json.loads(key) for key in groups])
    for key, members in groups.items():
        name = ", ".join(_differences(json.loads(key), common)) or "as preset"
        for who in ("trained", "untrained"):
            cells = [_cell([m[who][column]["value"] for m in members if column in m[who]]) for column, _ in COLUMNS]
            lines.append(f"| {name if who == 'trained' else 'untrained'} | {len(members)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def interval(values: list[float]) -> tuple[float, float, float]:
    """Return mean, low and high end of the 95 % t-interval of two or more values."""
    from scipy.stats import t

    mean = float(np.mean(values))
    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def _cell(values: list[float]) -> str:
    if not values:
        return "–"  # a method that predicts nothing has no predictor to measure
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return "{:.2f} ({:.2f}-{:.2f})".format(*interval(values))


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _common(settings: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the flattened settings of the first group, which the others are named by their difference from."""
    return _flat(settings[0]) if settings else {}


def _differences(settings: dict[str, Any], common: dict[str, Any]) -> list[str]:
    return [f"{key} {value}" for key, value in _flat(settings).items() if common.get(key, value) != value]
