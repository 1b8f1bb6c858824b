"""Tables computed once an image and kept within a memory budget, from which glimpses are gathered as bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

TABLE_BYTES = 1 << 30
"""Memory that one fovea's tables may take, at most (one image's at least); it is taken as images are looked at. All of
the built-in scenes fit."""

PIXEL = {1: np.uint8, 2: np.uint16, 3: np.uint32, 4: np.uint32}
"""What holds a pixel of so many channels: three get a fourth byte, for whole words are copied several times faster."""

BATCH = 32
"""Glimpses gathered at a time, so that what is between the table and the glimpse stays in the processor's cache."""


def check_channels(channels: int) -> None:
    """Raise ValueError unless pixels of so many channels fit a table."""
    if channels not in PIXEL:
        raise ValueError(f'this fovea takes images of 1 to 4 channels, got {channels}; fovea="crop" takes any number')


def pack(pixels: np.ndarray) -> np.ndarray:
    """Turn (..., C) uint8 pixels into (...) numbers of dtype `PIXEL[C]`."""
    channels = pixels.shape[-1]
    if channels == 3:
        import cv2

        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2RGBA)
    return np.ascontiguousarray(pixels).view(PIXEL[channels])[..., 0]


def stack(levels: list[np.ndarray], glimpses: np.ndarray) -> None:
    """Write K arrays (n, h, w) of packed pixels side by side into C-contiguous `glimpses` (n, h, w, K * C) uint8."""
    import cv2

    n, h, w, channels = glimpses.shape
    levels = [level.reshape(n * h, w) for level in levels]
    if levels[0].dtype == np.uint32:  # cv2 knows no uint32, and copies int32 alike
        levels = [level.view(np.int32) for level in levels]
    if channels == 3 * len(levels):
        packed = levels[0] if len(levels) == 1 else cv2.merge(levels)
        flat = packed.view(np.uint8).reshape(n * h, w * len(levels), 4)
        cv2.cvtColor(flat, cv2.COLOR_RGBA2RGB, dst=glimpses.reshape(n * h, w * len(levels), 3))
    else:
        glimpses.reshape(n * h, w, channels)[...] = np.stack(levels, axis=-1).view(np.uint8)


