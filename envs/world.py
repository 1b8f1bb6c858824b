"""What a world is: what there is to see, and how a motion changes the view."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, get_args

import numpy as np
from gymnasium import spaces

from .draws import EpisodeDraws, Rows
from .variation import Variation

MotionKind = Literal["translation", "rotation", "rotation-colour"]
"""How motions compose: vectors, which add; unit quaternions xyzw, which multiply; or such a quaternion with the
differences of floor hue and light hue behind it, which add."""

MotionSignal = Literal["realised", "commanded"]
"""What an observation's `motion` tells: what really happened, or the efference copy of the command."""


class World(ABC):
    """What there is to see, and how a motion changes the view; batched over sub-environments.

    A subclass sets the spaces in its constructor, allocates its per-row arrays in `bind`, and draws everything random
    from the `EpisodeDraws` it is handed.
    """

    action_space: spaces.Box
    motion_space: spaces.Box
    glimpse_space: spaces.Box
    motion_kind: MotionKind
    motion_signal: MotionSignal = "realised"
    """Which motion the observation tells; `info` tells both."""
    labels: np.ndarray
    """(N,) int64: the class of each of the N things an episode can show."""
    class_names: tuple[str, ...]
    variation: Variation | None = None
    """What a view depends on beside its pose; None for a world where nothing else varies."""

    @abstractmethod
    def bind(self, num_envs: int) -> None:
        """Allocate the state of `num_envs` rows."""

    @abstractmethod
    def begin(self, rows: Rows, draws: EpisodeDraws) -> None:
        """Start a new episode in `rows`: draw what is there and the pose it is first seen from."""

    @abstractmethod
    def move(self, rows: Rows, actions: np.ndarray, draws: EpisodeDraws, steps: np.ndarray) -> np.ndarray:
        """Carry out (n, A) float64 actions in [-1, 1] and return the realised motions, (n, M) float32.

        Args:
            rows: the sub-environments that move.
            actions: what each is to do.
            draws: their draws, for what is random in a motion.
            steps: (n,) int64, steps since each row's reset; 1 for the first motion.
        """

    @abstractmethod
    def commanded(self, actions: np.ndarray) -> np.ndarray:
        """Return the motions that (n, A) float64 actions in [-1, 1] ask for, (n, M) float32.

        They equal `move`'s where nothing hinders: no limit, no noise, no snapping to whole pixels.
        """

    @abstractmethod
    def look(self, rows: Rows, draws: EpisodeDraws, steps: np.ndarray) -> np.ndarray:
        """Return the current glimpses of `rows`, (n, H, W, C) uint8, in an array of their own.

        Args:
            rows: the sub-environments to look in.
            draws: their draws, for what changes with every view.
            steps: (n,) int64, steps since each row's reset.
        """

    @abstractmethod
    def draw_poses(self, uniform: np.ndarray) -> np.ndarray:
        """Map (n, 3) uniforms in [0, 1) to (n, P) poses, spread as episodes start."""

    def draw_views(
        self, index: np.ndarray, uniform: np.ndarray, randomness: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return V views of each of things `index` from independent poses, spread as episodes start.

        A world of which each thing has only so many poses overrides it, and draws V different ones.

        Args:
            index: (n,) int64, in [0, N).
            uniform: (n, V, 3) in [0, 1), which the poses follow from.
            randomness: (n, V, `view_randomness`) in [0, 1), the randomness of each view, as for `view`.

        Returns:
            The poses (n, V, P) float64 and the views (n, V, H, W, C) uint8.
        """
        items, views = uniform.shape[:2]
        poses = self.draw_poses(uniform.reshape(items * views, -1)).reshape(items, views, -1)
        return poses, self.views_from(index, poses, randomness)

    def views_from(self, index: np.ndarray, poses: np.ndarray, randomness: np.ndarray) -> np.ndarray:
        """Return the views (n, V, H, W, C) uint8 of things `index` (n,) from (n, V, P) poses; see `draw_views`."""
        items, views = poses.shape[:2]
        repeated, randomness = np.repeat(index, views), randomness.reshape(items * views, -1)
        flat = poses.reshape(items * views, -1)
        parts = [slice(start, start + 512) for start in range(0, len(flat), 512)]
        seen = np.concatenate([self.view(repeated[part], flat[part], randomness[part]) for part in parts])
        return seen.reshape(items, views, *seen.shape[1:])

    @abstractmethod
    def actions_towards(self, poses: np.ndarray) -> np.ndarray:
        """Return (B, A) float64 actions in [-1, 1] that bring every row as near to (B, P) poses as one motion can."""

    @abstractmethod
    def view(self, index: np.ndarray, poses: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Return what would be seen of things `index` (n,) from (n, P) poses, whatever the episodes are at.

        Args:
            index: (n,) int64, in [0, N).
            poses: (n, P), as from `draw_poses`.
            uniform: (n, `view_randomness`) in [0, 1), the randomness of a view, which drawn factors of variation
                follow from (a world whose views have none ignores it).

        Returns:
            (n, H, W, C) uint8, an array of its own.
        """

    def another_view(self, rows: Rows, poses: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Return what is seen in the episodes of `rows` from other poses, as of a goal; (n, H, W, C) uint8.

        Factors of variation that hold for an episode hold here too; those of a step are drawn from `uniform`.

        Args:
            rows: the sub-environments.
            poses: (n, P).
            uniform: (n, `view_randomness`) in [0, 1).
        """
        return self.view(self.info()["index"][rows], poses, uniform)

    @property
    def view_randomness(self) -> int:
        """How many uniforms `view` takes for each view: 4, or more where more factors of variation are drawn."""
        return 4 if self.variation is None else self.variation.randomness

    @abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """Return the live per-row arrays (B, ...), by name: the state of the world, but for that of `variation`."""

    @abstractmethod
    def info(self) -> dict[str, np.ndarray]:
        """Return what `info` tells, by name: live (B, ...) arrays of poses, label and index."""

    @abstractmethod
    def frame(self, row: int, glimpses: list[np.ndarray], poses: list[np.ndarray]) -> np.ndarray:
        """Draw sub-environment `row` from its episode's glimpses and poses so far; (H, W, 3) uint8."""

    @property
    @abstractmethod
    def pose(self) -> np.ndarray:
        """The live pose of every row: (B, 2) positions or (B, 4) orientations."""


def checked_motion_signal(signal: MotionSignal) -> MotionSignal:
    """Return `signal`.

    Raises:
        ValueError: if it is neither "realised" nor "commanded".
    """
    if signal not in get_args(MotionSignal):
        raise ValueError(f'motion_signal must be "realised" or "commanded", got {signal!r}')
    return signal
