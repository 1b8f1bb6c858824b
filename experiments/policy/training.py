"""What the training of a policy consists of: environment, algorithm and world model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import VecMonitor
from stable_baselines3.common.vec_env.base_vec_env import VecEnv

from ...agents.fit import require_fit
from ...agents.latent_env import LatentContext, LatentVecEnv
from ...agents.online_world_model import OnlineWorldModel
from ...agents.policy import PolicyAgent
from ...agents.sb3 import GlimpseVecEnv
from ...envs.environment import GlimpseVectorEnv
from ...envs.world import World
from ...world_model.build import build_model
from ...world_model.learner import Learner
from ...world_model.protocol import WorldModel
from ...world_model.replay import SequenceReplay
from ..config import model_config
from ..run_folder import load_budget, load_model
from .config import ONLINE, PolicyConfig, policy_kwargs


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
                venv = self.online = _keep_learning(config, venv, self.model, envs.unwrapped)
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
            self._require_fit(model, run, world)
            budget = load_budget(run) or {}
            self.model_glimpses = budget.get("glimpses", np.nan)
            self.model_core_seconds = budget.get("core_seconds", np.nan)
            return model
        torch.manual_seed(self.config.seed)
        return build_model({"method": "seq-jepa", **model_config(ONLINE, world).to_dict()}).to(device)

    def _require_fit(self, model: WorldModel, run: Path, world: World) -> None:
        views, (motion_dim,) = world.glimpse_space.shape, world.motion_space.shape
        try:
            require_fit(model, self.config.env, views=views, kind=world.motion_kind, motion_dim=motion_dim)
        except ValueError as error:
            raise ValueError(f"the world model in {run} does not fit: {error}") from error


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


def _keep_learning(config: PolicyConfig, venv: VecEnv, model: WorldModel, envs: GlimpseVectorEnv) -> OnlineWorldModel:
    """Return `venv` with the world model learning from what passes; windows as in `ONLINE`, if episodes are long
    enough, else of fewer targets."""
    world, kind = envs.world, envs.world.motion_kind
    longest = ONLINE.replay.context[1]
    # An episode's last glimpse stands in place of the next one's first, and the replay gets the latter.
    views = envs.max_episode_steps
    assert views is not None  # `make_envs` sees to it
    if views <= longest:
        raise ValueError(
            f"a world model learns from windows of up to {longest} views and a target after them: expected episodes of "
            f"at least {longest + 1} steps, got {views}; raise max_episode_steps, or choose another `on`"
        )
    updates = max(1, int(config.steps / config.glimpses_per_update))
    rate = config.model_learning_rate
    schedule = replace(ONLINE.learner, total_steps=updates, learning_rate=rate, final_learning_rate=rate / 10)
    capacity = max(ONLINE.replay.capacity, config.num_envs)
    shape, (motion_dim,) = world.glimpse_space.shape, world.motion_space.shape
    replay = SequenceReplay(capacity, shape, kind, motion_dim, config.num_envs)  # pyright: ignore[reportArgumentType]
    return OnlineWorldModel(
        venv,
        Learner(model, schedule, device=config.device),
        replay,
        glimpses_per_update=config.glimpses_per_update,
        warmup_glimpses=config.warmup_glimpses,
        batch_size=ONLINE.batch_size,
        context=ONLINE.replay.context,
        targets=min(ONLINE.replay.targets, views - longest),
        rng=np.random.default_rng([config.seed, 2]),
    )


def described(envs: gym.vector.VectorEnv) -> dict[str, Any]:
    """Return the spaces of an environment as JSON: each entry of the observation, and the action, by type and shape."""
    observation, action = envs.single_observation_space, envs.single_action_space
    if not isinstance(observation, spaces.Dict) or not isinstance(action, spaces.Box):
        raise ValueError(f"expected a Dict of observations and a Box of actions, got {observation} and {action}")
    return {
        "observation": {key: f"{space.dtype} {space.shape}" for key, space in observation.spaces.items()},
        "action": f"{action.dtype} {action.shape}",
    }
