"""Wrappers for the vector environments, where Gymnasium has one for single environments alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space

from .draws import EpisodeDraws

_DRAW_NOISE = 1000  # far from the worlds' and tasks' own purposes


class FrameStack(gym.vector.VectorWrapper):
    """Gives the last `stack_size` observations of each sub-environment, oldest first.

    It is `gymnasium.wrappers.FrameStackObservation` for the vector environments of this package: every entry gets an
    axis (B, stack_size, ...), and an episode's first observation fills the places before it, in all autoreset modes.

    Args:
        env: a vector environment of this package (`info["step_index"]` tells where episodes begin).
        stack_size: how many observations, at least 1.
    """

    def __init__(self, env: gym.vector.VectorEnv, stack_size: int) -> None:
        if stack_size < 1:
            raise ValueError(f"stack_size must be at least 1, got {stack_size}")
        super().__init__(env)
        self.stack_size = stack_size
        self.single_observation_space = batch_space(env.single_observation_space, stack_size)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)
        self._stacks: dict[str, np.ndarray] = {}

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Reset as the environment does; rows that were not reset keep their stacks."""
        observation, info = self.env.reset(seed=seed, options=options)  # pyright: ignore[reportArgumentType]
        if not self._stacks:
            self._stacks = {key: self._filled(value) for key, value in observation.items()}
        self._begin(info["_step_index"], observation)
        return self._copied(), info

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step as the environment does; `final_obs` entries are stacked too."""
        observation, rewards, terminated, truncated, info = self.env.step(actions)
        for row in np.flatnonzero(info.get("_final_obs", np.zeros(self.num_envs, dtype=bool))):
            final = info["final_obs"][row]
            info["final_obs"][row] = {
                key: np.concatenate([self._stacks[key][row, 1:], value[None]]) for key, value in final.items()
            }
        for key, value in observation.items():
            self._stacks[key] = np.concatenate([self._stacks[key][:, 1:], value[:, None]], axis=1)
        self._begin(info["step_index"] == 0, observation)
        return self._copied(), rewards, terminated, truncated, info

    def _begin(self, rows: np.ndarray, observation: dict[str, np.ndarray]) -> None:
        for key, value in observation.items():
            self._stacks[key][rows] = self._filled(value[rows])

    def _filled(self, value: np.ndarray) -> np.ndarray:
        return np.repeat(value[:, None], self.stack_size, axis=1)

    def _copied(self) -> dict[str, np.ndarray]:
        return {key: value.copy() for key, value in self._stacks.items()}


class ObservationWrapper(gym.vector.VectorWrapper):
    """Changes entries of the observation, `final_obs` included, in all autoreset modes; the base of those below.

    Args:
        env: a vector environment of this package.
        spaces: the new space, of one sub-environment, of every entry that changes.
    """

    def __init__(self, env: gym.vector.VectorEnv, spaces: dict[str, gym.spaces.Box]) -> None:
        super().__init__(env)
        before = _entries(env)
        self.single_observation_space = gym.spaces.Dict({**before, **spaces})
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Reset as the environment does."""
        observation, info = self.env.reset(seed=seed, options=options)  # pyright: ignore[reportArgumentType]
        return self.changed(observation, np.arange(self.num_envs), info["step_index"], ended=False), info

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step as the environment does."""
        observation, rewards, terminated, truncated, info = self.env.step(actions)
        rows = np.flatnonzero(info.get("_final_obs", False))
        if len(rows):
            final = [info["final_obs"][row] for row in rows]
            batch = {key: np.stack([each[key] for each in final]) for key in final[0]}
            batch = self.changed(batch, rows, info["final_info"]["step_index"][rows], ended=True)
            for i, row in enumerate(rows):
                info["final_obs"][row] = {key: value[i] for key, value in batch.items()}
        observation = self.changed(observation, np.arange(self.num_envs), info["step_index"], ended=False)
        return observation, rewards, terminated, truncated, info

    @abstractmethod
    def changed(
        self, observation: dict[str, np.ndarray], rows: np.ndarray, steps: np.ndarray, *, ended: bool
    ) -> dict[str, np.ndarray]:
        """Return the changed observation; the arrays that came are not written.

        Args:
            observation: entries (n, ...).
            rows: (n,) int64, their sub-environments.
            steps: (n,) int64, steps since the reset of the episode each belongs to.
            ended: whether these are final observations, whose rows have gone on to the next episode already.
        """


class MotionNoise(ObservationWrapper):
    """Adds Gaussian noise to the observed `motion`: an efference copy that the agent cannot quite trust.

    The world moves as before; only the observation errs. The noise follows from the sub-environment's seed, the
    episode and the step alone, so that row i seeded s is the same whatever the number of rows, and an observation that
    is given twice (a row that a masked reset leaves alone) is given with the same noise. Rows that no motion led to
    keep their zeros.

    Args:
        env: a vector environment of this package, not yet one with stacked frames.
        std: standard deviation, one number or one a component. Of a translation, in its own units (image units), the
            sum clipped to the space of motions. Of a rotation, in radians: of each component of a rotation vector n,
            and the observed rotation is motion * exp(n), a unit quaternion xyzw with w >= 0; colours come behind it, in
            turns.
    """

    def __init__(self, env: gym.vector.VectorEnv, std: float | Sequence[float] | np.ndarray) -> None:
        self._simulator = env.unwrapped.simulator  # pyright: ignore[reportAttributeAccessIssue]
        world = self._simulator.world
        self._space, self._kind = world.motion_space, world.motion_kind
        if _entries(env)["motion"].shape != self._space.shape:
            raise ValueError(
                f"expected motions of shape {self._space.shape}, got {_entries(env)['motion'].shape}: put MotionNoise "
                "inside the wrapper that stacks frames"
            )
        size = self._space.shape[0] - (self._kind != "translation")  # a rotation vector is one number shorter
        self._std = np.asarray(std, dtype=np.float64)
        if self._std.shape not in ((), (size,)) or not (np.isfinite(self._std).all() and (self._std >= 0).all()):
            raise ValueError(f"std must be one number or {size}, finite and at least 0, got {std}")
        self._size = size
        super().__init__(env, {})

    def changed(
        self, observation: dict[str, np.ndarray], rows: np.ndarray, steps: np.ndarray, *, ended: bool
    ) -> dict[str, np.ndarray]:
        """Return the observation with a noisy `motion`."""
        episodes = self._simulator.episodes[rows] - ended
        draws = EpisodeDraws(self._simulator.seeds[rows], episodes)
        noise = self._std * draws.normal(_DRAW_NOISE, self._size, steps)
        motion = observation["motion"].copy()
        moved = steps > 0
        if moved.any():
            motion[moved] = self._noisy(motion[moved], noise[moved])
        return {**observation, "motion": motion}

    def _noisy(self, motion: np.ndarray, noise: np.ndarray) -> np.ndarray:
        if self._kind == "translation":
            return (motion + noise).clip(self._space.low, self._space.high)
        from scipy.spatial.transform import Rotation

        from .rotations import canonical

        turned = canonical((Rotation.from_quat(motion[:, :4]) * Rotation.from_rotvec(noise[:, :3])).as_quat())
        return np.concatenate([turned, motion[:, 4:] + noise[:, 3:]], axis=1).clip(-1.0, 1.0)


class Grayscale(ObservationWrapper):
    """Turns RGB entries into gray ones: 0.299 R + 0.587 G + 0.114 B, rounded, as OpenCV's `cvtColor` has it.

    The axis of the channels stays: three become one. A glimpse of several scales, 3 k channels in groups of RGB,
    becomes one of k channels.

    Args:
        env: a vector environment of this package; frames may be stacked.
        keys: which entries, each (..., H, W, 3 k) uint8.
    """

    def __init__(self, env: gym.vector.VectorEnv, keys: Sequence[str] = ("glimpse",)) -> None:
        spaces = {}
        for key, space in _image_entries(env, keys).items():
            if space.shape[-1] % 3:
                raise ValueError(f"{key} has {space.shape[-1]} channels, which are no groups of red, green and blue")
            spaces[key] = gym.spaces.Box(0, 255, (*space.shape[:-1], space.shape[-1] // 3), np.uint8)
        super().__init__(env, spaces)
        self._keys = tuple(keys)

    def changed(
        self, observation: dict[str, np.ndarray], rows: np.ndarray, steps: np.ndarray, *, ended: bool
    ) -> dict[str, np.ndarray]:
        """Return the observation with gray entries."""
        import cv2

        gray = {}
        for key in self._keys:
            *lead, channels = observation[key].shape
            # One wide image of all there is: a call a batch, not a glimpse.
            image = observation[key].reshape(-1, lead[-1] * channels // 3, 3)
            gray[key] = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).reshape(*lead, channels // 3)
        return {**observation, **gray}


class NormalizeGlimpse(ObservationWrapper):
    """Scales glimpses to float32: (x / 255 - mean) / std, by default what the world model does to its views.

    Args:
        env: a vector environment of this package; frames may be stacked.
        mean: in [0, 1], one number or one a channel.
        std: above 0, one number or one a channel.
        keys: which entries, each (..., H, W, C) uint8.
    """

    def __init__(
        self,
        env: gym.vector.VectorEnv,
        mean: float | Sequence[float] = 0.5,
        std: float | Sequence[float] = 0.25,
        keys: Sequence[str] = ("glimpse",),
    ) -> None:
        means, stds = np.asarray(mean, dtype=np.float64), np.asarray(std, dtype=np.float64)
        if not (np.isfinite(means).all() and np.isfinite(stds).all() and (stds > 0).all()):
            raise ValueError(f"mean must be finite and std finite and above 0, got mean {mean} and std {std}")
        self._scale, self._shift = (1.0 / (255.0 * stds)).astype(np.float32), (means / stds).astype(np.float32)
        spaces = {}
        for key, space in _image_entries(env, keys).items():
            channels = space.shape[-1]
            if not {means.shape, stds.shape} <= {(), (channels,)}:
                raise ValueError(f"mean and std must be one number or {channels}, one a channel of {key}")
            low, high = (
                np.broadcast_to(self._normal(np.array([end], dtype=np.uint8)), space.shape) for end in (0, 255)
            )
            spaces[key] = gym.spaces.Box(low, high, space.shape, np.float32)
        super().__init__(env, spaces)
        self._keys = tuple(keys)

    def changed(
        self, observation: dict[str, np.ndarray], rows: np.ndarray, steps: np.ndarray, *, ended: bool
    ) -> dict[str, np.ndarray]:
        """Return the observation with normalised entries."""
        return {**observation, **{key: self._normal(observation[key]) for key in self._keys}}

    def _normal(self, pixels: np.ndarray) -> np.ndarray:
        normal = np.multiply(pixels, self._scale, dtype=np.float32)  # said, since NumPy 1 would make halves of bytes
        normal -= self._shift
        return normal


def _entries(env: gym.vector.VectorEnv) -> dict[str, gym.spaces.Box]:
    space = env.single_observation_space
    if not isinstance(space, gym.spaces.Dict):
        raise ValueError(f"expected observations of a Dict space, as this package's environments give, got {space}")
    return dict(space.spaces)  # pyright: ignore[reportReturnType]


def _image_entries(env: gym.vector.VectorEnv, keys: Sequence[str]) -> dict[str, gym.spaces.Box]:
    entries = _entries(env)
    for key in keys:
        if key not in entries:
            raise ValueError(f"no entry {key!r} in the observation; there are {sorted(entries)}")
        if entries[key].dtype != np.uint8 or len(entries[key].shape) < 3:
            raise ValueError(f"{key} must be (..., H, W, C) uint8, got {entries[key]}")
    return {key: entries[key] for key in keys}
