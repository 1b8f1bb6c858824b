"""The world of saccades: a gaze that jumps over images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from .draws import EpisodeDraws, Rows
from .environment import ComposedEnv, ComposedVectorEnv, free_viewing
from .eye.fixation import INHIBITION_RADIUS, PriorityMap, PrioritySettings
from .eye.foveae import FoveaKind, make_fovea
from .eye.oculomotor import Oculomotor
from .imagery.image_set import ImageSet
from .imagery.images import load_images
from .sensor import SENSOR_FACTORS, sense
from .settings import check_flag, check_number, is_numbers, settings_from
from .variation import Variation
from .world import MotionKind, MotionSignal, World, checked_motion_signal

_DRAW_IMAGE, _DRAW_START, _DRAW_OCULOMOTOR, _DRAW_VARIATION, _DRAW_NOISE = 1, 2, 40, 50, 51
ZOOM_STEP = 1.0
"""Octaves by which an action of 1 changes the zoom: it doubles the image pixels per glimpse pixel."""


class SaccadeWorld(World):
    """Images and a gaze on each; see `SaccadeEnv` for the arguments, spaces and conventions."""

    motion_kind: MotionKind = "translation"
    variation: Variation

    def __init__(
        self,
        images: str | ImageSet = "scenes",
        *,
        split: Literal["train", "validation", "test"] = "train",
        glimpse_size: int = 32,
        max_amplitude: float = 1.0,
        reach: float | None = None,
        start: Literal["uniform", "center"] = "uniform",
        padding: int = 0,
        fovea: FoveaKind = "crop",
        scales: Sequence[float] | None = None,
        radius: float | None = None,
        subpixel: bool = False,
        zoom: Sequence[float] | None = None,
        priority: dict[str, Any] | None = None,
        oculomotor: dict[str, Any] | None = None,
        motion_signal: MotionSignal = "realised",
        variation: dict[str, Any] | None = None,
    ) -> None:
        if isinstance(variation, str):
            raise ValueError(f"variation must be None or a dict, got {variation!r}: this world has no presets")
        self.variation = Variation(SENSOR_FACTORS, _DRAW_VARIATION, variation)
        self.images = images if isinstance(images, ImageSet) else load_images(images, split)
        self.fovea = make_fovea(fovea, glimpse_size, padding=padding, scales=scales, radius=radius)
        check_flag("subpixel", subpixel)
        self.subpixel, self.zoom = subpixel, None if zoom is None else _checked_zoom(zoom)
        side = self.images.side
        if reach is None and glimpse_size > side:
            raise ValueError(f"a glimpse of {glimpse_size} pixels does not fit an image of {side}; give a smaller one")
        self.reach = 1.0 - glimpse_size / side if reach is None else reach
        check_number("reach in image units", self.reach, low=0, high=1)
        check_number("max_amplitude in image units", max_amplitude, low=0, high=2, above=True)
        if start not in ("uniform", "center"):
            raise ValueError(f'start must be "uniform" or "center", got {start!r}')
        self.max_amplitude, self.start = max_amplitude, start
        self.priority = _priority_settings(priority, side)
        self.oculomotor = None if oculomotor is None else settings_from(Oculomotor, oculomotor, "oculomotor")
        self.motion_signal = checked_motion_signal(motion_signal)
        self.labels, self.class_names = self.images.labels, self.images.class_names
        octaves = () if self.zoom is None else (max(np.log2(self.zoom[1] / self.zoom[0]), ZOOM_STEP),)
        limit = np.array([2.0, 2.0, *octaves], dtype=np.float32)
        self._units = max_amplitude if self.zoom is None else np.array([max_amplitude, max_amplitude, ZOOM_STEP])
        self.action_space = spaces.Box(-1.0, 1.0, limit.shape, np.float32)
        self.motion_space = spaces.Box(-limit, limit, dtype=np.float32)
        channels = self.fovea.channels(self.images.images.shape[3])
        self.glimpse_space = spaces.Box(0, 255, (glimpse_size, glimpse_size, channels), np.uint8)

    def bind(self, num_envs: int) -> None:
        """Allocate the state of `num_envs` rows."""
        self._index = np.zeros(num_envs, dtype=np.int64)
        self._label = np.zeros(num_envs, dtype=np.int64)
        self._corner = np.zeros((num_envs, 2), dtype=np.float64 if self.subpixel else np.int64)
        self._position = np.zeros((num_envs, 2), dtype=np.float64)
        self._zoom = np.ones(num_envs, dtype=np.float64)

    @property
    def pose(self) -> np.ndarray:
        """Where each row looks: (B, 2) float64 positions (x, y) in image units; with zoom a third: its log2, (B, 3)."""
        if self.zoom is None:
            return self._position
        return np.concatenate([self._position, np.log2(self._zoom)[:, None]], axis=1)

    def begin(self, rows: Rows, draws: EpisodeDraws) -> None:
        """Draw an image and a first fixation."""
        index = draws.integers(_DRAW_IMAGE, len(self.images))
        self._index[rows] = index
        self._label[rows] = self.images.labels[index]
        self._place(rows, self.draw_poses(draws.uniform(_DRAW_START, 3)))

    def draw_poses(self, uniform: np.ndarray) -> np.ndarray:
        """Map (n, 3) uniforms in [0, 1) to (n, 2) positions, or (n, 3) with log2 zoom: see `start`."""
        wanted = np.zeros((len(uniform), 2))
        if self.start == "uniform":
            wanted = (2 * uniform[:, :2] - 1) * self.reach
        return self._poses_of(wanted, uniform[:, 2])

    def draw_scanpaths(self, index: np.ndarray, uniform: np.ndarray, length: int) -> np.ndarray:
        """Return where a gaze that goes by priority looks: V fixations of each of images `index` (n,), (n, V, P) poses.

        Each is drawn from the priority map with the settings `priority`, the first of a scanpath from saliency alone.
        After `length` fixations a new scanpath begins, for which nothing is inhibited.

        Args:
            index: (n,) int64.
            uniform: (n, V, 3) in [0, 1), of which the first number draws the place and the third the zoom.
            length: fixations of a scanpath, at least 1; the last one of an image may be shorter.
        """
        rows, poses = np.arange(len(index)), []
        priority = self.priority_map(len(index))
        saliency = self.images.saliency(index) if self.priority.saliency else None
        for k in range(uniform.shape[1]):
            if k % length == 0:
                priority.begin(rows, saliency)
            wanted = priority.sample(rows, uniform[:, k, 0], reach=self.reach)
            poses.append(self._poses_of(wanted, uniform[:, k, 2]))
            priority.fixate(rows, poses[-1][:, :2])
        return np.stack(poses, axis=1)

    def move(self, rows: Rows, actions: np.ndarray, draws: EpisodeDraws, steps: np.ndarray) -> np.ndarray:
        """Jump as the eye can, stopping at the limit of reach and zoom; on whole pixels unless `subpixel`."""
        before = self.pose[rows].copy()
        motion = actions * self._units
        if self.oculomotor is not None:
            motion[:, :2] = self.oculomotor.land(motion[:, :2], draws.normal(_DRAW_OCULOMOTOR, 3, steps))
        self._place(rows, before + motion)
        return (self.pose[rows] - before).astype(np.float32)

    def commanded(self, actions: np.ndarray) -> np.ndarray:
        """Return the motions that (n, A) actions ask for, (n, A) float32: image units, and octaves of zoom."""
        return (actions * self._units).astype(np.float32)

    def look(self, rows: Rows, draws: EpisodeDraws, steps: np.ndarray) -> np.ndarray:
        """Cut the glimpses, (n, size, size, C) uint8."""
        scale = None if self.zoom is None else self._zoom[rows]
        glimpses = self.fovea.sample(self.images.images, self._index[rows], self._corner[rows], scale)
        factors = self.variation.values(rows)
        seeds = lambda: draws.uniform(_DRAW_NOISE, 1, steps)[:, 0]  # noqa: E731
        return sense(glimpses, factors["image_contrast"], factors["image_noise"], seeds)

    def actions_towards(self, poses: np.ndarray) -> np.ndarray:
        """Return (B, A) actions aimed at (B, A) poses; an oculomotor model may miss them."""
        return ((poses - self.pose) / self._units).clip(-1.0, 1.0)

    def view(self, index: np.ndarray, poses: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Take the glimpses at (n, A) poses of images `index`, (n, size, size, C) uint8; random if factors are."""
        return self._view(index, poses, uniform, self.variation.values_from(uniform))

    def another_view(self, rows: Rows, poses: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Take the glimpses of the images of `rows` at (n, A) other poses: see `World.another_view`."""
        return self._view(self._index[rows], poses, uniform, self.variation.values_of_another(rows, uniform))

    def _view(
        self, index: np.ndarray, poses: np.ndarray, uniform: np.ndarray, factors: dict[str, np.ndarray]
    ) -> np.ndarray:
        scale = None if self.zoom is None else self._zoom_of(poses)
        glimpses = self.fovea.sample(self.images.images, index, self._corner_of(poses[:, :2]), scale)
        seeds = lambda: self.variation.seeds_from(uniform)  # noqa: E731
        return sense(glimpses, factors["image_contrast"], factors["image_noise"], seeds)

    def poses_at(self, rows: Rows, positions: np.ndarray) -> np.ndarray:
        """Return (n, A) poses of `rows` at (n, 2) other positions: with zoom, at the zoom they have."""
        return np.concatenate([positions, self.pose[rows][:, 2:]], axis=1)

    def priority_map(self, num_paths: int) -> PriorityMap:
        """Return an empty priority map for images of this size, with the settings `priority`."""
        side = self.images.side
        cells = side // 2 if side % 2 == 0 else side
        return PriorityMap(num_paths, cells=cells, settings=self.priority)

    def state(self) -> dict[str, np.ndarray]:
        """Return the live arrays: image index and label, corner in pixels, position in image units; zoom if any."""
        live = {"index": self._index, "label": self._label, "corner": self._corner, "position": self._position}
        return live if self.zoom is None else live | {"zoom": self._zoom}

    def info(self) -> dict[str, np.ndarray]:
        """Return `position` (B, 2), `label` (B,) and `index` (B,); with zoom, `zoom` (B,)."""
        told = {"position": self._position, "label": self._label, "index": self._index}
        return told if self.zoom is None else told | {"zoom": self._zoom}

    def frame(self, row: int, glimpses: list[np.ndarray], poses: list[np.ndarray]) -> np.ndarray:
        """Draw the scene with scanpath, fovea and priority map, and the glimpse enlarged beside it."""
        from .display import saccade_frame

        index = int(self._index[row])
        priority = self.priority_map(1)
        only = np.array([0])
        priority.begin(only, self.images.saliency(np.array([index])) if self.priority.saliency else None)
        for position in poses:
            priority.fixate(only, position[None, :2])
        return saccade_frame(
            self.images.images[index],
            np.asarray(poses)[:, :2],
            glimpses[-1],
            fovea_size=self.fovea.field * float(self._zoom[row]),
            priority=priority.priority(only)[0],
            label=self.images.class_names[self._label[row]],
        )

    def _poses_of(self, wanted: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Return (n, 2) poses at (n, 2) wanted positions, or (n, 3) with log2 zoom from (n,) uniforms: see `start`."""
        positions = self._position_of(self._corner_of(wanted))
        if self.zoom is None:
            return positions
        near, far = np.log2(self.zoom)
        octaves = near + uniform * (far - near) if self.start == "uniform" else np.zeros(len(uniform))
        return np.concatenate([positions, octaves.clip(near, far)[:, None]], axis=1)

    def _place(self, rows: Rows, poses: np.ndarray) -> None:
        """Put the gaze of `rows` at (n, A) poses, within reach and range, on whole pixels unless `subpixel`."""
        self._corner[rows] = self._corner_of(poses[:, :2])
        self._position[rows] = self._position_of(self._corner[rows])
        if self.zoom is not None:
            self._zoom[rows] = self._zoom_of(poses)

    def _zoom_of(self, poses: np.ndarray) -> np.ndarray:
        """Return the (n,) float64 image pixels per glimpse pixel of (n, 3) poses, within range."""
        assert self.zoom is not None
        return np.exp2(poses[:, 2]).clip(*self.zoom)

    def _corner_of(self, positions: np.ndarray) -> np.ndarray:
        """Return the (n, 2) top left pixels (x, y) of crops nearest to (n, 2) positions within reach.

        They are int64; with `subpixel` float64, and need be on no whole pixel.
        """
        side, size = self.images.side, self.fovea.size
        low, high = np.array([1 - self.reach, 1 + self.reach]) / 2 * side - size / 2
        if self.subpixel:
            return ((positions + 1) / 2 * side - size / 2).clip(low, high)
        corner = np.rint((positions + 1) / 2 * side - size / 2)
        return corner.clip(np.ceil(low - 1e-9), np.floor(high + 1e-9)).astype(np.int64)

    def _position_of(self, corner: np.ndarray) -> np.ndarray:
        """Return the (n, 2) float64 positions of glimpses whose top left pixels are `corner`."""
        return (corner + self.fovea.size / 2) * (2 / self.images.side) - 1


def _priority_settings(options: dict[str, Any] | None, side: int) -> PrioritySettings:
    """Return the settings of a priority map over images of `side` pixels; 16 of them is the radius if none is named."""
    options = {} if options is None else options
    settings = settings_from(PrioritySettings, options, "priority")
    return settings if "radius" in options else replace(settings, radius=2 * INHIBITION_RADIUS / side)


def _checked_zoom(zoom: Sequence[float]) -> tuple[float, float]:
    if not is_numbers(zoom) or len(zoom) != 2 or not 0 < zoom[0] < zoom[1] < np.inf:
        raise ValueError(
            f"zoom must be (nearest, farthest) image pixels per glimpse pixel, 0 < nearest < farthest; got {zoom}"
        )
    return float(zoom[0]), float(zoom[1])


class SaccadeEnv(ComposedEnv):
    """A gaze that jumps over images and sees one glimpse at a time.

    ## Description
    An episode shows one image, of which only the glimpse at the gaze is observed. The action is a saccade. There is no
    goal: free viewing, for exploring and for learning a world model from glimpses (seq-JEPA's "predictive learning
    across saccades", arXiv 2505.03176, section 3).

    ## Observation space
    `Dict`: `glimpse` (32, 32, 3) uint8, the pixels around the gaze; `motion` (2,) float32, the saccade that led to it:
    (dx, dy), +x right, +y down, in image units (half the image side), zeros after a reset. What a glimpse is depends
    on `fovea`: "multiscale" stacks its scales on channels, finest first, (32, 32, 9). With `zoom` the motion is (3,),
    the third the change of log2 zoom (octaves, positive: wider).

    ## Action space
    `Box(-1, 1, (2,), float32)`: (dx, dy) in units of `max_amplitude`. The gaze stops at the limit of `reach` and
    lands on whole pixels (see `subpixel`); `motion` is what was realised, unless `motion_signal` says otherwise. Values
    beyond [-1, 1] are clipped. With `zoom` the space is `Box(-1, 1, (3,), float32)`: the third component is the change
    of log2 zoom, in octaves, so 1 doubles and -1 halves the image pixels per glimpse pixel, within the range.

    ## Rewards
    Always 0.

    ## Starting state
    An image drawn uniformly from the split; the gaze uniform within reach, or the centre with `start="center"`.
    The zoom is drawn log-uniformly from its range, or with `start="center"` is 1 (or the range's end nearest to it).

    ## Episode end
    Never terminates; truncated after 16 steps (`max_episode_steps`).

    ## Info
    `position` (2,) float64 (x, y) in [-1, 1], 0 the centre of the image; `label`; `index` of the image;
    `motion_realised` and `motion_commanded`, both float32 as `motion`, zeros after a reset; `step_index`, the steps
    since the reset (0: no motion led to this glimpse); `variation`, a dict of the factors' present values. With `zoom`:
    `zoom`, float64, image pixels per glimpse pixel.

    ## Factors of variation
    - `image_contrast`, in [0, 4] (1; drawn from [0.5, 1.5]): a pixel is 127.5 + contrast * (pixel - 127.5).
    - `image_noise`, in [0, 255] (0; drawn from [0, 16]): standard deviation, in grey levels, of noise that is added to
      every pixel and channel, new in each glimpse.

    `variation` says what becomes of them, such as `{"image_contrast": "episode", "image_noise": {"draw": "step",
    "low": 0, "high": 8}}` or `{"image_noise": {"value": 4}}`: "fixed", or drawn uniformly for each "episode" or each
    "step". `reset(options={"variation": {"image_contrast": 0.7}})` forces values for that episode, drawn or not.

    ## Arguments
    - `images`: built in "scenes" (one object on a textured ground, 96 x 96), "landscapes" (one object, and small far
      ones, on a perspective ground under sun and sky, 96 x 96: a glimpse tells where it lies, as in a natural
      photograph), "pairs" (a mug and a car on an even ground, 96 x 96; the class is the direction from the one to the
      other, which hardly any single glimpse tells), "search-easy", "search", "search-hard" (3, 6 or 10 objects of
      different classes, 128 x 128) or "textures" (grounds alone, 96 x 96); the path of STL-10 or CIFAR-10/100 (binary
      versions), of STL-10's `unlabeled_X.bin`, of Tiny ImageNet, of a folder with one sub-folder a class, or of an
      `.npz` or `.npy` file; or an `ImageSet`. `load_images` says what each must hold.
    - `split`: "train", "validation" or "test"; no image is in two of them. Data sets keep their published test split,
      or Tiny ImageNet's validation part as test. Image folders, arrays and `unlabeled_X.bin` have no splits of their
      own: their images are dealt to the three by name or number.
    - `glimpse_size`: side of the glimpse in pixels (32). Stable-Baselines3's own CNN needs 36 or more; smaller glimpses
      need a features extractor of your own.
    - `max_amplitude`: the saccade, in image units, of an action of 1 (1.0).
    - `reach`: the gaze stays within |x|, |y| <= reach, image units. The default keeps the glimpse inside the image;
      up to 1 lets it reach over the border, where it sees `padding`. The default is the same whatever the fovea and
      the zoom, so that they compare at the same fixations: what they see beyond the crop may lie over the border.
    - `start`: "uniform" or "center".
    - `padding`: value, 0-255, of what lies outside the image (0).
    - `fovea`: "crop", the square of `glimpse_size` image pixels around the gaze; "multiscale", concentric squares each
      averaged to that size; "logpolar", rows are directions and columns radii, as `cv2.warpPolar`; "blurred", the crop
      sharp within a disc and blurred in proportion to eccentricity around it. See `MultiscaleFovea`, `LogPolarFovea`
      and `BlurredFovea` in `glimpseworld.envs.eye.foveae`.
    - `scales`: of "multiscale", image pixels per glimpse pixel, rising (1, 2, 4).
    - `radius`: of "logpolar", the field's radius in image pixels (`glimpse_size`); of "blurred", the sharp disc's in
      glimpse pixels (an eighth of `glimpse_size`).
    - `subpixel`: False: the gaze lands on whole pixels, which is several times faster. True: it lands where it was
      sent, and glimpses are sampled bilinearly.
    - `zoom`: None, or the range (nearest, farthest) of image pixels per glimpse pixel that the action moves in.
      Glimpses are then sampled bilinearly below 1 and by area averaging above.
    - `priority`: None, or a dict that says what makes a place worth a fixation, for the viewer's map and the agents
      that go by it: some of `saliency` (true), inhibition of return's `radius` in image units (16 pixels), `strength`
      (1: priority falls to 0 within the radius; 0: no inhibition of return) and `decay` (share that each further
      fixation leaves of it: 1), `centre_bias` (standard deviation of a Gaussian around the centre, image units: none)
      and `temperature` of the draw (1), as in `{"saliency": false, "decay": 0.7}`. See `PrioritySettings`.
    - `oculomotor`: None for an eye that lands where it aims, or a dict with some of `amplitude_limit` (the longest
      saccade, image units; a longer one is cut to it along its direction), `gain` and `gain_std` (mean and standard
      deviation of the share of its length that a saccade covers: 1, 0), `scatter` and `scatter_slope` (standard
      deviation of the landing in x and in y: scatter + scatter_slope * amplitude, image units: 0, 0), as in
      `{"gain": 0.9, "scatter_slope": 0.06}`. Noise comes before the limit of `reach` and whole pixels. `Oculomotor`
      has the model and its sources.
    - `motion_signal`: what `motion` tells: "realised", the saccade that was made, or "commanded", its efference copy
      (von Holst and Mittelstaedt, 1950): action * max_amplitude, whatever came of it. Info has both.
    - `variation`: None (nothing varies), or a dict as above.
    - `render_mode`: None, "rgb_array" or "human".

    ## Version history
    - v0: first version.
    """

    compose = staticmethod(free_viewing(SaccadeWorld))


class SaccadeVectorEnv(ComposedVectorEnv):
    """The same, batched: `SaccadeEnv`'s page holds; sub-environment i seeded s equals it seeded s + i."""

    compose = staticmethod(free_viewing(SaccadeWorld))
