"""The ids of the worlds and of their tasks in Gymnasium's registry."""

from __future__ import annotations

import gymnasium as gym

from .settings import EPISODE_STEPS

_MODULE = "glimpseworld.envs"

_WORLDS = {
    "GlimpseWorld/Saccade-v0": f"{_MODULE}.saccade:Saccade",
    "GlimpseWorld/ObjectRotation-v0": f"{_MODULE}.object_rotation:ObjectRotation",
}
_TASKS = {
    "GlimpseWorld/SaccadeSearch-v0": f"{_MODULE}.tasks.search:SaccadeSearch",
    "GlimpseWorld/SaccadeReach-v0": f"{_MODULE}.tasks.matching:SaccadeReach",
    "GlimpseWorld/SaccadeClassify-v0": f"{_MODULE}.tasks.classify:SaccadeClassify",
    "GlimpseWorld/SaccadeHoming-v0": f"{_MODULE}.tasks.homing:SaccadeHoming",
    "GlimpseWorld/ObjectReorient-v0": f"{_MODULE}.tasks.matching:ObjectReorient",
    "GlimpseWorld/ObjectClassify-v0": f"{_MODULE}.tasks.classify:ObjectClassify",
    "GlimpseWorld/RotationHoming-v0": f"{_MODULE}.tasks.homing:RotationHoming",
}
_DATA = {"GlimpseWorld/StoredViews-v0": f"{_MODULE}.stored_views:StoredViews"}
"""id -> entry point without "Env" or "VectorEnv"."""

WORLD_IDS = tuple(_WORLDS)
"""Free viewing: nothing counts."""
TASK_IDS = tuple(_TASKS)
ENV_IDS = WORLD_IDS + TASK_IDS

DATA_ENV_IDS = tuple(_DATA)
"""Ids that cannot be made without data of the user's own, named by an argument."""


def register_envs() -> None:
    """Register every id that Gymnasium does not know yet; entry points are strings, so nothing heavy is imported."""
    for env_id, entry_point in (_WORLDS | _TASKS | _DATA).items():
        if env_id not in gym.registry:
            gym.register(
                env_id,
                entry_point=f"{entry_point}Env",
                vector_entry_point=f"{entry_point}VectorEnv",
                max_episode_steps=EPISODE_STEPS,
            )
