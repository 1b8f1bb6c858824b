"""`glimpseworld compare GRID`: a declared grid of runs, one or more at a time, and their results in one folder.

A call does what is left: it starts runs, resumes them from their checkpoints, and skips those that are finished and
evaluated, so that after a kill at any moment the same call goes on. A run that fails is recorded, the others go on, and
the next call tries it again. With `--jobs`, several runs go on side by side; with `--arms` and `--seeds`, several
machines can share a folder, each with its own runs.

The folder:

- `runs/ARM-seedS`: runs as `glimpseworld train` and `evaluate` make them; in one that failed, `failed.txt`.
- `logs/ARM-seedS.log`: what a run of several `--jobs` has printed.
- `results.json`: `grid`, `split`; `runs`, one for each arm and seed, with `status` ("finished", "failed" with a
  `message`, or "pending"), `world`, and, where finished, `trained`, `untrained`, `controls` and `budget` as in the
  run's own results, and `curve`, pairs of core-seconds and the R2 of the probe in training, on validation things;
  `arms`, what `aggregate` makes of them: `trained.MEASURE.mean`, `low`, `high` (95 % t-interval over seeds),
  `bootstrap_low`, `bootstrap_high`; `difference.MEASURE` to `reference`, another arm of the same world, paired by seed.
- `results.csv`: a row for each run and number: arm, seed, group ("trained", "untrained", "controls", "budget"),
  measure, value, and the interval over held-out things, `low` and `high`.
- `results.md`: the tables.
- `*.png`, `projections/ARM.png`, `retrievals/ARM.png`: the figures; see `figures` and `galleries`.

With `--split validation`, results and figures are in the folder `validation` within it, beside those of the test split.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from ...world_model.checkpoint import check_writable, saving, write_csv, write_json, write_text
from ..interrupt import with_way_on
from ..report import duration
from ..run_log import read_metrics
from ..summary import load_results
from .aggregate import aggregate, comparison_tables, require_alike
from .execution import carry_out, seconds_left, share_of_threads
from .figures import comparison_figures
from .galleries import gallery_figures
from .grid import Grid
from .grid_runs import GridRun, choose, complete, is_done, planned_runs, rehearse_arms
from .grids import load_grid

GROUPS = ("trained", "untrained", "controls", "budget")
"""What of a run's results is kept in those of the comparison."""


@dataclass(frozen=True)
class CompareConfig:
    """Run a grid of methods and seeds, one run after another or several at a time, and set the results side by side."""

    grid: Annotated[str, tyro.conf.Positional]
    """A built-in grid: "small" (at most an hour on two cores), "fresh", "baselines", "tuning", "ablations", "saccades",
    "pairs", "path", "beyond", "curiosity" or "full"; or a JSON file."""
    out: Path | None = None
    """Folder of the comparison; by default runs/compare-NAME. One that exists is gone on with."""
    arms: tuple[str, ...] = ()
    """Run only these arms; the results still show all that is finished."""
    seeds: tuple[int, ...] = ()
    """Run only these seeds of the grid."""
    reference: str | None = None
    """The arm that those of its world are compared with; by default the first of the world."""
    split: Literal["validation", "test"] = "test"
    """Held-out things to score on; choose settings on "validation", report "test"."""
    jobs: int = 1
    """Runs at a time, each a process with its share of the threads and memory of its own; --dry-run tells whether
    more of them get through the grid sooner."""
    dry_run: bool = False
    """List the runs and estimate their time, after some seconds of rehearsal for each arm; run none."""


def main(arguments: list[str]) -> None:
    """Run the command; exits with 1 if a run of the grid has failed."""
    config = tyro.cli(CompareConfig, args=arguments, prog="glimpseworld compare")
    if config.jobs < 1:
        raise ValueError(f"--jobs must be at least 1 run at a time, got {config.jobs}")
    grid = load_grid(config.grid)
    out = config.out or Path("runs") / f"compare-{grid.name}"
    if config.reference not in (None, *grid.arms):
        raise ValueError(f"grid {grid.name!r} has no arm {config.reference} to compare with: {', '.join(grid.arms)}")
    pages = out if config.split == "test" else out / config.split
    check_writable(pages / "results.json")
    runs = planned_runs(grid, out, config.split)
    chosen = choose(runs, grid, config.arms, config.seeds)
    left = [run for run in chosen if not is_done(run)]
    print(f"{grid.name}: {len(chosen)} runs in {out}, {len(chosen) - len(left)} of them done", flush=True)
    with share_of_threads(config.jobs):
        rehearsed = rehearse_arms(left)
    if config.dry_run:
        _list(chosen, left, rehearsed, config.jobs)
        return
    with with_way_on(f"the same call goes on with what is kept in {out}"):
        carry_out(
            left,
            rehearsed,
            lambda: _keep(collect(grid, runs, config.reference), pages),
            work=complete,
            jobs=config.jobs,
        )
    _finish(grid, runs, pages, config.reference)