class ImageTables(ABC):
    """A bounded store of one table an image, filled as images are first looked at and emptied when it is full.

    Not pickled and no part of an environment's state: it is computed anew where it is missing.
    """

    def __init__(self) -> None:
        self._images: np.ndarray | None = None

    @abstractmethod
    def length(self, side: int) -> int:
        """Return the packed pixels in the table of an image of `side`."""

    @abstractmethod
    def fill(self, image: np.ndarray, table: np.ndarray) -> None:
        """Write the table of `image` (S, S, C) uint8 into `table` (length,)."""

    def batches(self, images: np.ndarray, count: int) -> list[slice]:
        """Cut `count` rows into runs of at most `BATCH` whose tables fit the store together."""
        if images is not self._images:
            self._bind(images)
        step = min(BATCH, self._capacity)
        return [slice(start, start + step) for start in range(0, count, step)]

    @property
    def store(self) -> np.ndarray:
        """All tables one after another, packed pixels; of the images last given to `batches`."""
        return self._store.reshape(-1)

    def locate(self, index: np.ndarray) -> np.ndarray:
        """Return where in `store` the tables of `index` (n,) begin, (n,) int64, after making those that are missing."""
        assert self._images is not None
        slots = self._slots[index]
        if len(slots) and slots.min() < 0:
            self._add(np.unique(index))
            slots = self._slots[index]
        return slots * self._store.shape[1]

    def _bind(self, images: np.ndarray) -> None:
        pixel, length = np.dtype(PIXEL[images.shape[3]]), self.length(images.shape[1])
        self._images = images
        self._capacity = min(len(images), max(1, TABLE_BYTES // (length * pixel.itemsize)))
        self._store = np.empty((self._capacity, length), dtype=pixel)  # the system gives memory as it is written
        self._slots = np.full(len(images), -1, dtype=np.int64)
        self._used = 0

    def _add(self, wanted: np.ndarray) -> None:
        assert self._images is not None
        missing = wanted[self._slots[wanted] < 0]
        if self._used + len(missing) > self._capacity:
            self._slots[:] = -1
            self._used, missing = 0, wanted
        for image in missing:
            self.fill(self._images[image], self._store[self._used])
            self._slots[image] = self._used
            self._used += 1

    def __getstate__(self) -> dict[str, Any]:
        kept = {"_images", "_store", "_slots", "_capacity", "_used"}
        return {name: value for name, value in self.__dict__.items() if name not in kept} | {"_images": None}


class BoxTables(ImageTables):
    """Images averaged over boxes, laid out so that a glimpse of every n-th box is rows of adjacent pixels.

    Args:
        boxes: (side of the box, step from one box of a glimpse to the next), each in whole pixels, for each level.
        size: side of the glimpses that are gathered.
        padding: value of what lies outside the image, 0-255; a box that reaches outside counts it in.

    A level keeps the boxes that touch the image, by their position modulo the step (steps x steps planes). A plane's
    rows lie one after another with `size` pixels of padding between them, after a row that is all padding: a glimpse
    beyond the border reads that padding and needs no other path.
    """

    def __init__(self, boxes: tuple[tuple[int, int], ...], size: int, padding: int) -> None:
        super().__init__()
        self.boxes, self.size, self.padding = boxes, size, padding

    def length(self, side: int) -> int:
        """Return the packed pixels in the table of an image of `side`: a margin and every level's planes."""
        return self._begin(side, len(self.boxes))

    def fill(self, image: np.ndarray, table: np.ndarray) -> None:
        """Average `image` over the boxes of every level."""
        side = image.shape[0]
        table[...] = pack(np.full((1, 1, image.shape[2]), self.padding, dtype=np.uint8))[0, 0]
        for level, (box, step) in enumerate(self.boxes):
            cells = self._cells(side, level)
            averaged = box_means(image, box, self.padding, cells * step)
            blocks = pack(averaged).reshape(cells, step, cells, step).transpose(1, 3, 0, 2)
            planes = table[self._begin(side, level) : self._begin(side, level + 1)]
            planes.reshape(step, step, cells + 1, cells + self.size)[:, :, 1:, :cells] = blocks

    def runs(self) -> np.ndarray:
        """Return the store as runs of `size` packed pixels from every place, a view (places, size)."""
        return np.lib.stride_tricks.sliding_window_view(self.store, self.size)

    def locate_boxes(self, images: np.ndarray, corner: np.ndarray, level: int) -> np.ndarray:
        """Return where, within a table, the rows of glimpses begin: (n, size) int64.

        Args:
            images: (N, S, S, C) uint8.
            corner: (n, 2) int64, (x, y) of the first pixel of each glimpse's first box; may be outside.
            level: which of `boxes`.
        """
        side = images.shape[1]
        box, step = self.boxes[level]
        cells = self._cells(side, level)
        width = cells + self.size
        cell, phase = np.divmod(corner + (box - 1), step)
        rows = cell[:, 1, None] + np.arange(1, self.size + 1)  # (n, size); row 0 is all padding
        rows[(rows < 1) | (rows > cells)] = 0
        plane = self._begin(side, level) + (phase[:, 1] * step + phase[:, 0]) * (cells + 1) * width
        return (plane + cell[:, 0].clip(-self.size, cells))[:, None] + rows * width

    def _cells(self, side: int, level: int) -> int:
        """Boxes along a side of one plane."""
        box, step = self.boxes[level]
        return -(-(side + box - 1) // step)

    def _begin(self, side: int, level: int) -> int:
        """Where the planes of `level` begin within an image's table."""
        cells = [(step, self._cells(side, i)) for i, (_, step) in enumerate(self.boxes[:level])]
        return self.size + sum(step * step * (n + 1) * (n + self.size) for step, n in cells)


def box_means(image: np.ndarray, box: int, padding: int, side: int) -> np.ndarray:
    """Return (side, side, C) uint8: the mean, a half rounded up, of every box that touches the image, and beyond.

    Args:
        image: (S, S, C) uint8.
        box: side of the boxes in pixels, at most 128. Box (row r, column c) begins at pixel (r, c) - (box - 1).
        padding: value of what lies outside the image.
        side: boxes along a side, at least S + box - 1.
    """
    import cv2

    before, area = box - 1, box * box
    after = side - len(image)
    wide = cv2.copyMakeBorder(image, before, after, before, after, cv2.BORDER_CONSTANT, value=[padding] * 4)
    wide = wide.reshape(len(wide), len(wide), -1)
    if box == 1:
        return wide
    depth, dtype = (cv2.CV_16U, np.uint16) if area * 255 + area // 2 < 1 << 16 else (cv2.CV_32S, np.int32)
    sums = cv2.boxFilter(wide, depth, (box, box), anchor=(0, 0), normalize=False, borderType=cv2.BORDER_CONSTANT)
    sums = sums.reshape(wide.shape)[:side, :side]
    return ((sums + dtype(area // 2)) // dtype(area)).astype(np.uint8)
