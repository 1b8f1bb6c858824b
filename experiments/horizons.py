"""`glimpseworld horizons RUN`: how far ahead a run's model sees, along its agent's paths over held-out things.

Each path gives a context and the views that follow it. What is foreseen of them in five ways:

- *jump*: the motions up to the view, composed into one; one prediction.
- *feedback*: a prediction a step, each fed back as if it had been seen (`SeqJEPA.rollout`).
- *raw*: the same, fed back as predicted, without undoing the standardisation and the norm: a control.
- *teacher*: a prediction of the last step alone, from all true views before it: what feedback cannot exceed by much.
- *copy*: the last view of the context, as if nothing would change: what any foresight has to exceed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from torch import Tensor

from ..agents.planner import motions_reached
from ..agents.rollout import Rollout
from ..envs.environment import GlimpseVectorEnv
from ..envs.world import World
from ..world_model.checkpoint import check_writable, saving, write_json
from ..world_model.motion import MotionKind
from ..world_model.probes import retrieval
from ..world_model.protocol import WorldModel
from ..world_model.seq_jepa import SeqJEPA
from .config import TrainConfig, check_seed, make_agent, make_world
from .intervals import bootstrap_interval
from .report import kept_paths, new_figure, save_figure
from .run_folder import load_config, load_model
from .view_sets import Embeddings, embed

HORIZONS = (1, 2, 4, 8)
_COLORS = {"jump": "#1f6f8b", "feedback": "#d1603d", "raw": "#e3b23c", "teacher": "#3a7d44", "copy": "#b9b4a7"}


@dataclass(frozen=True)
class HorizonsConfig:
    """Measure how far ahead a run's newest model sees, on held-out objects or images."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder that `glimpseworld train` made."""
    split: Literal["validation", "test"] = "test"
    """Held-out things; choose settings on "validation", report "test"."""
    episodes: int = 480
    """Paths, of which each gives one context."""
    context: int = 3
    """Views that are seen before."""
    seed: int = 0
    """Of the paths and the intervals."""
    device: str = "cpu"
    """Where to compute."""
    json: bool = False
    """Print horizons.json instead of the table."""

    def __post_init__(self) -> None:
        check_seed(self.seed)


class Paths:
    """The views and motions of `episodes` held-out episodes of a run's agent, and what a model makes of them.

    Args:
        model: In eval mode.
        views: (N, T, H, W, C) uint8.
        motions: From each view to the next, (N, T-1, A) float32.
        kind: How motions compose.
        context: Views that are seen, M; the others lie ahead.
    """

    def __init__(self, model: WorldModel, views: np.ndarray, motions: np.ndarray, kind: MotionKind, context: int):
        device = next(model.parameters()).device
        self.model, self.context = model, context
        self.kind: MotionKind = kind
        embedded: Embeddings = embed(model, views)
        self.z, self.target = embedded.online.to(device), model.as_target(embedded.target.to(device)).float()
        self.motions = torch.from_numpy(motions).to(device)

    @property
    def past(self) -> tuple[Tensor, Tensor]:
        """The context: z (N, M, D) and the motions between, (N, M-1, A)."""
        return self.z[:, : self.context], self.motions[:, : self.context - 1]

    @property
    def ahead(self) -> Tensor:
        """The motions after it, (N, H, A)."""
        return self.motions[:, self.context - 1 :]


def jump(paths: Paths) -> Tensor:
    """Return predictions (N, H, P) by composed motions."""
    return paths.model.predict_from(*paths.past, motions_reached(paths.kind, paths.ahead))


def feedback(paths: Paths) -> Tensor:
    """Return predictions (N, H, P), each fed back as a seq-JEPA does it."""
    assert isinstance(paths.model, SeqJEPA)
    return paths.model.rollout(*paths.past, paths.ahead[:, None])[:, 0]


def raw(paths: Paths) -> Tensor:
    """Return predictions (N, H, P), each fed back as it is."""
    (z, _), found = paths.past, []
    for step in range(paths.ahead.shape[1]):
        last = paths.context - 1 + step
        found.append(paths.model.predict_from(z, paths.motions[:, :last], paths.motions[:, last]))
        z = torch.cat([z, found[-1][:, None]], dim=1)
    return torch.stack(found, dim=1)


def teacher(paths: Paths) -> Tensor:
    """Return predictions (N, H, P) of each step from all true views before it."""
    steps = range(paths.context - 1, paths.motions.shape[1])
    ask = paths.model.predict_from
    return torch.stack([ask(paths.z[:, : n + 1], paths.motions[:, :n], paths.motions[:, n]) for n in steps], dim=1)


def copy(paths: Paths) -> Tensor:
    """Return the target embedding of the context's last view at every horizon, (N, H, P)."""
    return paths.target[:, paths.context - 1, None].expand(-1, paths.ahead.shape[1], -1)


def ways_of(model: WorldModel) -> dict[str, Callable[[Paths], Tensor]]:
    """Return the ways by which `model` can look ahead, by name.

    Raises:
        ValueError: It predicts nothing.
    """
    if not model.predicts:
        raise ValueError(f"a {type(model).__name__} of this method predicts nothing: take a run whose model predicts")
    fed_back = {"feedback": feedback, "raw": raw} if isinstance(model, SeqJEPA) else {}
    return {"jump": jump, **fed_back, "teacher": teacher, "copy": copy}


