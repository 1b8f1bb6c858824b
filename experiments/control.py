"""`glimpseworld control`: agents in tasks, on the same held-out episodes, and their scores in one folder.

A call does what is left: every finished cell, that is an agent with one world model (or none) in a task, is written at
once and skipped by later calls, so that a kill loses one cell at most.

The folder:

- `cells/TASK--AGENT[--RUN].json`: the settings of a cell and its episodes: success, distance and reward by step.
- `results.json`: `episodes`, `seed`, `split`, `reference`; `tasks`, name -> `difficulty`, `world`, `steps`; and
  `agents`, name -> `models`; `scores`, measure -> `value`, `low`, `high` (see `control_scores`); `by_model`, the same
  of each model; `difference`, `success` and `return` minus the reference agent's; `curve`, distances by step.
- `results.csv`, `results.md`, `success.png`, `distance.png`: see `control_report`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, Literal

import tyro

from ..world_model.checkpoint import CheckpointError, write_json
from ..world_model.protocol import WorldModel
from .config import TrainConfig, presets
from .control_episodes import Episodes, play_episodes
from .control_report import control_figures, control_tables, results_csv
from .control_scores import differences, distance_curve, pooled, require_paired, scores_of
from .control_tasks import TASKS, ControlTask, Playground, task_named
from .controllers import CONTROLLERS, ControlSetting, controller_named
from .grid_runs import duration
from .train import load_config, load_model

_SMALL_TASKS = (
    *("reorient", "reach", "search", "search-glimpse", "rotation-homing-4", "saccade-homing-4"),
    *("rotation-classify", "saccade-classify"),
)


@dataclass(frozen=True)
class ControlGrid:
    """What a form of the benchmark plays: every agent that fits each task."""

    tasks: tuple[str, ...]
    """Names of tasks."""
    episodes: int
    """Episodes of each cell."""


GRIDS = {"small": ControlGrid(_SMALL_TASKS, 400), "full": ControlGrid(tuple(TASKS), 1_000)}


@dataclass(frozen=True)
class ControlConfig:
    """Let agents act in tasks, on the same held-out episodes, and set their scores side by side."""

    grid: Annotated[Literal["small", "full"] | None, tyro.conf.Positional] = None
    """"small": most tasks, all agents, 400 episodes; within an hour on two cores. "full": all tasks, 1,000 episodes.
    Without one, name --task and --agent."""
    world_model: tuple[Path, ...] = ()
    """Runs of `glimpseworld train`, one a seed; each acts in the tasks of its world. Without one, agents that need no
    model act in the world of preset cpu."""
    saccade_model: tuple[Path, ...] = ()
    """Further runs, of the world of saccades."""
    task: tuple[str, ...] = ()
    """Only these tasks."""
    agent: tuple[str, ...] = ()
    """Only these agents."""
    episodes: int | None = None
    """Episodes of each cell; by default the grid's, or 400."""
    seed: int = 0
    """Which episodes; also of the agents."""
    split: Literal["validation", "test"] = "test"
    """Held-out things to score on; choose settings on "validation", report "test"."""
    reference: str = "random"
    """The agent that the others are compared with, episode by episode."""
    rows: int = 100
    """Episodes that are played in lockstep."""
    out: Path | None = None
    """Folder of the results; by default runs/control-GRID, or runs/control. One that exists is gone on with."""
    device: str = "cpu"
    """Where world models compute."""
    dry_run: bool = False
    """List what is left and estimate its time, by the first motions of every cell; keep nothing."""

    def __post_init__(self) -> None:
        if not self.grid and not (self.task and self.agent):
            raise ValueError('name a grid, "small" or "full", or both --task and --agent')
        for name, value in (("episodes", self.episodes), ("rows", self.rows)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name in self.task:
            task_named(name)
        for name in (*self.agent, self.reference):
            controller_named(name)

    @property
    def count(self) -> int:
        """Episodes of each cell."""
        return self.episodes or (GRIDS[self.grid].episodes if self.grid else 400)

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return self.out or Path("runs") / (f"control-{self.grid}" if self.grid else "control")


@dataclass(frozen=True)
class ModelRun:
    """A run of a world model: its folder, a label of its own, and its settings."""

    folder: Path
    label: str
    config: TrainConfig


@dataclass(frozen=True)
class Cell:
    """An agent in a task, with the model of one run or none."""

    task: ControlTask
    agent: str
    run: ModelRun | None
    world: TrainConfig

    @property
    def name(self) -> str:
        """Names its file."""
        parts = (self.task.name, self.agent, *([self.run.label] if self.run else []))
        return "--".join(re.sub(r"[^A-Za-z0-9._-]", "_", part) for part in parts)


def main(arguments: list[str]) -> None:
    """Run the command."""
    control(tyro.cli(ControlConfig, args=arguments, prog="glimpseworld control"))


def control(config: ControlConfig) -> None:
    """Play the cells that are left, and write and print the results of all."""
    runs = load_runs(config)
    cells = planned_cells(config, runs)
    kept = config.folder / "cells"
    left = [cell for cell in cells if load_cell(kept, cell, config) is None]
    print(
        f"{len(cells)} cells of {config.count} episodes in {config.folder}, {len(cells) - len(left)} done", flush=True
    )
    players = Players(config)
    if config.dry_run:
        _list(left, players)
        return
    kept.mkdir(parents=True, exist_ok=True)
    for number, cell in enumerate(left, start=1):
        began = perf_counter()
        episodes = players.play(cell)
        _save(kept / f"{cell.name}.json", {"settings": _settings(cell, config), "episodes": episodes.to_dict()})
        share = episodes.success[:, -1].mean()
        spent = duration(perf_counter() - began)
        print(f"  {number}/{len(left)} {cell.name}: success at the end {share:.3f}, {spent}", flush=True)
    results = collect(config, cells)
    keep(results, config.folder)
    print(f"\n{control_tables(results)}\n\nresults  {config.folder / 'results.json'}, .csv, .md")
    print(f"figures  {config.folder / '*.png'}")


def load_runs(config: ControlConfig) -> list[ModelRun]:
    """Return the runs that are named.

    Raises:
        ValueError: two of them have one label, or one of `saccade_model` is not of that world.
        CheckpointError: one is no run.
    """
    runs = [ModelRun(path, path.resolve().name, load_config(path)) for path in config.world_model]
    for path in config.saccade_model:
        runs.append(ModelRun(path, path.resolve().name, load_config(path)))
        if runs[-1].config.world != "saccade":
            raise ValueError(f"{path} was trained in the world {runs[-1].config.world!r}, not in 'saccade'")
    labels = [run.label for run in runs]
    for run in runs:
        if labels.count(run.label) > 1:
            raise ValueError(f"two runs are called {run.label!r}: their results could not be told apart; rename one")
    return runs


def planned_cells(config: ControlConfig, runs: list[ModelRun]) -> list[Cell]:
    """Return all cells, task by task.

    In a grid, what cannot be played is left out: agents in tasks they cannot act in, and, where runs are named, tasks
    of worlds that no run is of. What is asked for by name has to fit.

    Raises:
        ValueError: an agent cannot act in a task, a task has no run of its world, or its runs' worlds differ.
    """
    grid = GRIDS[config.grid] if config.grid else None
    cells = []
    for name in config.task or (grid.tasks if grid else ()):
        task = task_named(name)
        own = [run for run in runs if run.config.world == task.world]
        if runs and not own:
            if config.task:
                Playground(task, runs[0].config, 1)  # says what does not fit
            continue
        world = own[0].config if own else _default_world(task)
        _check_one_world(task, own)
        for agent in config.agent or CONTROLLERS:
            controller = CONTROLLERS[agent]
            reason = controller.unfit(task)
            if reason is None and controller.needs_model and not own:
                reason = "it needs a world model: name one with --world-model RUN"
            if reason is None:
                cells += [Cell(task, agent, run, world) for run in (own if controller.needs_model else [None])]
            elif config.agent and config.task:
                raise ValueError(f"agent {agent!r} cannot act in task {name!r}: {reason}")
    if not cells:
        raise ValueError("nothing is left to play: no agent named here fits a task, or no task fits the runs")
    return cells


def _default_world(task: ControlTask) -> TrainConfig:
    return presets()["quick-saccade" if task.world == "saccade" else "cpu"][1]


def _check_one_world(task: ControlTask, runs: list[ModelRun]) -> None:
    """Raise ValueError if the task is not the same in the world of every run, since no episodes would be shared."""
    worlds = [Playground(task, run.config, 1).arguments("test") for run in runs]
    for run, world in zip(runs[1:], worlds[1:], strict=True):
        unlike = sorted(key for key in world if world[key] != worlds[0][key])
        if unlike:
            told = ", ".join(f"{key} {worlds[0][key]!r} and {world[key]!r}" for key in unlike)
            raise ValueError(
                f"{runs[0].label} and {run.label} were trained in different worlds ({told}), so task {task.name!r} "
                "has no episodes in common: name runs of one world"
            )


class Players:
    """Plays cells, and keeps what they share: a task's environments and play, and the model of a run.

    Args:
        config: Episodes, seed, split, rows and device.
    """

    def __init__(self, config: ControlConfig) -> None:
        self._config = config
        self._playground: Playground | None = None
        self._models: dict[Path, WorldModel] = {}

    def play(self, cell: Cell) -> Episodes:
        """Return the episodes of a cell."""
        setting = self._setting(cell)
        agent = CONTROLLERS[cell.agent].make(setting)
        return play_episodes(setting.envs, agent, cell.task.steps, self._config.count, self._config.seed)

    def estimate(self, cell: Cell) -> float:
        """Return about how many seconds `play` takes, by making the agent and the first two motions of one block."""
        setting = self._setting(cell)
        began = perf_counter()
        agent = CONTROLLERS[cell.agent].make(setting)
        made = perf_counter()
        moves = min(2, cell.task.steps)
        play_episodes(setting.envs, agent, moves, setting.num_envs, self._config.seed)
        block = (perf_counter() - made) * (cell.task.steps + 1) / (moves + 1)
        return made - began + block * -(-self._config.count // setting.num_envs)

    def _setting(self, cell: Cell) -> ControlSetting:
        ground = self._playground
        if ground is None or (ground.task, ground.config) != (cell.task, cell.world):  # cells come task by task
            ground = Playground(cell.task, cell.world, min(self._config.rows, self._config.count))
            self._playground = ground
        model = None
        if cell.run is not None:
            if cell.run.folder not in self._models:
                self._models[cell.run.folder] = load_model(cell.run.folder, self._config.device)[0]
            model = self._models[cell.run.folder]
            ground.check_model(model)
        return ControlSetting(ground, self._config.split, model, self._config.seed)


def _list(left: list[Cell], players: Players) -> None:
    total = 0.0
    for cell in left:
        seconds = players.estimate(cell)
        total += seconds
        print(f"  {cell.name}: about {duration(seconds)}", flush=True)
    print(f"about {duration(total)} left, by the first motions on this machine")


def _settings(cell: Cell, config: ControlConfig) -> dict[str, Any]:
    """Return what a cell's episodes depend on, in JSON types."""
    settings = {
        "steps": cell.task.steps,
        "arguments": Playground(cell.task, cell.world, 1).arguments(config.split),
        "agent": cell.agent,
        "run": None if cell.run is None else cell.run.label,
        "episodes": config.count,
        "rows": config.rows,
        "seed": config.seed,
        "split": config.split,
    }
    return json.loads(json.dumps(settings))


def load_cell(kept: Path, cell: Cell, config: ControlConfig) -> Episodes | None:
    """Return the episodes of a finished cell, or None.

    Raises:
        ValueError: it was played with other settings.
        CheckpointError: the file is damaged.
    """
    path = kept / f"{cell.name}.json"
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text())
        settings, episodes = found["settings"], Episodes.from_dict(found["episodes"])
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"cannot read {path}: {error}. Remove it, and the same call plays it again") from error
    wanted = _settings(cell, config)
    unlike = sorted(key for key in wanted if settings.get(key) != wanted[key])
    if unlike:
        raise ValueError(
            f"{path} was played with other {', '.join(unlike)} than are asked for now: choose another --out, "
            "or remove it"
        )
    return episodes


