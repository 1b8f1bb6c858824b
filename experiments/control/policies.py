"""Policies by reinforcement learning as agents of the control benchmark, each where it was trained to act."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...agents.scripted import Agent
from ..policy.config import load_policy_config
from ..policy.store import load_policy, require_policy
from .settings import ControlSetting


@dataclass(frozen=True)
class PolicyRun:
    """A policy: its folder, a label of its own, the agent it is, its environment, a digest of its newest weights."""

    folder: Path
    label: str
    agent: str
    """ALGORITHM-ON, as `CONTROLLERS` has it."""
    env_id: str
    weights: str


def load_policies(folders: Iterable[Path]) -> list[PolicyRun]:
    """Return the policies that are named.

    Raises:
        CheckpointError: one is no policy, or has no checkpoint yet.
    """
    return [_load(folder) for folder in folders]


def _load(folder: Path) -> PolicyRun:
    config, checkpoint = load_policy_config(folder), require_policy(folder)
    digest = hashlib.sha256((checkpoint / "policy.safetensors").read_bytes()).hexdigest()
    return PolicyRun(folder, folder.resolve().name, f"{config.algorithm}-{config.on}", config.env, digest)


def policy_agent(setting: ControlSetting) -> Agent:
    """Return the setting's policy, acting by the mean of its actions.

    Raises:
        ValueError: it was trained on other observations or actions than the task's.
    """
    return load_policy(setting.require_policy(), setting.envs, device=setting.device)
