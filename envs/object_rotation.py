"""The world of rotations: an object in the hand, turned by the action."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
from gymnasium import spaces
from scipy.spatial.transform import Rotation

from .draws import EpisodeDraws, Rows
from .environment import ComposedEnv, ComposedVectorEnv, free_viewing
from .rendering.renderer import RayMesh, Renderer
from .rendering.scene_factors import SCENE_FACTORS, lighting_of, scene_specification, stage_of
from .rotations import (
    as_motion,
    bounded_rotations,
    canonical,
    reachable_share,
    rotation_towards,
    uniform_rotations,
    unseen_rotations,
)
from .sensor import SENSOR_FACTORS, sense
from .settings import check_number
from .shapes.objects import load_objects
from .variation import FactorDraw, Variation
from .world import MotionKind, MotionSignal, World, checked_motion_signal

RotationRange = Literal["free", "3diebench", "ood"]
_DRAW_OBJECT, _DRAW_START, _DRAW_FACTORS, _DRAW_NOISE = 1, 2, 3, 51
_TOLD_HUES = ("floor_hue", "spot_hue")
"""The factors whose differences motion "rotation-colour" tells, in its order."""
_PREPARED_OBJECTS = 2048
"""Objects whose ray-casting structure is kept; the least recently seen go first."""


class ObjectRotationWorld(World):
    """Objects and an orientation of each; see `ObjectRotationEnv` for the arguments, spaces and conventions."""

    motion_kind: MotionKind = "rotation"
    variation: Variation

    def __init__(
        self,
        objects: str = "families",
        *,
        split: Literal["train", "validation", "test"] = "train",
        members_per_family: int = 64,
        palette: Literal["parts", "objects"] = "parts",
        up_axis: Literal["auto", "y", "z"] = "auto",
        size: int = 64,
        max_angle: float = np.pi / 4,
        rotation: RotationRange | None = None,
        lighting: FactorDraw = "step",
        shadows: bool = True,
        motion: Literal["rotation", "rotation-colour"] = "rotation",
        motion_signal: MotionSignal = "realised",
        variation: Literal["3diebench"] | dict[str, Any] | None = None,
    ) -> None:
        if rotation is None:
            rotation = "3diebench" if variation == "3diebench" else "free"
        check_number("max_angle in radians", max_angle, low=0, high=np.pi, above=True)
        if rotation not in get_args(RotationRange):
            raise ValueError(f"rotation must be one of {get_args(RotationRange)}, got {rotation!r}")
        if lighting not in get_args(FactorDraw):
            raise ValueError(f"lighting must be one of {get_args(FactorDraw)}, got {lighting!r}")
        specification = scene_specification(variation, lighting)
        self.variation = Variation((*SCENE_FACTORS, *SENSOR_FACTORS), _DRAW_FACTORS, specification)
        self.objects = load_objects(objects, split, members_per_family, palette, up_axis)
        self.renderer = Renderer(size, shadows=shadows)
        self.max_angle, self.rotation = max_angle, rotation
        self.motion_signal = checked_motion_signal(motion_signal)
        self.motion_kind = motion
        self._check_motion()
        self.labels, self.class_names = self.objects.labels, self.objects.class_names
        self._prepared: OrderedDict[int, RayMesh] = OrderedDict()
        self.action_space = spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.motion_space = spaces.Box(-1.0, 1.0, (6 if self._tells_colour else 4,), np.float32)
        self.glimpse_space = spaces.Box(0, 255, (size, size, 3), np.uint8)

    def bind(self, num_envs: int) -> None:
        """Allocate the state of `num_envs` rows."""
        self._index = np.zeros(num_envs, dtype=np.int64)
        self._label = np.zeros(num_envs, dtype=np.int64)
        self._orientation = np.tile(np.array([0.0, 0.0, 0.0, 1.0]), (num_envs, 1))
        self._hues = np.zeros((num_envs, 2), dtype=np.float64)

    @property
    def pose(self) -> np.ndarray:
        """How each object is turned: (B, 4) float64 unit quaternions xyzw, w >= 0."""
        return self._orientation

    def begin(self, rows: Rows, draws: EpisodeDraws) -> None:
        """Draw an object and its first orientation."""
        index = draws.integers(_DRAW_OBJECT, len(self.objects))
        self._index[rows] = index
        self._label[rows] = self.objects.labels[index]
        self._orientation[rows] = self.draw_poses(draws.uniform(_DRAW_START, 3))
        self._hues[rows] = _hues(self.variation.values(rows))

    def draw_poses(self, uniform: np.ndarray) -> np.ndarray:
        """Map (n, 3) uniforms in [0, 1) to (n, 4) orientations, spread as episodes start: see `rotation`."""
        draw = {"free": uniform_rotations, "3diebench": bounded_rotations, "ood": unseen_rotations}
        return draw[self.rotation](uniform)

    def draw_views(
        self, index: np.ndarray, uniform: np.ndarray, randomness: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return V views of each of things `index`: see `World.draw_views`; a pose has its hues if a motion tells them.

        Returns:
            The poses (n, V, 4) float64, with floor hue and light hue (n, V, 6), and the views (n, V, S, S, 3) uint8.
        """
        poses, seen = super().draw_views(index, uniform, randomness)
        if self._tells_colour:
            hues = _hues(self.variation.values_from(randomness.reshape(-1, randomness.shape[2])))
            poses = np.concatenate([poses, hues.reshape(*poses.shape[:2], 2)], axis=2)
        return poses, seen

    def move(self, rows: Rows, actions: np.ndarray, draws: EpisodeDraws, steps: np.ndarray) -> np.ndarray:
        """Turn by exp(action * max_angle) in the object's own frame; return R_t^-1 R_{t+1} as realised."""
        before = Rotation.from_quat(self._orientation[rows])
        motion = Rotation.from_rotvec(self.within_range(self._orientation[rows], actions) * self.max_angle)
        self._orientation[rows] = canonical((before * motion).as_quat())
        if not self._tells_colour:
            return as_motion(motion)
        hues = _hues(self.variation.values(rows))  # already those of this step
        change, self._hues[rows] = hues - self._hues[rows], hues
        return np.concatenate([as_motion(motion), change.astype(np.float32)], axis=1)

    def within_range(self, poses: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Return as much of (n, 3) actions as can be carried out from (n, 4) orientations: see `rotation`."""
        if self.rotation == "free":
            return actions
        start = Rotation.from_quat(poses).as_matrix()
        share = reachable_share(start, actions * self.max_angle, unseen=self.rotation == "ood")
        return actions * share[:, None]

    def commanded(self, actions: np.ndarray) -> np.ndarray:
        """Return exp(action * max_angle) of (n, 3) actions: (n, 4) float32 unit quaternions xyzw, w >= 0.

        No action commands a colour: where a motion tells them, (n, 6) with zeros.
        """
        turns = as_motion(Rotation.from_rotvec(actions * self.max_angle))
        return np.pad(turns, ((0, 0), (0, 2))) if self._tells_colour else turns

    def actions_towards(self, poses: np.ndarray) -> np.ndarray:
        """Return (B, 3) actions towards (B, 4) orientations, along the shortest rotation."""
        return rotation_towards(self._orientation, poses, self.max_angle)

    def look(self, rows: Rows, draws: EpisodeDraws, steps: np.ndarray) -> np.ndarray:
        """Render the objects, (n, size, size, 3) uint8."""
        factors = self.variation.values(rows)
        seeds = lambda: draws.uniform(_DRAW_NOISE, 1, steps)[:, 0]  # noqa: E731
        return self._render(self._index[rows], self._orientation[rows], factors, seeds)

    def view(self, index: np.ndarray, poses: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Render given objects in given orientations.

        Args:
            index: (n,) objects.
            poses: (n, 4) unit quaternions xyzw.
            uniform: (n, `view_randomness`) in [0, 1), which the factors that are drawn follow from, in the order of
                `variation`: floor hue, spot theta, spot phi, spot hue, and so on.

        Returns:
            (n, size, size, 3) uint8.
        """
        seeds = lambda: self.variation.seeds_from(uniform)  # noqa: E731
        return self._render(index, poses, self.variation.values_from(uniform), seeds)

    def another_view(self, rows: Rows, poses: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Render the objects of `rows` in (n, 4) other orientations: see `World.another_view`."""
        seeds = lambda: self.variation.seeds_from(uniform)  # noqa: E731
        return self._render(self._index[rows], poses, self.variation.values_of_another(rows, uniform), seeds)

    def _render(
        self,
        index: np.ndarray,
        poses: np.ndarray,
        factors: dict[str, np.ndarray],
        seeds: Callable[[], np.ndarray],
    ) -> np.ndarray:
        meshes = [self._mesh(int(i)) for i in index]
        rotations = Rotation.from_quat(poses).as_matrix()
        views = self.renderer.render(meshes, rotations, lighting_of(factors), stage=stage_of(factors))
        return sense(views, factors["image_contrast"], factors["image_noise"], seeds)

    def state(self) -> dict[str, np.ndarray]:
        """Return the live arrays: object index and label, orientation; the hues of floor and light if motions tell."""
        live = {"index": self._index, "label": self._label, "orientation": self._orientation}
        return live | {"hues": self._hues} if self._tells_colour else live

    def info(self) -> dict[str, np.ndarray]:
        """Return `orientation` (B, 4), `label` (B,) and `index` (B,)."""
        return {"orientation": self._orientation, "label": self._label, "index": self._index}

    def frame(self, row: int, glimpses: list[np.ndarray], poses: list[np.ndarray]) -> np.ndarray:
        """Draw the view with the views before it and the object's axes."""
        from .display import rotation_frame

        history = np.asarray(glimpses[-5:-1], dtype=np.uint8).reshape(-1, *glimpses[-1].shape)
        elevation = self.variation.values(np.array([row]))["camera_elevation"]
        return rotation_frame(
            glimpses[-1],
            history,
            poses[-1],
            camera_theta=float(elevation[0]),
            label=self.objects.class_names[int(self._label[row])],
        )

    @property
    def _tells_colour(self) -> bool:
        return self.motion_kind == "rotation-colour"

    def _check_motion(self) -> None:
        if self.motion_kind not in ("rotation", "rotation-colour"):
            raise ValueError(f'motion must be "rotation" or "rotation-colour", got {self.motion_kind!r}')
        if not self._tells_colour:
            return
        if self.motion_signal == "commanded":
            raise ValueError('motion "rotation-colour" tells what no action commands: leave motion_signal "realised"')
        still = [f.name for f in self.variation.factors if f.name in _TOLD_HUES and f.draw != "step"]
        if still:
            raise ValueError(f'motion "rotation-colour" needs {" and ".join(still)} drawn at each "step"')

    def _mesh(self, index: int) -> RayMesh:
        if index in self._prepared:
            self._prepared.move_to_end(index)
        else:
            self._prepared[index] = RayMesh(self.objects.mesh(index))
            if len(self._prepared) > _PREPARED_OBJECTS:
                self._prepared.popitem(last=False)
        return self._prepared[index]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_prepared": OrderedDict()}


def _hues(factors: dict[str, np.ndarray]) -> np.ndarray:
    """Return (n, 2) hues of floor and light, in turns."""
    return np.stack([factors[name] for name in _TOLD_HUES], axis=1)


class ObjectRotationEnv(ComposedEnv):
    """An object in the hand, turned by the action and seen from a camera.

    ## Description
    An episode holds one object; the action turns it and a new view is rendered, with 3DIEBench's scene (Garrido et
    al., 2023; arXiv 2505.03176, section 3): fixed camera, coloured floor, coloured spot light, cast shadow. There is
    no goal: free viewing, for exploring and for learning a world model from views.

    ## Observation space
    `Dict`: `glimpse` (64, 64, 3) uint8, the view; `motion` (4,) float32, the rotation that led to it: a unit quaternion
    xyzw with w >= 0, R_t^-1 R_{t+1}, in the object's own frame; zeros after a reset.

    ## Action space
    `Box(-1, 1, (3,), float32)`: a rotation vector in units of `max_angle`; R_{t+1} = R_t exp(action * max_angle), with
    SciPy's conventions. Values beyond [-1, 1] are clipped.

    ## Rewards
    Always 0.

    ## Starting state
    An object drawn uniformly from the split, its orientation from `rotation`.

    ## Episode end
    Never terminates; truncated after 16 steps (`max_episode_steps`).

    ## Info
    `orientation` (4,) float64, unit quaternion xyzw with w >= 0; `label` of the family; `index` of the object;
    `motion_realised` and `motion_commanded`, both (4,) float32 as `motion`, zeros after a reset; `step_index`, the
    steps since the reset (0: no motion led to this view); `variation`, a dict of the factors' present values.

    ## Factors of variation
    - `floor_hue` in [0, 1] turns (0.5); `spot_hue`, that of the light, likewise.
    - `spot_theta` in [0, pi/4] (pi/8), polar angle of the light from +z; `spot_phi` in [0, 2 pi] (pi), its azimuth from
      the camera's side.
    - `object_hue` in [0, 1] turns (0): shift of the hues of the object's colours; greys stay grey.
    - `object_scale` in [0.05, 1] (1; drawn from [0.5, 1]): size as a share of its own.
    - `camera_elevation` in [0, 1.2] radians (pi/4; drawn from [0.2, 1.1]): polar angle of the camera from +z: 0 looks
      straight down.
    - `camera_distance` in [1.5, 4] (2.5; drawn from [2, 3.5]), in units of 1.25 times the object's radius; the lens
      stays, so that a nearer object is larger and may reach over the border.
    - `ground_texture` in [0, 1] (0; drawn from [0, 0.6]): how much darker every other square of the floor is.
    - `image_contrast` in [0, 4] (1; drawn from [0.5, 1.5]): a pixel is 127.5 + contrast * (pixel - 127.5).
    - `image_noise` in [0, 255] (0; drawn from [0, 16]): standard deviation, in grey levels, of noise that is added to
      every pixel and channel, new in each view.

    `lighting` and `variation` say what becomes of them: "fixed", at the value in brackets; or drawn uniformly from the
    range, for each "episode" or each "step". `reset(options={"variation": {"floor_hue": 0.2}})` forces values for that
    episode, drawn or not. Cameras that differ from view to view are rendered one by one, which is slower.

    ## Arguments
    - `objects`: "families", the built-in procedural objects, or the path of a folder with one sub-folder a class of
      OBJ, PLY, STL, GLB, glTF or OFF files at any depth, dealt to the splits by their names.
    - `split`: "train", "validation" or "test"; no object is in two of them.
    - `members_per_family`: objects of each family (64).
    - `palette`: "parts" colours parts by their role, alike in all families; "objects" gives each object colours of its
      own, a shortcut on which the plain seq-JEPA objective learns no equivariance. A folder's objects have theirs.
    - `up_axis`: which axis of a folder's meshes points up: "y", "z", or "auto", +y for GLB and glTF and +z for others.
    - `size`: side of the view in pixels (64).
    - `max_angle`: the rotation, in radians, of an action component of 1 (pi / 4).
    - `rotation`: "free" (None, unless `variation` says otherwise) starts anywhere and turns without limit; "3diebench"
      starts with Euler angles (xyz, extrinsic) uniform in [-pi/2, pi/2]; a motion that would end beyond stops where its
      path leaves that range, and `motion` is what was realised. "ood" likewise keeps to orientations that "3diebench"
      never shows: the first and the last angle in [pi/2, pi] or [-pi, -pi/2], the middle one in [-pi/2, pi/2]. (With
      the middle one outside too, as the paper words its out-of-distribution split, the rotations are those of
      "3diebench" again: R(a, b, c) = R(a + pi, pi - b, c + pi).)
    - `lighting`: floor hue, spot position and spot hue are drawn at each "step", each "episode", or are "fixed"; what
      `variation` says of one of them comes first.
    - `shadows`: cast shadows (True).
    - `motion`: "rotation"; or "rotation-colour", for which `motion` is (6,): behind the quaternion the differences of
      floor hue and light hue, in [-1, 1] turns, from the view before to this one. Both must be drawn at each step.
    - `motion_signal`: what `motion` tells: "realised", the rotation that was made, or "commanded", its efference copy:
      exp(action * max_angle), whatever came of it. They differ where "3diebench" stops a motion. Info has both.
    - `variation`: None; "3diebench", the paper's recipe: floor and light drawn at each step, nothing else, and
      `rotation="3diebench"` unless it is given; or a dict of factors, such as `{"floor_hue": "episode",
      "object_scale": {"draw": "step", "low": 0.7, "high": 1.0}, "camera_elevation": {"value": 0.6}}`.
    - `render_mode`: None, "rgb_array" or "human".

    ## Version history
    - v0: first version.
    """

    compose = staticmethod(free_viewing(ObjectRotationWorld))


class ObjectRotationVectorEnv(ComposedVectorEnv):
    """The same, batched: `ObjectRotationEnv`'s page holds; sub-environment i seeded s equals it seeded s + i."""

    compose = staticmethod(free_viewing(ObjectRotationWorld))
