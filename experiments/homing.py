"""`glimpseworld homing RUN`: does a run's model find the way back, by motions, by vision, by both?

Episodes impose k motions, then give an agent `steps` of its own, without ending at success: the figure is where it is
after the last. All agents meet the same episodes. Keys of `homing.json`:

- `run`, `step`, `split`, `seed`, `episodes`, `steps`, `motion_signal`; `unit` ("degrees" or "image units"), `radius` of
  success and `glimpse`, half the side of a glimpse (saccades), in that unit.
- `weights`: what the path integrator goes by; `curve`: how alike views are by distance, on validation things.
- `return_recognition`: whether two views are of one place (nearer than `radius`) told by their likeness, on validation
  things: area under the ROC curve, the best threshold, and the shares of pairs rightly accepted and refused at it.
- `results`: noise -> k -> agent -> `success`, `any` and, of saccades, `glimpse`: shares of episodes that end within the
  radius, are within it after some own step, and end within `glimpse` of home, each {"value", "low", "high"} with
  Wilson's 95 % interval; `median_distance` after the last step; `gain`, of agents but "dead reckoning": by how much
  more of the same episodes it succeeds in than that, with the normal 95 % interval of paired differences.

Agents:

- "dead reckoning" composes the motions it observes; "path integrator" goes by motions and vision.
- "no vision", "no predictor", "no motions": the same without; the last has neither motions in its context nor a prior.
- "context alone" knows the motions but not that it began at home: what the model's context tells of the way back.
- "random": uniform actions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from ..agents.context import Context
from ..agents.loop_closure import roc_auc
from ..agents.motor import Motor
from ..agents.path_integrator import DeadReckoningAgent, PathIntegratorAgent, PathIntegratorConfig
from ..agents.scripted import Agent, RandomAgent
from ..agents.similarity import SimilarityCurve, calibrate_stop, fit_similarity, pairs_of_views
from ..envs.environment import GlimpseVectorEnv
from ..envs.object_rotation import ObjectRotationWorld
from ..envs.saccade import SaccadeWorld
from ..envs.tasks.homing import Homing
from ..envs.tasks.task import pose_scale
from ..envs.world import MotionSignal, World
from ..envs.wrappers import MotionNoise
from ..world_model.checkpoint import check_writable, saving, write_json
from ..world_model.protocol import WorldModel
from .config import TrainConfig, check_seed, make_world
from .control.episodes import play_episodes
from .intervals import share
from .report import kept_paths, markdown_table, new_figure, save_figure
from .run_folder import load_config, load_model
from .worlds import half_glimpse, motor_of

AgentName = Literal[
    "dead reckoning", "path integrator", "no vision", "no predictor", "no motions", "context alone", "random"
]
AGENTS: tuple[AgentName, ...] = AgentName.__args__  # pyright: ignore[reportAttributeAccessIssue]
RADIUS = {"rotation": math.radians(15.0), "translation": 0.1}
"""Of success, radians or image units, as in the tasks."""
_UNKNOWN_STD = 0.1
"""What "context alone" expects of motions, so that its particles search on."""


@dataclass(frozen=True)
class HomingConfig:
    """Measure how a run's model finds the way back after imposed motions, on held-out things."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder that `glimpseworld train` made, of the world of rotations or of saccades."""
    episodes: int = 400
    """Episodes of each number of imposed motions, the same for every agent and noise."""
    seed: int = 0
    """Of the episodes, the agents and the noise."""
    split: Literal["validation", "test"] = "test"
    """Held-out things to act on; choose settings on "validation", report "test"."""
    imposed: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    """Numbers k of imposed motions."""
    noise: tuple[float, ...] = (0.0, 0.05, 0.1)
    """Standard deviations of the noise in observed motions: radians, or image units; 0 for exact ones."""
    steps: int = 8
    """Motions of the agent's own."""
    motion_signal: MotionSignal | None = None
    """What motions tell; None for what they told in the run."""
    agents: tuple[AgentName, ...] = AGENTS
    """Who acts."""
    path_integrator: PathIntegratorConfig = field(default_factory=PathIntegratorConfig)
    """What the path integrator goes by; its `motion_std` is set to each noise, its radius and its spread to the
    world's."""
    device: str = "cpu"
    """Where to compute."""
    out: Path | None = None
    """Folder for the results; None for the run's."""

    def __post_init__(self) -> None:
        check_seed(self.seed)
        for name in ("imposed", "noise", "agents"):
            given = getattr(self, name)
            if not given or len(set(given)) < len(given):
                raise ValueError(f"{name} must name at least one value, each once, got {list(given)}")
        if min(self.episodes, self.steps, *self.imposed) < 1 or not all(0 <= std < math.inf for std in self.noise):
            raise ValueError(
                "expected episodes, steps and imposed of at least 1, and noise of at least 0, got "
                f"{self.episodes}, {self.steps}, {self.imposed} and {self.noise}"
            )


