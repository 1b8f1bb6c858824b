"""Homing: be moved away, then return to the start. Path integration as a task."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from ..draws import EpisodeDraws, Rows
from ..environment import ComposedEnv, ComposedVectorEnv
from ..imagery.image_set import ImageSet
from ..object_rotation import ObjectRotationWorld
from ..saccade import SaccadeWorld
from ..settings import check_whole
from ..world import World
from .task import DRAW_IMPOSED, Ends, PoseGoalTask, Reward, Task, pose_scale


class Homing(PoseGoalTask):
    """Return to the pose the episode started from, after imposed motions; see `SaccadeHomingEnv`.

    Args:
        imposed: k, how many motions are imposed, at least 1.
        tolerance: success is a distance of at most this: image units, or degrees.
        scale: the largest distance there is, in the same unit.
        reward, step_cost, ends: see `GoalTask`.
    """

    def __init__(
        self,
        *,
        imposed: int,
        tolerance: float,
        scale: float,
        reward: Reward,
        step_cost: float,
        ends: Ends = "success",
    ) -> None:
        check_whole("imposed, the number of motions,", imposed, low=1)
        super().__init__(tolerance=tolerance, scale=scale, reward=reward, step_cost=step_cost, ends=ends)
        if tolerance >= scale:
            raise ValueError(f"the success radius must be in [0, {scale:g}), got {tolerance}")
        self.imposed = imposed

    def bind(self, num_envs: int, world: World) -> None:
        """Allocate how many imposed motions are still to come, and whose last motion was one."""
        super().bind(num_envs, world)
        self._remaining = np.zeros(num_envs, dtype=np.int64)
        self._was_imposed = np.zeros(num_envs, dtype=bool)

    def observation_spaces(self, world: World) -> dict[str, spaces.Space[Any]]:
        """Return the phase."""
        return {"imposed": spaces.Box(0.0, 1.0, (1,), np.float32)}

    def goals(self, rows: Rows, draws: EpisodeDraws, world: World, options: dict[str, np.ndarray]) -> np.ndarray:
        """Return the starting poses."""
        return world.pose[rows]

    def begin(self, rows: Rows, draws: EpisodeDraws, world: World, options: dict[str, np.ndarray]) -> None:
        """Remember the start."""
        self._remaining[rows], self._was_imposed[rows] = self.imposed, False
        super().begin(rows, draws, world, options)

    def impose(self, rows: Rows, actions: np.ndarray, draws: EpisodeDraws, steps: np.ndarray) -> np.ndarray:
        """Replace the first k actions of an episode by draws uniform in [-1, 1]."""
        imposed = steps <= self.imposed
        self._was_imposed[rows] = imposed
        self._remaining[rows] = np.maximum(self.imposed - steps, 0)
        if not imposed.any():
            return actions
        return np.where(imposed[:, None], 2 * draws.uniform(DRAW_IMPOSED, actions.shape[1], steps) - 1, actions)

    def counted(self, rows: Rows) -> np.ndarray:
        """Return whose motion was not imposed."""
        return ~self._was_imposed[rows]

    def observe(self, rows: Rows) -> dict[str, np.ndarray]:
        """Return 1 where the next motion will be imposed, 0 where it is the agent's."""
        return {"imposed": (self._remaining[rows] > 0).astype(np.float32)[:, None]}

    def state(self) -> dict[str, np.ndarray]:
        """Return the live arrays, with `remaining` and `was_imposed`."""
        return super().state() | {"remaining": self._remaining, "was_imposed": self._was_imposed}

    def panel(self, row: int) -> tuple[str, str]:
        """Show the phase."""
        left = int(self._remaining[row])
        return "Homing", f"{left} to come" if left else "return"


def compose_saccade_homing(
    images: str | ImageSet = "scenes",
    *,
    imposed: int = 4,
    success_radius: float = 0.1,
    reward: Reward = "sparse",
    step_cost: float = 0.05,
    ends: Ends = "success",
    **world: Any,
) -> tuple[World, Task]:
    """Return the world and the task of `SaccadeHomingEnv`."""
    scale = pose_scale("translation")
    task = Homing(imposed=imposed, tolerance=success_radius, scale=scale, reward=reward, step_cost=step_cost, ends=ends)
    return SaccadeWorld(images, **world), task


def compose_rotation_homing(
    objects: str = "families",
    *,
    imposed: int = 4,
    success_angle: float = 15.0,
    reward: Reward = "sparse",
    step_cost: float = 0.05,
    ends: Ends = "success",
    **world: Any,
) -> tuple[World, Task]:
    """Return the world and the task of `RotationHomingEnv`."""
    scale = pose_scale("rotation")
    task = Homing(imposed=imposed, tolerance=success_angle, scale=scale, reward=reward, step_cost=step_cost, ends=ends)
    return ObjectRotationWorld(objects, **world), task


