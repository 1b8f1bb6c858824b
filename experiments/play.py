"""`glimpseworld rollout`: watch an agent in an environment, or record it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import tyro

from .. import envs as _envs
from ..agents.scripted import Agent
from ..envs.environment import GlimpseEnv
from .config import AgentName, make_agent
from .recording import Recorder


@dataclass(frozen=True)
class RolloutConfig:
    """Run an agent in an environment, in a window or into a file."""

    env: str = "GlimpseWorld/Saccade-v0"
    """Environment id."""
    agent: AgentName = "random"
    """Who acts: uniform random motions; independent poses; or saliency, which looks at images only."""
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
    """Further keyword arguments of the environment, as NAME VALUE pairs; a value is read as JSON where it is JSON."""


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


def rollout(config: RolloutConfig) -> list[str]:
    """Play `config.episodes` episodes and return a line about each."""
    if config.episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {config.episodes}")
    with ExitStack() as stack:
        recorder = stack.enter_context(Recorder(config.record, fps=config.fps)) if config.record else None
        wanted = "human" if config.render == "human" else "rgb_array" if recorder else None
        if config.env not in _envs.ENV_IDS:
            raise ValueError(f"no environment {config.env!r}; there are {', '.join(_envs.ENV_IDS)}")
        try:
            env = gym.make(
                config.env, render_mode=wanted, **{"split": config.split, **parsed_options(config.env_options)}
            )
        except TypeError as error:
            raise ValueError(f"{config.env} does not take these options: {error}") from error
        stack.callback(env.close)
        core = env.unwrapped
        assert isinstance(core, GlimpseEnv)
        agent = make_agent(config.agent, core.world, 1, np.random.default_rng([config.seed, 1]))
        return [_play(env, core, agent, recorder, config.seed if n == 0 else None, n) for n in range(config.episodes)]


def _play(env: Any, core: GlimpseEnv, agent: Agent, recorder: Recorder | None, seed: int | None, number: int) -> str:
    observation, info = env.reset(seed=seed)
    steps, total, done = 0, 0.0, False
    while True:
        if recorder is not None:
            recorder.add(core.simulator.frame(0))
        if done or core.window_closed:
            label = core.world.class_names[int(info["label"])]
            return f"episode {number + 1}: {label} (index {int(info['index'])}), {steps} steps, return {total:g}"
        action = agent.act(_batched(observation), _batched(info))[0].astype(np.float32)
        observation, reward, terminated, truncated, info = env.step(action)
        steps, total, done = steps + 1, total + float(reward), terminated or truncated


def _batched(values: dict[str, Any]) -> dict[str, np.ndarray]:
    return {key: np.asarray(value)[None] for key, value in values.items()}


def parsed_options(options: dict[str, str]) -> dict[str, Any]:
    """Return keyword arguments from the command line: a value is read as JSON where it is JSON, else as it stands."""
    import json

    parsed: dict[str, Any] = {}
    for name, text in options.items():
        try:
            parsed[name] = json.loads(text)
        except json.JSONDecodeError:
            parsed[name] = text
    return parsed
