"""How long a run will take, measured in seconds by doing a little of everything it does."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from ...agents.rollout import Rollout
from ...envs.environment import GlimpseVectorEnv
from ...envs.world import World
from ...world_model.build import new_model
from ...world_model.learner import Learner
from ...world_model.probes import CLASSIFIER_EPOCHS, REGRESSION_EPOCHS, linear_probe, regression_probe
from ...world_model.protocol import WorldModel
from ...world_model.replay import Windows
from ..config import Effort, TrainConfig, make_agent, make_world, model_config
from ..device import checked_device
from ..evaluate import PLANS
from ..trainer import PROBE_SAMPLES, PROBE_THINGS, PROBE_VIEWS, paths_through
from ..view_sets import balanced_items, embed, make_view_set


def rehearse(config: TrainConfig, effort: Effort) -> float:
    """Return about how many seconds a run of `config` and its evaluation take on this machine.

    Args:
        config: The run's settings; what its world, agent, model and learner refuse is found out here.
        effort: Of the evaluation.

    Raises:
        ValueError: if the settings cannot be run.
    """
    rng = np.random.default_rng(0)
    device = checked_device(config.device)
    world = make_world(config, "train")
    envs = GlimpseVectorEnv(world, num_envs=config.num_envs, max_episode_steps=config.episode_steps)
    still = replace(config.learner, learning_rate=0.0, initial_learning_rate=0.0, final_learning_rate=0.0)
    learner = Learner(new_model(model_config(config, world)), still, device=device)
    agent = make_agent(config.agent, world, config.num_envs, rng, learner.model)
    rollout = Rollout(envs, agent, 0)
    windows = _windows(config, world, rng)
    paths = paths_through(windows, config, world.motion_kind, rng)
    steps = config.learner.total_steps
    glimpses = config.warmup_glimpses + steps * config.glimpses_per_update
    act, update = _timed(rollout.step), _timed(lambda: learner.update(windows, paths))
    return glimpses * act / config.num_envs + steps * update + _measuring(config, effort, world, learner.model, rng)


def _windows(config: TrainConfig, world: World, rng: np.random.Generator) -> Windows:
    """Return a batch of noise, of the mean length of context."""
    context = round(sum(config.replay.context) / 2)
    views = config.batch_size, context + config.replay.targets
    return Windows(
        views=rng.integers(0, 256, (*views, *(world.glimpse_space.shape or ())), dtype=np.uint8),
        motions=rng.normal(size=(views[0], views[1] - 1, world.motion_space.shape[0])).astype(np.float32),
        context=context,
        env=np.zeros(views[0], dtype=np.int64),
        episode=np.zeros(views[0], dtype=np.int64),
        step=np.zeros(views, dtype=np.int64),
        label=np.zeros(views[0], dtype=np.int64),
    )


def _measuring(config: TrainConfig, effort: Effort, world: World, model: WorldModel, rng: np.random.Generator) -> float:
    """Return the seconds of the probes in training and the evaluation: views drawn and embedded, probes fitted."""
    plan, probes = PLANS[effort], -(-config.learner.total_steps // config.probe_every)
    items = balanced_items(world, 32, rng)
    sample = make_view_set(world, items, 8, rng)
    model.eval()
    draw = _timed(lambda: make_view_set(world, items, 8, rng)) / (len(items) * 8)
    look = _timed(lambda: embed(model, sample.views)) / (len(items) * 8)
    evaluated = plan.fit_things * plan.fit_views + plan.test_things * plan.test_views
    x = rng.normal(size=(1_024, 2 * model.config.z_dim)).astype(np.float32)
    y, labels = x[:, : world.motion_space.shape[0]], np.arange(len(x)) % len(world.class_names)
    hidden = None if world.motion_kind == "translation" else 1_024
    regress = _timed(lambda: regression_probe(x, y, x, y, hidden=hidden, epochs=1)) / len(x) * REGRESSION_EPOCHS
    classify = _timed(lambda: linear_probe(x, labels, x, labels, num_classes=len(world.class_names), epochs=5))
    classify *= CLASSIFIER_EPOCHS / 5 / len(x)
    probed, paths = sum(PROBE_THINGS) * PROBE_VIEWS, len(plan.path_lengths)
    regressions = probes * PROBE_SAMPLES[0] + plan.fit_samples * (2 * (2 + 3 * paths) + paths)
    classifications = probes * PROBE_SAMPLES[0] + plan.fit_samples * 2 * (2 + len(plan.contexts))
    return (
        (probed + evaluated) * draw
        + (probes * probed + 2 * evaluated) * look  # the trained and the untrained model
        + regressions * regress
        + classifications * classify
    )


def _timed(call: Callable[[], object], *, repeats: int = 5) -> float:
    """Return the median seconds of a call, after one that warms up."""
    taken = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return float(np.median(taken[1:]))
