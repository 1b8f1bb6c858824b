"""The runs of a grid and their states: begun, trained, evaluated, failed; and what brings one to its end."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ...envs.object_rotation import RotationRange
from ...world_model.checkpoint import latest_checkpoint, load_checkpoint
from ..config import Effort, TrainConfig
from ..evaluate import EvaluateConfig, condition_of, evaluate, result_paths
from ..run_folder import load_config, save_config
from ..summary import load_results
from ..train import train
from ..view_sets import Fixations, own_fixations
from .grid import Grid
from .rehearsal import rehearse


@dataclass(frozen=True)
class GridRun:
    """One run of a grid."""

    arm: str
    """Its arm."""
    seed: int
    """Its seed."""
    config: TrainConfig
    """Its settings."""
    folder: Path
    """Where it is kept."""
    split: Literal["validation", "test"]
    """Held-out things that it is scored on."""
    effort: Effort
    """How thoroughly it is evaluated."""
    rotation: RotationRange | None = None
    """Orientations of the held-out views: those of the first arm in its world, so that all are measured alike."""
    fixations: Fixations | None = None
    """Where views fixate, likewise."""

    @property
    def evaluation(self) -> EvaluateConfig:
        """How it is evaluated."""
        return EvaluateConfig(
            split=self.split,
            effort=self.effort,
            rotation=self.rotation,
            fixations=self.fixations,
            device=self.config.device,
        )

    @property
    def failure(self) -> Path:
        """The file that says why the run failed, if it did."""
        return self.folder / "failed.txt"

    @property
    def results(self) -> Path:
        """The file of its results."""
        return result_paths(self.folder, self.split, condition_of(self.evaluation, self.config))[0]


def planned_runs(grid: Grid, out: Path, split: Literal["validation", "test"]) -> list[GridRun]:
    """Return all runs of the grid, seed by seed, so that a comparison cut short has whole seeds.

    Raises:
        ValueError: if one was begun with other settings than the grid gives it now.
    """
    runs = []
    first: dict[str, TrainConfig] = {}  # of each world
    for seed in grid.seeds:
        for arm in grid.arms:
            config = replace(grid.config(arm, seed), folder=str(out / "runs"))
            folder = out / "runs" / f"{arm}-seed{seed}"
            leader = first.setdefault(config.world, config)
            rotation = leader.rotation.rotation if leader.world == "rotation" else None
            runs.append(GridRun(arm, seed, config, folder, split, grid.effort, rotation, own_fixations(leader)))
            begun = (folder / "config.json").exists()
            if begun and replace(load_config(folder), folder=config.folder) != config:
                raise ValueError(
                    f"{folder} was begun with other settings than the grid gives it now: choose another --out, or "
                    "remove that folder"
                )
    return runs


def choose(runs: list[GridRun], grid: Grid, arms: tuple[str, ...], seeds: tuple[int, ...]) -> list[GridRun]:
    """Return the runs of some arms and seeds; empty means all.

    Raises:
        ValueError: if the grid does not have them.
    """
    for what, asked, known in (("arm", arms, tuple(grid.arms)), ("seed", seeds, grid.seeds)):
        unknown = [str(value) for value in asked if value not in known]
        if unknown:
            there = ", ".join(map(str, known))
            raise ValueError(f"grid {grid.name!r} has no {what} {', '.join(unknown)}; there are {there}")
    return [run for run in runs if run.arm in (arms or grid.arms) and run.seed in (seeds or grid.seeds)]


def steps_taken(run: GridRun) -> int:
    """Return the updates of the run's newest checkpoint, 0 where there is none."""
    checkpoint = latest_checkpoint(run.folder / "checkpoints")
    return 0 if checkpoint is None else load_checkpoint(checkpoint, only=[])[1]["steps"]


def is_done(run: GridRun) -> bool:
    """Return whether the run is trained to its end, and evaluated as this comparison does it."""
    total = run.config.learner.total_steps
    if not run.results.is_file() or steps_taken(run) < total:
        return False
    results = load_results(run.folder, run.results.name)
    return (results["step"], results["seed"], results.get("effort")) == (total, 0, run.effort)


def complete(run: GridRun) -> None:
    """Bring a run to its end from wherever it is.

    Raises:
        Exception: whatever training or evaluation raise.
    """
    taken = steps_taken(run)
    if not taken:
        shutil.rmtree(run.folder, ignore_errors=True)  # what a kill left before the first checkpoint
        run.folder.mkdir(parents=True)
        save_config(run.config, run.folder)
    if taken < run.config.learner.total_steps:
        train(run.config, run.folder, resume=taken > 0)
    evaluate(run.folder, run.evaluation)


def rehearse_arms(runs: list[GridRun]) -> dict[str, float]:
    """Return for each arm of `runs` about how many seconds one run takes from its beginning to its end.

    Raises:
        ValueError: if an arm has settings that its world, agent, model or learner refuses.
    """
    seconds: dict[str, float] = {}
    for run in runs:
        if run.arm not in seconds:
            try:
                seconds[run.arm] = rehearse(run.config, run.effort)
            except ValueError as error:
                raise ValueError(f"arm {run.arm!r}: {error}") from error
    return seconds
