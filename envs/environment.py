"""The single and the vector environment over the batched core.

One implementation serves both: `GlimpseEnv` is the simulator with one row, `GlimpseVectorEnv` has B and adds autoreset
and time limits.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from .core import RENDER_MODES, Simulator
from .draws import ALL, Rows
from .settings import EPISODE_STEPS, check_whole
from .tasks.task import FreeViewing, Task
from .world import World


class GlimpseEnv(gym.Env[dict[str, np.ndarray], np.ndarray]):
    """A single environment: the simulator with one row.

    Args:
        world: what there is to see.
        task: what counts; free viewing by default.
        render_mode: None, "rgb_array" (frames from `render`) or "human" (a pygame window).
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 4}  # noqa: RUF012 - Gymnasium sets it on instances

    def __init__(self, world: World, task: Task | None = None, *, render_mode: str | None = None) -> None:
        self.render_mode = _checked_render_mode(render_mode)
        self.simulator = Simulator(world, task or FreeViewing(), 1, keep_history=render_mode is not None)
        self.observation_space = self.simulator.observation_space  # pyright: ignore[reportAttributeAccessIssue]
        self.action_space = self.simulator.action_space
        self._window = _Screen(self.metadata["render_fps"])

    @property
    def world(self) -> World:
        """What there is to see."""
        return self.simulator.world

    @property
    def task(self) -> Task:
        """What counts."""
        return self.simulator.task

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start an episode: number 0 of `seed`, or the next one of the seed in use.

        Args:
            seed: non-negative int; None goes on with the seed in use (drawn afresh at the first reset).
            options: `{"variation": {name: value}}` forces factors of variation for this episode, all its steps. The
                others are the task's, such as `{"goal_angle": 60}`.

        Returns:
            The observation, and the info: the pose, `label`, `index`, `motion_realised` and `motion_commanded` (both
            zeros now), `variation` (name -> value), and `step_index` (0 marks a glimpse that no motion led to).

        Raises:
            ValueError: if an option or factor is unknown, or a value out of range; nothing has changed then.
        """
        forced = self.simulator.checked_options(options or {}, ALL)
        super().reset(seed=seed)
        if seed is not None:
            self.simulator.seed(ALL, np.array([seed % 2**64], dtype=np.uint64))
        elif self.simulator.episodes[0] < 0:
            self.simulator.seed(ALL, self.np_random.integers(2**63, size=1).astype(np.uint64))
        observation = self.simulator.begin(ALL, forced)
        self._show()
        return _first(observation), _first(self.simulator.info())

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Carry out `action` (A,) in [-1, 1]; values beyond are clipped.

        Raises:
            ValueError: if the shape is wrong or a value is not finite.
            gymnasium.error.ResetNeeded: if `reset` was never called.
        """
        if self.simulator.episodes[0] < 0:
            raise gym.error.ResetNeeded("call reset() before step()")
        array = np.asarray(action, dtype=np.float64)
        if array.shape != self.action_space.shape:
            raise ValueError(f"expected an action of shape {self.action_space.shape}, got {array.shape}")
        observation, reward, terminated = self.simulator.advance(ALL, self.simulator.checked_actions(array[None]))
        self._show()
        return _first(observation), float(reward[0]), bool(terminated[0]), False, _first(self.simulator.info())

    def render(self) -> np.ndarray | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the frame, (H, W, 3) uint8, in mode "rgb_array"; show it in mode "human"."""
        if self.render_mode is None:
            gym.logger.warn('render() needs a render_mode: gym.make(..., render_mode="rgb_array")')
            return None
        if self.render_mode == "human":
            self._show()
            return None
        return self.simulator.frame(0)

    @property
    def window_closed(self) -> bool:
        """Whether the user has closed the window of mode "human"; the environment goes on without one."""
        return self._window.closed

    def close(self) -> None:
        """Close the window, if one was opened."""
        self._window.close()

    def _show(self) -> None:
        if self.render_mode == "human":
            self._window.show(self.simulator.frame(0), f"{type(self).__name__}")


class GlimpseVectorEnv(gym.vector.VectorEnv[dict[str, np.ndarray], np.ndarray, np.ndarray]):
    """B environments in one batch: sub-environment i seeded s equals the single environment seeded s + i, bit for bit.

    Args:
        world: what there is to see.
        task: what counts; free viewing by default.
        num_envs: B.
        max_episode_steps: steps after which an episode is truncated; None or -1 for never.
        autoreset_mode: a `gymnasium.vector.AutoresetMode` or its value ("NextStep", "SameStep", "Disabled"). In mode
            Disabled, call `reset(options={"reset_mask": mask})` with a (B,) bool array that names the rows to reset.
        render_mode: None, "rgb_array" (`render` returns a tuple of B frames) or "human" (a window with up to four).

    `info` has an array (B, ...) and a mask `_key` for every key; `info["variation"]` is a dict of such.
    `info["step_index"] == 0` marks rows whose glimpse came from a reset: no motion led to them, so they are no
    transition.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 4}  # noqa: RUF012 - Gymnasium sets it on instances

    def __init__(
        self,
        world: World,
        task: Task | None = None,
        *,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
    ) -> None:
        if max_episode_steps == -1:  # Gymnasium's word for no limit
            max_episode_steps = None
        if max_episode_steps is not None:
            check_whole("max_episode_steps, unless -1 for no limit,", max_episode_steps, low=1)
        self.render_mode = _checked_render_mode(render_mode)
        self.autoreset_mode = _checked_autoreset_mode(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.max_episode_steps = max_episode_steps
        self.num_envs = num_envs
        self.simulator = Simulator(world, task or FreeViewing(), num_envs, keep_history=render_mode is not None)
        if max_episode_steps is not None:
            self.task.check_length(max_episode_steps)
        self.single_observation_space = self.simulator.observation_space
        self.single_action_space = self.simulator.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._done = np.ones(num_envs, dtype=bool)
        self._started = False
        self._observation: dict[str, np.ndarray] = {}
        self._window = _Screen(self.metadata["render_fps"])

    @property
    def world(self) -> World:
        """What there is to see."""
        return self.simulator.world

    @property
    def task(self) -> Task:
        """What counts."""
        return self.simulator.task

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start an episode in every sub-environment, or in those of `options["reset_mask"]`.

        Args:
            seed: s gives sub-environment i the seed s + i; a list gives each its own (None: goes on); None goes
                on with the seeds in use (drawn afresh at the first reset).
            options: `{"reset_mask": (B,) bool array}` resets only those rows; `{"variation": {name: value}}` forces
                factors of variation for the episodes that begin (autoreset then draws again). The others are the
                task's, such as `{"goal_angle": 60}`. A value is a number or (B,) numbers, one for each row.

        Returns:
            The observation and the info of all rows; the masks `_key` say which were reset.

        Raises:
            ValueError: if an option or factor is unknown, a value out of range or the mask no mask; nothing has changed
                then.
        """
        seeds = _checked_seeds(seed, self.num_envs)
        options = dict(options or {})
        mask = _checked_mask(options.pop("reset_mask", None), self.num_envs)
        if not self._started and not mask.all():
            raise ValueError("the first reset must start every sub-environment: leave reset_mask out")
        rows = ALL if mask.all() else np.flatnonzero(mask)
        forced = self.simulator.checked_options(options, rows)
        super().reset(seed=seeds[0])
        self._seed(seeds, mask)
        self._started = True
        self._observation = {key: value.copy() for key, value in self._observation.items()}
        self._merge(rows, self.simulator.begin(rows, forced))
        self._done[rows] = False
        self._show()
        return dict(self._observation), _with_masks(self.simulator.info(), mask)

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Carry out (B, A) actions in [-1, 1]; values beyond are clipped.

        Returns:
            Observation, rewards (B,) float64, terminated and truncated (B,) bool, and info. In mode SameStep the last
            observation of an ended episode is in `info["final_obs"]` (object array of dicts), its info in
            `info["final_info"]`. In mode NextStep the action of a row that ended before is ignored: the row is reset.

        Raises:
            ValueError: if the shape is wrong, a value is not finite, or (mode Disabled) a row has ended.
            gymnasium.error.ResetNeeded: if `reset` was never called.
        """
        if not self._started:
            raise gym.error.ResetNeeded("call reset() before step()")
        array = self.simulator.checked_actions(actions)
        rewards = np.zeros(self.num_envs)
        terminated = np.zeros(self.num_envs, dtype=bool)
        fresh = np.flatnonzero(self._done)
        if self.autoreset_mode == AutoresetMode.DISABLED and len(fresh):
            raise ValueError(
                f"the episodes of sub-environments {fresh.tolist()} have ended: reset them with "
                'reset(options={"reset_mask": mask}) before the next step'
            )
        rows: Rows = np.flatnonzero(~self._done) if len(fresh) else ALL
        if len(fresh):  # arrays handed out before are the caller's: fill new ones
            self._observation = {key: np.empty_like(value) for key, value in self._observation.items()}
        if len(fresh) < self.num_envs:
            observation, rewards[rows], terminated[rows] = self.simulator.advance(rows, array[rows])
            self._merge(rows, observation)
        if len(fresh):
            self._merge(fresh, self.simulator.begin(fresh))
        truncated = np.zeros(self.num_envs, dtype=bool)
        if self.max_episode_steps is not None:
            truncated = self.simulator.steps >= self.max_episode_steps
        self._done = terminated | truncated
        final = self._restart_ended() if self.autoreset_mode == AutoresetMode.SAME_STEP and self._done.any() else {}
        self._show()
        info = _with_masks(self.simulator.info(), np.ones(self.num_envs, dtype=bool))
        return dict(self._observation), rewards, terminated, truncated, info | final

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Return a tuple of B frames, each (H, W, 3) uint8, in mode "rgb_array"; show them in mode "human"."""
        if self.render_mode is None:
            gym.logger.warn('render() needs a render_mode: gym.make_vec(..., render_mode="rgb_array")')
            return None
        if self.render_mode == "human":
            self._show()
            return None
        return tuple(self.simulator.frame(row) for row in range(self.num_envs))

    def close_extras(self, **kwargs: Any) -> None:
        """Close the window, if one was opened."""
        self._window.close()

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of every array that the future of the environment depends on, by name."""
        if not self._started:
            raise gym.error.ResetNeeded("call reset() before state()")
        observation = {f"observation.{key}": value.copy() for key, value in self._observation.items()}
        return self.simulator.state() | observation | {"done": self._done.copy()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what `state` returned, in an environment made with the same arguments."""
        prefix = "observation."
        self._observation = {k.removeprefix(prefix): v.copy() for k, v in state.items() if k.startswith(prefix)}
        self._done = state["done"].copy()
        rest = {k: v for k, v in state.items() if not k.startswith(prefix) and k != "done"}
        self.simulator.set_state(rest)
        self._started = True

    def observation(self) -> dict[str, np.ndarray]:
        """Return the latest observation, as after `set_state`."""
        return dict(self._observation)

    def info(self) -> dict[str, Any]:
        """Return the latest info, as after `set_state`."""
        return _with_masks(self.simulator.info(), np.ones(self.num_envs, dtype=bool))

    def _seed(self, seeds: list[int | None], mask: np.ndarray) -> None:
        for row in np.flatnonzero(mask):
            value = seeds[row]
            if value is None and self.simulator.episodes[row] < 0:
                value = int(self.np_random.integers(2**63))
            if value is not None:
                self.simulator.seed(np.array([row]), np.array([value % 2**64], dtype=np.uint64))

    def _restart_ended(self) -> dict[str, Any]:
        """Reset the rows that ended in this step and return the final observations and infos."""
        ended = np.flatnonzero(self._done)
        final_obs = np.full(self.num_envs, None, dtype=object)
        for row in ended:
            final_obs[row] = {key: value[row].copy() for key, value in self._observation.items()}
        final = {
            "final_obs": final_obs,
            "_final_obs": self._done.copy(),
            "final_info": _with_masks(self.simulator.info(), self._done),
            "_final_info": self._done.copy(),
        }
        self._merge(ended, self.simulator.begin(ended))
        self._done = np.zeros(self.num_envs, dtype=bool)
        return final

    def _merge(self, rows: Rows, observation: dict[str, np.ndarray]) -> None:
        if isinstance(rows, slice):
            self._observation = observation
        else:
            for key, value in observation.items():
                self._observation[key][rows] = value

    def _show(self) -> None:
        if self.render_mode == "human":
            from .display import grid

            frames = [self.simulator.frame(row) for row in range(min(self.num_envs, 4))]
            self._window.show(grid(frames), f"{type(self).__name__}")


class ComposedEnv(GlimpseEnv):
    """A single environment whose World x Task a function composes: a subclass names it and is its page.

    Args:
        arguments, options: of `compose`.
        render_mode: None, "rgb_array" or "human".
    """

    compose: Callable[..., tuple[World, Task]]

    def __init__(self, *arguments: Any, render_mode: str | None = None, **options: Any) -> None:
        super().__init__(*self.compose(*arguments, **options), render_mode=render_mode)


class ComposedVectorEnv(GlimpseVectorEnv):
    """The same, batched.

    Args:
        arguments, options: of `compose`.
        num_envs, autoreset_mode, render_mode: as in `GlimpseVectorEnv`.
        max_episode_steps: steps after which an episode is truncated; None for those of its id, 16, as `gym.make` has
            it, and -1 for never.
    """

    compose: Callable[..., tuple[World, Task]]

    def __init__(
        self,
        *arguments: Any,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            *self.compose(*arguments, **options),
            num_envs=num_envs,
            max_episode_steps=EPISODE_STEPS if max_episode_steps is None else max_episode_steps,
            autoreset_mode=autoreset_mode,
            render_mode=render_mode,
        )


def free_viewing(world: Callable[..., World]) -> Callable[..., tuple[World, Task]]:
    """Return what composes a world, made with all arguments, and no task."""

    def compose(*arguments: Any, **options: Any) -> tuple[World, Task]:
        return world(*arguments, **options), FreeViewing()

    return compose


class _Screen:
    """A window that is opened when the first frame is shown; survives pickling as one not yet opened."""

    def __init__(self, fps: int) -> None:
        self._fps = fps
        self._window: Any = None

    def show(self, frame: np.ndarray, title: str) -> None:
        if self._window is None:
            from .window import Window

            self._window = Window(title)
        self._window.show(frame, self._fps)

    @property
    def closed(self) -> bool:
        return self._window is not None and self._window.closed

    def close(self) -> None:
        if self._window is not None:
            self._window.close()
            self._window = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_fps": self._fps, "_window": None}


def _first(batch: dict[str, Any]) -> dict[str, Any]:
    """Return row 0 of every entry, also of dicts within: arrays as arrays, scalars as NumPy scalars."""
    return {key: _first(value) if isinstance(value, dict) else value[0] for key, value in batch.items()}


def _with_masks(info: dict[str, Any], mask: np.ndarray) -> dict[str, Any]:
    """Add Gymnasium's `_key` masks, also to dicts within; rows outside the mask keep their true values."""
    masked = dict(info)
    for key, value in info.items():
        masked[f"_{key}"] = mask.copy()
        if isinstance(value, dict):
            masked[key] = _with_masks(value, mask)
    return masked


def _checked_seeds(seed: Any, num_envs: int) -> list[int | None]:
    """Return one seed or None for each sub-environment."""
    if seed is None:
        return [None] * num_envs
    if isinstance(seed, (list, tuple, np.ndarray)):
        if len(seed) != num_envs:
            raise ValueError(f"expected one seed for each of {num_envs} sub-environments, got {len(seed)}")
        return [None if s is None else _checked_seed(s) for s in seed]
    return [_checked_seed(seed) + row for row in range(num_envs)]


def _checked_seed(seed: Any) -> int:
    try:
        value = operator.index(seed)
    except TypeError:
        raise ValueError(f"a seed must be a whole number, got {seed!r}") from None
    if value < 0:
        raise ValueError(f"a seed must not be negative, got {value}")
    return value


def _checked_render_mode(render_mode: str | None) -> str | None:
    if render_mode is not None and render_mode not in RENDER_MODES:
        raise ValueError(f"render_mode must be None or one of {RENDER_MODES}, got {render_mode!r}")
    return render_mode


def _checked_autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    try:
        return AutoresetMode(mode)
    except ValueError:
        raise ValueError(f"autoreset_mode must be one of {[m.value for m in AutoresetMode]}, got {mode!r}") from None


def _checked_mask(mask: Any, num_envs: int) -> np.ndarray:
    if mask is None:
        return np.ones(num_envs, dtype=bool)
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (num_envs,):
        got = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise ValueError(f'options["reset_mask"] must be a bool array of shape ({num_envs},), got {got}')
    if not mask.any():
        raise ValueError('options["reset_mask"] names no sub-environment: at least one entry must be True')
    return mask
