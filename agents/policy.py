"""A policy of Stable-Baselines3 as an agent, on pixels or on what a world model makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.policies import BasePolicy

from .latent_env import LatentContext


class PolicyAgent:
    """Acts as a trained policy does, by the mean of its actions.

    It is not privileged: of `info` it reads `step_index` alone, to know where episodes begin.

    Args:
        policy: Of PPO or SAC, trained on observations as they come here or as `context` makes them.
        context: For B = its `num_envs` rows; None for a policy on pixels.
    """

    def __init__(self, policy: BasePolicy, context: LatentContext | None = None) -> None:
        self.policy, self.context = policy, context

    def act(self, observation: dict[str, np.ndarray], info: dict[str, Any]) -> np.ndarray:
        """Return (B, A) float64 actions in [-1, 1]."""
        if self.context is not None:
            observation, _ = self.context.observe(observation, np.asarray(info["step_index"]) == 0)
        actions, _ = self.policy.predict(observation, deterministic=True)
        return np.clip(actions.astype(np.float64), -1.0, 1.0)

    def state(self) -> dict[str, np.ndarray]:
        """Return what is kept of the present episodes."""
        return {} if self.context is None else self.context.state()

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what `state` returned."""
        if self.context is not None:
            self.context.set_state(state)
