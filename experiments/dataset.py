"""`glimpseworld dataset`: record an agent's episodes as arrays, for learning without an environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import tyro

from ..agents.scripted import Agent
from ..envs.environment import GlimpseVectorEnv
from ..world_model.checkpoint import check_writable
from ..world_model.episodes import Episodes
from ..world_model.episodes import load_episodes as load_npz
from ..world_model.motion import MotionKind
from .config import check_seed
from .play import PlayerName, env_arguments, make_player, taking_options

_MINARI = "minari:"


@dataclass(frozen=True)
class DatasetConfig:
    """Record whole episodes of an agent in an environment."""

    out: tyro.conf.Positional[str]
    """Where to: a file FILE.npz, or minari:NAME for a local Minari data set, such as minari:saccade/random-v0."""
    env: str = "GlimpseWorld/Saccade-v0"
    """Environment id."""
    agent: PlayerName = "random"
    """Who acts: uniform random actions; independent poses; saliency, which looks at images only; or the oracle, which
    knows everything and solves the task."""
    episodes: int = 100
    """How many episodes."""
    num_envs: int = 16
    """Sub-environments that act in lockstep; each brings an even share of the episodes, whatever their lengths."""
    seed: int = 0
    """Of the environment and the agent."""
    split: Literal["train", "validation", "test"] = "train"
    """Objects or images to show."""
    env_options: dict[str, str] = field(default_factory=dict)
    """Further keyword arguments of the environment, as NAME VALUE pairs; a value is JSON, or as Python
    writes it, such as True or (1, 2), or else a text."""

    def __post_init__(self) -> None:
        check_seed(self.seed)


def main(arguments: list[str]) -> None:
    """Run the command."""
    config = tyro.cli(
        DatasetConfig,
        args=arguments,
        prog="glimpseworld dataset",
        description="Record an agent's episodes into a file or a Minari data set.",
    )
    if Path(config.out).suffix != ".npz" and not config.out.startswith(_MINARI):
        raise ValueError(f"expected FILE.npz or minari:NAME to record into, got {config.out!r}")
    if config.out.startswith(_MINARI):
        from .minari_data import check_new_minari

        check_new_minari(config.out.removeprefix(_MINARI))
    else:
        check_writable(Path(config.out))
    episodes = record(config)
    save_episodes(episodes, config.out)
    print(f"recorded {len(episodes)} episodes, {len(episodes.first)} views, into {config.out}")


def save_episodes(episodes: Episodes, where: str) -> None:
    """Write to a `.npz` file, or to the Minari data set NAME if `where` is minari:NAME."""
    if where.startswith(_MINARI):
        from .minari_data import save_minari

        save_minari(episodes, where.removeprefix(_MINARI))
    else:
        episodes.save(where)


def load_episodes(where: str) -> Episodes:
    """Read what `save_episodes` wrote."""
    if where.startswith(_MINARI):
        from .minari_data import load_minari

        return load_minari(where.removeprefix(_MINARI))
    return load_npz(where)


def record(config: DatasetConfig) -> Episodes:
    """Act and return the episodes, those of sub-environment 0 first.

    How many each sub-environment brings is settled beforehand: taking the first that end would favour short ones.
    """
    if config.episodes < 1 or config.num_envs < 1:
        raise ValueError(f"episodes and num_envs must be at least 1, got {config.episodes} and {config.num_envs}")
    count = min(config.num_envs, config.episodes)
    kwargs = env_arguments(config.env, config.split, config.env_options)
    with taking_options(config.env):
        envs = gym.make_vec(config.env, count, vectorization_mode="vector_entry_point", **kwargs)
    try:
        assert isinstance(envs, GlimpseVectorEnv)
        if not isinstance(envs.single_action_space, gym.spaces.Box):
            raise ValueError(f"expected actions of a Box space to record, {config.env} has {envs.single_action_space}")
        agent = make_player(config.agent, config.env, envs.simulator, np.random.default_rng([config.seed, 1]))
        source = {"env": config.env, "kwargs": kwargs, "seed": config.seed, "num_envs": count, "agent": config.agent}
        return _record(envs, agent, config.seed, config.episodes, source)
    finally:
        envs.close()


def _record(envs: GlimpseVectorEnv, agent: Agent, seed: int, episodes: int, source: dict[str, Any]) -> Episodes:
    count = envs.num_envs
    quota = episodes // count + (np.arange(count) < episodes % count)
    ended = np.zeros(count, dtype=np.int64)
    columns: dict[str, list[np.ndarray]] = {}
    observation, info = envs.reset(seed=seed)
    actions = np.zeros(envs.action_space.shape or (), dtype=np.float32)
    rewards, terminated, truncated = np.zeros(count), np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    while True:
        first = info["step_index"] == 0
        seen = {
            **observation,
            **{"first": first, "actions": np.where(first[:, None], np.float32(0), actions)},
            **{"rewards": rewards, "terminated": terminated, "label": info["label"], "index": info["index"]},
        }
        for key, value in {**seen, "wanted": ended < quota}.items():
            columns.setdefault(key, []).append(value)
        ended += terminated | truncated
        if (ended >= quota).all():
            return _joined(columns, envs.world.motion_kind, source)
        actions = agent.act(observation, info).astype(np.float32)  # as kept, so that they can be carried out again
        observation, rewards, terminated, truncated, info = envs.step(actions)


def _joined(columns: dict[str, list[np.ndarray]], motion_kind: MotionKind, source: dict[str, Any]) -> Episodes:
    """Put the wanted views of each sub-environment one after the other."""
    wanted = np.stack(columns.pop("wanted"), axis=1)  # (B, steps)
    joined = {}
    while columns:  # one at a time, so that the views are not held twice for longer than it takes
        key, values = columns.popitem()
        joined[key] = np.stack(values, axis=1)[wanted]
    first = joined["first"]
    return Episodes(
        **{key: joined.pop(key) for key in ("first", "actions", "rewards", "terminated")},
        label=joined.pop("label")[first],
        index=joined.pop("index")[first],
        views=joined.pop("glimpse"),
        motions=joined.pop("motion"),
        motion_kind=motion_kind,
        entries=joined,
        source=source,
    )
