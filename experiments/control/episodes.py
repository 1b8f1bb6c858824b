"""Episodes of fixed length, the same for every agent, and what is kept of them."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from ...agents.scripted import Agent
from ...envs.environment import GlimpseVectorEnv

SEEDS_APART = 1_000_000
"""Between the environment seeds of one benchmark seed and the next: episode e has SEEDS_APART * seed + e."""


@dataclass(frozen=True)
class Episodes:
    """N episodes of T motions.

    Attributes:
        success: (N, T) bool, after each motion.
        distance: (N, T + 1) float64, to the goal, from the start on; None where nothing is measured.
        reward: (N, T) float64.
        fingerprint: Of all that the episodes began with; equal for the same episodes.
        decision_ms: Milliseconds that the agent took to act, for each row and motion.
    """

    success: np.ndarray
    distance: np.ndarray | None
    reward: np.ndarray
    fingerprint: str
    decision_ms: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return {
            "fingerprint": self.fingerprint,
            "decision_ms": self.decision_ms,
            "success": self.success.astype(int).tolist(),
            "distance": None if self.distance is None else self.distance.round(6).tolist(),
            "reward": self.reward.round(6).tolist(),
        }

    @classmethod
    def from_dict(cls, kept: dict[str, Any]) -> Episodes:
        """Return what `to_dict` was called on, with distances and rewards to six places."""
        distance = None if kept["distance"] is None else np.array(kept["distance"], dtype=np.float64)
        success, reward = np.array(kept["success"], dtype=bool), np.array(kept["reward"], dtype=np.float64)
        return cls(success, distance, reward, kept["fingerprint"], kept["decision_ms"])


def play_episodes(envs: gym.vector.VectorEnv, agent: Agent, steps: int, episodes: int, seed: int) -> Episodes:
    """Play episodes 0 to N - 1 of `seed`, the rows of `envs` in lockstep, block after block.

    Args:
        envs: Of this package, which may be wrapped; B rows, whose episodes end by time, after `steps` motions or more.
            Rows of the last block that are beyond N are played and left out.
        agent: Made for B rows.
        steps: T.
        episodes: N.
        seed: Which episodes.
    """
    rows, core = envs.num_envs, envs.unwrapped
    assert isinstance(core, GlimpseVectorEnv)
    success, reward = np.zeros((episodes, steps), dtype=bool), np.zeros((episodes, steps))
    distance = np.zeros((episodes, steps + 1))
    digest, spent, measured = hashlib.sha256(), 0.0, True
    for start in range(0, episodes, rows):
        block, kept = slice(start, min(start + rows, episodes)), slice(0, min(rows, episodes - start))
        first = SEEDS_APART * seed + start
        seeds = list(range(first, first + rows))
        observation, info = envs.reset(seed=seeds)  # pyright: ignore[reportArgumentType]
        _update(digest, core.state(), kept)
        measured = "distance" in info
        if measured:
            distance[block, 0] = info["distance"][kept]
        for step in range(steps):
            began = time.perf_counter()
            actions = agent.act(observation, info)
            spent += time.perf_counter() - began
            observation, rewards, terminated, _, info = envs.step(actions)
            assert not terminated.any(), "episodes of the benchmark end by time"
            success[block, step], reward[block, step] = info["success"][kept], rewards[kept]
            if measured:
                distance[block, step + 1] = info["distance"][kept]
    decisions = -(-episodes // rows) * rows * steps
    return Episodes(success, distance if measured else None, reward, digest.hexdigest(), 1000 * spent / decisions)


def _update(digest: Any, state: dict[str, np.ndarray], kept: slice) -> None:
    for name in sorted(state):
        digest.update(name.encode() + np.ascontiguousarray(state[name][kept]).tobytes())