def main(arguments: list[str]) -> None:
    """Run the command."""
    config = tyro.cli(
        HomingConfig,
        args=arguments,
        prog="glimpseworld homing",
        description="How a run's model finds the way back after imposed motions, on held-out things.",
    )
    results = homing(config)
    print(homing_table(results))
    json_path, figure_path = result_paths(config)
    print(f"\nresults  {json_path}\nfigure   {figure_path}")


def homing(config: HomingConfig, *, quiet: bool = False) -> dict[str, Any]:
    """Measure, write `homing.json` and `homing.png` (`homing-validation.*` of that split), and return the results."""
    run = load_config(config.run)
    check_writable(*result_paths(config))
    if config.motion_signal is not None:
        run = _told(run, config.motion_signal)
    model, step = load_model(config.run, config.device)
    world = make_world(run, config.split, probing=True)
    if not isinstance(world, (SaccadeWorld, ObjectRotationWorld)):
        raise ValueError(f"homing is measured in worlds of rotations or saccades, not in {type(world).__name__}")
    motor = motor_of(world)
    curve, recognition = _calibrated(run, model, motor, config.seed)
    settings = _settings(config.path_integrator, motor, world)
    unit = math.degrees(1.0) if motor.kind == "rotation" else 1.0
    results: dict[str, Any] = {
        "run": str(config.run),
        "step": step,
        "split": config.split,
        "seed": config.seed,
        "episodes": config.episodes,
        "steps": config.steps,
        "motion_signal": world.motion_signal,
        "unit": "degrees" if motor.kind == "rotation" else "image units",
        "radius": settings.radius * unit,
        "glimpse": half_glimpse(world) if isinstance(world, SaccadeWorld) else None,
        "weights": asdict(settings),
        "curve": asdict(curve),
        "return_recognition": recognition,
        "results": {f"{noise:g}": {} for noise in config.noise},
    }
    conditions = [(noise, k) for noise in config.noise for k in config.imposed]
    for noise, k in tqdm(conditions, desc="homing", leave=False, disable=quiet or None):
        runs = {}
        for name in config.agents:
            make = _maker(name, model, motor, settings, curve, noise, config.seed)
            runs[name] = _distances(world, make, k, noise, config)
        results["results"][f"{noise:g}"][str(k)] = _scored(runs, results["radius"], results["glimpse"])
    json_path, figure_path = result_paths(config)
    with saving(f"the results to {json_path.parent}"):
        json_path.parent.mkdir(parents=True, exist_ok=True)
        write_json(json_path, results)
        homing_figure(results, figure_path)
    return results


def result_paths(config: HomingConfig) -> tuple[Path, Path]:
    """Return where the results are kept: JSON and figure."""
    return kept_paths(config.out or config.run, "homing", config.split)


