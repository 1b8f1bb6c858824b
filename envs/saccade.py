"""The world of saccades: a gaze that jumps over images."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from .core import Rows, World
from .draws import EpisodeDraws
from .environment import GlimpseEnv, GlimpseVectorEnv
from .fixation import INHIBITION_RADIUS, PriorityMap
from .glimpse import CropFovea
from .images import ImageSet, load_images
from .sensor import SENSOR_FACTORS, sense
from .variation import Variation

_DRAW_IMAGE, _DRAW_START, _DRAW_VARIATION, _DRAW_NOISE = 1, 2, 50, 51


class SaccadeWorld(World):
    """Images and a gaze on each; see `SaccadeEnv` for the arguments, spaces and conventions."""

    motion_kind: Literal["translation", "rotation"] = "translation"
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
        variation: dict[str, Any] | None = None,
    ) -> None:
        if isinstance(variation, str):
            raise ValueError(f"variation must be None or a dict, got {variation!r}: this world has no presets")
        self.variation = Variation(SENSOR_FACTORS, _DRAW_VARIATION, variation)
        self.images = images if isinstance(images, ImageSet) else load_images(images, split)
        self.fovea = CropFovea(glimpse_size, padding=padding)
        side = self.images.side
        if reach is None and glimpse_size > side:
            raise ValueError(f"a glimpse of {glimpse_size} pixels does not fit an image of {side}; give a smaller one")
        self.reach = 1.0 - glimpse_size / side if reach is None else reach
        if not 0 <= self.reach <= 1:
            raise ValueError(f"reach must be in [0, 1] image units, got {reach}")
        if not 0 < max_amplitude <= 2:
            raise ValueError(f"max_amplitude must be in (0, 2] image units, got {max_amplitude}")
        if start not in ("uniform", "center"):
            raise ValueError(f'start must be "uniform" or "center", got {start!r}')
        self.max_amplitude, self.start = max_amplitude, start
        self.labels, self.class_names = self.images.labels, self.images.class_names
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.motion_space = spaces.Box(-2.0, 2.0, (2,), np.float32)
        self.glimpse_space = spaces.Box(0, 255, (glimpse_size, glimpse_size, self.images.images.shape[3]), np.uint8)

    def bind(self, num_envs: int) -> None:
        """Allocate the state of `num_envs` rows."""
        self._index = np.zeros(num_envs, dtype=np.int64)
        self._label = np.zeros(num_envs, dtype=np.int64)
        self._corner = np.zeros((num_envs, 2), dtype=np.int64)
        self._position = np.zeros((num_envs, 2), dtype=np.float64)

    @property
    def pose(self) -> np.ndarray:
        """Where each row looks: (B, 2) float64 positions (x, y) in image units."""
        return self._position

    def begin(self, rows: Rows, draws: EpisodeDraws) -> None:
        """Draw an image and a first fixation."""
        index = draws.integers(_DRAW_IMAGE, len(self.images))
        self._index[rows] = index
        self._label[rows] = self.images.labels[index]
        self._place(rows, self.draw_poses(draws.uniform(_DRAW_START, 3)))

    def draw_poses(self, uniform: np.ndarray) -> np.ndarray:
        """Map (n, 3) uniforms in [0, 1) to (n, 2) positions on whole pixels: see `start`."""
        wanted = np.zeros((len(uniform), 2))
        if self.start == "uniform":
            wanted = (2 * uniform[:, :2] - 1) * self.reach
        return self._position_of(self._corner_of(wanted))

    def move(self, rows: Rows, actions: np.ndarray) -> np.ndarray:
        """Jump, stopping at the limit of reach; the landing is snapped to whole pixels and so is the motion."""
        before = self._position[rows].copy()
        self._place(rows, before + actions * self.max_amplitude)
        return (self._position[rows] - before).astype(np.float32)

    def look(self, rows: Rows, draws: EpisodeDraws, steps: np.ndarray) -> np.ndarray:
        """Cut the glimpses, (n, size, size, C) uint8."""
        glimpses = self.fovea.sample(self.images.images, self._index[rows], self._corner[rows])
        factors = self.variation.values(rows)
        seeds = lambda: draws.uniform(_DRAW_NOISE, 1, steps)[:, 0]  # noqa: E731
        return sense(glimpses, factors["image_contrast"], factors["image_noise"], seeds)

    def actions_towards(self, poses: np.ndarray) -> np.ndarray:
        """Return (B, 2) actions towards (B, 2) positions."""
        return ((poses - self._position) / self.max_amplitude).clip(-1.0, 1.0)

    def view(self, index: np.ndarray, poses: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Cut the glimpses at (n, 2) positions of images `index`, (n, size, size, C) uint8; random if factors are."""
        glimpses = self.fovea.sample(self.images.images, index, self._corner_of(poses))
        factors = self.variation.values_from(uniform)
        seeds = lambda: self.variation.seeds_from(uniform)  # noqa: E731
        return sense(glimpses, factors["image_contrast"], factors["image_noise"], seeds)

    def priority_map(self, num_paths: int) -> PriorityMap:
        """Return an empty priority map for images of this size, with the published radius of inhibition."""
        side = self.images.side
        cells = side // 2 if side % 2 == 0 else side
        return PriorityMap(num_paths, cells=cells, radius=2 * INHIBITION_RADIUS / side)

    def state(self) -> dict[str, np.ndarray]:
        """Return the live arrays: image index and label, corner in pixels, position in image units."""
        return {"index": self._index, "label": self._label, "corner": self._corner, "position": self._position}

    def info(self) -> dict[str, np.ndarray]:
        """Return `position` (B, 2), `label` (B,) and `index` (B,)."""
        return {"position": self._position, "label": self._label, "index": self._index}

    def frame(self, row: int, glimpses: list[np.ndarray], poses: list[np.ndarray]) -> np.ndarray:
        """Draw the scene with scanpath, fovea and priority map, and the glimpse enlarged beside it."""
        from .display import saccade_frame

        index = int(self._index[row])
        priority = self.priority_map(1)
        only = np.array([0])
        priority.begin(only, self.images.saliency(np.array([index])))
        for position in poses:
            priority.fixate(only, position[None])
        return saccade_frame(
            self.images.images[index],
            np.asarray(poses),
            glimpses[-1],
            fovea_size=self.fovea.size,
            priority=priority.priority(only)[0],
            label=self.images.class_names[self._label[row]],
        )

    def _place(self, rows: Rows, positions: np.ndarray) -> None:
        """Put the gaze of `rows` at (n, 2) positions, within reach and on whole pixels."""
        self._corner[rows] = self._corner_of(positions)
        self._position[rows] = self._position_of(self._corner[rows])

    def _corner_of(self, positions: np.ndarray) -> np.ndarray:
        """Return the (n, 2) int64 top left pixels (x, y) of glimpses nearest to (n, 2) positions within reach."""
        side, size = self.images.side, self.fovea.size
        low, high = np.array([1 - self.reach, 1 + self.reach]) / 2 * side - size / 2
        corner = np.rint((positions + 1) / 2 * side - size / 2)
        return corner.clip(np.ceil(low - 1e-9), np.floor(high + 1e-9)).astype(np.int64)

    def _position_of(self, corner: np.ndarray) -> np.ndarray:
        """Return the (n, 2) float64 positions of glimpses whose top left pixels are `corner`."""
        return (corner + self.fovea.size / 2) * (2 / self.images.side) - 1


