"""Tables of averages over boxes, made once an image and kept within a memory budget, for glimpses to be cut from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

TABLE_BYTES = 1 << 30
"""Memory that one fovea's tables may take, at most (one image's at least); it is taken as images are looked at. All of
the built-in scenes fit."""


def check_channels(channels: int) -> None:
    """Raise ValueError unless pixels of so many channels fit a word of four bytes."""
    if not 1 <= channels <= 4:
        raise ValueError(f'this fovea takes images of 1 to 4 channels, got {channels}; fovea="crop" takes any number')


class BoxTables:
    """A bounded store of one table an image, filled as images are first looked at and emptied when it is full.

    A table is the image averaged over boxes, laid out so that a glimpse of every n-th box is rows of adjacent pixels:
    a level keeps the boxes that touch the image by their position modulo the step, in step x step planes one after
    another, row by row. The level (1, 1) is the image itself.

    Not pickled and no part of an environment's state: it is computed anew where it is missing.

    Args:
        boxes: (side of the box, step from one box of a glimpse to the next), each in whole pixels, for each level.
        padding: value of what lies outside the image, 0-255; a box that reaches outside counts it in.
        overhang: pixels before the tables and behind them that may be read, of no particular value.
    """

    def __init__(self, boxes: tuple[tuple[int, int], ...], padding: int, *, overhang: int = 0) -> None:
        self.boxes, self.padding, self.overhang = boxes, padding, overhang
        self._images: np.ndarray | None = None

    def parts(self, images: np.ndarray, index: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Cut the rows of `index` (n,) into runs whose tables fit the store together, and make what is missing.

        Returns:
            Of each run, in turn, which rows they are, and the bytes of `store` where their tables begin, (rows,) int64.
            It holds until the next is asked for.
        """
        if images is not self._images:
            self._bind(images)
        for start in range(0, len(index), self._capacity):
            rows = slice(start, start + self._capacity)
            yield rows, self._locate(index[rows])

    def _locate(self, index: np.ndarray) -> np.ndarray:
        assert self._images is not None
        slots = self._slots[index]
        if slots.min() < 0:
            self._add(np.unique(index))
            slots = self._slots[index]
        return slots * self._length

    def _bind(self, images: np.ndarray) -> None:
        """Set `store`, uint8 pixels, all tables one after another, and `levels`.

        `levels` (K, 4) int64 tells of each level: side of its boxes, step, boxes along the side of a plane, and the
        pixel of a table where it begins.
        """
        side, channels, begin, levels = images.shape[1], images.shape[3], 0, []
        for box, step in self.boxes:
            cells = -(-(side + box - 1) // step)
            levels.append((box, step, cells, begin))
            begin += (step * cells) ** 2
        self._images, self._length = images, begin * channels
        self.levels = np.array(levels, dtype=np.int64)
        self._capacity = min(len(images), max(1, TABLE_BYTES // self._length))
        spare = self.overhang * channels
        # The system gives memory as it is written.
        self.store = np.empty(self._capacity * self._length + 2 * spare, dtype=np.uint8)[spare:]
        self._slots = np.full(len(images), -1, dtype=np.int64)
        self._used = 0

    def _add(self, wanted: np.ndarray) -> None:
        assert self._images is not None
        missing = wanted[self._slots[wanted] < 0]
        if self._used + len(missing) > self._capacity:
            self._slots[:] = -1
            self._used, missing = 0, wanted
        for image in missing:
            begin = self._used * self._length
            self._fill(self._images[image], self.store[begin : begin + self._length])
            self._slots[image] = self._used
            self._used += 1

    def _fill(self, image: np.ndarray, table: np.ndarray) -> None:
        """Write the table of `image` (S, S, C) uint8 into `table` (length,) uint8."""
        channels = image.shape[2]
        pixels = table.view(f"V{channels}")
        for box, step, cells, begin in self.levels.tolist():
            averaged = np.ascontiguousarray(box_means(image, box, self.padding, cells * step)).view(f"V{channels}")
            planes = pixels[begin : begin + averaged.size].reshape(step, step, cells, cells)
            planes[...] = averaged.reshape(cells, step, cells, step).transpose(1, 3, 0, 2)

    def __getstate__(self) -> dict[str, Any]:
        return {"boxes": self.boxes, "padding": self.padding, "overhang": self.overhang, "_images": None}


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
