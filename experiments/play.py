"""`glimpseworld rollout`: watch an agent in an environment, or record it."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import gymnasium as gym
import numpy as np
import tyro

from .. import envs as _envs
from ..agents.oracles import OracleAgent
from ..agents.scripted import Agent, RandomAgent
from ..envs.core import Simulator
from ..envs.environment import GlimpseEnv
from ..envs.settings import check_whole
from ..envs.splits import Split
from .config import check_seed, make_agent
from .recording import Recorder
from .report import episodes_line

PlayerName = Literal["random", "independent", "saliency", "oracle"]


@dataclass(frozen=True)
class RolloutConfig:
    """Run an agent in an environment, in a window or into a file."""

    env: str = "GlimpseWorld/Saccade-v0"
    """Environment id."""
    agent: PlayerName = "random"
    """Who acts: uniform random actions; independent poses; saliency, which looks at images only; or the oracle, which
    knows everything and solves the task."""
    render: Literal["human", "none"] = "none"
    """"human" opens a window."""
    record: Path | None = None
    """File to record into: .mp4, .gif, or .png for a contact sheet."""
    episodes: int = 1
    """How many episodes."""
    seed: int = 0
    """Of the environment and the agent."""
    split: Literal["train", "validation", "test"] = "test"
    """Objects or images to show."""
    fps: int = 4
    """Frames a second of the recording."""
    env_options: dict[str, str] = field(default_factory=dict)
    """Further keyword arguments of the environment, as NAME VALUE pairs; a value is JSON, or as Python
    writes it, such as True or (1, 2), or else a text."""

    def __post_init__(self) -> None:
        check_seed(self.seed)


def main(arguments: list[str]) -> None:
    """Run the command."""
    config = tyro.cli(
        RolloutConfig,
        args=arguments,
        prog="glimpseworld rollout",
        description="Watch an agent in an environment, or record it.",
    )
    summary = rollout(config)
    print("\n".join(summary))
    if config.record is not None:
        print(f"recorded {config.record}")


class _Episode(NamedTuple):
    """One episode: a line about it, its return, and whether it was a success (None where nothing counts)."""

    line: str
    total: float
    success: bool | None


def rollout(config: RolloutConfig) -> list[str]:
    """Play `config.episodes` episodes and return a line about each, and one about all."""
    if config.episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {config.episodes}")
    with ExitStack() as stack:
        recorder = stack.enter_context(Recorder(config.record, fps=config.fps)) if config.record else None
        wanted = "human" if config.render == "human" else "rgb_array" if recorder else None
        options = env_arguments(config.env, config.split, config.env_options)
        with taking_options(config.env):
            env = gym.make(config.env, render_mode=wanted, **options)
        stack.callback(env.close)
        core = env.unwrapped
        assert isinstance(core, GlimpseEnv)
        assert env.spec is not None and env.spec.max_episode_steps is not None
        core.task.check_length(env.spec.max_episode_steps)
        agent = make_player(config.agent, config.env, core.simulator, np.random.default_rng([config.seed, 1]))
        episodes = [
            _play(env, core, agent, recorder, config.seed if n == 0 else None, n) for n in range(config.episodes)
        ]
    return [episode.line for episode in episodes] + [_summary(config, episodes)]


def env_arguments(env_id: str, split: Split, options: dict[str, str]) -> dict[str, Any]:
    """Return the keyword arguments of an environment `env_id` whose whole episodes are played.

    Args:
        env_id: The id.
        split: Objects or images to show.
        options: As they come from the command line.

    Raises:
        ValueError: if there is no such id, an option is the command's to say, or episodes would not end.
    """
    known = (*_envs.ENV_IDS, *_envs.DATA_ENV_IDS)
    if env_id not in known:
        raise ValueError(f"no environment {env_id!r}; there are {', '.join(known)}")
    own = sorted({"split", "render_mode", "autoreset_mode", "vectorization_mode", "num_envs"} & set(options))
    if own:
        raise ValueError(f"--env-options cannot set {', '.join(own)}, which the command does: leave it out")
    arguments = {"split": split, **parsed_options(options)}
    if arguments.get("max_episode_steps") is not None:  # None is the id's own number
        told = "whole episodes are played, so they must end: max_episode_steps"
        check_whole(told, arguments["max_episode_steps"], low=1)
    return arguments


@contextmanager
def taking_options(env_id: str) -> Iterator[None]:
    """Turn the TypeError of an environment that the block makes, with options it does not have, into a ValueError."""
    try:
        yield
    except TypeError as error:
        raise ValueError(f"{env_id} does not take these options: {error}") from error


def make_player(name: PlayerName, env_id: str, simulator: Simulator, rng: np.random.Generator) -> Agent:
    """Return the agent called `name` for the rows of `simulator`, which is that of an environment `env_id`.

    Raises:
        ValueError: if it cannot act there.
    """
    world, task = simulator.world, simulator.task
    if name == "oracle":
        return OracleAgent(lambda: task.oracle_actions(world))
    size = simulator.action_space.shape[0]
    if name == "random":  # over all of the action, of which a task may take a part
        return RandomAgent(simulator.num_envs, size, rng)
    if size != world.action_space.shape[0]:
        raise ValueError(f"agent {name!r} only moves, and {env_id} asks for more: use --agent random or oracle")
    return make_agent(name, world, simulator.num_envs, rng)


def _play(
    env: Any, core: GlimpseEnv, agent: Agent, recorder: Recorder | None, seed: int | None, number: int
) -> _Episode:
    observation, info = env.reset(seed=seed)
    steps, total, done = 0, 0.0, False
    while True:
        if recorder is not None:
            recorder.add(core.simulator.frame(0))
        if done or core.window_closed:
            label = core.world.class_names[int(info["label"])]
            line = f"episode {number + 1}: {label} (index {int(info['index'])}), {steps} steps, return {total:g}"
            return _Episode(line, total, bool(info["success"]) if "success" in info else None)
        action = agent.act(_batched(observation), _batched(info))[0].astype(np.float32)
        observation, reward, terminated, truncated, info = env.step(action)
        steps, total, done = steps + 1, total + float(reward), terminated or truncated


def _summary(config: RolloutConfig, episodes: list[_Episode]) -> str:
    """Return a line with mean return and success rate, each with its 95 % interval."""
    successes = [episode.success for episode in episodes if episode.success is not None]
    return f"{config.env}, agent {config.agent}, {episodes_line([episode.total for episode in episodes], successes)}"


def _batched(values: dict[str, Any]) -> dict[str, np.ndarray]:
    return {key: np.asarray(value)[None] for key, value in values.items()}


def parsed_options(options: dict[str, str]) -> dict[str, Any]:
    """Return keyword arguments from the command line: values are JSON, or as Python writes them, else as they stand."""
    return {name: _parsed(text) for name, text in options.items()}


def _parsed(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, TypeError):  # TypeError: what cannot be a key, as in {[1]: 2}
            pass
    return text
