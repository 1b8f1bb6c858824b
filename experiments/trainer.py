"""What a training run consists of: environments, agent, replay and learner, with the means to save and restore them."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..agents.rollout import Rollout
from ..envs.environment import GlimpseVectorEnv
from ..envs.world import World
from ..world_model.build import model_settings, new_model
from ..world_model.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from ..world_model.learner import Learner
from ..world_model.motion import MotionKind
from ..world_model.paths import Paths, draw_paths
from ..world_model.probes import feature_std, rankme
from ..world_model.published import published_model, read_published
from ..world_model.replay import SequenceReplay, Windows
from .config import TrainConfig, make_agent, make_world, model_config
from .device import checked_device
from .measure import Material, relative_r2, top1_from_context
from .view_sets import ViewSet, balanced_items, make_view_set, own_fixations

PROBE_CONTEXT = 3
"""Views behind the z_agg of the probes during training."""
PROBE_THINGS, PROBE_VIEWS, PROBE_SAMPLES = (640, 240), 8, (8_000, 1_920)
"""Training and validation things of those probes, views of each, and samples fitted and scored on."""


@dataclass
class Budget:
    """What a run's acting and learning have cost so far; probes, checkpoints and evaluations are not in it."""

    core_seconds: float = 0.0
    """CPU time of the process over all its threads; what a GPU does is not in it."""
    online_views: int = 0
    """Views that the online encoder has encoded."""
    target_views: int = 0
    """Views that the target encoder has encoded, which costs no backward pass."""

    def count_views(self, model: torch.nn.Module) -> None:
        """Count the views that pass the encoders of `model` in training mode from now on."""
        parts = dict(model.named_children())

        def count(name: str, part: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
            if part.training:
                setattr(self, name, getattr(self, name) + len(inputs[0]))

        for name, child in (("online_views", "encoder"), ("target_views", "target_encoder")):
            if child in parts:
                parts[child].register_forward_pre_hook(partial(count, name))


class Trainer:
    """Everything a run consists of, with the means to save and restore all of it.

    Args:
        config: The settings.
        folder: The run's folder.
    """

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        agent_seed, replay_seed, probe_seed, envs_seed, path_seed = np.random.SeedSequence(config.seed).spawn(5)
        seeds = {"agent": agent_seed, "replay": replay_seed, "paths": path_seed}
        self.generators = {name: np.random.default_rng(seed) for name, seed in seeds.items()}
        device = checked_device(config.device)
        torch.manual_seed(config.seed)  # initial weights and dropout
        world = make_world(config, "train")
        self.envs = GlimpseVectorEnv(world, num_envs=config.num_envs, max_episode_steps=config.episode_steps)
        model = new_model(model_config(config, world))
        self.replay = SequenceReplay(
            config.replay.capacity,
            world.glimpse_space.shape,  # pyright: ignore[reportArgumentType]
            world.motion_kind,
            world.motion_space.shape[0],
            config.num_envs,
            labels=model.needs_labels,
        )
        self.learner = Learner(model, config.learner, device=device)
        agent = make_agent(config.agent, world, config.num_envs, self.generators["agent"], model)
        # Not config.seed itself: sub-environment i gets seed + i, so neighbouring runs would share their episodes.
        self.rollout = Rollout(self.envs, agent, int(envs_seed.generate_state(1, np.uint64)[0] >> 1))
        self.material = probe_material(config, world, np.random.default_rng(probe_seed))
        self.glimpses = 0
        self.seconds = 0.0
        self.budget = Budget()
        self.budget.count_views(self.learner.model)

    def begin_from(self, reference: Path) -> None:
        """Give the model the weights of a published checkpoint; everything else stays as at the beginning of a run.

        Raises:
            ValueError: if the file is no such checkpoint, or the model is of other sizes.
        """
        world, model = self.envs.world, self.learner.model
        (motion_dim,), channels = world.motion_space.shape, world.glimpse_space.shape[2]
        published = published_model(read_published(reference), world.motion_kind, motion_dim, channels)
        own, theirs = model.config.to_dict(), published.config.to_dict()
        if own["heads"] != theirs["heads"]:  # which no shape tells
            raise ValueError(f"published models have {theirs['heads']} attention heads: set --model.heads likewise")
        if own["memory"]["layers"]:
            raise ValueError("published models have no path memory: leave --model.memory out")
        for name in ("tokens", "target_encoder", "agg_token"):
            if own[name] != theirs[name]:
                option = f"--model.{name.replace('_', '-')}"
                raise ValueError(
                    f"published models have {name} {theirs[name]!r}, not {own[name]!r}: leave {option} out"
                )
        try:
            model.load_state_dict(published.state_dict())
        except RuntimeError as error:
            names = (
                "encoder",
                "z_dim",
                "motion_embedding",
                "layers",
                "predictor_hidden",
                "predictor_layers",
                "condition",
            )
            differing = [f"{name} {theirs[name]}, not {own[name]}" for name in names if own[name] != theirs[name]]
            raise ValueError(
                f"the model is not of the sizes of {reference}, which has {'; '.join(differing)}: set --model. options "
                "likewise, or start from a preset of the paper"
            ) from error

    def advance(self) -> dict[str, float]:
        """Act until the ratio of glimpses to updates is met, then take one update; return its metrics."""
        began = time.process_time()
        due = self.config.warmup_glimpses + self.config.glimpses_per_update * (self.learner.steps + 1)
        options = self.config.replay
        while self.glimpses < due or not self.replay.can_sample(options.context, options.targets):
            step = self.rollout.step()
            label = step.info["label"] if self.learner.model.needs_labels else None
            self.replay.add(step.glimpse, step.motion, step.first, label)
            self.glimpses += self.config.num_envs
        windows = self.replay.sample(
            self.config.batch_size,
            context=options.context,
            targets=options.targets,
            mode=options.windows,
            generator=self.generators["replay"],
        )
        paths = paths_through(windows, self.config, self.replay.motion_kind, self.generators["paths"])
        metrics = self.learner.update(windows, paths)
        self.budget.core_seconds += time.process_time() - began
        return metrics

    def probe(self) -> dict[str, float]:
        """Measure the model on validation things; keys as in `run_log`."""
        model = self.learner.model
        subject = self.material.subject(model)
        found = {
            "probe/relative_r2": relative_r2(subject, self.material)["value"],
            "probe/top1_z_agg": top1_from_context(subject, self.material, PROBE_CONTEXT)["value"],
        }
        z = subject.test.online.flatten(0, 1).numpy()
        model.train()
        return found | {"probe/rankme": rankme(z), "probe/z_std": feature_std(z)}

    def save(self) -> Path:
        """Write a checkpoint. That of a finished run leaves the replay and the environments out."""
        finished = self.learner.steps >= self.config.learner.total_steps
        arrays = self.learner.arrays()
        replay_state: dict[str, Any] = {}
        if not finished:
            saved = self.replay.state_dict()
            arrays["replay"] = {key: value for key, value in saved.items() if isinstance(value, np.ndarray)}
            arrays["rollout"] = self.rollout.state()
            replay_state = {key: value for key, value in saved.items() if key not in arrays["replay"]}
        state = {
            "steps": self.learner.steps,
            "glimpses": self.glimpses,
            "seconds": self.seconds,
            "budget": asdict(self.budget),
            "config": asdict(self.config),
            "replay": replay_state,
            "generators": {name: rng.bit_generator.state for name, rng in self.generators.items()},
            "torch_generator": torch.get_rng_state().tolist(),
            "model": model_settings(self.learner.model),
        }
        if self.learner.device.type == "cuda":
            state["cuda_generator"] = torch.cuda.get_rng_state(self.learner.device).tolist()
        return save_checkpoint(
            self.folder / "checkpoints", self.learner.steps, arrays, state, keep=1 if finished else 2
        )

    def restore(self, checkpoint: Path) -> None:
        """Go back to where `checkpoint` was written.

        Raises:
            CheckpointError: if it cannot be read or is that of a finished run.
        """
        arrays, state = load_checkpoint(checkpoint)
        if "replay" not in arrays:
            raise CheckpointError(
                f"the run in {self.folder} is finished; look at it with: glimpseworld evaluate {self.folder}"
            )
        if "budget" not in state:
            raise CheckpointError(f"{checkpoint} is of a version that counted no budget: start the run again")
        self.learner.load_arrays(arrays, state["steps"])
        for name, value in state["budget"].items():
            setattr(self.budget, name, value)
        self.replay.load_state_dict({**arrays["replay"], **state["replay"]})
        self.rollout.set_state(arrays["rollout"])
        self.glimpses, self.seconds = state["glimpses"], state["seconds"]
        for name, rng in self.generators.items():
            rng.bit_generator.state = state["generators"][name]
        torch.set_rng_state(torch.tensor(state["torch_generator"], dtype=torch.uint8))
        if "cuda_generator" in state:
            torch.cuda.set_rng_state(torch.tensor(state["cuda_generator"], dtype=torch.uint8), self.learner.device)


def paths_through(
    windows: Windows, config: TrainConfig, kind: MotionKind, generator: np.random.Generator
) -> Paths | None:
    """Return the paths that a path memory is trained on with a batch; None for a model without one."""
    longest = config.model.memory.longest
    if not config.model.memory.layers:
        return None
    options = config.paths
    return draw_paths(windows, kind, options.count, longest=longest, swapped=options.swapped, generator=generator)


def probe_material(config: TrainConfig, fit_world: World, rng: np.random.Generator) -> Material:
    """Return small view sets for the probes during training: fitted on training things, scored on validation things."""
    if config.saccade.probe_images is not None:
        fit_world = make_world(config, "train", probing=True)
    test_world = make_world(config, "validation", probing=True)
    fixations = own_fixations(config)

    def views(world: World, things: int) -> ViewSet:
        return make_view_set(world, balanced_items(world, things, rng), PROBE_VIEWS, rng, fixations=fixations)

    return Material(
        fit=views(fit_world, PROBE_THINGS[0]),
        test=views(test_world, PROBE_THINGS[1]),
        seed=config.seed,
        fit_samples=PROBE_SAMPLES[0],
        test_samples=PROBE_SAMPLES[1],
    )
