"""`glimpseworld summary RUN ...`: evaluated runs side by side, with seeds of equal settings pooled.

A row is a group of runs whose settings differ in the seed alone, with the untrained models of the same seeds below it.
The first is named by its method and world, the others by what differs from it.
A cell is the mean over its runs, with the 95 % t-interval over seeds in brackets where there are two or more. The
interval speaks of training seeds; that of one run's held-out things is in its `results.json`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..world_model.checkpoint import CheckpointError
from ..world_model.settings import flat_settings
from .compare.aggregate import COLUMNS, cell, measured_columns, pool, require_alike
from .report import markdown_table


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


def load_results(run: Path, name: str = "results.json") -> dict[str, Any]:
    """Return the results of a run, kept in the file called `name`.

    Raises:
        CheckpointError: if there is none, or the file is damaged or something else.
    """
    path = run / name
    if not (run / "config.json").is_file() and not path.is_file():
        raise CheckpointError(f"{run} is no run: expected a folder that `glimpseworld train` made")
    if not path.is_file():
        raise CheckpointError(f"{run} has no {name}: run `glimpseworld evaluate {run}` first")
    try:
        results = json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"cannot read {path}: {error}; run `glimpseworld evaluate {run}` again") from error
    groups = ("config", "trained", "untrained")
    if not isinstance(results, dict) or not all(isinstance(results.get(group), dict) for group in groups):
        raise CheckpointError(f"{path} is not what `glimpseworld evaluate` writes, an object with {', '.join(groups)}")
    return results


def summary_table(results: list[dict[str, Any]]) -> str:
    """Return a Markdown table: a row for each group's trained models, and one for its untrained ones.

    Raises:
        ValueError: if the results were not measured alike (split, sizes, evaluation seed, fixations), or a run is given
            twice.
    """
    require_alike(results)
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        settings = {key: value for key, value in result["config"].items() if key not in ("seed", "folder")}
        group = groups.setdefault(json.dumps(settings, sort_keys=True), [])
        if any(other["config"]["seed"] == result["config"]["seed"] for other in group):
            raise ValueError(f"two runs have equal settings and seed {result['config']['seed']}: give one of them")
        group.append(result)
    columns = measured_columns(COLUMNS, [result[who] for result in results for who in ("trained", "untrained")])
    common = _common([json.loads(key) for key in groups])
    rows = []
    for key, members in groups.items():
        name = ", ".join(_differences(json.loads(key), common)) or _title(json.loads(key))
        for who in ("trained", "untrained"):
            found = [_pooled([m[who] for m in members], column) for column, _ in columns]
            rows.append([name if who == "trained" else "untrained", str(len(members)), *map(cell, found)])
    return markdown_table(["runs", "seeds", *(title for _, title in columns)], rows)


def _pooled(measures: list[dict[str, Any]], column: str) -> dict[str, Any] | None:
    """Pool one measure, or return None where a model lacks it."""
    return pool([m[column]["value"] for m in measures]) if all(column in m for m in measures) else None


def _title(settings: dict[str, Any]) -> str:
    return f"{settings['model']['method']}, {settings['world']}"


def _common(settings: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the flattened settings of the first group, which the others are named by their difference from."""
    return flat_settings(settings[0]) if settings else {}


def _differences(settings: dict[str, Any], common: dict[str, Any]) -> list[str]:
    return [f"{key} {value}" for key, value in flat_settings(settings).items() if common.get(key, value) != value]
