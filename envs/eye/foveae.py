"""Foveae that see finely at the gaze and coarsely around it: multi-scale, log-polar, blurred periphery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from ..settings import is_numbers
from ..threads import share_out
from .glimpse import CropFovea, Fovea
from .image_tables import BoxTables, check_channels
from .resampling import resample

FoveaKind = Literal["crop", "multiscale", "logpolar", "blurred"]
SCALES = (1, 2, 4)


def make_fovea(
    kind: FoveaKind,
    size: int,
    *,
    padding: int = 0,
    scales: Sequence[float] | None = None,
    radius: float | None = None,
) -> Fovea:
    """Make a fovea by its name; `scales` belongs to "multiscale", `radius` to "logpolar" and "blurred".

    Raises:
        ValueError: if the kind is unknown, or an option is not its own.
    """
    if kind not in get_args(FoveaKind):
        raise ValueError(f"fovea must be one of {', '.join(get_args(FoveaKind))}; got {kind!r}")
    if scales is not None and kind != "multiscale":
        raise ValueError(f'scales are those of fovea="multiscale"; fovea={kind!r} has none')
    if radius is not None and kind not in ("logpolar", "blurred"):
        raise ValueError(f'radius is that of fovea="logpolar" or "blurred"; fovea={kind!r} has none')
    if kind == "multiscale":
        return MultiscaleFovea(size, SCALES if scales is None else scales, padding=padding)
    if kind == "logpolar":
        return LogPolarFovea(size, radius, padding=padding)
    if kind == "blurred":
        return BlurredFovea(size, radius, padding=padding)
    return CropFovea(size, padding=padding)


class MultiscaleFovea(Fovea):
    """Concentric squares, each averaged to the glimpse's size and stacked on channels, finest first.

    Args:
        size: side of the glimpse in pixels.
        scales: image pixels per glimpse pixel of each square, rising; at scale k it is `size` * k pixels wide.
        padding: value of what lies outside the image, 0-255.

    Whole pixels and whole scales are gathered from tables of averages (`BoxTables`); anything else is `resample`d.

    Source: the retina of Mnih et al., "Recurrent Models of Visual Attention" (2014), section 3.1.
    """

    def __init__(self, size: int, scales: Sequence[float] = SCALES, *, padding: int = 0) -> None:
        super().__init__(size, padding=padding)
        if not is_numbers(scales):
            raise ValueError(f"scales must be a list of numbers, such as [1, 2, 4], got {scales!r}")
        self.scales = tuple(scales)
        if (
            not self.scales
            or self.scales[0] <= 0
            or any(b <= a for a, b in zip(self.scales, self.scales[1:], strict=False))
        ):
            raise ValueError(f"scales must be numbers above 0 that rise, got {self.scales}")
        on_pixels = all(k == int(k) and k <= 16 and (k - 1) * size % 2 == 0 for k in self.scales)
        self._steps: tuple[int, ...] = tuple(int(k) for k in self.scales) if on_pixels else ()
        self._tables = BoxTables(tuple((k, k) for k in self._steps), padding, overhang=size + 22)

    @property
    def field(self) -> float:
        """Side of the coarsest square."""
        return self.size * self.scales[-1]

    def channels(self, image_channels: int) -> int:
        """Return the image's channels times the scales."""
        check_channels(image_channels)
        return image_channels * len(self.scales)

    def sample(
        self, images: np.ndarray, index: np.ndarray, corner: np.ndarray, scale: np.ndarray | None = None
    ) -> np.ndarray:
        """Take the glimpses: see `Fovea.sample`."""
        if scale is None and corner.dtype == np.int64 and self._steps:
            return self._gather(images, index, corner)
        zoom = np.ones(len(index)) if scale is None else scale
        centre = corner + self.size / 2
        squares = [
            resample(images, index, centre, k * zoom, np.maximum(k * zoom, 1.0), self.size, self.padding)
            for k in self.scales
        ]
        return np.concatenate(squares, axis=-1)

    def _gather(self, images: np.ndarray, index: np.ndarray, corner: np.ndarray) -> np.ndarray:
        from .foveae_kernels import MOST_WOVEN, WOVEN_PIXELS, gather_levels, weave_levels

        channels, size, tables = images.shape[3], self.size, self._tables
        glimpses = np.empty((len(index), size, size, self.channels(channels)), dtype=np.uint8)
        length = size * size * self.channels(channels)
        woven = channels == len(self.scales) == 3 and size % WOVEN_PIXELS == 0 and size <= MOST_WOVEN

        def gather(seen: np.ndarray, table: np.ndarray, gaze: np.ndarray) -> None:
            around = tables.store, table, gaze, tables.levels, size
            seen = seen.reshape(len(seen), length)
            if woven:
                weave_levels(*around, self.padding, seen)
            else:
                gather_levels(*around, _packed_padding(self.padding, channels), *_scratch(length, channels), seen)

        for part, table in tables.parts(images, index):
            share_out(gather, glimpses[part], table, corner[part])
        return glimpses