def homing_table(results: dict[str, Any]) -> str:
    """Return the success shares as Markdown, a table for each noise: a row an agent, a column each k."""
    lines = [
        f"success: within {results['radius']:g} {results['unit']} of home after {results['steps']} own motions; "
        f"{results['episodes']} episodes ({results['split']} split), 95 % intervals; columns are imposed motions"
    ]
    for noise, by_k in results["results"].items():
        agents = list(next(iter(by_k.values())))
        rows = [[name, *(_cell(cells[name]["success"]) for cells in by_k.values())] for name in agents]
        lines += ["", f"noise in observed motions: {noise}", "", markdown_table(["agent", *by_k], rows)]
    told = results["return_recognition"]
    lines += [
        "",
        f"return recognised by likeness: AUC {told['auc']:.3f}; at cosine {told['threshold']:.2f}, "
        f"{told['accepted']:.2f} of returns accepted and {told['refused']:.2f} of other views refused",
    ]
    return "\n".join(lines)


def homing_figure(results: dict[str, Any], path: Path) -> None:
    """Draw success by imposed motions, a panel for each noise, and write it to `path` (a PNG)."""
    from matplotlib import colormaps

    colors = colormaps["tab10"].colors  # pyright: ignore[reportAttributeAccessIssue]
    figure = new_figure(max(6.4, 3.6 * len(results["results"])), 4.4)
    panels = figure.subplots(1, len(results["results"]), sharey=True, squeeze=False)[0]
    for axes, (noise, by_k) in zip(panels, results["results"].items(), strict=True):
        numbers = [int(k) for k in by_k]
        for name in next(iter(by_k.values())):
            cells = [cells[name]["success"] for cells in by_k.values()]
            color = colors[AGENTS.index(name)]
            axes.plot(numbers, [c["value"] for c in cells], "o-", markersize=3, color=color, label=name)
            axes.fill_between(numbers, [c["low"] for c in cells], [c["high"] for c in cells], color=color, alpha=0.15)
        axes.set_title("exact motions" if float(noise) == 0 else f"noise {noise}", fontsize=10)
        axes.set_xlabel("imposed motions")
        axes.set_xticks(numbers)
        axes.set_ylim(0, 1.02)
        axes.grid(alpha=0.25)
    panels[0].set_ylabel(f"share within {results['radius']:g} {results['unit']}")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=9
    )
    title = f"Homing: {results['episodes']} episodes ({results['split']} split), bands are 95 % intervals"
    figure.suptitle(title, fontsize=10)
    save_figure(figure, path)


def _settings(given: PathIntegratorConfig, motor: Motor, world: World) -> PathIntegratorConfig:
    """Return what a path integrator goes by in `world`."""
    spread = 2 * world.reach if isinstance(world, SaccadeWorld) else math.pi
    return replace(given, radius=RADIUS[motor.kind], spread=spread)


def _maker(
    name: AgentName,
    model: WorldModel,
    motor: Motor,
    settings: PathIntegratorConfig,
    curve: SimilarityCurve,
    noise: float,
    seed: int,
) -> Callable[[int], Agent]:
    """Return what makes the agent called `name` for B rows."""
    if name == "random":
        return lambda count: RandomAgent(count, motor.action_size, np.random.default_rng([seed, 2]))
    if name == "dead reckoning":
        return lambda count: DeadReckoningAgent(motor, count, arrived=settings.arrived * settings.radius)
    known = replace(settings, motion_std=noise)
    chosen = {
        "path integrator": known,
        "no vision": known.without_vision(),
        "no predictor": replace(known, predictor=0.0, memory=0.0),
        "no motions": known.without_motion(),
        "context alone": replace(known, prior=False, motion_std=max(noise, _UNKNOWN_STD)),
    }[name]
    device = next(model.parameters()).device

    def make(count: int) -> Agent:
        generator = torch.Generator(device).manual_seed(seed)
        return PathIntegratorAgent(model, motor, count, generator, config=chosen, curve=curve)

    return make