def _list(chosen: list[GridRun], left: list[GridRun], rehearsed: dict[str, float], jobs: int) -> None:
    for run in chosen:
        state = duration(seconds_left(run, rehearsed)) if run in left else "done"
        print(f"  {run.arm}, seed {run.seed}: {run.config.learner.total_steps:,} updates, {state}")
    total = sum(seconds_left(run, rehearsed) for run in left) / jobs
    print(f"{duration(total)} left, by a rehearsal on this machine")


def _finish(grid: Grid, runs: list[GridRun], out: Path, reference: str | None) -> None:
    """Write everything, show the tables, and exit with 1 if a run has failed."""
    results = collect(grid, runs, reference)
    _keep(results, out)
    done = {(run["arm"], run["seed"]) for run in results["runs"] if run["status"] == "finished"}
    if done:
        comparison_figures(results, out)
        first = {run.arm: run for run in reversed(runs) if (run.arm, run.seed) in done}
        gallery_figures(list(first.values())[::-1], out)
        print(f"\n{comparison_tables(results['arms'])}\n")
        print(f"results  {out / 'results.json'}, .csv, .md\nfigures  {out / '*.png'}")
    failed = [run for run in results["runs"] if run["status"] == "failed"]
    if failed:
        told = "; ".join(f"{run['arm']}, seed {run['seed']}: {run['message']}" for run in failed)
        print(f"glimpseworld compare: {len(failed)} of {len(runs)} runs failed: {told}", file=sys.stderr)
        sys.exit(1)


def collect(grid: Grid, runs: list[GridRun], reference: str | None) -> dict[str, Any]:
    """Return the results of the comparison, as `results.json` has them; see `aggregate` for the reference.

    Raises:
        ValueError: if runs of one world were not evaluated alike.
    """
    rows, finished, conditions = [], [], {}
    for run in runs:
        row: dict[str, Any] = {
            "arm": run.arm,
            "seed": run.seed,
            "world": run.config.world,
            "folder": str(run.folder),
            "context": list(run.config.replay.context),
            "status": "pending",
        }
        if is_done(run):
            results = load_results(run.folder, run.results.name)
            conditions.setdefault(run.config.world, []).append(results)
            row |= {"status": "finished"} | {group: results[group] for group in GROUPS}
            metrics = read_metrics(run.folder / "metrics.csv")
            row["curve"] = [[m["core_seconds"], m["probe/relative_r2"]] for m in metrics if "probe/relative_r2" in m]
            finished.append(row)
        elif run.failure.is_file():
            row |= {"status": "failed", "message": run.failure.read_text().splitlines()[0]}
        rows.append(row)
    for results in conditions.values():
        require_alike(results)
    order = list(grid.arms)
    finished.sort(key=lambda row: (order.index(row["arm"]), row["seed"]))
    return {"grid": asdict(grid), "split": runs[0].split, "runs": rows, "arms": aggregate(finished, reference)}


def _keep(results: dict[str, Any], out: Path) -> None:
    """Write `results.json`, `.csv` and `.md`, each so that a reader sees the old file or the new one."""
    with saving(f"the results to {out}"):
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "results.json", results)
        write_csv(out / "results.csv", _csv_rows(results))
        write_text(out / "results.md", _page(results))


def _csv_rows(results: dict[str, Any]) -> Iterator[list[Any]]:
    yield ["arm", "seed", "group", "measure", "value", "low", "high"]
    for run in results["runs"]:
        for group in GROUPS:
            for name, found in (run.get(group) or {}).items():
                scores = found if isinstance(found, dict) else {"value": found}
                yield [run["arm"], run["seed"], group, name, *(scores.get(key) for key in ("value", "low", "high"))]
                if "median_error" in scores:
                    yield [run["arm"], run["seed"], group, f"{name}_median_error", scores["median_error"], None, None]


def _page(results: dict[str, Any]) -> str:
    """Return the page of tables."""
    counts = {status: sum(run["status"] == status for run in results["runs"]) for status in ("finished", "failed")}
    lines = [
        f"# {results['grid']['name']}",
        "",
        f"{counts['finished']} of {len(results['runs'])} runs finished, scored on the {results['split']} split "
        f"({results['grid']['effort']} evaluation). Cells are means over training seeds with 95 % t-intervals.",
        "",
        comparison_tables(results["arms"]),
    ]
    failed = [run for run in results["runs"] if run["status"] == "failed"]
    if failed:
        lines += ["", "Failed:", "", *(f"- {run['arm']}, seed {run['seed']}: {run['message']}" for run in failed)]
    return "\n".join(lines) + "\n"
