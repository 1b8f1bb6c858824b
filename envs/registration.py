"""The ids of the worlds in Gymnasium's registry."""

from __future__ import annotations

import gymnasium as gym

ENV_IDS = ("GlimpseWorld/Saccade-v0", "GlimpseWorld/ObjectRotation-v0")

DATA_ENV_IDS = ("GlimpseWorld/StoredViews-v0",)
"""Ids that cannot be made without data of the user's own, named by an argument."""


def register_envs() -> None:
    """Register every id that Gymnasium does not know yet; entry points are strings, so nothing heavy is imported."""
    entry_points = {
        "GlimpseWorld/Saccade-v0": "glimpseworld.envs.saccade:Saccade",
        "GlimpseWorld/ObjectRotation-v0": "glimpseworld.envs.object_rotation:ObjectRotation",
        "GlimpseWorld/StoredViews-v0": "glimpseworld.envs.stored_views:StoredViews",
    }
    for env_id in ENV_IDS + DATA_ENV_IDS:
        if env_id not in gym.registry:
            gym.register(
                env_id,
                entry_point=f"{entry_points[env_id]}Env",
                vector_entry_point=f"{entry_points[env_id]}VectorEnv",
                max_episode_steps=16,
            )
