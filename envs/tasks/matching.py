"""Matching: bring gaze or object to where a goal view was taken, drawn at a stated distance from the start."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from gymnasium import spaces
from scipy.spatial.transform import Rotation

from ..draws import EpisodeDraws, Rows
from ..environment import ComposedEnv, ComposedVectorEnv
from ..imagery.image_set import ImageSet
from ..object_rotation import ObjectRotationWorld, RotationRange
from ..rotations import canonical, reachable_share
from ..saccade import SaccadeWorld
from ..settings import is_numbers
from ..world import World
from .task import DRAW_GOAL, DRAW_GOAL_VIEW, Ends, PoseGoalTask, Reward, Task, pose_scale


class Matching(PoseGoalTask):
    """A goal pose, shown as a view of it; a subclass says which poses are a given distance from the start.

    Args:
        goal_range: (low, high), closed; an episode's goal is at a distance uniform in it.
        option: name of the reset option that forces the distance.
        furthest: the largest distance at which every start has a goal.
        tolerance, scale, reward, step_cost, ends: see `GoalTask`.
    """

    def __init__(
        self,
        goal_range: tuple[float, float],
        *,
        option: str,
        furthest: float,
        tolerance: float,
        scale: float,
        reward: Reward,
        step_cost: float,
        ends: Ends = "success",
    ) -> None:
        super().__init__(tolerance=tolerance, scale=scale, reward=reward, step_cost=step_cost, ends=ends)
        if tolerance >= furthest:
            raise ValueError(f"the success radius must be in [0, {furthest:g}), got {tolerance}")
        if not (
            is_numbers(goal_range) and len(goal_range) == 2 and tolerance <= goal_range[0] <= goal_range[1] <= furthest
        ):
            raise ValueError(
                f"{option} must be a pair low <= high in [{tolerance:g}, {furthest:g}], that is, beyond success and "
                f"within what can be reached, got {goal_range}"
            )
        self.low, self.high = float(goal_range[0]), float(goal_range[1])
        self.option, self.furthest = option, furthest

    @abstractmethod
    def goals_at(self, starts: np.ndarray, distances: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Return poses (n, P) at (n,) `distances` from (n, P) `starts`, in a direction from (n, 3) uniforms in [0, 1).

        Directions are uniform over those in which there is such a pose.
        """

    def bind(self, num_envs: int, world: World) -> None:
        """Allocate the goal views too."""
        super().bind(num_envs, world)
        self._goal_view = np.zeros((num_envs, *(world.glimpse_space.shape or ())), dtype=np.uint8)

    def observation_spaces(self, world: World) -> dict[str, spaces.Space[Any]]:
        """Return the goal view."""
        return {"goal": world.glimpse_space}

    def option_ranges(self, world: World) -> dict[str, tuple[float, float]]:
        """Return the option that forces the goal's distance."""
        return {self.option: (self.tolerance, self.furthest)}

    def goals(self, rows: Rows, draws: EpisodeDraws, world: World, options: dict[str, np.ndarray]) -> np.ndarray:
        """Draw a distance, unless it is forced, and a goal at that distance."""
        uniform = draws.uniform(DRAW_GOAL, 4)
        distances = options.get(self.option, self.low + (self.high - self.low) * uniform[:, 3])
        return self.goals_at(world.pose[rows], distances, uniform[:, :3])

    def begin(self, rows: Rows, draws: EpisodeDraws, world: World, options: dict[str, np.ndarray]) -> None:
        """Set the goals and see what they look like."""
        super().begin(rows, draws, world, options)
        uniform = draws.uniform(DRAW_GOAL_VIEW, world.view_randomness)
        self._goal_view[rows] = world.another_view(rows, self._goal[rows], uniform)

    def observe(self, rows: Rows) -> dict[str, np.ndarray]:
        """Return the goal view."""
        return {"goal": self._goal_view[rows].copy()}

    def state(self) -> dict[str, np.ndarray]:
        """Return the live arrays, with `goal_view`."""
        return super().state() | {"goal_view": self._goal_view}

    def panel(self, row: int) -> tuple[str, np.ndarray]:
        """Show the goal view."""
        return "Goal", self._goal_view[row]