class SaccadeHomingEnv(ComposedEnv):
    """Return to where one looked first, after the gaze was moved about.

    ## Description
    `GlimpseWorld/Saccade-v0` as path integration: the first k motions of an episode are imposed, whatever the agent
    does, and observed like its own; then it has to bring the gaze back to the start in as few saccades as possible.
    The pose is never observed: what tells the way home is the motions, and what was seen.

    ## Observation space
    `Dict`: `glimpse` and `motion` as in `GlimpseWorld/Saccade-v0`, also of imposed motions; `imposed` (1,) float32: 1
    if the next motion will be imposed, 0 if it is the agent's.

    ## Action space
    `Box(-1, 1, (2,), float32)`: the saccade, as in `GlimpseWorld/Saccade-v0`; ignored while motions are imposed.

    ## Rewards
    0 for an imposed motion. With c = `step_cost`, for every other one:
    - `reward="sparse"`: 1 if it ends within `success_radius` of the start, else 0, minus c; in [-c, 1 - c].
    - `reward="dense"`: how much nearer it came to the start, in image diagonals (2 sqrt 2 image units), minus c; in
      [-1 - c, 1 - c].

    ## Starting state
    As in `GlimpseWorld/Saccade-v0`. The imposed motions are of actions uniform in [-1, 1]^2, drawn with the episode.

    ## Episode end
    Terminates when a saccade of the agent's ends within `success_radius` of the start; truncated after 16 steps, the
    imposed ones among them (`max_episode_steps`). With `ends="time"` it is truncated only: what counts is then where it
    ends.

    ## Info
    As in `GlimpseWorld/Saccade-v0`; `distance` to the start, image units; `success`, whether this step was the
    agent's and ended within `success_radius` of it. `position` and
    `distance` are no observations: an agent that reads them is handed the answer.

    ## Arguments
    - `imposed`: k, how many motions are imposed (4); below `max_episode_steps`, or the agent never acts: `gym.make_vec`
      refuses that, `gym.make`, whose environments do not know their time limit, cannot.
    - `success_radius`: image units, half the image side (0.1).
    - `reward`: "sparse" or "dense".
    - `step_cost`: of every saccade of the agent's (0.05).
    - `ends`: "success", or "time": an episode goes on after a success, and each saccade that ends in one is rewarded.
    - those of `GlimpseWorld/Saccade-v0`.

    ## Baselines
    `glimpseworld rollout --env GlimpseWorld/SaccadeHoming-v0 --agent random --episodes 200`, and the same with
    `--agent oracle`, whose last line gives, with 95 % intervals:
    - random: mean return -0.455 +- 0.059, success 10.5 % [7.0, 15.5].
    - oracle (privileged: knows the goal and the pose): mean return 0.944 +- 0.002, success 100.0 % [98.1, 100.0].

    ## Version history
    - v0: first version.
    """

    compose = staticmethod(compose_saccade_homing)


class SaccadeHomingVectorEnv(ComposedVectorEnv):
    """The same, batched: `SaccadeHomingEnv`'s page holds; sub-environment i seeded s equals it seeded s + i."""

    compose = staticmethod(compose_saccade_homing)


class RotationHomingEnv(ComposedEnv):
    """Turn an object back to how it was first seen, after it was turned about.

    ## Description
    `GlimpseWorld/ObjectRotation-v0` as path integration: the first k rotations of an episode are imposed, whatever the
    agent does, and observed like its own; then it has to turn the object back to the start in as few rotations as
    possible. The orientation is never observed: what tells the way home is the motions, and what was seen.

    ## Observation space
    `Dict`: `glimpse` and `motion` as in `GlimpseWorld/ObjectRotation-v0`, also of imposed motions; `imposed` (1,)
    float32: 1 if the next motion will be imposed, 0 if it is the agent's.

    ## Action space
    `Box(-1, 1, (3,), float32)`: the rotation, as in `GlimpseWorld/ObjectRotation-v0`; ignored while motions are
    imposed.

    ## Rewards
    0 for an imposed motion. With c = `step_cost`, for every other one:
    - `reward="sparse"`: 1 if it ends within `success_angle` of the start, else 0, minus c; in [-c, 1 - c].
    - `reward="dense"`: how much nearer it came to the start, geodesic, in half turns, minus c; in [-1 - c, 1 - c].

    ## Starting state
    As in `GlimpseWorld/ObjectRotation-v0`. The imposed motions are of actions uniform in [-1, 1]^3, drawn with the
    episode.

    ## Episode end
    Terminates when a rotation of the agent's ends within `success_angle` of the start; truncated after 16 steps, the
    imposed ones among them (`max_episode_steps`). With `ends="time"` it is truncated only: what counts is then where it
    ends.

    ## Info
    As in `GlimpseWorld/ObjectRotation-v0`; `distance` to the start, degrees, geodesic; `success`, whether this step
    was the agent's and ended within `success_angle` of it. `orientation` and
    `distance` are no observations: an agent that reads them is handed the answer.

    ## Arguments
    - `imposed`: k, how many motions are imposed (4); below `max_episode_steps`, or the agent never acts: `gym.make_vec`
      refuses that, `gym.make`, whose environments do not know their time limit, cannot.
    - `success_angle`: degrees (15).
    - `reward`: "sparse" or "dense".
    - `step_cost`: of every rotation of the agent's (0.05).
    - `ends`: "success", or "time": an episode goes on after a success, and each rotation that ends in one is rewarded.
    - those of `GlimpseWorld/ObjectRotation-v0`. With `rotation="3diebench"` the straight way home may leave the range,
      and then stops there.

    ## Baselines
    `glimpseworld rollout --env GlimpseWorld/RotationHoming-v0 --agent random --episodes 200`, and the same with
    `--agent oracle`, whose last line gives, with 95 % intervals:
    - random: mean return -0.575 +- 0.024, success 2.0 % [0.8, 5.0].
    - oracle (privileged: knows the goal and the pose): mean return 0.913 +- 0.004, success 100.0 % [98.1, 100.0].

    ## Version history
    - v0: first version.
    """

    compose = staticmethod(compose_rotation_homing)


class RotationHomingVectorEnv(ComposedVectorEnv):
    """The same, batched: `RotationHomingEnv`'s page holds; sub-environment i seeded s equals it seeded s + i."""

    compose = staticmethod(compose_rotation_homing)
