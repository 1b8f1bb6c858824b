"""Active-vision worlds: importing this package registers the `GlimpseWorld/...` ids with Gymnasium."""

from .registration import ENV_IDS, register_envs

__all__ = ["ENV_IDS", "register_envs"]

register_envs()
