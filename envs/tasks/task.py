"""What counts: the seam of the tasks, and what those with a goal share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal, get_args

import numpy as np
from gymnasium import spaces

from ..draws import EpisodeDraws, Rows
from ..settings import check_number
from ..world import MotionKind, World

Reward = Literal["sparse", "dense"]
Ends = Literal["success", "time"]
DRAW_GOAL, DRAW_GOAL_VIEW, DRAW_IMPOSED = 101, 102, 103
"""Purposes of the tasks' draws, apart from the worlds'."""

IMAGE_DIAGONAL = 2 * np.sqrt(2)
"""The largest distance between two gaze positions, image units."""


class Task(ABC):
    """What counts: goal entries of the observation, reward and termination; batched like `World`."""

    imposed: int = 0
    """Motions at the beginning of an episode that are not the agent's: see `impose`."""

    @abstractmethod
    def bind(self, num_envs: int, world: World) -> None:
        """Allocate the state of `num_envs` rows, after the world has."""

    @abstractmethod
    def begin(self, rows: Rows, draws: EpisodeDraws, world: World, options: dict[str, np.ndarray]) -> None:
        """Start a new episode in `rows`, after the world has.

        Args:
            rows: the sub-environments that start.
            draws: their draws.
            world: what there is to see.
            options: forced values, those of `option_ranges` that the user gave, each (n,) float64 and in its range.
        """

    @abstractmethod
    def score(self, rows: Rows, actions: np.ndarray, world: World) -> tuple[np.ndarray, np.ndarray]:
        """Return (n,) float64 rewards and (n,) bool terminations, after the world has moved.

        Args:
            rows: the sub-environments that moved.
            actions: (n, A + E), the agent's clipped actions: the world's A components, then this task's E.
            world: what there is to see.
        """

    @abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """Return the live per-row arrays (B, ...), by name. They are the whole state of the task."""

    def observation_spaces(self, world: World) -> dict[str, spaces.Space[Any]]:
        """Return the entries that the task adds to the observation, each of one sub-environment; none by default."""
        return {}

    def observe(self, rows: Rows) -> dict[str, np.ndarray]:
        """Return the entries named in `observation_spaces` for `rows`, each (n, ...), in arrays of their own."""
        return {}

    def extra_actions(self, world: World) -> int:
        """Return E, how many action components in [-1, 1] the task adds after the world's; none by default."""
        return 0

    def impose(self, rows: Rows, actions: np.ndarray, draws: EpisodeDraws, steps: np.ndarray) -> np.ndarray:
        """Return the (n, A) actions that the world carries out: the agent's own by default.

        Args:
            rows: the sub-environments that move.
            actions: (n, A) in [-1, 1], the agent's.
            draws: their draws.
            steps: (n,) int64, 1 for the first motion of an episode.
        """
        return actions

    def check_length(self, steps: int) -> None:
        """Raise ValueError unless an episode of so many steps has motions of the agent's own."""
        if steps <= self.imposed:
            raise ValueError(
                f"expected max_episode_steps above imposed, {self.imposed}, so that the agent has motions of its own, "
                f"got {steps}: raise it, or lower imposed"
            )

    def option_ranges(self, world: World) -> dict[str, tuple[float, float]]:
        """Return the reset options the task takes, each a number in a closed range; none by default."""
        return {}

    def info(self) -> dict[str, np.ndarray]:
        """Return what the task tells in `info`, by name: live (B, ...) arrays; nothing by default."""
        return {}

    def panel(self, row: int) -> tuple[str, np.ndarray | str] | None:
        """Return what a frame shows of the task: a title with a picture (h, w, C) uint8 or a word; None for nothing."""
        return None

    def oracle_actions(self, world: World) -> np.ndarray:
        """Return the (B, A + E) float64 actions of an agent that knows everything.

        Raises:
            ValueError: if there is nothing to solve.
        """
        raise ValueError(f"{type(self).__name__} has no goal, so nothing an oracle could do: choose another agent")


class FreeViewing(Task):
    """Nothing counts: reward 0, no termination, no goal. For exploring, recording and learning a world model."""

    def bind(self, num_envs: int, world: World) -> None:
        """Keep nothing."""

    def begin(self, rows: Rows, draws: EpisodeDraws, world: World, options: dict[str, np.ndarray]) -> None:
        """Keep nothing."""

    def score(self, rows: Rows, actions: np.ndarray, world: World) -> tuple[np.ndarray, np.ndarray]:
        """Return zeros and False."""
        return np.zeros(len(actions)), np.zeros(len(actions), dtype=bool)

    def state(self) -> dict[str, np.ndarray]:
        """Return no arrays."""
        return {}