_AXES = 256
"""Axes of which a goal within "3diebench" has one: so many that for any start some turns of 120 degrees stay inside."""


class Reorient(Matching):
    """Goals a given angle away, about an axis uniform over the sphere; see `ObjectReorientEnv`.

    Args:
        goal_range, options: see `Matching`.
        bounded: Goals are such that the straight way there stays in the range of "3diebench".
    """

    def __init__(self, goal_range: tuple[float, float], *, bounded: bool = False, **options: Any) -> None:
        super().__init__(goal_range, furthest=120.0 if bounded else 180.0, **options)
        self.bounded = bounded

    def goals_at(self, starts: np.ndarray, distances: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Turn (n, 4) orientations by (n,) degrees."""
        angles = np.radians(distances)[:, None]
        if self.bounded:
            axes = _axes_within(starts, angles, uniform)
        else:
            axes = _on_the_sphere(2 * uniform[:, 0] - 1, 2 * np.pi * uniform[:, 1])
        turns = Rotation.from_rotvec(axes * angles)
        return canonical((Rotation.from_quat(starts) * turns).as_quat())


def _axes_within(starts: np.ndarray, angles: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Return axes (n, 3) about which (n, 4) orientations can turn by (n, 1) radians and stay in range all the way.

    Each is drawn evenly from those of a Fibonacci lattice, spun at random, that do; should none, the best is taken.
    """
    number = np.arange(_AXES) + 0.5
    spun = np.pi * (1 + np.sqrt(5)) * number + 2 * np.pi * uniform[:, 1:2]  # (n, axes)
    axes = _on_the_sphere(np.broadcast_to(1 - 2 * number / _AXES, spun.shape), spun)  # (n, axes, 3)
    matrices = np.repeat(Rotation.from_quat(starts).as_matrix(), _AXES, axis=0)
    share = reachable_share(matrices, (axes * angles[..., None]).reshape(-1, 3)).reshape(spun.shape)
    fits = share >= np.minimum(share.max(axis=1, keepdims=True), 1.0)
    chosen = (uniform[:, 0] * fits.sum(axis=1)).astype(np.int64)
    which = (fits.cumsum(axis=1) <= chosen[:, None]).sum(axis=1)
    return axes[np.arange(len(axes)), which]


def _on_the_sphere(z: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Return unit vectors (..., 3) at heights `z` in [-1, 1] and azimuths `around`, radians."""
    ring = np.sqrt(1 - z**2)
    return np.stack([ring * np.cos(around), ring * np.sin(around), z], axis=-1)


class Reach(Matching):
    """Goals a given way off within the reach of the gaze; see `SaccadeReachEnv`.

    Args:
        reach: the gaze's limit, image units.
        goal_range, options: see `Matching`.
    """

    def __init__(self, goal_range: tuple[float, float], *, reach: float, **options: Any) -> None:
        super().__init__(goal_range, furthest=np.sqrt(2) * reach, **options)
        self.reach = reach

    def goals_at(self, starts: np.ndarray, distances: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Go (n,) image units from (n, 2) positions, or (n, 3) with their zoom, in a direction that ends within reach.

        Quadrant by quadrant: with room (a, b) to the borders, d (cos t, sin t) is within reach for t between
        acos(a / d) and asin(b / d).
        """
        signs = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
        starts, zooms = starts[:, :2], starts[:, 2:]
        room = self.reach - signs * starts[:, None, :]  # (n, 4, 2)
        share = (room / np.maximum(distances, 1e-12)[:, None, None]).clip(0.0, 1.0)
        low, high = np.arccos(share[..., 0]), np.arcsin(share[..., 1])
        width = np.maximum(high - low, 0.0)
        width[np.arange(len(width)), (high - low).argmax(axis=1)] += 1e-12  # of a single direction, take that
        ends = width.cumsum(axis=1)
        along = uniform[:, 0] * ends[:, -1]
        quadrant = (ends <= along[:, None]).sum(axis=1)
        rows = np.arange(len(quadrant))
        angle = low[rows, quadrant] + along - (ends - width)[rows, quadrant]
        direction = signs[quadrant] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        ends = (starts + distances[:, None] * direction).clip(-self.reach, self.reach)
        return np.concatenate([ends, zooms], axis=1)


def compose_reorientation(
    objects: str = "families",
    *,
    goal_angle: tuple[float, float] = (30.0, 120.0),
    success_angle: float = 15.0,
    reward: Reward = "sparse",
    step_cost: float = 0.05,
    ends: Ends = "success",
    rotation: RotationRange | None = None,
    **world: Any,
) -> tuple[World, Task]:
    """Return the world and the task of `ObjectReorientEnv`.

    Raises:
        ValueError: if the object turns within "ood".
    """
    if rotation not in (None, "free", "3diebench"):
        raise ValueError(f'rotation must be "free" or "3diebench" for reorientation, got {rotation!r}')
    rotations = ObjectRotationWorld(objects, rotation=rotation or "free", **world)
    task = Reorient(
        goal_angle,
        bounded=rotation == "3diebench",
        option="goal_angle",
        tolerance=success_angle,
        scale=pose_scale("rotation"),
        reward=reward,
        step_cost=step_cost,
        ends=ends,
    )
    return rotations, task


def compose_reaching(
    images: str | ImageSet = "scenes",
    *,
    goal_distance: tuple[float, float] = (0.2, 0.7),
    success_radius: float = 0.1,
    reward: Reward = "sparse",
    step_cost: float = 0.05,
    ends: Ends = "success",
    **world: Any,
) -> tuple[World, Task]:
    """Return the world and the task of `SaccadeReachEnv`."""
    saccades = SaccadeWorld(images, **world)
    task = Reach(
        goal_distance,
        reach=saccades.reach,
        option="goal_distance",
        tolerance=success_radius,
        scale=pose_scale("translation"),
        reward=reward,
        step_cost=step_cost,
        ends=ends,
    )
    return saccades, task


class ObjectReorientEnv(ComposedEnv):
    """Turn an object until it looks as in a goal view.

    ## Description
    `GlimpseWorld/ObjectRotation-v0` with a goal: a view of the same object in another orientation, a stated angle from
    the first. The angle is the difficulty of an episode, as a number.

    ## Observation space
    `Dict`: `glimpse` and `motion` as in `GlimpseWorld/ObjectRotation-v0`; `goal` uint8, in the space of `glimpse`, the
    view to match, under light drawn for itself.

    ## Action space
    `Box(-1, 1, (3,), float32)`: the rotation, as in `GlimpseWorld/ObjectRotation-v0`.

    ## Rewards
    With c = `step_cost`, for every rotation:
    - `reward="sparse"`: 1 if it ends within `success_angle` of the goal, else 0, minus c; in [-c, 1 - c].
    - `reward="dense"`: how much nearer it came to the goal, geodesic, in half turns, minus c; in [-1 - c, 1 - c].

    ## Starting state
    As in `GlimpseWorld/ObjectRotation-v0`. The goal is turned from the start by an angle uniform in `goal_angle` about
    an axis uniform over the sphere; with `rotation="3diebench"` over those axes about which the whole turn stays in
    that range. `reset(options={"goal_angle": a})` forces the angle, in [`success_angle`, 180] degrees (120 within
    "3diebench"); in a vector environment a number or (B,) numbers.

    ## Episode end
    Terminates when a rotation ends within `success_angle` of the goal, geodesic; truncated after 16 steps
    (`max_episode_steps`). With `ends="time"` it is truncated only: what counts is then where it ends.

    ## Info
    As in `GlimpseWorld/ObjectRotation-v0`; `distance` to the goal, degrees, geodesic; `success`, whether this step
    ended within `success_angle` of it.

    ## Arguments
    - `goal_angle`: (low, high) degrees, within [`success_angle`, 180], or 120 within "3diebench" ((30, 120)).
    - `success_angle`: degrees (15).
    - `reward`: "sparse" or "dense".
    - `step_cost`: of every rotation (0.05).
    - `ends`: "success", or "time": an episode goes on after a success, and each rotation that ends in one is rewarded.
    - those of `GlimpseWorld/ObjectRotation-v0`, but `rotation`, which is "free" unless it is given, also with
      `variation="3diebench"`, or "3diebench", where models of the paper's settings know what they see.

    ## Baselines
    `glimpseworld rollout --env GlimpseWorld/ObjectReorient-v0 --agent random --episodes 200`, and the same with
    `--agent oracle`, whose last line gives, with 95 % intervals:
    - random: mean return -0.754 +- 0.036, success 3.0 % [1.4, 6.4].
    - oracle (privileged: knows the goal and the pose): mean return 0.919 +- 0.004, success 100.0 % [98.1, 100.0].

    ## Version history
    - v0: first version.
    """

    compose = staticmethod(compose_reorientation)


class ObjectReorientVectorEnv(ComposedVectorEnv):
    """The same, batched: `ObjectReorientEnv`'s page holds; sub-environment i seeded s equals it seeded s + i."""

    compose = staticmethod(compose_reorientation)


class SaccadeReachEnv(ComposedEnv):
    """Bring the gaze to where a goal glimpse was taken.

    ## Description
    `GlimpseWorld/Saccade-v0` with a goal: a glimpse of the same image, taken a stated distance from the first
    fixation. The distance is the difficulty of an episode, as a number.

    ## Observation space
    `Dict`: `glimpse` and `motion` as in `GlimpseWorld/Saccade-v0`; `goal` uint8, in the space of `glimpse`, the glimpse
    at the goal, taken at the nearest whole pixel (and at the zoom of the start, where there is one).

    ## Action space
    `Box(-1, 1, (2,), float32)`: the saccade, as in `GlimpseWorld/Saccade-v0`.

    ## Rewards
    With c = `step_cost`, for every saccade:
    - `reward="sparse"`: 1 if it ends within `success_radius` of the goal, else 0, minus c; in [-c, 1 - c].
    - `reward="dense"`: how much nearer it came to the goal, in image diagonals (2 sqrt 2 image units), minus c; in
      [-1 - c, 1 - c].

    ## Starting state
    As in `GlimpseWorld/Saccade-v0`. The goal is off the start by a distance uniform in `goal_distance`, in a direction
    uniform over those that end within `reach`. `reset(options={"goal_distance": d})` forces the distance, in
    [`success_radius`, sqrt 2 reach] image units; in a vector environment a number or (B,) numbers.

    ## Episode end
    Terminates when a saccade ends within `success_radius` of the goal; truncated after 16 steps
    (`max_episode_steps`). With `ends="time"` it is truncated only: what counts is then where it ends.

    ## Info
    As in `GlimpseWorld/Saccade-v0`; `distance` to the goal, image units; `success`, whether this step ended
    within `success_radius` of it.

    ## Arguments
    - `goal_distance`: (low, high) image units, half the image side, within [`success_radius`, sqrt 2 reach]
      ((0.2, 0.7)).
    - `success_radius`: image units (0.1).
    - `reward`: "sparse" or "dense".
    - `step_cost`: of every saccade (0.05).
    - `ends`: "success", or "time": an episode goes on after a success, and each saccade that ends in one is rewarded.
    - those of `GlimpseWorld/Saccade-v0`.

    ## Baselines
    `glimpseworld rollout --env GlimpseWorld/SaccadeReach-v0 --agent random --episodes 200`, and the same with
    `--agent oracle`, whose last line gives, with 95 % intervals:
    - random: mean return -0.586 +- 0.072, success 15.0 % [10.7, 20.6].
    - oracle (privileged: knows the goal and the pose): mean return 0.950 +- 0.000, success 100.0 % [98.1, 100.0].

    ## Version history
    - v0: first version.
    """

    compose = staticmethod(compose_reaching)


class SaccadeReachVectorEnv(ComposedVectorEnv):
    """The same, batched: `SaccadeReachEnv`'s page holds; sub-environment i seeded s equals it seeded s + i."""

    compose = staticmethod(compose_reaching)
