"""Policies from pixels and on a world model side by side: one declared grid, its learning curves and what they cost.

A call does what is left: policies that are finished are skipped, one that was interrupted goes on. Calls with other
`seeds` may work side by side in one folder; one with all of them then writes the results of all. The folder:

- `ON-seedS`: policies as `glimpseworld policy train` makes them.
- `curves.json`: the settings; `runs`, each with `on`, `seed` and its `curve`; `target`, the return that pixels reach in
  the end (mean over seeds and the last three evaluations); and `reached`: for each `on`, the first evaluation at which
  the mean over seeds is at least that: its `steps` and `core_seconds`, `share` of the steps that pixels needed, and the
  same with what the world model had learned from before, `steps_with_model`, `core_seconds_with_model` and
  `share_with_model`; and `seeds_reached`, how many seeds reached it by themselves, and `seed_steps`, the fewest and the
  most steps of these. None where the mean did not reach it.
- `curves.csv`: a row for each evaluation; `curves.png`: return against steps, without and with the model's
  own glimpses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...world_model.checkpoint import saving, write_csv, write_json
from ..interrupt import with_way_on
from ..report import markdown_table, new_figure, save_figure
from .config import On, PolicyConfig
from .learning_curve import COLUMNS, read_curve
from .policies import require_trainable, train_policy

LAST = 3
"""Evaluations at the end of a curve whose mean is what was reached."""


@dataclass(frozen=True)
class CurvesConfig:
    """Train policies from pixels and on a world model, several seeds each, and compare their learning curves."""

    out: Path
    """Folder of the comparison; one that exists is gone on with."""
    world_models: tuple[str, ...] = ()
    """Folders of the runs that world models are from: one for all seeds, or one for each."""
    on: tuple[On, ...] = ("pixels", "z", "z_agg")
    """What policies see; "pixels" is what the others are measured by."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of each."""
    latent_steps: int | None = None
    """Steps of the policies on a world model; None for as many as from pixels."""
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    """All other settings, the same for all; of these, `on`, `world_model`, `seed` and `folder` have no effect."""

    def __post_init__(self) -> None:
        if "pixels" not in self.on or not self.seeds:
            raise ValueError(f'on must name "pixels" and seeds at least one, got {self.on} and {self.seeds}')
        if self.latent_steps is not None and self.latent_steps < 1:
            raise ValueError(
                f"latent_steps must be at least 1, or None for as many as from pixels, got {self.latent_steps}"
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must differ from each other, got {self.seeds}")
        if len(self.world_models) not in (0, 1, len(self.seeds)):
            raise ValueError(
                f"world_models must be one for all seeds or one for each of {self.seeds}, got {len(self.world_models)}"
            )
        self.runs()  # so that a wrong setting is told of before the first policy is trained

    def runs(self) -> dict[tuple[On, int], PolicyConfig]:
        """Return the settings of each policy, by what it sees and its seed."""
        found = {}
        each = len(self.world_models) > 1
        for number, seed in enumerate(self.seeds):
            shared = self.world_models[number if each else 0] if self.world_models else None
            for on in self.on:
                pixels = on == "pixels"
                steps = self.policy.steps if pixels else self.latent_steps or self.policy.steps
                model = None if pixels else shared
                frames = self.policy.frames if pixels else 1
                found[on, seed] = replace(self.policy, on=on, seed=seed, steps=steps, world_model=model, frames=frames)
        return found


def policy_curves(config: CurvesConfig) -> dict[str, Any]:
    """Train what is left, write the results after each policy and return them, as `curves.json` has them.

    Raises:
        CheckpointError, ValueError: if one of the policies cannot be trained so: see `require_trainable`.
    """
    planned = {key: (settings, config.out / "{}-seed{}".format(*key)) for key, settings in config.runs().items()}
    for settings, folder in planned.values():
        require_trainable(settings, folder)  # of all, before any of them takes time
    runs: list[dict[str, Any]] = []
    results: dict[str, Any] = {}
    for (on, seed), (settings, folder) in planned.items():
        with with_way_on(f"the same call goes on with what is kept in {config.out}"):
            train_policy(settings, folder)
        runs.append({"on": on, "seed": seed, "curve": read_curve(folder)})
        results = {"settings": asdict(config) | {"out": str(config.out)}, "runs": runs, **reached(runs)}
        _keep(results, config.out)
        print(
            f"{on}, seed {seed}: return {runs[-1]['curve'][-1]['return']:.3f} after {settings.steps:,} steps",
            flush=True,
        )
    return results


def reached(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return `target` and `reached` of the runs so far: see the module. Without pixels' curve there is no target."""
    means = {on: mean_curve([run["curve"] for run in runs if run["on"] == on]) for on in {r["on"]: None for r in runs}}
    if "pixels" not in means:
        return {"target": None, "reached": {}}
    target = float(means["pixels"]["return"][-LAST:].mean())
    found: dict[str, Any] = {}
    for on, curve in means.items():
        places = np.flatnonzero(curve["return"] >= target)
        found[on] = None
        if len(places):
            row = {key: float(values[places[0]]) for key, values in curve.items()}
            found[on] = {
                "steps": row["steps"],
                "core_seconds": row["core_seconds"],
                "steps_with_model": row["steps"] + row["model_glimpses"],
                "core_seconds_with_model": row["core_seconds"] + row["model_core_seconds"],
            } | _alone([run["curve"] for run in runs if run["on"] == on], target)
    pixels = found["pixels"]
    for row in found.values():
        if row is not None and pixels is not None and pixels["steps"]:
            row["share"] = row["steps"] / pixels["steps"]
            row["share_with_model"] = row["steps_with_model"] / pixels["steps"]
    return {"target": target, "reached": found}


def _alone(curves: Sequence[Sequence[dict[str, float]]], target: float) -> dict[str, Any]:
    """Return how many of a kind's curves reach `target` by themselves, and the fewest and the most steps of these."""
    firsts = [next((row["steps"] for row in curve if row["return"] >= target), None) for curve in curves]
    steps = [first for first in firsts if first is not None]
    return {"seeds_reached": len(steps), "seed_steps": [min(steps), max(steps)] if steps else None}


def mean_curve(curves: Sequence[Sequence[dict[str, float]]]) -> dict[str, np.ndarray]:
    """Return the means over seeds of curves that were evaluated at the same steps, as far as all of them go."""
    rows = min(len(curve) for curve in curves)
    return {key: np.array([[row[key] for row in curve[:rows]] for curve in curves]).mean(axis=0) for key in COLUMNS}


def curves_table(results: dict[str, Any]) -> str:
    """Return the table of what was reached, in Markdown."""
    rows = []
    for on, row in results["reached"].items():
        if row is None:
            rows.append([on, *["not reached"] * 7])
            continue
        alone = f"{row['seeds_reached']}"
        if row["seed_steps"]:
            alone += f": {row['seed_steps'][0]:,.0f}-{row['seed_steps'][1]:,.0f}"
        cells = [f"{row['steps']:,.0f}", alone, f"{row.get('share', np.nan):.2f}", f"{row['core_seconds']:.0f}"]
        cells += [f"{row['steps_with_model']:,.0f}", f"{row.get('share_with_model', np.nan):.2f}"]
        rows.append([on, *cells, f"{row['core_seconds_with_model']:.0f}"])
    titles = [
        "on",
        "steps",
        "seeds by themselves",
        "share",
        "core-seconds",
        "with the model's glimpses",
        "share",
        "core-seconds",
    ]
    return (
        f"steps to a return of {results['target']:.3f}, which pixels reach in the end\n\n{markdown_table(titles, rows)}"
    )


def _keep(results: dict[str, Any], out: Path) -> None:
    """Write `curves.json`, `curves.csv` and `curves.png`, each so that a reader sees the old file or the new one."""
    with saving(f"the curves to {out}"):
        write_json(out / "curves.json", results)
        rows = [
            [run["on"], run["seed"], *(row[name] for name in COLUMNS)]
            for run in results["runs"]
            for row in run["curve"]
        ]
        write_csv(out / "curves.csv", [["on", "seed", *COLUMNS], *rows])
        _draw(results, out / "curves.png")


def _draw(results: dict[str, Any], path: Path) -> None:
    from matplotlib import colormaps

    colors = colormaps["tab10"].colors  # pyright: ignore[reportAttributeAccessIssue]
    figure = new_figure(10.0, 4.2)
    axes = figure.subplots(1, 2, sharey=True)
    for number, on in enumerate({run["on"]: None for run in results["runs"]}):
        curves = [run["curve"] for run in results["runs"] if run["on"] == on]
        for ax, own in zip(axes, (0.0, 1.0), strict=True):
            for curve in curves:
                x = [row["steps"] + own * row["model_glimpses"] for row in curve]
                ax.plot(x, [row["return"] for row in curve], color=colors[number], lw=0.6, alpha=0.5)
            mean = mean_curve(curves)
            ax.plot(mean["steps"] + own * mean["model_glimpses"], mean["return"], color=colors[number], lw=2, label=on)
    for ax, label in zip(axes, ("steps of the policy", "steps and the world model's own glimpses"), strict=True):
        if results["target"] is not None:
            ax.axhline(results["target"], color="0.5", lw=0.8, ls="--")
        ax.set_xlabel(label)
        ax.grid(alpha=0.25)
    axes[0].set_ylabel("return, validation episodes")
    axes[0].legend(frameon=False, fontsize=9)
    save_figure(figure, path)
