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

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from tqdm import tqdm

from ...world_model.checkpoint import CheckpointError, latest_checkpoint, load_checkpoint, saving, write_json
from ...world_model.learner import LossNotFiniteError
from ..device import checked_device
from ..report import training_bar
from ..run_folder import new_run_folder
from .config import PolicyConfig, load_policy_config, make_envs
from .learning_curve import play_out, read_curve, write_curve
from .store import restore_training, save_training
from .training import Training

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
        LossNotFiniteError: if actions become NaN or infinite.
        KeyboardInterrupt: as ever, but with what is kept in words.
    """
    name = f"{config.env.split('/')[-1].removesuffix('-v0')}-{config.on}-{config.algorithm}"
    with _made(config) as training:  # before a folder is made, which a wrong call would leave behind
        fresh = folder is None or not folder.exists()
        if folder is None:
            folder = new_run_folder(Path(config.folder), name, config.seed)
        _require_settings(config, folder)
        with saving(f"to {folder}", "Free some space and start again"):
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "config.json", asdict(config))
        checkpoint = latest_checkpoint(folder / "checkpoints")
        done = 0 if checkpoint is None else restore_training(training, checkpoint)
        if done < config.steps:
            print(
                f"policy {folder}: {config.steps:,} steps. Resume with: glimpseworld policy resume {folder}", flush=True
            )
            with _ended_well(config, folder, fresh):
                _learn(training, folder, done, min(stop_after or config.steps, config.steps))
    return folder


def require_trainable(config: PolicyConfig, folder: Path) -> None:
    """Check all that could keep a policy from being trained in `folder`, in the time that its first step takes.

    Raises:
        CheckpointError: if the folder is of other settings, or there is no world model where one is named.
        ValueError: if the environment cannot be made so, or the world model does not fit it.
    """
    with _made(config):
        _require_settings(config, folder)


@contextmanager
def _made(config: PolicyConfig) -> Iterator[Training]:
    """Make what a training consists of, and close its environment at the end."""
    device = checked_device(config.device)
    envs = make_envs(config, "train", config.num_envs)
    try:
        yield Training(config, envs, device)
    finally:
        envs.close()


@contextmanager
def _ended_well(config: PolicyConfig, folder: Path, fresh: bool) -> Iterator[None]:
    """Let a training that is interrupted or diverges say what is kept; a `fresh` folder is not, if that is nothing."""
    try:
        yield
    except BaseException as error:
        checkpoint = latest_checkpoint(folder / "checkpoints")
        if checkpoint is None:
            kept = (
                f"nothing is kept, since the first evaluation, after {config.evaluate_every:,} steps, was not reached"
            )
            if fresh:
                shutil.rmtree(folder, ignore_errors=True)
        else:
            steps = load_checkpoint(checkpoint, only=[])[1]["steps"]
            kept = f"the policy after {steps:,} steps is kept; go on with: glimpseworld policy resume {folder}"
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(kept) from None
        if isinstance(error, ValueError) and str(error).startswith("Expected parameter"):  # PyTorch's of a distribution
            raise LossNotFiniteError(
                f"actions are not finite any more: start again with a learning_rate below {config.learning_rate:g}"
            ) from error
        raise


def _require_settings(config: PolicyConfig, folder: Path) -> None:
    """Raise CheckpointError if `folder` holds the settings of another policy."""
    if not (folder / "config.json").exists():
        return
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
    try:
        with training_bar(config.steps, done) as bar:
            curve = _Curve(training, folder, envs, done)
            algorithm.learn(last - done, callback=[curve, _Progress(bar, curve)], reset_num_timesteps=False)
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

    @property
    def newest(self) -> float | None:
        """The newest return on validation episodes, if there is one."""
        return self._rows[-1]["return"] if self._rows else None

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
        played = play_out(self._envs, training.agent(self._envs), config.evaluation_episodes, VALIDATION_SEED)
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


class _Progress(BaseCallback):
    """Moves a bar, with the mean return of the last hundred episodes of the training and the newest of validation."""

    def __init__(self, bar: tqdm[Any], curve: _Curve) -> None:
        super().__init__()
        self._bar, self._curve = bar, curve

    def _on_step(self) -> bool:
        ended = [episode["r"] for episode in self.model.ep_info_buffer or ()]
        shown = {"return": float(np.mean(ended))} if ended else {}
        if self._curve.newest is not None:
            shown["validation"] = self._curve.newest
        self._bar.set_postfix({name: f"{value:.3f}" for name, value in shown.items()}, refresh=False)
        self._bar.update(min(self.num_timesteps, self._bar.total) - self._bar.n)  # the last rollout may go beyond
        return True
