"""The world of stored views: objects rendered beforehand, as in 3DIEBench, among whose views an action jumps."""

from __future__ import annotations

import os

import numpy as np
from gymnasium import spaces
from scipy.spatial.transform import Rotation

from .draws import EpisodeDraws, Rows
from .environment import ComposedEnv, ComposedVectorEnv, free_viewing
from .rotations import as_motion, bounded_rotations, rotation_towards
from .settings import check_number
from .splits import Split
from .stored_view_files import StoredViews, load_stored_views
from .world import MotionKind, MotionSignal, World, checked_motion_signal

_DRAW_OBJECT, _DRAW_VIEW = 1, 2


class StoredViewsWorld(World):
    """Objects and the number of the view each is seen in; see `StoredViewsEnv` for arguments, spaces and conventions.

    Args:
        source: the path of a tree, or a `StoredViews` already loaded, whose split, size and number of views hold then.
    """

    motion_kind: MotionKind = "rotation"

    def __init__(
        self,
        source: str | os.PathLike[str] | StoredViews,
        *,
        split: Split = "train",
        size: int = 64,
        views_per_object: int = 50,
        max_angle: float = np.pi / 4,
        motion_signal: MotionSignal = "realised",
    ) -> None:
        check_number("max_angle in radians", max_angle, low=0, high=np.pi, above=True)
        if not isinstance(source, StoredViews):
            source = load_stored_views(source, split, size, views_per_object)
        self.stored, self.max_angle = source, max_angle
        self.motion_signal = checked_motion_signal(motion_signal)
        self.labels, self.class_names = source.labels, source.class_names
        self.action_space = spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.motion_space = spaces.Box(-1.0, 1.0, (4,), np.float32)
        self.glimpse_space = spaces.Box(0, 255, source.views.shape[2:], np.uint8)

    @property
    def views_per_object(self) -> int:
        """V, the views each object has."""
        return self.stored.views.shape[1]

    def bind(self, num_envs: int) -> None:
        """Allocate the state of `num_envs` rows."""
        self._index = np.zeros(num_envs, dtype=np.int64)
        self._label = np.zeros(num_envs, dtype=np.int64)
        self._view = np.zeros(num_envs, dtype=np.int64)
        self._latent = np.zeros((num_envs, self.stored.latents.shape[2]))
        self._orientation = np.tile(np.array([0.0, 0.0, 0.0, 1.0]), (num_envs, 1))

    @property
    def pose(self) -> np.ndarray:
        """How each object is turned: (B, 4) float64 unit quaternions xyzw, w >= 0."""
        return self._orientation

    def begin(self, rows: Rows, draws: EpisodeDraws) -> None:
        """Draw an object and the view it is first seen in."""
        index = draws.integers(_DRAW_OBJECT, len(self.stored))
        self._index[rows] = index
        self._label[rows] = self.labels[index]
        self._show(rows, draws.integers(_DRAW_VIEW, self.views_per_object))

    def move(self, rows: Rows, actions: np.ndarray, draws: EpisodeDraws, steps: np.ndarray) -> np.ndarray:
        """Jump to the view nearest to R_t exp(action * max_angle) but the current one; return R_t^-1 R_{t+1}."""
        before = Rotation.from_quat(self._orientation[rows])
        goals = (before * Rotation.from_rotvec(actions * self.max_angle)).as_quat()
        self._show(rows, self._nearest(self._index[rows], goals, but=self._view[rows]))
        return as_motion(before.inv() * Rotation.from_quat(self._orientation[rows]))

    def commanded(self, actions: np.ndarray) -> np.ndarray:
        """Return exp(action * max_angle) of (n, 3) actions: (n, 4) float32 unit quaternions xyzw, w >= 0."""
        return as_motion(Rotation.from_rotvec(actions * self.max_angle))

    def look(self, rows: Rows, draws: EpisodeDraws, steps: np.ndarray) -> np.ndarray:
        """Return the stored views, (n, S, S, 3) uint8."""
        return self._fetch(self._index[rows], self._view[rows])

    def draw_poses(self, uniform: np.ndarray) -> np.ndarray:
        """Map (n, 3) uniforms in [0, 1) to (n, 4) orientations as 3DIEBench draws them: of no object's own views."""
        return bounded_rotations(uniform)

    def draw_views(
        self, index: np.ndarray, uniform: np.ndarray, randomness: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return V different stored views of each of things `index`, in random order, with their orientations.

        Args:
            index: (n,) int64.
            uniform: (n, V, 3) in [0, 1), of which the first number draws.
            randomness: ignored.

        Returns:
            Orientations (n, V, 4) float64 and views (n, V, S, S, 3) uint8.

        Raises:
            ValueError: if V is more than an object has.
        """
        items, count = uniform.shape[:2]
        if count > self.views_per_object:
            raise ValueError(f"each object has {self.views_per_object} stored views, {count} different ones were asked")
        deck = np.tile(np.arange(self.views_per_object), (items, 1))
        row = np.arange(items)
        for k in range(count):  # Fisher and Yates' shuffle, as far as it is needed
            other = k + (uniform[:, k, 0] * (self.views_per_object - k)).astype(np.int64)
            deck[row, k], deck[row, other] = deck[row, other], deck[row, k]
        chosen = deck[:, :count]
        views = self._fetch(np.repeat(index, count), chosen.reshape(-1))
        return self.stored.quaternions[index[:, None], chosen], views.reshape(items, count, *views.shape[1:])

    def actions_towards(self, poses: np.ndarray) -> np.ndarray:
        """Return (B, 3) actions towards the stored view nearest to each of (B, 4) orientations.

        It is reached if no part of the rotation vector there exceeds `max_angle`, unless the row is at it already.
        """
        goals = self.stored.quaternions[self._index, self._nearest(self._index, poses)]
        return rotation_towards(self._orientation, goals, self.max_angle)

    def actions_towards_views(self, views: np.ndarray) -> np.ndarray:
        """Return (B, 3) actions towards stored views number (B,) of the rows' objects, as `actions_towards`."""
        return rotation_towards(self._orientation, self.stored.quaternions[self._index, views], self.max_angle)

    def view(self, index: np.ndarray, poses: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Return the stored views of things `index` (n,) nearest to (n, 4) orientations; `uniform` is ignored."""
        return self._fetch(index, self._nearest(index, poses))

    def state(self) -> dict[str, np.ndarray]:
        """Return the live arrays: object index and label, view, latent and orientation."""
        return {
            "index": self._index,
            "label": self._label,
            "view": self._view,
            "latent": self._latent,
            "orientation": self._orientation,
        }

    def info(self) -> dict[str, np.ndarray]:
        """Return `orientation` (B, 4), `latent` (B, 7), `label` (B,), `index` (B,) and `view` (B,)."""
        return self.state()

    def frame(self, row: int, glimpses: list[np.ndarray], poses: list[np.ndarray]) -> np.ndarray:
        """Draw the view with the views before it and the object's axes."""
        from .display import rotation_frame

        history = np.asarray(glimpses[-5:-1], dtype=np.uint8).reshape(-1, *glimpses[-1].shape)
        # The camera is at +y here and at +x in the frame: the same turn, told in axes turned along.
        turn = Rotation.from_euler("z", -np.pi / 2)
        pose = (turn * Rotation.from_quat(poses[-1]) * turn.inv()).as_quat()
        return rotation_frame(glimpses[-1], history, pose, label=self.class_names[int(self._label[row])])

    def _show(self, rows: Rows, view: np.ndarray) -> None:
        index = self._index[rows]
        self._view[rows] = view
        self._latent[rows] = self.stored.latents[index, view]
        self._orientation[rows] = self.stored.quaternions[index, view]

    def _nearest(self, index: np.ndarray, poses: np.ndarray, but: np.ndarray | None = None) -> np.ndarray:
        """Return (n,) the views nearest to (n, 4) poses by geodesic distance, the lowest number if some are equal."""
        # |q . p| is cos(angle / 2): the largest belongs to the smallest angle.
        nearness = np.abs(np.einsum("nvq,nq->nv", self.stored.quaternions[index], poses))
        if but is not None:
            nearness[np.arange(len(but)), but] = -1.0
        return nearness.argmax(axis=1)

    def _fetch(self, index: np.ndarray, view: np.ndarray) -> np.ndarray:
        flat = self.stored.views.reshape(-1, *self.stored.views.shape[2:])
        return flat.take(index * self.views_per_object + view, axis=0)


class StoredViewsEnv(ComposedEnv):
    """An object that was rendered beforehand, as in 3DIEBench; the action jumps between its stored views.

    ## Description
    An episode holds one object of a tree on disk in the layout of 3DIEBench (Garrido et al., 2023; arXiv 2302.10283):
    SYNSET/OBJECT/ with 50 views image_K.jpg and their latents latent_K.npy. The action turns the object, and the stored
    view nearest to that orientation is shown. There is no goal: free viewing, for exploring and for learning a world
    model from the published views.

    ## Observation space
    `Dict`: `glimpse` (64, 64, 3) uint8, the view; `motion` (4,) float32, the rotation between the two stored views: a
    unit quaternion xyzw with w >= 0, R_t^-1 R_{t+1}, in the object's own frame; zeros after a reset.

    ## Action space
    `Box(-1, 1, (3,), float32)`: a rotation vector in units of `max_angle`. The next view is the one whose orientation
    is nearest to R_t exp(action * max_angle) by geodesic distance, other than the current one: even the zero action
    jumps, to the nearest neighbour. Of equally near views the one with the lowest number is taken. Values beyond
    [-1, 1] are clipped.

    ## Rewards
    Always 0.

    ## Starting state
    An object drawn uniformly from the split, and one of its views.

    ## Episode end
    Never terminates; truncated after 16 steps (`max_episode_steps`).

    ## Info
    `orientation` (4,) float64, unit quaternion xyzw with w >= 0, from the latent's angles (SciPy's "xyz", in the data
    set's axes, whose camera sits at +y +z); `latent` (7,) float64: yaw, pitch, roll, floor hue, spot theta, spot phi,
    spot hue; `label`; `index` of the object; `view`, its number K; `motion_realised` and `motion_commanded`, both (4,)
    float32 as `motion`, zeros after a reset; `step_index`, the steps since the reset.

    ## Arguments
    - `source`: path of the tree. With the lists of the publication in it (train_images.npy, train_labels.npy,
      val_images.npy, val_labels.npy, from the data folder of the SIE repository), val is the test split and train is
      dealt to train and validation 9 : 1; without, objects are dealt 8 : 1 : 1. Objects with missing or broken files
      are skipped with one warning.
    - `split`: "train", "validation" or "test"; no object is in two of them.
    - `size`: side of the view in pixels (64). All views of the split are decoded at this size into the cache once.
    - `views_per_object`: stored views of each object (50).
    - `max_angle`: the rotation, in radians, of an action component of 1 (pi / 4).
    - `motion_signal`: what `motion` tells: "realised", the rotation between the views, or "commanded", its efference
      copy: exp(action * max_angle), whichever view was nearest. Info has both.
    - `render_mode`: None, "rgb_array" or "human".

    ## Version history
    - v0: first version.
    """

    compose = staticmethod(free_viewing(StoredViewsWorld))


class StoredViewsVectorEnv(ComposedVectorEnv):
    """The same, batched: `StoredViewsEnv`'s page holds; sub-environment i seeded s equals it seeded s + i."""

    compose = staticmethod(free_viewing(StoredViewsWorld))
