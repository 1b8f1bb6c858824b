"""`glimpseworld control`: agents in tasks, on the same held-out episodes, and their scores in one folder.

A call plays what is left: every finished cell, that is an agent with one world model (or none) in a task, is written at
once and skipped by later calls, so that a kill loses one cell at most. A cell that fails is recorded, the others go on,
and the next call tries it again. The results are of all finished cells of the call's tasks and runs, also of agents
that it does not name.

The folder:

- `cells/TASK--AGENT[--RUN].json`: the settings of a cell and its episodes: success, distance and reward by step.
  Of one that failed, `TASK--AGENT[--RUN].failed.txt` says why.
- `results.json`: `episodes`, `seed`, `split`, `reference`; `tasks`, name -> `difficulty`, `world`, `steps`; and
  `agents`, name -> `models`; `scores`, measure -> `value`, `low`, `high` (see `scores`); `by_model`, the same
  of each model; `difference`, `success` and `return` minus the reference agent's; `curve`, distances by step.
- `results.csv`, `results.md`, `success.png`, `distance.png`: see `report`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import tyro

from ...world_model.checkpoint import CheckpointError, check_writable, saving, write_csv, write_json, write_text
from ...world_model.protocol import WorldModel
from ..device import checked_device
from ..report import duration, failure_text
from ..run_folder import load_model
from .cells import Cell, ControlConfig, ModelRun, load_runs, planned_cells, scale_notes
from .controllers import CONTROLLERS, ControlSetting
from .episodes import Episodes, play_episodes
from .policies import PolicyRun, load_policies
from .report import control_figures, control_tables, results_rows
from .scores import differences, distance_curve, pooled, require_paired, scores_of
from .tasks import ControlTask, Playground, task_named


def main(arguments: list[str]) -> None:
    """Run the command."""
    control(tyro.cli(ControlConfig, args=arguments, prog="glimpseworld control"))


def control(config: ControlConfig) -> None:
    """Play the cells that are left, and write and print the results of all; exits with 1 if a cell has failed."""
    checked_device(config.device)
    runs, policies = load_runs(config), load_policies(config.policy)
    check_writable(config.folder / "results.json")
    cells = planned_cells(config, runs, policies)
    kept = config.folder / "cells"
    # Cells that earlier calls may have played: what cannot be told beside them is said before any is played.
    beside = planned_cells(config, runs, policies, all_of_them=True)
    done = {cell.name for cell in beside if load_cell(kept, cell, config) is not None}
    left = [cell for cell in cells if cell.name not in done]
    print(
        f"{len(cells)} cells of {config.count} episodes in {config.folder}, {len(cells) - len(left)} done", flush=True
    )
    players = Players(config)
    if config.dry_run:
        _list(left, players)
        return
    kept.mkdir(parents=True, exist_ok=True)
    failed = []
    for number, cell in enumerate(left, start=1):
        reason = kept / f"{cell.name}.failed.txt"
        reason.unlink(missing_ok=True)
        began = perf_counter()
        try:
            episodes = players.play(cell)
        except Exception as error:  # whatever it is, it is this cell's; the others are worth having
            why = failure_text(error)
            reason.write_text(why)
            failed.append(f"{cell.name}: {why.splitlines()[0]}")
            print(f"  {number}/{len(left)} failed: {failed[-1]}", file=sys.stderr, flush=True)
            continue
        _save(kept / f"{cell.name}.json", {"settings": _settings(cell, config), "episodes": episodes.to_dict()})
        share = episodes.success[:, -1].mean()
        spent = duration(perf_counter() - began)
        print(f"  {number}/{len(left)} {cell.name}: success at the end {share:.3f}, {spent}", flush=True)
    results = collect(config, beside)
    if results["tasks"]:
        keep(results, config.folder)
        print(f"\n{control_tables(results)}\n\nresults  {config.folder / 'results.json'}, .csv, .md")
        print("\n".join([f"figures  {config.folder / '*.png'}", *scale_notes(cells)]))
    if failed:
        told = "\n  ".join(failed)
        print(f"glimpseworld control: {len(failed)} of {len(left)} cells failed\n  {told}", file=sys.stderr)
        sys.exit(1)


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
        setting.envs.reset(seed=0)  # what a task needs once is no cell's own
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
        if isinstance(cell.run, ModelRun):
            if cell.run.folder not in self._models:
                self._models[cell.run.folder] = load_model(cell.run.folder, self._config.device)[0]
            model = self._models[cell.run.folder]
            ground.check_model(model)
        policy = cell.run.folder if isinstance(cell.run, PolicyRun) else None
        return ControlSetting(ground, self._config.split, model, self._config.seed, policy, self._config.device)


def _list(left: list[Cell], players: Players) -> None:
    total = 0.0
    for cell in left:
        try:
            seconds = players.estimate(cell)
        except Exception as error:  # as it would when played
            print(f"  {cell.name}: would fail: {failure_text(error).splitlines()[0]}", flush=True)
            continue
        total += seconds
        print(f"  {cell.name}: {duration(seconds)}", flush=True)
    print(f"{duration(total)} left, by the first motions on this machine")


def _settings(cell: Cell, config: ControlConfig) -> dict[str, Any]:
    """Return what a cell's episodes depend on, in JSON types."""
    settings = {
        "steps": cell.task.steps,
        "arguments": Playground(cell.task, cell.world, 1).arguments(config.split),
        "agent": cell.agent,
        "weights": None if cell.run is None else cell.run.weights,
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
    with saving(f"the results to {folder}"):
        write_json(folder / "results.json", results)
        write_csv(folder / "results.csv", results_rows(results))
        write_text(folder / "results.md", control_tables(results) + "\n")
    control_figures(results, folder)


def _save(path: Path, value: Any) -> None:
    with saving(str(path)):
        write_json(path, value)
