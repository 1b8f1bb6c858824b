"""Learning curves of policies: what is measured every so often, how, and the file it is kept in.

Columns of `curve.csv`:

| column | meaning |
| --- | --- |
| steps | of the environment so far, over all sub-environments |
| return, return_interval | mean of the validation episodes, and half the width of its 95 % interval |
| success | share of them that were a success at their end |
| seconds, core_seconds | of acting and learning so far, without evaluations; the latter over all threads |
| model_glimpses | glimpses that the world model had learned from before: its own experience, not the policy's |
| model_core_seconds | that this took |
| model_updates | taken meanwhile by a world model that keeps learning, from the policy's own steps |
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import gymnasium as gym
import numpy as np

from ...agents.scripted import Agent
from ...world_model.checkpoint import saving, write_csv

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


class Played(NamedTuple):
    """Episodes that were played: returns (N,) float64 and successes (N,), NaN where nothing counts."""

    returns: np.ndarray
    successes: np.ndarray


def play_out(envs: gym.vector.VectorEnv, agent: Agent, episodes: int, seed: int) -> Played:
    """Play `episodes` from a reset with `seed` on; each sub-environment brings an even share, whatever their lengths.

    They end where the task ends them, as those that the policy learns from do: what counts is the return. The control
    benchmark plays on to a fixed length, since it counts what holds after each motion: see `control.episodes`.

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


def write_curve(folder: Path, rows: list[dict[str, float]]) -> None:
    """Write `curve.csv` so that a reader sees the old file or the new one.

    Raises:
        CheckpointError: if it cannot be written.
    """
    with saving(str(folder / "curve.csv")):
        write_csv(folder / "curve.csv", [COLUMNS, *([f"{row[name]:.10g}" for name in COLUMNS] for row in rows)])
