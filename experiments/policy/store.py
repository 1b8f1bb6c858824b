"""Policies on disk: tensors by safetensors, all else as JSON; nothing is unpickled.

A checkpoint holds `policy` (parameters), `optimizer`, and on a world model `world_model` (weights), `statistics` (what
standardises its embeddings) and, if it keeps learning, `learner` (its optimiser), so that a folder plays by itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy, MultiInputActorCriticPolicy
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.vec_env import VecTransposeImage
from stable_baselines3.sac.policies import MultiInputPolicy as SACPolicy
from torch import nn

from ...agents.latent_env import LatentContext
from ...agents.policy import PolicyAgent
from ...world_model.build import build_model, model_settings
from ...world_model.checkpoint import CheckpointError, latest_checkpoint, load_checkpoint, save_checkpoint
from .config import PolicyConfig, load_policy_config, policy_kwargs
from .training import Training, described

Arrays = dict[str, np.ndarray]


def load_policy(folder: Path, envs: gym.vector.VectorEnv, *, device: str = "cpu") -> PolicyAgent:
    """Return the newest policy of `folder` as an agent for the rows of `envs`.

    Args:
        folder: A policy's folder.
        envs: What it is to play in, in any autoreset mode.
        device: Where to compute.

    Raises:
        CheckpointError: if there is none, or it cannot be read.
        ValueError: if it was trained on other observations or actions.
    """
    config, checkpoint = load_policy_config(folder), require_policy(folder)
    arrays, state = load_checkpoint(checkpoint)
    given = described(envs)
    if state["spaces"] != given:
        raise ValueError(
            f"the policy in {folder} was trained on {_told(state['spaces'])}, and this environment has {_told(given)}: "
            f"make it as {config.env} with {config.env_options or 'no options'} and frames {config.frames}"
        )
    space, context = envs.single_observation_space, None
    assert isinstance(space, spaces.Dict)
    if "world_model" in arrays:
        model = build_model(state["world_model"])
        _load(model, arrays["world_model"], checkpoint)
        model.to(device).eval()
        context = LatentContext(model, space, envs.num_envs, config.latent, longest=config.longest)
        _load(context.statistics, arrays["statistics"], checkpoint)
        context.statistics.to(device)
        space = context.space
    policy = _policy(config, space, envs.single_action_space)
    _load(policy, arrays["policy"], checkpoint)
    return PolicyAgent(policy.to(device), context)


def require_policy(folder: Path) -> Path:
    """Return the newest checkpoint of the policy in `folder`.

    Raises:
        CheckpointError: if there is none.
    """
    checkpoint = latest_checkpoint(folder / "checkpoints")
    if checkpoint is None:
        raise CheckpointError(f"no policy in {folder} yet: let its training reach the first evaluation")
    return checkpoint


def save_training(training: Training, folder: Path, steps: int) -> Path:
    """Write a checkpoint of a training after `steps`.

    Raises:
        CheckpointError: if it cannot be written.
    """
    parameters = training.algorithm.get_parameters()
    arrays = {"policy": _arrays(parameters.pop("policy")), "optimizer": {}}
    for name, values in parameters.items():
        for index, moments in values["state"].items():
            arrays["optimizer"] |= {f"{name}/{index}/{key}": value for key, value in _arrays(moments).items()}
    entropy = getattr(training.algorithm, "log_ent_coef", None)
    if entropy is not None:
        arrays["optimizer"]["log_ent_coef"] = entropy.detach().cpu().numpy()
    state: dict[str, Any] = {"steps": steps, "spaces": training.spaces}
    if training.model is not None and training.context is not None:
        state |= {"world_model": model_settings(training.model), "settle": training.context.settle}
        arrays["world_model"] = _arrays(training.model.state_dict())
        arrays["statistics"] = _arrays(training.context.statistics.state_dict())
    if training.online is not None:
        arrays["learner"] = training.online.learner.arrays()["optimizer"]
        state["updates"] = training.online.learner.steps
    return save_checkpoint(folder / "checkpoints", steps, arrays, state, keep=1)


def restore_training(training: Training, checkpoint: Path) -> int:
    """Give a training what `save_training` wrote and return its steps.

    Raises:
        CheckpointError: if it cannot be read, or does not fit.
    """
    arrays, state = load_checkpoint(checkpoint)
    algorithm = training.algorithm
    _load(algorithm.policy, arrays["policy"], checkpoint)
    moments: dict[str, dict[int, dict[str, torch.Tensor]]] = {}
    for path, value in arrays["optimizer"].items():
        if path == "log_ent_coef":
            getattr(algorithm, path).data.copy_(torch.from_numpy(value))
            continue
        name, index, key = path.rsplit("/", 2)
        moments.setdefault(name, {}).setdefault(int(index), {})[key] = torch.from_numpy(value)
    current = algorithm.get_parameters()
    parameters: dict[str, Any] = current | {n: {**current[n], "state": values} for n, values in moments.items()}
    algorithm.set_parameters(parameters, exact_match=True, device=algorithm.device)
    if training.model is not None and training.context is not None:
        _load(training.model, arrays["world_model"], checkpoint)
        _load(training.context.statistics, arrays["statistics"], checkpoint)
        training.context.settle = state["settle"]
    if training.online is not None:
        training.online.learner.load_arrays(
            {"model": arrays["world_model"], "optimizer": arrays["learner"]}, state["updates"]
        )
    return state["steps"]


def _policy(config: PolicyConfig, space: spaces.Dict, action_space: spaces.Space[Any]) -> BasePolicy:
    """Return a policy with fresh weights, as the algorithm makes it, which has images with channels first."""

    def as_seen(key: str, part: spaces.Space[Any]) -> spaces.Space[Any]:
        if isinstance(part, spaces.Box) and is_image_space(part) and not is_image_space_channels_first(part):
            return VecTransposeImage.transpose_space(part, key)
        return part

    seen = spaces.Dict({key: as_seen(key, part) for key, part in space.spaces.items()})
    assert isinstance(action_space, spaces.Box)
    kwargs = policy_kwargs(config)

    def rate(_: float) -> float:
        return config.learning_rate

    if config.algorithm == "ppo":
        return MultiInputActorCriticPolicy(seen, action_space, rate, **kwargs)
    return SACPolicy(seen, action_space, rate, **kwargs)


def _arrays(tensors: dict[str, Any]) -> Arrays:
    return {name: value.detach().cpu().numpy() for name, value in tensors.items()}


def _load(module: nn.Module, arrays: Arrays, checkpoint: Path) -> None:
    try:
        module.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()})
    except RuntimeError as error:
        raise CheckpointError(f"{checkpoint} does not fit its settings: {error}") from error


def _told(described_spaces: dict[str, Any]) -> str:
    entries = ", ".join(f"{key} {what}" for key, what in sorted(described_spaces["observation"].items()))
    return f"observations {{{entries}}} and actions {described_spaces['action']}"
