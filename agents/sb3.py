"""Stable-Baselines3 on the native vector environments: the `VecEnv` it asks for, and eyes for small glimpses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvIndices
from torch import Tensor, nn


class GlimpseVecEnv(VecEnv):
    """A vector environment of GlimpseWorld as the `VecEnv` that Stable-Baselines3 trains on, one batched step each.

    >>> envs = gym.make_vec("GlimpseWorld/Saccade-v0", 64, autoreset_mode="SameStep")
    >>> model = PPO("MultiInputPolicy", VecMonitor(GlimpseVecEnv(envs)),
    ...             policy_kwargs={"features_extractor_class": GlimpseExtractor})

    The info of a row is a dict of its own. It is empty but for rows whose episode ended, which hold
    `terminal_observation`, `TimeLimit.truncated` (whether the time limit alone ended it, so that its value is
    bootstrapped), `episode` if the environment keeps those statistics, and all that the environment told of the final
    step. Nothing is copied of observations: the environment never writes again to arrays it handed out.

    Args:
        envs: a vector environment in autoreset mode SameStep, which may be wrapped. It is closed with this one.
        info_keys: entries of the environment's info that every row is told at every step.

    Raises:
        ValueError: if the autoreset mode is another one.
    """

    def __init__(self, envs: gym.vector.VectorEnv, info_keys: Sequence[str] = ()) -> None:
        mode = getattr(envs.metadata.get("autoreset_mode"), "value", None)
        if mode != "SameStep":
            raise ValueError(
                f"Stable-Baselines3 resets within the step that ends an episode, but this environment's mode is {mode}:"
                ' make it with autoreset_mode="SameStep"'
            )
        self.envs = envs
        self.info_keys = tuple(info_keys)
        self._actions: np.ndarray | None = None
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def reset(self) -> dict[str, np.ndarray]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Start an episode in every row, with the seeds and options that were given last, once.

        Raises:
            ValueError: if the rows were given different options.
        """
        options = self._options[0]
        if any(other != options for other in self._options):
            raise ValueError("the rows of a batch are reset together: give set_options one dict for all")
        observation, info = self.envs.reset(seed=self._seeds, options=options or None)  # pyright: ignore[reportArgumentType]
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = _by_row(info, range(self.num_envs))
        return observation

    def step_async(self, actions: np.ndarray) -> None:
        """Keep (B, A) actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, list[dict[str, Any]]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Step; return observation, (B,) float32 rewards, (B,) bool dones and B infos."""
        assert self._actions is not None, "step_async comes first"
        observation, rewards, terminated, truncated, info = self.envs.step(self._actions)
        dones = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for key in self.info_keys:
            for row, value in enumerate(info[key]):
                infos[row][key] = value
        if dones.any():
            self._tell_of_ended(infos, np.flatnonzero(dones).tolist(), truncated & ~terminated, info)
        return observation, rewards.astype(np.float32), dones, infos

    def _tell_of_ended(
        self, infos: list[dict[str, Any]], rows: list[int], cut: np.ndarray, info: dict[str, Any]
    ) -> None:
        episodes = {key: value for key, value in info.get("episode", {}).items() if not key.startswith("_")}
        finals, firsts = _by_row(info["final_info"], rows), _by_row(info, rows)
        for row, final, first in zip(rows, finals, firsts, strict=True):
            infos[row] |= final
            infos[row]["terminal_observation"] = info["final_obs"][row]
            infos[row]["TimeLimit.truncated"] = bool(cut[row])
            if episodes:
                infos[row]["episode"] = {key: value[row].item() for key, value in episodes.items()}
            self.reset_infos[row] = first

    def close(self) -> None:
        """Close the environment."""
        self.envs.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Return B frames, each (H, W, 3) uint8, or Nones if the environment's `render_mode` is not "rgb_array"."""
        frames = self.envs.render() if self.render_mode == "rgb_array" else None
        return [None] * self.num_envs if frames is None else list(frames)  # pyright: ignore[reportReturnType]

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of the environment, once for each of `indices`: rows have none of their own."""
        return [self._found(attr_name)] * len(self._rows(indices))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of the innermost environment, for all rows.

        Raises:
            ValueError: if `indices` are not all rows.
        """
        if set(self._rows(indices)) != set(range(self.num_envs)):
            raise ValueError(f"the rows of a batch share {attr_name}: leave indices out")
        setattr(self.envs.unwrapped, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the environment, once, and return what it gave once for each of `indices`."""
        return [self._found(method_name)(*method_args, **method_kwargs)] * len(self._rows(indices))

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """Return whether one of the environment's wrappers is a `wrapper_class`, once for each of `indices`."""
        return [any(isinstance(layer, wrapper_class) for layer in self._layers())] * len(self._rows(indices))

    def _layers(self) -> Iterator[gym.vector.VectorEnv]:
        layer = self.envs
        while isinstance(layer, gym.vector.VectorWrapper):
            yield layer
            layer = layer.env
        yield layer

    def _found(self, name: str) -> Any:
        """Return an attribute of the outermost layer that has it; Gymnasium's vector wrappers do not look further."""
        for layer in self._layers():
            if hasattr(layer, name):
                return getattr(layer, name)
        raise AttributeError(f"neither {type(self.envs.unwrapped).__name__} nor its wrappers have {name!r}")

    def _rows(self, indices: VecEnvIndices) -> list[int]:
        found = self._get_indices(indices)
        return list(found) if isinstance(found, Iterable) else [found]


class GlimpseExtractor(BaseFeaturesExtractor):
    """Features of a flat Dict observation: a small CNN for each entry that is an image, the rest as it is.

    Stable-Baselines3's own CNN needs 36 pixels; this one takes any size. It takes what that library hands over: uint8
    images with channels first, scaled to [0, 1]; and what it does not know for images: stacks of frames
    (S, H, W, C), and normalised float glimpses (H, W, C).

    Args:
        observation_space: a Dict of Boxes.
        image_features: length of the features of each image.
        channels: channels of the convolutions, each 3 x 3 with stride 2.
    """

    def __init__(
        self, observation_space: spaces.Dict, image_features: int = 128, channels: Sequence[int] = (32, 64, 64)
    ) -> None:
        parts: dict[str, nn.Module] = {}
        size = 0
        for key, space in observation_space.spaces.items():
            if len(space.shape or ()) in (3, 4):
                parts[key] = _Eye(space, image_features, channels)  # pyright: ignore[reportArgumentType]
                size += image_features
            else:
                parts[key] = nn.Flatten()
                size += gym.spaces.flatdim(space)
        super().__init__(observation_space, size)
        self.parts = nn.ModuleDict(parts)

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Return (B, F) features of entries (B, ...)."""
        return torch.cat([part(observations[key]) for key, part in self.parts.items()], dim=1)


class _Eye(nn.Module):
    """A small CNN over an image, or over the channels of a stack of images."""

    def __init__(self, space: spaces.Box, features: int, channels: Sequence[int]) -> None:
        super().__init__()
        # What Stable-Baselines3 takes for an image comes with channels first and scaled; it leaves the rest alone.
        self._prepared = is_image_space(space)
        self._scale = 1.0 if self._prepared or space.dtype != np.uint8 else 1 / 255
        layers: list[nn.Module] = []
        before = self._channels_first(torch.zeros(1, *space.shape)).shape[1]
        for count in channels:
            layers += [nn.Conv2d(before, count, 3, stride=2, padding=1), nn.ReLU()]
            before = count
        self._convolutions = nn.Sequential(*layers, nn.Flatten())
        with torch.no_grad():
            flat = self._convolutions(self._channels_first(torch.zeros(1, *space.shape))).shape[1]
        self._linear = nn.Sequential(nn.Linear(flat, features), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        return self._linear(self._convolutions(self._channels_first(images) * self._scale))

    def _channels_first(self, images: Tensor) -> Tensor:
        if self._prepared:
            return images
        images = images.movedim(-1, -3)  # (B, [S,] C, H, W)
        return images.reshape(len(images), -1, *images.shape[-2:])


def _by_row(info: dict[str, Any], rows: Sequence[int]) -> list[dict[str, Any]]:
    """Return what a vector info tells of each of `rows`, without what is about ended episodes."""
    skipped = ("final_obs", "final_info", "episode")
    columns = {
        key: _by_row(value, rows) if isinstance(value, dict) else [value[row] for row in rows]
        for key, value in info.items()
        if not key.startswith("_") and key not in skipped
    }
    if not columns:
        return [{} for _ in rows]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
