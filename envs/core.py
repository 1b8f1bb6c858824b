"""The batched core: World x Task, advanced for B sub-environments at once in NumPy."""

from __future__ import annotations

from typing import Any, NamedTuple, get_args

import numpy as np
from gymnasium import spaces

from .draws import EpisodeDraws, Rows
from .tasks.task import Task
from .world import MotionSignal, World

RENDER_MODES = ("human", "rgb_array")


class ResetOptions(NamedTuple):
    """What the user forces of the episodes that begin: see `Simulator.checked_options`."""

    variation: np.ndarray | None
    """Factors of variation, (B, F) float64, NaN where one is drawn; None forces none."""
    task: dict[str, np.ndarray]
    """Options of the task, each (n,) float64."""


class Simulator:
    """B sub-environments of one World x Task, advanced together; knows nothing of autoreset or time limits.

    Args:
        world: what there is to see.
        task: what counts.
        num_envs: B, at least 1.
        keep_history: keep each episode's glimpses and poses, which `frame` needs.
    """

    def __init__(self, world: World, task: Task, num_envs: int, *, keep_history: bool = False) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        self.world, self.task, self.num_envs = world, task, num_envs
        world.bind(num_envs)
        if world.variation is not None:
            world.variation.bind(num_envs)
        task.bind(num_envs, world)
        self.observation_space = spaces.Dict(
            {"glimpse": world.glimpse_space, "motion": world.motion_space, **task.observation_spaces(world)}
        )
        self._motion_size = world.action_space.shape[0]
        extra = task.extra_actions(world)
        self.action_space = world.action_space
        if extra:
            self.action_space = spaces.Box(-1.0, 1.0, (self._motion_size + extra,), np.float32)
        self.seeds = np.zeros(num_envs, dtype=np.uint64)
        self.episodes = np.full(num_envs, -1, dtype=np.int64)
        self.steps = np.zeros(num_envs, dtype=np.int64)
        self._motions = {
            name: np.zeros((num_envs, *(world.motion_space.shape or ())), dtype=np.float32)
            for name in get_args(MotionSignal)
        }
        self._history: list[tuple[list[np.ndarray], list[np.ndarray]]] | None = None
        if keep_history:
            self._history = [([], []) for _ in range(num_envs)]

    def seed(self, rows: Rows, seeds: np.ndarray) -> None:
        """Give `rows` new seeds; their next episode is number 0 of that seed."""
        self.seeds[rows] = seeds
        self.episodes[rows] = -1

    def begin(self, rows: Rows, forced: ResetOptions | None = None) -> dict[str, np.ndarray]:
        """Start the next episode of `rows` and return their first observation, each entry (n, ...).

        Args:
            rows: the sub-environments that start.
            forced: what `checked_options` returned for them; nothing is forced by default.
        """
        self.episodes[rows] += 1
        self.steps[rows] = 0
        draws = self._draws(rows)
        if self.world.variation is not None:
            self.world.variation.begin(rows, draws, None if forced is None else forced.variation)
        self.world.begin(rows, draws)
        self.task.begin(rows, draws, self.world, {} if forced is None else forced.task)
        for motions in self._motions.values():
            motions[rows] = 0.0
        return self._observe(rows, draws)

    def advance(self, rows: Rows, actions: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Carry out (n, A) actions; return the observation, (n,) float64 rewards and (n,) bool terminations."""
        actions = np.clip(actions, -1.0, 1.0)
        self.steps[rows] += 1
        draws = self._draws(rows)
        if self.world.variation is not None:
            self.world.variation.update(rows, draws, self.steps[rows])
        moves = self.task.impose(rows, actions[:, : self._motion_size], draws, self.steps[rows])
        self._motions["commanded"][rows] = self.world.commanded(moves)
        self._motions["realised"][rows] = self.world.move(rows, moves, draws, self.steps[rows])
        rewards, terminated = self.task.score(rows, actions, self.world)
        return self._observe(rows, draws), rewards, terminated

    def checked_options(self, options: dict[str, Any], rows: Rows) -> ResetOptions:
        """Return the reset options for `rows`, or say what is wrong with them; nothing is changed.

        Args:
            options: "variation" -> {factor: value}; and the task's: name -> value. A value is a number or (B,) numbers.
            rows: the sub-environments that are reset.

        Raises:
            ValueError: if a name is unknown, a shape is wrong, or a value is outside its range.
        """
        return ResetOptions(
            self._checked_variation(options.get("variation")),
            self._checked_task_options({name: value for name, value in options.items() if name != "variation"}, rows),
        )

    def _checked_variation(self, wanted: Any) -> np.ndarray | None:
        variation = self.world.variation
        if wanted is None:
            return None
        if variation is None:
            raise ValueError('this world has no factors of variation: leave options["variation"] out')
        return variation.checked_forced(wanted, self.num_envs)

    def _checked_task_options(self, options: dict[str, Any], rows: Rows) -> dict[str, np.ndarray]:
        ranges = self.task.option_ranges(self.world)
        unknown = sorted(set(options) - set(ranges))
        if unknown:
            known = [*ranges, *([] if self.world.variation is None else ["variation"])]
            raise ValueError(
                f"unknown reset options {unknown}; known are {known}, and reset_mask in vector environments"
            )
        checked = {}
        for name, value in options.items():
            low, high = ranges[name]
            try:
                array = np.asarray(value, dtype=np.float64)
            except (TypeError, ValueError):
                raise ValueError(
                    f'options["{name}"] must be a number or ({self.num_envs},) numbers, got {value!r}'
                ) from None
            if array.shape not in ((), (self.num_envs,)):
                raise ValueError(
                    f'options["{name}"] must be a number or of shape ({self.num_envs},), got shape {array.shape}'
                )
            array = np.broadcast_to(array, self.num_envs)[rows]
            if not ((array >= low) & (array <= high)).all():
                raise ValueError(f'options["{name}"] must be in [{low:g}, {high:g}], got {value}')
            checked[name] = array
        return checked

    def checked_actions(self, actions: Any) -> np.ndarray:
        """Return (B, A) float64 actions, or say what is wrong with them.

        Raises:
            ValueError: if the shape is not (B, A) or a value is not finite; the message names the sub-environment.
        """
        array = np.asarray(actions, dtype=np.float64)
        expected = (self.num_envs, *(self.action_space.shape or ()))
        if array.shape != expected:
            raise ValueError(f"expected actions of shape {expected}, got {array.shape}")
        finite = np.isfinite(array)
        if not finite.all():
            row = int(np.flatnonzero(~finite.all(axis=1))[0])
            raise ValueError(f"the action of sub-environment {row} is not finite: {array[row].tolist()}")
        return array

    def info(self) -> dict[str, Any]:
        """Return copies of what `info` tells of every row, each (B, ...); "variation" is a dict of such arrays."""
        motions = {f"motion_{name}": array for name, array in self._motions.items()}
        live = {**self.world.info(), **self.task.info(), **motions, "step_index": self.steps}
        info: dict[str, Any] = {key: value.copy() for key, value in live.items()}
        if self.world.variation is not None:
            info["variation"] = self.world.variation.info()
        return info

    def frame(self, row: int) -> np.ndarray:
        """Draw sub-environment `row`, with the task's panel if it has one; (H, W, 3) uint8."""
        if self._history is None:
            raise ValueError(f"nothing was kept to draw: make the environment with render_mode one of {RENDER_MODES}")
        if self.episodes[row] < 0:
            raise ValueError("nothing to draw yet: call reset() before render()")
        frame = self.world.frame(row, *self._history[row])
        panel = self.task.panel(row)
        if panel is None:
            return frame
        from .display import with_panel

        return with_panel(frame, *panel)

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of every array that the future depends on, by name."""
        live = self._live_state()
        return {name: array.copy() for name, array in live.items()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what `state` returned.

        Raises:
            ValueError: if a name or shape differs, as with another number of sub-environments or another world.
        """
        live = self._live_state()
        if set(live) != set(state):
            raise ValueError(f"expected the state entries {sorted(live)}, got {sorted(state)}")
        for name, array in live.items():
            if array.shape != state[name].shape:
                raise ValueError(f"expected {name} of shape {array.shape}, got {state[name].shape}")
            array[...] = state[name]

    def _live_state(self) -> dict[str, np.ndarray]:
        own = {"seeds": self.seeds, "episodes": self.episodes, "steps": self.steps}
        own |= {f"motion_{name}": array for name, array in self._motions.items()}
        world = {f"world.{name}": array for name, array in self.world.state().items()}
        if self.world.variation is not None:
            world |= {f"variation.{name}": array for name, array in self.world.variation.state().items()}
        task = {f"task.{name}": array for name, array in self.task.state().items()}
        return own | world | task

    def _draws(self, rows: Rows) -> EpisodeDraws:
        return EpisodeDraws(self.seeds[rows], self.episodes[rows])

    def _observe(self, rows: Rows, draws: EpisodeDraws) -> dict[str, np.ndarray]:
        motion = self._motions[self.world.motion_signal][rows].copy()
        glimpse = self.world.look(rows, draws, self.steps[rows])
        if self._history is not None:
            self._remember(rows, glimpse)
        return {"glimpse": glimpse, "motion": motion, **self.task.observe(rows)}

    def _remember(self, rows: Rows, glimpses: np.ndarray) -> None:
        assert self._history is not None
        for row, glimpse in zip(np.arange(self.num_envs)[rows], glimpses, strict=True):
            if self.steps[row] == 0:
                self._history[row] = ([], [])
            seen, poses = self._history[row]
            seen.append(glimpse.copy())
            poses.append(self.world.pose[row].copy())