def collect(config: ControlConfig, cells: Iterable[Cell]) -> dict[str, Any]:
    """Return the results of finished cells, as `results.json` has them.

    Raises:
        ValueError: agents of one task did not play the same episodes.
    """
    played: dict[str, dict[str, dict[str, Episodes]]] = {}
    for cell in cells:
        episodes = load_cell(config.folder / "cells", cell, config)
        if episodes is not None:
            of_agent = played.setdefault(cell.task.name, {}).setdefault(cell.agent, {})
            of_agent[cell.run.label if cell.run else ""] = episodes
    tasks = {}
    for name, agents in played.items():
        require_paired([one for members in agents.values() for one in members.values()])
        task = task_named(name)
        tasks[name] = {
            **{key: getattr(task, key) for key in ("difficulty", "world", "steps")},
            "agents": {agent: _agent_results(task, agent, agents, config.reference) for agent in agents},
        }
    told = {"episodes": config.count, "seed": config.seed, "split": config.split, "reference": config.reference}
    return told | {"tasks": tasks}


def _agent_results(
    task: ControlTask, agent: str, played: Mapping[str, Mapping[str, Episodes]], reference: str
) -> dict[str, Any]:
    members = played[agent]
    by_model = {label: scores_of(task, episodes) for label, episodes in members.items()}
    compared = reference in played and reference != agent
    return {
        "models": [label for label in members if label],
        "scores": pooled(list(by_model.values())),
        "by_model": {label: scores for label, scores in by_model.items() if label},
        "difference": differences(list(members.values()), list(played[reference].values())) if compared else {},
        "curve": distance_curve(list(members.values())),
    }


def keep(results: dict[str, Any], folder: Path) -> None:
    """Write results, tables and figures, each so that a reader sees the old file or the new one."""
    _save(folder / "results.json", results)
    for name, text in (("results.csv", results_csv(results)), ("results.md", control_tables(results) + "\n")):
        staged = folder / f".{name}-{os.getpid()}"
        try:
            staged.write_text(text)
            os.replace(staged, folder / name)
        except OSError as error:
            raise CheckpointError(f"cannot write {folder / name}: {error}. Free some space") from error
    control_figures(results, folder)


def _save(path: Path, value: Any) -> None:
    try:
        write_json(path, value)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error}. Free some space") from error
