"""Policies by reinforcement learning (Stable-Baselines3), from pixels or on a world model, and their learning curves.

The folder of a policy:

- `config.json`: its `PolicyConfig`.
- `curve.csv`: a row for each evaluation on validation episodes, always the same ones: see `learning_curve`.
- `events.*`: TensorBoard's.
- `checkpoints`: the newest policy, its optimiser and, on a world model, that too: see `store`.

Training that is interrupted goes on from the newest checkpoint, which is written with every row of the curve, with new
episodes. The replay of SAC, and that of a world model that keeps learning, start empty then: the curve goes on, but not
bit for bit as it would have.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecMonitor
from stable_baselines3.common.vec_env.base_vec_env import VecEnv

from ...agents.latent_env import LatentContext, LatentVecEnv
from ...agents.online_world_model import OnlineWorldModel
from ...agents.policy import PolicyAgent
from ...agents.sb3 import GlimpseVecEnv
from ...envs.core import World
from ...envs.environment import GlimpseVectorEnv
from ...world_model.build import build_model
from ...world_model.checkpoint import CheckpointError, latest_checkpoint, saving, write_json
from ...world_model.learner import Learner, LearnerConfig
from ...world_model.protocol import WorldModel
from ...world_model.replay import SequenceReplay
from ..config import TrainConfig, model_config, presets
from ..train import checked_device, load_budget, load_model, new_run_folder
from .config import PolicyConfig, load_policy_config, make_envs, policy_kwargs
from .learning_curve import play_episodes, read_curve, write_curve
from .store import described, restore_training, save_training

VALIDATION_SEED = 1


def train_policy(config: PolicyConfig, folder: Path | None = None, *, stop_after: int | None = None) -> Path:
    """Train a policy and return its folder.

    Args:
        config: The settings.
        folder: Where it goes; None for a new folder in `config.folder`. One that was begun with the same settings is
            gone on with; one that is finished is left as it is.
        stop_after: Leave off after about so many steps, as an interruption would; None to go to the end.

    Raises:
        CheckpointError: if the folder is of other settings, or a checkpoint cannot be read or written.
        ValueError: if the environment cannot be made so, or the world model does not fit it.
    """
    device = checked_device(config.device)
    name = f"{config.env.split('/')[-1].removesuffix('-v0')}-{config.on}-{config.algorithm}"
    envs = make_envs(config, "train", config.num_envs)  # before a folder is made, which a wrong call would leave behind
    try:
        training = Training(config, envs, device)
        if folder is None:
            folder = new_run_folder(Path(config.folder), name, config.seed)
        _require_settings(config, folder)
        checkpoint = latest_checkpoint(folder / "checkpoints")
        done = 0 if checkpoint is None else restore_training(training, checkpoint)
        if done < config.steps:
            _learn(training, folder, done, min(stop_after or config.steps, config.steps))
    finally:
        envs.close()
    return folder


class Training:
    """What a training consists of: the environment, the algorithm and, on latents, the world model.

    Args:
        config: The settings.
        envs: The training environment, in mode SameStep.
        device: Where to compute.
    """

    def __init__(self, config: PolicyConfig, envs: gym.vector.VectorEnv, device: torch.device) -> None:
        self.config = config
        self.spaces = described(envs)
        self.model: WorldModel | None = None
        self.online: OnlineWorldModel | None = None
        self.context: LatentContext | None = None
        self.model_glimpses, self.model_core_seconds = 0.0, 0.0
        venv: VecEnv = VecMonitor(GlimpseVecEnv(envs))
        if config.on != "pixels":
            assert isinstance(envs.unwrapped, GlimpseVectorEnv)
            self.model = self._world_model(envs.unwrapped.world, device)
            settle: int | None = config.settle
            if config.on == "z_agg-online":
                venv = self.online = _keep_learning(config, venv, self.model, envs.unwrapped.world)
                settle = None
            venv = LatentVecEnv(venv, self.model, config.latent, longest=config.longest, settle=settle)
            self.context = venv.context
        self.algorithm = _algorithm(config, venv)

    def agent(self, envs: gym.vector.VectorEnv) -> PolicyAgent:
        """Return the policy as it is now, to play in another environment."""
        context = None
        if self.model is not None and self.context is not None:
            context = LatentContext(
                self.model,
                envs.single_observation_space,  # pyright: ignore[reportArgumentType]
                envs.num_envs,
                self.config.latent,
                longest=self.context.longest,
                statistics=self.context.statistics,
            )
        return PolicyAgent(self.algorithm.policy, context)

    def _world_model(self, world: World, device: torch.device) -> WorldModel:
        if self.config.world_model is not None:
            run = Path(self.config.world_model)
            model, _ = load_model(run, str(device))
            budget = load_budget(run) or {}
            self.model_glimpses = budget.get("glimpses", np.nan)
            self.model_core_seconds = budget.get("core_seconds", np.nan)
            return model
        torch.manual_seed(self.config.seed)
        return build_model({"method": "seq-jepa", **model_config(presets()["quick"][1], world).to_dict()}).to(device)


def _algorithm(config: PolicyConfig, venv: VecEnv) -> PPO | SAC:
    shared = {
        "learning_rate": config.learning_rate,
        "gamma": config.gamma,
        "batch_size": config.batch_size,
        "policy_kwargs": policy_kwargs(config),
        "seed": config.seed,
        "device": config.device,
    }
    if config.algorithm == "ppo":
        return PPO(
            "MultiInputPolicy",
            venv,
            n_steps=config.rollout_steps,
            n_epochs=config.epochs,
            ent_coef=config.entropy,
            **shared,
        )
    return SAC(
        "MultiInputPolicy",
        venv,
        buffer_size=config.replay,
        learning_starts=min(1_000, config.replay // 2),
        train_freq=1,
        gradient_steps=config.updates,
        **shared,
    )


def _keep_learning(config: PolicyConfig, venv: VecEnv, model: WorldModel, world: World) -> OnlineWorldModel:
    """Return `venv` with the world model learning from what passes; windows as in `glimpseworld train`."""
    kind = world.motion_kind
    train = TrainConfig()
    updates = max(1, int(config.steps / config.glimpses_per_update))
    rate = config.model_learning_rate
    schedule = LearnerConfig(
        total_steps=updates, learning_rate=rate, final_learning_rate=rate / 10, warmup_steps=min(100, updates)
    )
    capacity = max(train.replay.capacity, config.num_envs)
    shape, (motion_dim,) = world.glimpse_space.shape, world.motion_space.shape
    replay = SequenceReplay(capacity, shape, kind, motion_dim, config.num_envs)  # pyright: ignore[reportArgumentType]
    return OnlineWorldModel(
        venv,
        Learner(model, schedule, device=config.device),
        replay,
        glimpses_per_update=config.glimpses_per_update,
        warmup_glimpses=config.warmup_glimpses,
        batch_size=train.batch_size,
        context=train.replay.context,
        rng=np.random.default_rng([config.seed, 2]),
    )


def _require_settings(config: PolicyConfig, folder: Path) -> None:
    """Write the settings into a new folder; raise CheckpointError if it holds those of another policy."""
    with saving(f"to {folder}", "Free some space and start again"):
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "config.json").exists():
            write_json(folder / "config.json", asdict(config))
    found, wanted = asdict(load_policy_config(folder)), asdict(config)
    differing = [name for name in wanted if name != "folder" and found[name] != wanted[name]]
    if differing:
        told = "; ".join(f"{name} {found[name]!r}, not {wanted[name]!r}" for name in differing)
        raise CheckpointError(f"{folder} is a policy of other settings: {told}. Name another folder")


def _learn(training: Training, folder: Path, done: int, last: int) -> None:
    """Go on from `done` steps to `last`."""
    config, algorithm = training.config, training.algorithm
    # A resumed training would otherwise see the episodes of its beginning again.
    algorithm.set_random_seed(int(np.random.SeedSequence([config.seed, done]).generate_state(1)[0]))
    algorithm.num_timesteps = done
    logger = configure(str(folder), ["tensorboard"])
    algorithm.set_logger(logger)
    envs = make_envs(config, "validation", min(config.evaluation_episodes, 64))
    curve = _Curve(training, folder, envs, done)
    try:
        algorithm.learn(last - done, callback=curve, reset_num_timesteps=False)
    finally:
        envs.close()
        logger.close()


class _Curve(BaseCallback):
    """Evaluates every so often, writes the row and the checkpoint."""

    def __init__(self, training: Training, folder: Path, envs: gym.vector.VectorEnv, done: int) -> None:
        super().__init__()
        self._training, self._folder, self._envs = training, folder, envs
        self._rows = [row for row in read_curve(folder) if row["steps"] <= done]
        self._updates = self._rows[-1]["model_updates"] if self._rows else 0.0
        self._seconds = [self._rows[-1][key] if self._rows else 0.0 for key in ("seconds", "core_seconds")]
        self._began = [time.monotonic(), time.process_time()]

    def _on_training_start(self) -> None:
        self._began = [time.monotonic(), time.process_time()]
        if not self._rows:
            self._evaluate()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        """Evaluate between an update and the next rollout: within one, PPO has not learned from its steps yet."""
        if self.num_timesteps >= self._rows[-1]["steps"] + self._training.config.evaluate_every:
            self._evaluate()

    def _on_training_end(self) -> None:
        if self.num_timesteps > self._rows[-1]["steps"]:
            self._evaluate()

    def _evaluate(self) -> None:
        """Add a row; the clocks stand still meanwhile."""
        training, config = self._training, self._training.config
        clocks: list[Callable[[], float]] = [time.monotonic, time.process_time]
        self._seconds = [
            before + clock() - began for before, clock, began in zip(self._seconds, clocks, self._began, strict=True)
        ]
        played = play_episodes(self._envs, training.agent(self._envs), config.evaluation_episodes, VALIDATION_SEED)
        spread = played.returns.std(ddof=1) if len(played.returns) > 1 else np.nan
        updates = training.online.updates if training.online is not None else 0
        row = {
            "steps": self.num_timesteps,
            "return": played.returns.mean(),
            "return_interval": 1.96 * spread / np.sqrt(len(played.returns)),
            "success": played.successes.mean(),
            "seconds": self._seconds[0],
            "core_seconds": self._seconds[1],
            "model_glimpses": training.model_glimpses,
            "model_core_seconds": training.model_core_seconds,
            "model_updates": self._updates + updates,
        }
        self._rows.append({key: float(value) for key, value in row.items()})
        for key in ("return", "success"):
            self.logger.record(f"validation/{key}", self._rows[-1][key])
        if self.num_timesteps:
            self.logger.dump(self.num_timesteps)
        write_curve(self._folder, self._rows)
        if self.num_timesteps:
            save_training(training, self._folder, self.num_timesteps)
        self._began = [clock() for clock in clocks]
