"""`glimpseworld policy`: train a policy by reinforcement learning, go on with it, play it, or compare curves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from ..config import check_seed
from ..report import episodes_line
from .config import PolicyConfig, load_policy_config, make_envs
from .curves import CurvesConfig, curves_table, policy_curves
from .learning_curve import play_out, read_curve
from .policies import train_policy
from .store import load_policy


@dataclass(frozen=True)
class ResumePolicy:
    """Go on with an interrupted training from its newest checkpoint, with new episodes."""

    folder: Annotated[Path, tyro.conf.Positional]
    """The policy's folder."""


@dataclass(frozen=True)
class PlayPolicy:
    """Play a policy and tell its mean return, and its share of successes, each with its 95 % interval."""

    folder: Annotated[Path, tyro.conf.Positional]
    """The policy's folder."""
    episodes: int = 400
    """How many episodes."""
    split: Literal["train", "validation", "test"] = "test"
    """Objects or images to show."""
    seed: int = 0
    """Of the environment."""
    num_envs: int = 16
    """Sub-environments; each brings an even share of the episodes, whatever their lengths."""
    env_options: dict[str, str] = field(default_factory=dict)
    """Arguments of the environment that replace those of the training, as NAME VALUE pairs."""

    def __post_init__(self) -> None:
        check_seed(self.seed)


def main(arguments: list[str]) -> None:
    """Run the command."""
    commands = {"train": PolicyConfig, "resume": ResumePolicy, "play": PlayPolicy, "curves": CurvesConfig}
    config = tyro.extras.subcommand_cli_from_dict(
        commands,
        args=arguments,
        prog="glimpseworld policy",
        description="Policies by reinforcement learning, from pixels or on a world model.",
    )
    if isinstance(config, CurvesConfig):
        print(f"\n{curves_table(policy_curves(config))}\n\nresults  {config.out / 'curves.json'}, .csv, .png")
    elif isinstance(config, PlayPolicy):
        print(play(config))
    elif isinstance(config, ResumePolicy):
        _train(load_policy_config(config.folder), config.folder)
    else:
        _train(config, None)


def play(config: PlayPolicy) -> str:
    """Play and return the line about it."""
    if config.episodes < 1 or config.num_envs < 1:
        raise ValueError(f"episodes and num_envs must be at least 1, got {config.episodes} and {config.num_envs}")
    settings = load_policy_config(config.folder)
    settings = replace(settings, env_options=settings.env_options | config.env_options)
    envs = make_envs(settings, config.split, min(config.num_envs, config.episodes))
    try:
        agent = load_policy(config.folder, envs)
        returns, successes = play_out(envs, agent, config.episodes, config.seed)
    finally:
        envs.close()
    line = episodes_line(returns, () if np.isnan(successes).any() else successes)
    return f"{settings.env}, {settings.algorithm} on {settings.on}, {line}"


def _train(config: PolicyConfig, folder: Path | None) -> None:
    folder = train_policy(config, folder)
    last = read_curve(folder)[-1]
    print(f"return {last['return']:.3f} on validation episodes after {last['steps']:,.0f} steps")
    print(f"policy   {folder}\ncurve    {folder / 'curve.csv'}\nplay it  glimpseworld policy play {folder}")
