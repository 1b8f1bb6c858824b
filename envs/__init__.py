"""Active-vision worlds: importing this package registers the `GlimpseWorld/...` ids with Gymnasium."""

from .registration import DATA_ENV_IDS, ENV_IDS, register_envs

__all__ = ["DATA_ENV_IDS", "ENV_IDS", "register_envs"]

register_envs()
