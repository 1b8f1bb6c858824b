"""Search: find the thing that a cue names, by its class or by a glimpse of it."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from gymnasium import spaces

from ..draws import ALL, EpisodeDraws, Rows
from ..environment import ComposedEnv, ComposedVectorEnv
from ..imagery.image_set import ImageSet
from ..saccade import SaccadeWorld
from ..world import World
from .task import DRAW_GOAL_VIEW, IMAGE_DIAGONAL, Ends, GoalTask, Reward, Task

Cue = Literal["class", "glimpse"]
_ON_THE_EDGE = 1e-9
"""Image units: a fixation on the edge of a box counts whatever rounding does to it."""


class Search(GoalTask):
    """A fixation within the target's box; see `SaccadeSearchEnv`.

    Args:
        boxes: (N, 4) float64, the target (x0, y0, x1, y1) of each of the world's N things, image units.
        cue: "class" or "glimpse".
        reward, step_cost, ends: see `GoalTask`.
    """

    def __init__(
        self, boxes: np.ndarray, *, cue: Cue, reward: Reward, step_cost: float, ends: Ends = "success"
    ) -> None:
        if cue not in get_args(Cue):
            raise ValueError(f"cue must be one of {get_args(Cue)}, got {cue!r}")
        scale = IMAGE_DIAGONAL
        super().__init__(tolerance=_ON_THE_EDGE, scale=scale, reward=reward, step_cost=step_cost, ends=ends)
        self.boxes, self.cue = boxes, cue

    def bind(self, num_envs: int, world: World) -> None:
        """Allocate the cues too."""
        super().bind(num_envs, world)
        space = self.observation_spaces(world)["cue"]
        self._cue = np.zeros((num_envs, *(space.shape or ())), dtype=space.dtype)
        self._box = np.zeros((num_envs, 4))
        self._class_names = world.class_names

    def observation_spaces(self, world: World) -> dict[str, spaces.Space[Any]]:
        """Return the cue: a one-hot class, or a glimpse."""
        if self.cue == "glimpse":
            return {"cue": world.glimpse_space}
        return {"cue": spaces.Box(0.0, 1.0, (len(world.class_names),), np.float32)}

    def begin(self, rows: Rows, draws: EpisodeDraws, world: World, options: dict[str, np.ndarray]) -> None:
        """Set target and cue."""
        assert isinstance(world, SaccadeWorld)
        told = world.info()
        self._box[rows] = self.boxes[told["index"][rows]]
        if self.cue == "glimpse":
            poses = world.poses_at(rows, _centres(self._box[rows]))
            uniform = draws.uniform(DRAW_GOAL_VIEW, world.view_randomness)
            self._cue[rows] = world.another_view(rows, poses, uniform)
        else:
            self._cue[rows] = np.eye(len(self._class_names), dtype=np.float32)[told["label"][rows]]
        super().begin(rows, draws, world, options)

    def distances(self, rows: Rows, world: World) -> np.ndarray:
        """Return how far the gaze is outside the boxes, image units; 0 within."""
        box, position = self._box[rows], world.pose[rows][:, :2]
        outside = np.maximum(np.maximum(box[:, :2] - position, position - box[:, 2:]), 0.0)
        return np.linalg.norm(outside, axis=1)

    def observe(self, rows: Rows) -> dict[str, np.ndarray]:
        """Return the cue."""
        return {"cue": self._cue[rows].copy()}

    def state(self) -> dict[str, np.ndarray]:
        """Return the live arrays, with `box` and `cue`."""
        return super().state() | {"box": self._box, "cue": self._cue}

    def panel(self, row: int) -> tuple[str, np.ndarray | str]:
        """Show the cue."""
        cue = self._cue[row]
        return "Find", cue if self.cue == "glimpse" else self._class_names[int(cue.argmax())]

    def oracle_actions(self, world: World) -> np.ndarray:
        """Return the straight way to the middle of the box, or to what of it is within reach."""
        assert isinstance(world, SaccadeWorld)
        return world.actions_towards(world.poses_at(ALL, _centres(self._box).clip(-world.reach, world.reach)))


def compose_search(
    images: str | ImageSet = "search",
    *,
    cue: Cue = "class",
    reward: Reward = "sparse",
    step_cost: float = 0.05,
    ends: Ends = "success",
    reach: float | None = 1.0,
    **world: Any,
) -> tuple[World, Task]:
    """Return the world and the task of `SaccadeSearchEnv`.

    Raises:
        ValueError: if the images have no boxes, or a target cannot be fixated within `reach`.
    """
    saccades = SaccadeWorld(images, reach=reach, **world)
    if saccades.images.boxes is None:
        raise ValueError(
            'search needs images with a box around each target: use the built-in images ("scenes"), '
            "or an ImageSet with boxes"
        )
    boxes, reach = saccades.images.boxes * (2 / saccades.images.side) - 1, saccades.reach
    beyond = (boxes[:, :2] > reach + _ON_THE_EDGE) | (boxes[:, 2:] < -reach - _ON_THE_EDGE)
    if beyond.any():
        raise ValueError(
            f"{int(beyond.any(axis=1).sum())} of {len(boxes)} targets lie beyond reach={reach:g}: raise it, up to 1"
        )
    return saccades, Search(boxes, cue=cue, reward=reward, step_cost=step_cost, ends=ends)


def _centres(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


class SaccadeSearchEnv(ComposedEnv):
    """Find a thing in an image by looking around.

    ## Description
    `GlimpseWorld/Saccade-v0` with a target. A cue names the thing to find, by its class or by a glimpse of it; the
    episode is solved once the gaze rests on it.

    ## Observation space
    `Dict`: `glimpse` and `motion` as in `GlimpseWorld/Saccade-v0`; `cue`: with `cue="class"` (K,) float32, the one-hot
    class of the target; with `cue="glimpse"` uint8 in the space of `glimpse`, what is seen at the middle of its box.

    ## Action space
    `Box(-1, 1, (2,), float32)`: the saccade, as in `GlimpseWorld/Saccade-v0`.

    ## Rewards
    With c = `step_cost`, for every saccade:
    - `reward="sparse"`: 1 if it lands on the target, else 0, minus c; in [-c, 1 - c].
    - `reward="dense"`: how much nearer it came to the target's box, in image diagonals (2 sqrt 2 image units), minus
      c; in [-1 - c, 1 - c].

    ## Starting state
    As in `GlimpseWorld/Saccade-v0`. The first fixation may already lie on the target: then any saccade that stays on
    it solves the episode.

    ## Episode end
    Terminates after a saccade whose fixation is within the target's box, edges included; truncated after 16 steps
    (`max_episode_steps`). With `ends="time"` it is truncated only: what counts is then where it ends.

    ## Info
    As in `GlimpseWorld/Saccade-v0`, `label` being the target's class; `distance`, from the gaze to the target's box in
    image units, 0 within; `success`, whether this step landed within it.

    ## Arguments
    - `images`: as in `GlimpseWorld/Saccade-v0`, with a box for each image: "search" (6 objects of different classes),
      "search-easy" (3), "search-hard" (10), "scenes" or "landscapes" (one), or an `ImageSet` that has boxes.
    - `cue`: "class" or "glimpse".
    - `reward`: "sparse" or "dense".
    - `step_cost`: of every saccade (0.05).
    - `ends`: "success", or "time": an episode goes on after a success, and each saccade that ends in one is rewarded.
    - `reach`: 1.0 here, so that every target can be fixated; see `GlimpseWorld/Saccade-v0`.
    - the others of `GlimpseWorld/Saccade-v0`.

    ## Baselines
    `glimpseworld rollout --env GlimpseWorld/SaccadeSearch-v0 --agent random --episodes 200`, and the same with
    `--agent oracle`, whose last line gives, with 95 % intervals:
    - random: mean return -0.340 +- 0.095, success 32.0 % [25.9, 38.8].
    - oracle (privileged: knows the box): mean return 0.936 +- 0.003, success 100.0 % [98.1, 100.0].

    ## Version history
    - v0: first version.
    """

    compose = staticmethod(compose_search)


class SaccadeSearchVectorEnv(ComposedVectorEnv):
    """The same, batched: `SaccadeSearchEnv`'s page holds; sub-environment i seeded s equals it seeded s + i."""

    compose = staticmethod(compose_search)
