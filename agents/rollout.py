"""An agent acting in a vector environment, one batched step at a time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .scripted import Agent


class RolloutStep(NamedTuple):
    """One step of every sub-environment.

    `glimpse` (B, H, W, C) uint8 and `motion` (B, A) float32 as observed; `first` (B,) bool marks rows whose glimpse
    came from a reset, so that no motion led to it; `reward` (B,) float64; `terminated`, `truncated` (B,) bool; `info`
    as the environment gave it.
    """

    glimpse: np.ndarray
    motion: np.ndarray
    first: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    info: dict[str, Any]


class Rollout:
    """Acts with `agent` in `envs`; the first step is the reset.

    Args:
        envs: a vector environment of this package, in autoreset mode NextStep, so that each step brings each row
            exactly one new glimpse.
        agent: who acts.
        seed: the environments' seed; sub-environment i gets seed + i.
    """

    def __init__(self, envs: Any, agent: Agent, seed: int) -> None:
        mode = envs.metadata["autoreset_mode"].value
        if mode != "NextStep":
            raise ValueError(f"a rollout needs autoreset mode NextStep, got {mode}")
        self.envs, self.agent, self._seed = envs, agent, seed
        self._observation: dict[str, np.ndarray] | None = None
        self._info: dict[str, Any] = {}

    def step(self) -> RolloutStep:
        """Act once in every sub-environment and return what came of it."""
        count = self.envs.num_envs
        reward, terminated, truncated = np.zeros(count), np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        if self._observation is None:
            self._observation, self._info = self.envs.reset(seed=self._seed)
        else:
            actions = self.agent.act(self._observation, self._info)
            self._observation, reward, terminated, truncated, self._info = self.envs.step(actions)
        assert self._observation is not None
        return RolloutStep(
            glimpse=self._observation["glimpse"],
            motion=self._observation["motion"],
            first=self._info["step_index"] == 0,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            info=self._info,
        )

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of the arrays that the future depends on, but for the agent's generator."""
        if self._observation is None:
            raise ValueError("nothing to save before the first step")
        envs = {f"envs.{name}": array for name, array in self.envs.state().items()}
        return envs | {f"agent.{name}": array for name, array in self.agent.state().items()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what `state` returned."""
        self.envs.set_state({k.removeprefix("envs."): v for k, v in state.items() if k.startswith("envs.")})
        self.agent.set_state({k.removeprefix("agent."): v for k, v in state.items() if k.startswith("agent.")})
        self._observation, self._info = self.envs.observation(), self.envs.info()