class LogPolarFovea(Fovea):
    """Rings around the gaze whose radii grow exponentially, as the cortex maps the retina.

    Row i of the glimpse is the direction at angle 2 pi i / size, from +x (right) towards +y (down); column j is the
    radius exp(j ln(radius) / size) - 1, in image pixels: column 0 is the gaze itself. This is
    `cv2.warpPolar(image, (size, size), gaze, radius, cv2.WARP_POLAR_LOG + interpolation)`, where cv2 puts the centre of
    pixel i at i and this project at i + 1/2. Interpolation is `cv2.INTER_NEAREST` on whole pixels, from a table of
    offsets, and `cv2.INTER_LINEAR` off them or with zoom. Nothing is averaged: outer rings skip pixels, as in cv2.

    Args:
        size: side of the glimpse: directions, and rings.
        radius: beyond the outermost ring, in image pixels, above 1; None for `size`.
        padding: value of what lies outside the image, 0-255.
    """

    def __init__(self, size: int, radius: float | None = None, *, padding: int = 0) -> None:
        super().__init__(size, padding=padding)
        self.radius = float(size if radius is None else radius)
        if not 1 < self.radius < np.inf:
            raise ValueError(f"the radius of a log-polar glimpse must be above 1 pixel, got {self.radius}")
        radii = np.exp(np.arange(size) * np.log(self.radius) / size) - 1
        angles = np.arange(size) * (2 * np.pi / size)
        directions = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        self._offsets = directions[:, None] * radii[:, None]  # (size, size, 2): (x, y) from the gaze
        # The pixels (x, y) of the glimpse, from the corner; and how far they are from the middle at most.
        self._nearest = np.floor((size / 2 + self._offsets).round(9)).astype(np.int32).reshape(-1, 2)
        self._reach = int(np.abs(self._nearest - size // 2).max())

    @property
    def field(self) -> float:
        """The diameter."""
        return 2 * self.radius

    def channels(self, image_channels: int) -> int:
        """Return `image_channels`."""
        check_channels(image_channels)
        return image_channels

    def sample(
        self, images: np.ndarray, index: np.ndarray, corner: np.ndarray, scale: np.ndarray | None = None
    ) -> np.ndarray:
        """Take the glimpses: see `Fovea.sample`."""
        if scale is None and corner.dtype == np.int64:
            return self._gather(images, index, corner)
        zoom = np.ones(len(index)) if scale is None else scale
        points = (corner + self.size / 2)[:, None, None] + self._offsets * zoom[:, None, None, None]
        return _bilinear(images, index, points, self.padding)

    def _gather(self, images: np.ndarray, index: np.ndarray, corner: np.ndarray) -> np.ndarray:
        from .foveae_kernels import gather_points

        side, channels, size = images.shape[1], images.shape[3], self.size
        glimpses = np.empty((len(index), size, size, channels), dtype=np.uint8)
        around = self._nearest, self._reach, size // 2, _packed_padding(self.padding, channels)

        def gather(seen: np.ndarray, index: np.ndarray, gaze: np.ndarray) -> None:
            scratch = _scratch(size * size * channels, channels)
            seen = seen.reshape(len(seen), size * size * channels)
            gather_points(images.reshape(-1), side, channels, index, gaze, *around, *scratch, seen)

        share_out(gather, glimpses, index, corner)
        return glimpses


class BlurredFovea(Fovea):
    """A square around the gaze, sharp within a disc and the more blurred the farther out.

    Beyond `radius` the pixel is a blend of the image and its means over boxes of 3, 7 and 15 pixels. The level of
    blur is log(eccentricity / radius), scaled to reach the last at the corners of the square: so the smallest detail
    grows about in proportion to eccentricity, as in the eye.

    Args:
        size: side of the glimpse in pixels.
        radius: of the sharp disc, in glimpse pixels; None for an eighth of `size`.
        padding: value of what lies outside the image, 0-255.

    Source: acuity against eccentricity as in Geisler and Perry, "A real-time foveated multiresolution system for
    low-bandwidth video communication" (1998), here with boxes in place of their pyramid.
    """

    BOXES = (1, 3, 7, 15)

    def __init__(self, size: int, radius: float | None = None, *, padding: int = 0) -> None:
        super().__init__(size, padding=padding)
        self.radius = float(size / 8 if radius is None else radius)
        if not 0 < self.radius < np.inf:
            raise ValueError(f"the radius of the sharp disc must be above 0 pixels, got {self.radius}")
        self._tables = BoxTables(tuple((box, 1) for box in self.BOXES), padding)
        self._shares = _shares(size, self.radius, len(self.BOXES))

    @property
    def field(self) -> float:
        """The glimpse's own side."""
        return self.size

    def channels(self, image_channels: int) -> int:
        """Return `image_channels`."""
        check_channels(image_channels)
        return image_channels

    def sample(
        self, images: np.ndarray, index: np.ndarray, corner: np.ndarray, scale: np.ndarray | None = None
    ) -> np.ndarray:
        """Take the glimpses: see `Fovea.sample`. With zoom the boxes are of glimpse pixels."""
        if scale is None and corner.dtype == np.int64:
            return self._gather(images, index, corner)
        zoom = np.ones(len(index)) if scale is None else scale
        centre = corner + self.size / 2
        total = np.uint16(128)
        for share, box in zip(self._shares, self.BOXES, strict=True):
            level = resample(images, index, centre, zoom, np.maximum(box * zoom, 1.0), self.size, self.padding)
            total = total + level * share[..., None]  # (n, size, size, C) uint16
        return (total >> np.uint16(8)).astype(np.uint8)

    def _gather(self, images: np.ndarray, index: np.ndarray, corner: np.ndarray) -> np.ndarray:
        from .foveae_kernels import blend_levels

        tables, size, channels = self._tables, self.size, images.shape[3]
        shares = np.repeat(self._shares, channels, axis=2)
        glimpses = np.empty((len(index), size, size, channels), dtype=np.uint8)

        def blend(seen: np.ndarray, table: np.ndarray, gaze: np.ndarray) -> None:
            seen = seen.reshape(len(seen), size, size * channels)
            blend_levels(tables.store, table, gaze, tables.levels, shares, self.padding, seen)

        for part, table in tables.parts(images, index):
            share_out(blend, glimpses[part], table, corner[part])
        return glimpses


def _packed_padding(padding: int, channels: int) -> int:
    """Return the padding as a packed pixel."""
    return int.from_bytes([padding] * channels, "little")


def _scratch(length: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return room for a glimpse of `length` bytes and for a word that begins at its last pixel, and those words.

    Word i, uint64, begins at pixel i: they overlap.
    """
    room = np.empty(length + 7, dtype=np.uint8)
    return room, np.ndarray(length // channels, np.uint64, room, 0, (channels,))


def _shares(size: int, radius: float, levels: int) -> np.ndarray:
    """Return (levels, size, size) uint16 that sum to 256: how much of each level a pixel of the blurred glimpse has."""
    offset = np.arange(size) - (size - 1) / 2
    eccentricity = np.hypot(offset[:, None], offset[None, :]).clip(radius)
    outermost = max(eccentricity.max(), radius * (1 + 1e-9))
    depth = np.log(eccentricity / radius) / np.log(outermost / radius) * (levels - 1)  # (size, size), 0 to levels - 1
    shares = np.rint((1 - np.abs(depth - np.arange(levels)[:, None, None])).clip(0) * 256)
    first = depth.astype(np.int64).clip(0, levels - 2)[None]
    np.put_along_axis(shares, first, 256 - np.take_along_axis(shares, first + 1, axis=0), axis=0)
    return shares.astype(np.uint16)


def _bilinear(images: np.ndarray, index: np.ndarray, points: np.ndarray, padding: int) -> np.ndarray:
    """Interpolate images `index` (n,) at (n, h, w, 2) continuous pixel coordinates (x, y); (n, h, w, C) uint8."""
    side = images.shape[1]
    floor = np.floor(points - 0.5)
    part = (points - 0.5 - floor).astype(np.float32)
    floor = floor.astype(np.int64)
    total = np.float32(0.5)
    for y in (0, 1):
        for x in (0, 1):
            columns, rows = floor[..., 0] + x, floor[..., 1] + y
            outside = (columns < 0) | (columns >= side) | (rows < 0) | (rows >= side)
            pixels = images[index[:, None, None], rows.clip(0, side - 1), columns.clip(0, side - 1)]
            pixels[outside] = padding
            share = np.abs(1 - x - part[..., 0]) * np.abs(1 - y - part[..., 1])
            total = total + pixels * share[..., None]
    return total.astype(np.uint8)
