"""Wrappers for the vector environments, where Gymnasium has one for single environments alone."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space


class FrameStack(gym.vector.VectorWrapper):
    """Gives the last `stack_size` observations of each sub-environment, oldest first.

    It is `gymnasium.wrappers.FrameStackObservation` for the vector environments of this package: every entry gets an
    axis (B, stack_size, ...), and an episode's first observation fills the places before it, in all autoreset modes.

    Args:
        env: a vector environment of this package (`info["step_index"]` tells where episodes begin).
        stack_size: how many observations, at least 1.
    """

    def __init__(self, env: gym.vector.VectorEnv, stack_size: int) -> None:
        if stack_size < 1:
            raise ValueError(f"stack_size must be at least 1, got {stack_size}")
        super().__init__(env)
        self.stack_size = stack_size
        self.single_observation_space = batch_space(env.single_observation_space, stack_size)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)
        self._stacks: dict[str, np.ndarray] = {}

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Reset as the environment does; rows that were not reset keep their stacks."""
        observation, info = self.env.reset(seed=seed, options=options)  # pyright: ignore[reportArgumentType]
        if not self._stacks:
            self._stacks = {key: self._filled(value) for key, value in observation.items()}
        self._begin(info["_step_index"], observation)
        return self._copied(), info

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step as the environment does; `final_obs` entries are stacked too."""
        observation, rewards, terminated, truncated, info = self.env.step(actions)
        for row in np.flatnonzero(info.get("_final_obs", np.zeros(self.num_envs, dtype=bool))):
            final = info["final_obs"][row]
            info["final_obs"][row] = {
                key: np.concatenate([self._stacks[key][row, 1:], value[None]]) for key, value in final.items()
            }
        for key, value in observation.items():
            self._stacks[key] = np.concatenate([self._stacks[key][:, 1:], value[:, None]], axis=1)
        self._begin(info["step_index"] == 0, observation)
        return self._copied(), rewards, terminated, truncated, info

    def _begin(self, rows: np.ndarray, observation: dict[str, np.ndarray]) -> None:
        for key, value in observation.items():
            self._stacks[key][rows] = self._filled(value[rows])

    def _filled(self, value: np.ndarray) -> np.ndarray:
        return np.repeat(value[:, None], self.stack_size, axis=1)

    def _copied(self) -> dict[str, np.ndarray]:
        return {key: value.copy() for key, value in self._stacks.items()}