class GoalTask(Task):
    """A task with a distance to its goal: success is to be within a tolerance of it, and ends the episode or does not.

    The reward of a motion is, with c = `step_cost`:

    - "sparse": 1 at success, 0 otherwise, minus c; in [-c, 1 - c].
    - "dense": the decrease of distance / scale, minus c; in [-1 - c, 1 - c]. It is potential-based (Ng, Harada and
      Russell, 1999): over an episode the decreases add up to the way made good.

    Args:
        tolerance: success is a distance of at most this.
        scale: the largest distance there is.
        reward: "sparse" or "dense".
        step_cost: c, in [0, 1].
        ends: "success": an episode terminates with its first success. "time": success does not end it, so that what
            counts can be where it ends; the sparse reward is then given for every motion that ends in success.
    """

    def __init__(
        self, *, tolerance: float, scale: float, reward: Reward, step_cost: float, ends: Ends = "success"
    ) -> None:
        if reward not in get_args(Reward):
            raise ValueError(f"reward must be one of {get_args(Reward)}, got {reward!r}")
        check_number("the success radius", tolerance, low=0)
        check_number("step_cost", step_cost, low=0, high=1)
        if ends not in get_args(Ends):
            raise ValueError(f"ends must be one of {get_args(Ends)}, got {ends!r}")
        self.tolerance, self.scale, self.reward, self.step_cost = tolerance, scale, reward, step_cost
        self.ends: Ends = ends

    @abstractmethod
    def distances(self, rows: Rows, world: World) -> np.ndarray:
        """Return how far `rows` are from their goals, (n,) float64."""

    def counted(self, rows: Rows) -> np.ndarray:
        """Return (n,) or () bool: whose motion was the agent's own. The others are neither rewarded nor a success."""
        return np.array(True)

    def bind(self, num_envs: int, world: World) -> None:
        """Allocate distance and success."""
        self._distance = np.zeros(num_envs)
        self._success = np.zeros(num_envs, dtype=bool)

    def begin(self, rows: Rows, draws: EpisodeDraws, world: World, options: dict[str, np.ndarray]) -> None:
        """Measure the first distance; a subclass sets its goals before."""
        self._distance[rows] = self.distances(rows, world)
        self._success[rows] = False

    def score(self, rows: Rows, actions: np.ndarray, world: World) -> tuple[np.ndarray, np.ndarray]:
        """Return the rewards, and as termination success, unless `ends` is "time"."""
        counted = self.counted(rows)
        after = self.distances(rows, world)
        success = (after <= self.tolerance) & counted
        gain = (self._distance[rows] - after) / self.scale if self.reward == "dense" else success
        self._distance[rows], self._success[rows] = after, success
        terminated = success if self.ends == "success" else np.zeros_like(success)
        return np.where(counted, gain - self.step_cost, 0.0), terminated

    def state(self) -> dict[str, np.ndarray]:
        """Return the live arrays `distance` and `success`."""
        return {"distance": self._distance, "success": self._success}

    def info(self) -> dict[str, np.ndarray]:
        """Return `distance` (B,) float64 and `success` (B,) bool, of the last motion; False after a reset."""
        return {"distance": self._distance, "success": self._success}


class PoseGoalTask(GoalTask):
    """A goal that is a pose; its distance is `pose_distance`."""

    @abstractmethod
    def goals(self, rows: Rows, draws: EpisodeDraws, world: World, options: dict[str, np.ndarray]) -> np.ndarray:
        """Return the goals of an episode that starts, (n, P)."""

    def bind(self, num_envs: int, world: World) -> None:
        """Allocate the goals too."""
        super().bind(num_envs, world)
        self._goal = np.zeros_like(world.pose)

    def begin(self, rows: Rows, draws: EpisodeDraws, world: World, options: dict[str, np.ndarray]) -> None:
        """Set the goals and measure the first distance."""
        self._goal[rows] = self.goals(rows, draws, world, options)
        super().begin(rows, draws, world, options)

    def distances(self, rows: Rows, world: World) -> np.ndarray:
        """Return the distances between poses and goals."""
        return pose_distance(world.motion_kind, world.pose[rows], self._goal[rows])

    def state(self) -> dict[str, np.ndarray]:
        """Return the live arrays, with `goal`."""
        return super().state() | {"goal": self._goal}

    def oracle_actions(self, world: World) -> np.ndarray:
        """Return the straight way to the goal."""
        return world.actions_towards(self._goal)


def pose_distance(kind: MotionKind, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return (n,) distances between poses: image units between positions (n, 2), degrees between quaternions (n, 4).

    A zoom, the third number of a position with one, does not count.
    Degrees are geodesic: the angle of the rotation that takes one orientation to the other, in [0, 180].
    """
    if kind == "translation":
        return np.linalg.norm((a - b)[:, :2], axis=1)
    b = np.where((a * b).sum(axis=1, keepdims=True) < 0, -b, b)
    return np.degrees(4 * np.arctan2(np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1)))


def pose_scale(kind: MotionKind) -> float:
    """Return the largest `pose_distance`: the image's diagonal in image units, or 180 degrees."""
    return IMAGE_DIAGONAL if kind == "translation" else 180.0
