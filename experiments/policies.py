"""Policies by reinforcement learning (Stable-Baselines3), from pixels or on a world model, and their learning curves.

The folder of a policy:

- `config.json`: its `PolicyConfig`.
- `curve.csv`: a row for each evaluation on validation episodes, always the same ones: `steps` of the environment so far,
  mean `return` of an episode and the half width `return_interval` of its 95 % interval, share of episodes that were a
  `success` at their end, `seconds` and `core_seconds` (CPU time over all threads) of acting and learning without
  evaluations, `model_glimpses` that the world model learned from before (its own experience; those that it learns from
  meanwhile are the policy's steps), `model_core_seconds` that took, and `model_updates` taken meanwhile.
- `events.*`: TensorBoard's.
- `checkpoints`: the newest policy, its optimiser and, on a world model, that too: see `policy_store`.

Training that is interrupted goes on from the newest checkpoint, which is written with every row of the curve, with new
episodes. The replay of SAC, and that of a world model that keeps learning, start empty then: the curve goes on, but not
bit for bit as it would have.
"""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecMonitor
from stable_baselines3.common.vec_env.base_vec_env import VecEnv

from ..agents.latent_env import LatentContext, LatentVecEnv
from ..agents.online_world_model import OnlineWorldModel
from ..agents.policy import PolicyAgent
from ..agents.sb3 import GlimpseExtractor, GlimpseVecEnv
from ..agents.scripted import Agent
from ..envs.core import World
from ..envs.environment import GlimpseVectorEnv
from ..envs.wrappers import FrameStack
from ..world_model.build import build_model
from ..world_model.checkpoint import CheckpointError, latest_checkpoint, write_json
from ..world_model.learner import Learner, LearnerConfig
from ..world_model.protocol import WorldModel
from ..world_model.replay import SequenceReplay
from .config import TrainConfig, model_config, presets
from .play import check_id, parsed_options
from .policy_store import described, restore_training, save_training
from .train import checked_device, load_budget, load_model, new_run_folder

On = Literal["pixels", "z", "z_agg", "z_agg-online"]
COLUMNS = (
    "steps",
    "return",
    "return_interval",
    "success",
    "seconds",
    "core_seconds",
    "model_glimpses",
    "model_core_seconds",
    "model_updates",
)
VALIDATION_SEED = 1


@dataclass(frozen=True)
class PolicyConfig:
    """Train a policy with Stable-Baselines3, from pixels or on what a world model makes of them."""

    env: str = "GlimpseWorld/ObjectClassify-v0"
    """Environment id."""
    env_options: dict[str, str] = field(default_factory=dict)
    """Further keyword arguments of the environment, as NAME VALUE pairs; a value is read as JSON where it is JSON."""
    on: On = "pixels"
    """What the policy sees in place of images: those; embeddings of the present view ("z"); the aggregate of the last
    views and motions ("z_agg"); the same of a world model that keeps learning from what the policy sees."""
    world_model: str | None = None
    """Folder of the run that the world model is from; without one, "z_agg-online" begins one from scratch."""
    algorithm: Literal["ppo", "sac"] = "ppo"
    """Which algorithm."""
    steps: int = 200_000
    """Steps of the environment, over all sub-environments."""
    num_envs: int = 64
    """Sub-environments that act in lockstep."""
    seed: int = 0
    """Of everything random in the training."""
    folder: str = "policies"
    """Where the policy's own folder is made."""
    learning_rate: float = 1e-3
    """Adam's."""
    gamma: float = 0.95
    """Discount."""
    batch_size: int = 256
    """Transitions in a batch."""
    rollout_steps: int = 16
    """Of PPO: steps of each sub-environment between updates."""
    epochs: int = 4
    """Of PPO: times that each rollout is learned from."""
    entropy: float = 0.0
    """Of PPO: weight of the entropy bonus."""
    log_std: float = -0.5
    """Of PPO: log of the standard deviation of actions at first."""
    replay: int = 20_000
    """Of SAC: transitions kept."""
    updates: int = 16
    """Of SAC: updates after each step of all sub-environments."""
    hidden: tuple[int, ...] = (128, 128)
    """Hidden units of policy and value, alike on pixels and on latents."""
    channels: tuple[int, ...] = (16, 32, 32)
    """On pixels: channels of the convolutions, each 3 x 3 with stride 2."""
    image_features: int = 128
    """On pixels: features of each image."""
    frames: int = 1
    """On pixels: last observations that the policy sees together."""
    longest: int = 3
    """On z_agg: views that an aggregate is made of, at most."""
    settle: int = 32
    """On a world model at rest: steps after which the statistics that standardise its embeddings are frozen."""
    glimpses_per_update: float = 24.0
    """Of a world model that keeps learning: new glimpses for each update."""
    warmup_glimpses: int = 4_000
    """Of a world model that keeps learning: glimpses before its first update."""
    model_learning_rate: float = 1e-3
    """Of a world model that keeps learning; falls to a tenth by a cosine."""
    evaluate_every: int = 10_000
    """Steps between evaluations, each with a checkpoint."""
    evaluation_episodes: int = 128
    """Validation episodes of an evaluation."""
    device: str = "cpu"
    """Where to compute."""

    def __post_init__(self) -> None:
        positive = ("steps", "num_envs", "batch_size", "rollout_steps", "evaluate_every", "evaluation_episodes", "frames")
        for name in positive:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.algorithm == "ppo" and self.rollout_steps * self.num_envs % self.batch_size:
            raise ValueError(
                f"batch_size must divide a rollout, rollout_steps x num_envs = {self.rollout_steps * self.num_envs}, "
                f"got {self.batch_size}"
            )
        if self.on in ("z", "z_agg") and self.world_model is None:
            raise ValueError(f"a policy on {self.on} needs a world model: name the folder of its run with world_model")
        if self.on == "pixels" and self.world_model is not None:
            raise ValueError("world_model has no effect on pixels: leave it out, or choose another `on`")
        if self.on != "pixels" and self.frames > 1:
            raise ValueError("frames has no effect on a world model, which has a context of its own: see longest")
        if self.on == "z_agg-online" and self.algorithm == "sac":
            raise ValueError("a replay of embeddings goes stale while the world model learns: use algorithm ppo")

    @property
    def latent(self) -> Literal["z", "z_agg"]:
        """What of the world model the policy sees, if not pixels."""
        return "z" if self.on == "z" else "z_agg"


