"""Settings of a policy, and the environment and the networks that follow from them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import gymnasium as gym
import torch

from ...agents.sb3 import GlimpseExtractor
from ...envs.registration import TASK_IDS
from ...envs.wrappers import FrameStack
from ...world_model.checkpoint import CheckpointError
from ...world_model.settings import from_dict
from ..config import check_seed, presets
from ..play import env_arguments, taking_options

On = Literal["pixels", "z", "z_agg", "z_agg-online"]
Algorithm = Literal["ppo", "sac"]

ONLINE = replace(presets()["quick"][1], glimpses_per_update=24.0)
"""How a world model learns beside a policy, if not told otherwise: from each glimpse more than where they cost only
compute, since a policy is held to how few it needs."""

_COUNTS = (
    *("steps", "num_envs", "batch_size", "rollout_steps", "epochs", "replay", "updates", "image_features", "frames"),
    *("longest", "evaluate_every", "evaluation_episodes"),
)
_RANGES: tuple[tuple[Sequence[str], Callable[[Any], bool], str], ...] = (
    (_COUNTS, lambda value: value >= 1, "at least 1"),
    (("on",), lambda value: value in get_args(On), f"one of {get_args(On)}"),
    (("algorithm",), lambda value: value in get_args(Algorithm), f"one of {get_args(Algorithm)}"),
    (("settle", "warmup_glimpses"), lambda value: value >= 0, "at least 0"),
    (("hidden", "channels"), lambda value: all(count >= 1 for count in value), "of numbers that are at least 1"),
    (
        ("learning_rate", "model_learning_rate", "glimpses_per_update"),
        lambda value: 0 < value < math.inf,
        "above 0 and finite",
    ),
    (("entropy",), lambda value: 0 <= value < math.inf, "at least 0 and finite"),
    (("gamma",), lambda value: 0 <= value <= 1, "in [0, 1]"),
    (("log_std",), math.isfinite, "finite"),
)
"""Settings, whether a value is in their range, which NaN never is, and the range in words."""


@dataclass(frozen=True)
class PolicyConfig:
    """Train a policy with Stable-Baselines3, from pixels or on what a world model makes of them."""

    env: str = "GlimpseWorld/ObjectClassify-v0"
    """Environment id."""
    env_options: dict[str, str] = field(default_factory=dict)
    """Further keyword arguments of the environment, as NAME VALUE pairs; a value is JSON, or as Python
    writes it, such as True or (1, 2), or else a text."""
    on: On = "pixels"
    """What the policy sees in place of images: those; embeddings of the present view ("z"); the aggregate of the last
    views and motions ("z_agg"); the same of a world model that keeps learning from what the policy sees."""
    world_model: str | None = None
    """Folder of the run that the world model is from; without one, "z_agg-online" begins one from scratch."""
    algorithm: Algorithm = "ppo"
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
    """Of PPO: log of the standard deviation of actions at first; -1.5 suits tasks whose actions hold many logits."""
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
    glimpses_per_update: float = ONLINE.glimpses_per_update
    """Of a world model that keeps learning: new glimpses for each update."""
    warmup_glimpses: int = ONLINE.warmup_glimpses
    """Of a world model that keeps learning: glimpses before its first update."""
    model_learning_rate: float = ONLINE.learner.learning_rate
    """Of a world model that keeps learning; falls to a tenth by a cosine."""
    evaluate_every: int = 10_000
    """Steps between evaluations, each with a checkpoint."""
    evaluation_episodes: int = 128
    """Validation episodes of an evaluation."""
    device: str = "cpu"
    """Where to compute."""

    def __post_init__(self) -> None:
        check_seed(self.seed)
        for names, holds, told in _RANGES:
            for name in names:
                if not holds(getattr(self, name)):
                    raise ValueError(f"{name} must be {told}, got {getattr(self, name)!r}")
        if self.algorithm == "ppo" and self.batch_size < 2:
            raise ValueError(
                f"batch_size must be at least 2 with algorithm ppo, whose advantages are compared within a "
                f"batch, got {self.batch_size}"
            )
        if self.algorithm == "sac" and self.replay < self.num_envs:
            raise ValueError(
                f"replay must hold a transition of each of {self.num_envs} sub-environments, got {self.replay}: raise "
                "it, or lower num_envs"
            )
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


def load_policy_config(folder: Path) -> PolicyConfig:
    """Return the settings of the policy in `folder`.

    Raises:
        CheckpointError: if the folder is no policy, or its config.json is damaged or of another version.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} is no policy: expected a folder that `glimpseworld policy train` made")
    try:
        return from_dict(PolicyConfig, json.loads(path.read_text()))
    except (ValueError, OSError) as error:
        raise CheckpointError(f"cannot read {path} as the settings of a policy: {error}") from error


def make_envs(
    config: PolicyConfig, split: Literal["train", "validation", "test"], num_envs: int
) -> gym.vector.VectorEnv:
    """Return the environment of a policy, in mode SameStep, with the objects or images of `split`.

    Raises:
        ValueError: if there is no such id, it has no task, does not take the options, or episodes would not end.
    """
    options = {"autoreset_mode": "SameStep", **env_arguments(config.env, split, config.env_options)}
    if config.env not in TASK_IDS:
        raise ValueError(f"{config.env} has no task, so that nothing is rewarded; those that do: {', '.join(TASK_IDS)}")
    with taking_options(config.env):
        envs = gym.make_vec(config.env, num_envs, vectorization_mode="vector_entry_point", **options)
    return FrameStack(envs, config.frames) if config.frames > 1 else envs


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
