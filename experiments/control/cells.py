"""What a call of `glimpseworld control` is asked for: its settings, the forms of the benchmark, and the cells of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ..config import TrainConfig, check_seed, presets
from ..run_folder import load_config, require_checkpoint
from .controllers import CONTROLLERS, controller_named
from .policies import PolicyRun
from .tasks import TASKS, ControlTask, Playground, task_named

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
    """"small": most tasks, all agents, 400 episodes. "full": all tasks, 1,000 episodes. --dry-run tells how long.
    Without one, name --task and --agent."""
    world_model: tuple[Path, ...] = ()
    """Runs of `glimpseworld train`, one a seed; each acts in the tasks of its world. Without one, agents that need no
    model act in the worlds of presets cpu and quick-saccade."""
    saccade_model: tuple[Path, ...] = ()
    """Further runs, of the world of saccades."""
    policy: tuple[Path, ...] = ()
    """Policies that `glimpseworld policy train` made: each is the agent ALGORITHM-ON, such as ppo-z_agg, in tasks of
    its environment, whatever --agent names. What it sees must be as large as the world models' views."""
    task: tuple[str, ...] = ()
    """Only these tasks."""
    agent: tuple[str, ...] = ()
    """Only these agents."""
    episodes: int | None = None
    """Episodes of each cell; by default the grid's, or 400."""
    seed: int = 0
    """Which episodes, and what agents draw in them; what is fitted to a model is fitted alike whatever the seed."""
    split: Literal["validation", "test"] = "test"
    """Held-out things to score on; choose settings on "validation", report "test"."""
    reference: str = "random"
    """The agent that the others are compared with, episode by episode."""
    rows: int = 100
    """Episodes that are played in lockstep."""
    out: Path | None = None
    """Folder of the results; by default runs/control-GRID, or runs/control-TASK-TASK. One that exists is gone on
    with."""
    device: str = "cpu"
    """Where world models compute."""
    dry_run: bool = False
    """List what is left and estimate its time, by the first motions of every cell; keep nothing."""

    def __post_init__(self) -> None:
        check_seed(self.seed)
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
        return self.out or Path("runs") / "-".join(["control", *([self.grid] if self.grid else self.task)])


@dataclass(frozen=True)
class ModelRun:
    """A run of a world model: its folder, a label of its own, its settings, and a digest of its newest weights."""

    folder: Path
    label: str
    config: TrainConfig
    weights: str


@dataclass(frozen=True)
class Cell:
    """An agent in a task, with the model of one run, or that is one policy, or neither."""

    task: ControlTask
    agent: str
    run: ModelRun | PolicyRun | None
    world: TrainConfig

    @property
    def name(self) -> str:
        """Names its file."""
        parts = (self.task.name, self.agent, *([self.run.label] if self.run else []))
        return "--".join(re.sub(r"[^A-Za-z0-9._-]", "_", part) for part in parts)


def load_runs(config: ControlConfig) -> list[ModelRun]:
    """Return the runs that are named.

    Raises:
        ValueError: one of `saccade_model` is not of that world.
        CheckpointError: one is no run, or has no checkpoint yet.
    """
    runs = [_load_run(path) for path in config.world_model]
    for path in config.saccade_model:
        runs.append(_load_run(path))
        if runs[-1].config.world != "saccade":
            raise ValueError(f"{path} was trained in the world {runs[-1].config.world!r}, not in 'saccade'")
    return runs


def _require_unlike(runs: Sequence[ModelRun | PolicyRun]) -> None:
    """Raise ValueError if two runs or policies have one label."""
    labels = [run.label for run in runs]
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(f"two runs are called {label!r}: their results could not be told apart; rename one")


def _load_run(folder: Path) -> ModelRun:
    settings, checkpoint = load_config(folder), require_checkpoint(folder)
    digest = hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()
    return ModelRun(folder, folder.resolve().name, settings, digest)