def _distances(
    world: World, make: Callable[[int], Agent], imposed: int, noise: float, config: HomingConfig
) -> np.ndarray:
    """Return the distances to home, degrees or image units, after each of the agent's motions: (episodes, steps)."""
    scale = pose_scale(world.motion_kind)
    task = Homing(imposed=imposed, tolerance=0.0, scale=scale, reward="sparse", step_cost=0.0, ends="time")
    bare = GlimpseVectorEnv(world, task, num_envs=config.episodes)
    envs = MotionNoise(bare, noise) if noise else bare
    played = play_episodes(envs, make(config.episodes), imposed + config.steps, config.episodes, config.seed)
    assert played.distance is not None
    return played.distance[:, 1 + imposed :]


def _scored(runs: dict[str, np.ndarray], radius: float, glimpse: float | None) -> dict[str, Any]:
    """Return the scores of each agent's (episodes, steps) distances."""
    scores: dict[str, Any] = {}
    for name, far in runs.items():
        scores[name] = {
            "success": share(far[:, -1] <= radius),
            "any": share((far <= radius).any(axis=1)),
            **({} if glimpse is None else {"glimpse": share(far[:, -1] <= glimpse)}),
            "median_distance": float(np.median(far[:, -1])),
        }
        if "dead reckoning" in runs and name != "dead reckoning":
            gain = (far[:, -1] <= radius).astype(float) - (runs["dead reckoning"][:, -1] <= radius)
            half = 1.96 * float(gain.std()) / math.sqrt(len(gain))
            mean = float(gain.mean())
            scores[name]["gain"] = {"value": mean, "low": mean - half, "high": mean + half}
    return scores


def _cell(scores: dict[str, float]) -> str:
    return f"{scores['value']:.2f} ({scores['low']:.2f}-{scores['high']:.2f})"


def _told(run: TrainConfig, signal: MotionSignal) -> TrainConfig:
    """Return `run` with motions that tell `signal`."""
    if run.world == "saccade":
        return replace(run, saccade=replace(run.saccade, motion_signal=signal))
    return replace(run, rotation=replace(run.rotation, motion_signal=signal))


def _calibrated(
    run: TrainConfig, model: WorldModel, motor: Motor, seed: int
) -> tuple[SimilarityCurve, dict[str, float]]:
    """Return how alike views of validation things are by distance, and how well a return is told by it."""
    views = _wandered(run, model, motor, seed)
    alike, far = pairs_of_views(motor.kind, *views)
    threshold = calibrate_stop(alike, far, RADIUS[motor.kind])
    near = far <= RADIUS[motor.kind]
    same, different = alike[near].cpu().numpy(), alike[~near].cpu().numpy()
    recognition = {
        "auc": roc_auc(same, different),
        "threshold": threshold,
        "accepted": float((same >= threshold).mean()),
        "refused": float((different < threshold).mean()),
    }
    return fit_similarity(motor.kind, *views), recognition


def _wandered(
    run: TrainConfig, model: WorldModel, motor: Motor, seed: int, *, episodes: int = 96, steps: int = 12
) -> tuple[Tensor, Tensor]:
    """Return embeddings (N, V, P) and poses (N, V, A) of views after motions of all sizes; privileged."""
    world = make_world(_told(run, "realised"), "validation", probing=True)
    envs = GlimpseVectorEnv(world, num_envs=episodes)
    context, rng = Context(model, motor.kind, episodes, capacity=steps + 1), np.random.default_rng([seed, 3])
    observation, _ = envs.reset(seed=1_000_003 * seed)
    poses = []
    for step in range(steps + 1):
        context.observe(observation["glimpse"], observation["motion"], np.full(episodes, step == 0))
        poses.append(world.pose.copy())
        sizes = rng.random((episodes, 1)) ** 2
        observation, *_ = envs.step(sizes * rng.uniform(-1, 1, (episodes, motor.action_size)))
    return context.target, torch.from_numpy(np.stack(poses, axis=1)).to(context.device)