class SaccadeEnv(GlimpseEnv):
    """A gaze that jumps over images and sees one glimpse at a time.

    ## Description
    An episode shows one image, of which only the glimpse at the gaze is observed. The action is a saccade. There is no
    goal: free viewing, for exploring and for learning a world model from glimpses (seq-JEPA's "predictive learning
    across saccades", arXiv 2505.03176, section 3).

    ## Observation space
    `Dict`: `glimpse` (32, 32, 3) uint8, the pixels around the gaze; `motion` (2,) float32, the saccade that led to it:
    (dx, dy), +x right, +y down, in image units (half the image side), zeros after a reset.

    ## Action space
    `Box(-1, 1, (2,), float32)`: (dx, dy) in units of `max_amplitude`. The gaze stops at the limit of `reach` and
    lands on whole pixels; `motion` is what was realised. Values beyond [-1, 1] are clipped.

    ## Rewards
    Always 0.

    ## Starting state
    An image drawn uniformly from the split; the gaze uniform within reach, or the centre with `start="center"`.

    ## Episode end
    Never terminates; truncated after 16 steps (`max_episode_steps`).

    ## Info
    `position` (2,) float64 (x, y) in [-1, 1], 0 the centre of the image; `label`; `index` of the image; `step_index`,
    the steps since the reset (0: no motion led to this glimpse); `variation`, a dict of the factors' present values.

    ## Factors of variation
    - `image_contrast`, in [0, 4] (1; drawn from [0.5, 1.5]): a pixel is 127.5 + contrast * (pixel - 127.5).
    - `image_noise`, in [0, 255] (0; drawn from [0, 16]): standard deviation, in grey levels, of noise that is added to
      every pixel and channel, new in each glimpse.

    `variation` says what becomes of them, such as `{"image_contrast": "episode", "image_noise": {"draw": "step",
    "low": 0, "high": 8}}` or `{"image_noise": {"value": 4}}`: "fixed", or drawn uniformly for each "episode" or each
    "step". `reset(options={"variation": {"image_contrast": 0.7}})` forces values for that episode, drawn or not.

    ## Arguments
    - `images`: "scenes" (built in: one object on a textured ground, 96 x 96), the path of a folder with one
      sub-folder a class, or an `ImageSet`.
    - `split`: "train", "validation" or "test"; no image is in two of them. An image folder has no splits of its own:
      its images are dealt to the three by name.
    - `glimpse_size`: side of the glimpse in pixels (32). Stable-Baselines3's own CNN needs 36 or more; smaller glimpses
      need a features extractor of your own.
    - `max_amplitude`: the saccade, in image units, of an action of 1 (1.0).
    - `reach`: the gaze stays within |x|, |y| <= reach, image units. The default keeps the glimpse inside the image;
      up to 1 lets it reach over the border, where it sees `padding`.
    - `start`: "uniform" or "center".
    - `padding`: value, 0-255, of what lies outside the image (0).
    - `variation`: None (nothing varies), or a dict as above.
    - `render_mode`: None, "rgb_array" or "human".

    ## Version history
    - v0: first version.
    """

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
        variation: dict[str, Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        world = SaccadeWorld(
            images,
            split=split,
            glimpse_size=glimpse_size,
            max_amplitude=max_amplitude,
            reach=reach,
            start=start,
            padding=padding,
            variation=variation,
        )
        super().__init__(world, render_mode=render_mode)


class SaccadeVectorEnv(GlimpseVectorEnv):
    """The same, batched: `SaccadeEnv`'s page holds; sub-environment i seeded s equals it seeded s + i."""

    def __init__(
        self,
        images: str | ImageSet = "scenes",
        *,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: Any = "NextStep",
        render_mode: str | None = None,
        **world: Any,
    ) -> None:
        super().__init__(
            SaccadeWorld(images, **world),
            num_envs=num_envs,
            max_episode_steps=max_episode_steps,
            autoreset_mode=autoreset_mode,
            render_mode=render_mode,
        )
