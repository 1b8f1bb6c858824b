"""The ids of the worlds and of their tasks in Gymnasium's registry."""

from __future__ import annotations

import gymnasium as gym

_MODULE = "glimpseworld.envs"

_WORLDS = {
    "GlimpseWorld/Saccade-v0": (f"{_MODULE}.saccade:Saccade", 16),
    "GlimpseWorld/ObjectRotation-v0": (f"{_MODULE}.object_rotation:ObjectRotation", 16),
}
_TASKS = {
    "GlimpseWorld/SaccadeSearch-v0": (f"{_MODULE}.tasks.search:SaccadeSearch", 16),
    "GlimpseWorld/SaccadeReach-v0": (f"{_MODULE}.tasks.matching:SaccadeReach", 16),
    "GlimpseWorld/SaccadeClassify-v0": (f"{_MODULE}.tasks.classify:SaccadeClassify", 16),
    "GlimpseWorld/SaccadeHoming-v0": (f"{_MODULE}.tasks.homing:SaccadeHoming", 16),
    "GlimpseWorld/ObjectReorient-v0": (f"{_MODULE}.tasks.matching:ObjectReorient", 16),
    "GlimpseWorld/ObjectClassify-v0": (f"{_MODULE}.tasks.classify:ObjectClassify", 16),
    "GlimpseWorld/RotationHoming-v0": (f"{_MODULE}.tasks.homing:RotationHoming", 16),
}
_DATA = {"GlimpseWorld/StoredViews-v0": (f"{_MODULE}.stored_views:StoredViews", 16)}
"""id -> (entry point without "Env" or "VectorEnv", steps after which an episode is truncated)."""

WORLD_IDS = tuple(_WORLDS)
"""Free viewing: nothing counts."""
TASK_IDS = tuple(_TASKS)
ENV_IDS = WORLD_IDS + TASK_IDS

DATA_ENV_IDS = tuple(_DATA)
"""Ids that cannot be made without data of the user's own, named by an argument."""


def register_envs() -> None:
    """Register every id that Gymnasium does not know yet; entry points are strings, so nothing heavy is imported."""
    for env_id, (entry_point, max_episode_steps) in (_WORLDS | _TASKS | _DATA).items():
        if env_id not in gym.registry:
            gym.register(
                env_id,
                entry_point=f"{entry_point}Env",
                vector_entry_point=f"{entry_point}VectorEnv",
                max_episode_steps=max_episode_steps,
            )