def planned_cells(
    config: ControlConfig, runs: list[ModelRun], policies: Sequence[PolicyRun] = (), *, all_of_them: bool = False
) -> list[Cell]:
    """Return the cells that are asked for, task by task, agents in the order of `CONTROLLERS`.

    With `all_of_them`, also those of other agents, and of the grid's other tasks, which earlier calls may have played.

    Left out are agents in tasks they cannot act in, and, in a grid, tasks of worlds that none of the named runs is of.
    See `runs_for` for whose models act in a task.

    Raises:
        ValueError: an agent or a policy that is named can act in none of the tasks, a task that is named has no run of
            its world, its runs' worlds differ, or two runs or policies have one label.
    """
    grid = GRIDS[config.grid] if config.grid else None
    _require_unlike([*runs, *policies])
    cells: list[Cell] = []
    reasons: dict[str, str] = {}
    of_grid = grid.tasks if grid else ()
    tasks = dict.fromkeys((*of_grid, *config.task)) if all_of_them else dict.fromkeys(config.task or of_grid)
    named = {*config.agent, *(policy.agent for policy in policies)}
    agents = [agent for agent in CONTROLLERS if all_of_them or not config.agent or agent in named]
    for name in tasks:
        task = task_named(name)
        own = runs_for(task, runs)
        if runs and not own:
            if name in config.task:
                Playground(task, runs[0].config, 1)  # says what does not fit
            continue
        world = own[0].config if own else _default_world(task)
        _check_one_world(task, own)
        for agent in agents:
            controller = CONTROLLERS[agent]
            reason = controller.unfit(task)
            acting: Sequence[ModelRun | PolicyRun | None] = [None]
            wanted = ""
            if controller.needs_model:
                acting, wanted = own, "it needs a world model: name one with --world-model RUN"
            elif controller.needs_policy:
                acting = [one for one in policies if (one.agent, one.env_id) == (agent, task.env_id)]
                wanted = f"it is a policy trained in {task.env_id}: name one with --policy FOLDER"
            if reason is None and not acting:
                reason = wanted
            if reason is None:
                cells += [Cell(task, agent, run, world) for run in acting]
            else:
                reasons.setdefault(agent, f"agent {agent!r} cannot act in task {name!r}: {reason}")
    able = {cell.agent for cell in cells}
    for agent in config.agent:
        if agent not in able:
            raise ValueError(reasons.get(agent, "none of the tasks is in a world of the named runs"))
    for policy in policies:
        if policy not in [cell.run for cell in cells]:
            raise ValueError(
                f"the policy in {policy.folder} acts in {policy.env_id}, and none of the tasks is there: "
                f"{', '.join(dict.fromkeys(task_named(name).env_id for name in tasks))}"
            )
    if not cells:
        worlds = ", ".join(dict.fromkeys(run.config.world for run in runs))
        raise ValueError(f"the named runs are of {worlds}, and the grid has tasks in the worlds rotation and saccade")
    return cells


def runs_for(task: ControlTask, runs: list[ModelRun]) -> list[ModelRun]:
    """Return the runs that act in `task`: of those of its world the ones that were trained on its images, if there are.

    Where a task states no images, they are those of the runs, and runs trained on another task's images stand back.
    """
    own = [run for run in runs if run.config.world == task.world]
    images = task.options.get("images")
    if images is not None:
        return [run for run in own if run.config.saccade.images == images] or own
    others = {other.options["images"] for other in TASKS.values() if "images" in other.options}
    return [run for run in own if run.config.saccade.images not in others] or own


def scale_notes(cells: Iterable[Cell]) -> list[str]:
    """Return a line for each task and run where an image unit is not as many pixels as the model was trained with."""
    notes = {}
    for cell in cells:
        images = cell.task.options.get("images")
        if not isinstance(cell.run, ModelRun) or images is None or (cell.task.name, cell.run.label) in notes:
            continue
        saw, shown = cell.run.config.saccade, replace(cell.run.config.saccade, images=images, probe_images=None)
        there, here = (options.world("validation", probing=True).images.side for options in (saw, shown))
        if there != here:
            notes[cell.task.name, cell.run.label] = (
                f"note: {cell.run.label} was trained where an image unit is {there / 2:g} pixels; in {cell.task.name} "
                f"it is {here / 2:g}, so motions do not mean the same: better a run with --saccade.images {images}"
            )
    return list(notes.values())


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