def measure(paths: Paths, way: Callable[[Paths], Tensor], seed: int) -> dict[str, Any]:
    """Return for each of `HORIZONS` `cosine_error` and `hit_at_1`, with 95 % bootstrap intervals over episodes.

    For `hit_at_1` the true view has to be the nearest of the episode's views, without the last of the context, which
    is what a copy would find. Adds `chance`.
    """
    with torch.no_grad():
        prediction = way(paths).float()  # (N, H, P)
        true = paths.target[:, paths.context : paths.context + prediction.shape[1]]  # (N, H, P)
        error = 1 - torch.nn.functional.cosine_similarity(prediction, true, dim=-1).cpu().numpy()
    candidates = np.delete(paths.target.cpu().numpy(), paths.context - 1, axis=1)
    scores = {}
    for horizon in HORIZONS:
        truth = np.full(len(candidates), paths.context - 2 + horizon)
        found = retrieval(prediction[:, horizon - 1].cpu().numpy(), candidates, truth)
        scores[str(horizon)] = {
            "cosine_error": _interval(error[:, horizon - 1], seed),
            "hit_at_1": _interval(found.hit_at_1, seed) | {"chance": 1 / candidates.shape[1]},
        }
    return scores


def walk(world: World, run: TrainConfig, config: HorizonsConfig, model: WorldModel) -> tuple[np.ndarray, np.ndarray]:
    """Return views (N, T, H, W, C) and motions (N, T-1, A) of the run's agent in `world`, a curious one by `model`."""
    steps = config.context + HORIZONS[-1]
    envs = GlimpseVectorEnv(world, num_envs=config.episodes, max_episode_steps=steps)
    agent = make_agent(run.agent, world, config.episodes, np.random.default_rng([config.seed, 3]), model)
    rollout = Rollout(envs, agent, 10_000_000 * (config.seed + 1))
    seen = [rollout.step() for _ in range(steps)]
    return np.stack([s.glimpse for s in seen], axis=1), np.stack([s.motion for s in seen[1:]], axis=1)


def horizons(config: HorizonsConfig) -> dict[str, Any]:
    """Measure the model of `config.run`, write `horizons.json` and `horizons.png` into it, and return the results.

    Raises:
        ValueError: The model predicts nothing, or a number is below 1.
        CheckpointError: There is no such run, or the results cannot be written.
    """
    if config.episodes < 1 or config.context < 1:
        raise ValueError(f"episodes and context must be at least 1, got {config.episodes} and {config.context}")
    run = load_config(config.run)
    check_writable(*result_paths(config))
    model, step = load_model(config.run, config.device)
    ways = ways_of(model)
    world = make_world(run, config.split, probing=True)
    paths = Paths(model, *walk(world, run, config, model), world.motion_kind, config.context)
    results = {**{k: v for k, v in asdict(config).items() if k != "json"}, "run": str(config.run), "step": step}
    results |= {
        "horizons": list(HORIZONS),
        "ways": {name: measure(paths, way, config.seed) for name, way in ways.items()},
    }
    json_path, figure_path = result_paths(config)
    with saving(f"the results to {config.run}"):
        write_json(json_path, results)
        horizons_figure(results, figure_path)
    return results


def result_paths(config: HorizonsConfig) -> tuple[Path, Path]:
    """Return where the results are kept: JSON and figure."""
    return kept_paths(config.run, "horizons", config.split)


def horizons_table(results: dict[str, Any]) -> str:
    """Return the results as text."""
    lines = [f"{results['episodes']} episodes ({results['split']} split), context of {results['context']} views"]
    chance = results["ways"]["jump"]["1"]["hit_at_1"]["chance"]
    for key, title in (("cosine_error", "cosine error"), ("hit_at_1", f"Hit@1, chance {chance:.2f}")):
        lines += ["", f"{title:20}" + "".join(f"{f'{h} ahead':>23}" for h in results["horizons"])]
        for name, scores in results["ways"].items():
            cells = [scores[str(h)][key] for h in results["horizons"]]
            shown = [f"{cell['value']:.3f} [{cell['low']:.3f}, {cell['high']:.3f}]" for cell in cells]
            lines.append(f"{name:20}" + "".join(f"{text:>23}" for text in shown))
    return "\n".join(lines)


def horizons_figure(results: dict[str, Any], path: Path) -> None:
    """Draw both measures against the horizon and write them to `path` (a PNG)."""
    figure, steps = new_figure(9, 3.5), results["horizons"]
    titles = {"cosine_error": "Cosine error", "hit_at_1": "Hit@1"}
    for axes, (key, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        for name, scores in results["ways"].items():
            cells = [scores[str(h)][key] for h in steps]
            axes.plot(steps, [c["value"] for c in cells], marker="o", markersize=3, color=_COLORS[name], label=name)
            bounds = [c["low"] for c in cells], [c["high"] for c in cells]
            axes.fill_between(steps, *bounds, color=_COLORS[name], alpha=0.15, lw=0)
        axes.set_xscale("log", base=2)
        axes.set_xticks(steps, [str(h) for h in steps])
        axes.set_xlabel("steps ahead")
        axes.set_title(title)
    axes.legend(frameon=False)
    figure.suptitle(f"{results['step']} updates, {results['episodes']} held-out episodes; bands are 95 % intervals")
    save_figure(figure, path)


def main(arguments: list[str]) -> None:
    """Run the command: `RUN [options]`."""
    config = tyro.cli(
        HorizonsConfig,
        args=arguments,
        prog="glimpseworld horizons",
        description="How far ahead a run's model sees, on held-out things. RUN is a folder of `glimpseworld train`.",
    )
    results = horizons(config)
    if config.json:
        json.dump(results, sys.stdout, indent=2)
        print()
        return
    print(horizons_table(results))
    print("\nresults  {}\nfigure   {}".format(*result_paths(config)))


def _interval(values: np.ndarray, seed: int) -> dict[str, float]:
    """Return the mean of (n,) values and its 95 % percentile interval over resampled episodes."""
    low, high = bootstrap_interval(values, resamples=1000, seed=[seed, 7])
    return {"value": float(values.mean()), "low": low, "high": high}