class Played(NamedTuple):
    """Episodes that were played: returns (N,) float64 and successes (N,), NaN where nothing counts."""

    returns: np.ndarray
    successes: np.ndarray


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
                self.context.latent,
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


def make_envs(config: PolicyConfig, split: Literal["train", "validation", "test"], num_envs: int) -> gym.vector.VectorEnv:
    """Return the environment of a policy, in mode SameStep, with the objects or images of `split`.

    Raises:
        ValueError: if there is no such id, or it does not take the options.
    """
    check_id(config.env)
    options = {"split": split, "autoreset_mode": "SameStep", **parsed_options(config.env_options)}
    try:
        envs = gym.make_vec(config.env, num_envs, vectorization_mode="vector_entry_point", **options)
    except TypeError as error:
        raise ValueError(f"{config.env} does not take these options: {error}") from error
    return FrameStack(envs, config.frames) if config.frames > 1 else envs


def play_episodes(envs: gym.vector.VectorEnv, agent: Agent, episodes: int, seed: int) -> Played:
    """Play `episodes` from a reset with `seed` on; each sub-environment brings an even share, whatever their lengths.

    Args:
        envs: In mode SameStep.
        agent: Who acts.
        episodes: How many; those of the same seed and `num_envs` are the same for every agent.
        seed: Of the environment.
    """
    count = envs.num_envs
    quota = episodes // count + (np.arange(count) < episodes % count)
    ended, total = np.zeros(count, dtype=np.int64), np.zeros(count)
    returns: list[float] = []
    successes: list[float] = []
    observation, info = envs.reset(seed=seed)
    while (ended < quota).any():
        observation, rewards, terminated, truncated, info = envs.step(agent.act(observation, info))
        total += rewards
        done = terminated | truncated
        for row in np.flatnonzero(done & (ended < quota)):
            returns.append(float(total[row]))
            successes.append(float(info["final_info"]["success"][row]) if "success" in info["final_info"] else np.nan)
        ended += done
        total[done] = 0.0
    return Played(np.array(returns), np.array(successes))


def read_curve(folder: Path) -> list[dict[str, float]]:
    """Return the rows of a policy's `curve.csv`; none where there is none yet."""
    path = folder / "curve.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def policy_kwargs(config: PolicyConfig) -> dict[str, Any]:
    """Return what Stable-Baselines3 makes a policy of: one extractor and the same heads for pixels and latents."""
    kwargs: dict[str, Any] = {
        "features_extractor_class": GlimpseExtractor,
        "features_extractor_kwargs": {"image_features": config.image_features, "channels": config.channels},
        "net_arch": list(config.hidden),
    }
    if config.algorithm == "ppo":
        kwargs |= {"log_std_init": config.log_std, "activation_fn": torch.nn.ReLU}
    return kwargs


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
    from .policy_store import load_policy_config

    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "config.json").exists():
            write_json(folder / "config.json", asdict(config))
    except OSError as error:
        raise CheckpointError(f"cannot write to {folder}: {error}. Free some space and start again") from error
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
        if self.num_timesteps >= self._rows[-1]["steps"] + self._training.config.evaluate_every:
            self._evaluate()
        return True

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
        _write_curve(self._folder, self._rows)
        if self.num_timesteps:
            save_training(training, self._folder, self.num_timesteps)
        self._began = [clock() for clock in clocks]


def _write_curve(folder: Path, rows: list[dict[str, float]]) -> None:
    staged = folder / ".curve.csv"
    try:
        with staged.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows([f"{row[name]:.10g}" for name in COLUMNS] for row in rows)
        os.replace(staged, folder / "curve.csv")
    except OSError as error:
        raise CheckpointError(f"cannot write {folder / 'curve.csv'}: {error}. Free some space") from error
