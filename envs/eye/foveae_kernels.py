"""Compiled gathers of glimpses: from images, and from the tables of `image_tables`.

Memory, not arithmetic, is what they wait for, as glimpses are of images that no cache holds: so each asks for the next
glimpse's pixels while it copies its own, a row at a time, lest the processor have to wait for room to ask.

Pixels of one to four bytes are moved as words of 32 and 64 bits, each written over the spare bytes of the one before,
into a scratch glimpse with a word to spare, which is then copied. Three levels of colour, the usual multi-scale
glimpse, are woven by vector instructions instead.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import uint64
from numba.core import types
from numba.extending import intrinsic

from ..kernels import kernel

_LINE = 64  # bytes of a cache line
_INDEX = "Array(int64, 1, 'C', readonly=True)"
_PLACES = "Array(int64, 2, 'C', readonly=True)"
_BYTES = "Array(uint8, 1, 'C', readonly=True)"
_WORDS = "Array(uint64, 1, 'A', aligned=False)"


def _prefetch(typingctx: Any, array: Any, at: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        form = ir.FunctionType(ir.VoidType(), [address.type, number, number, number])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [address.type], form)
        builder.call(fetch, [address, number(0), number(3), number(1)])  # to read, into the nearest cache, data
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


prefetch: Any = intrinsic(_prefetch)
"""`prefetch(array, at)`, within a kernel: ask for the cache line of `array[at]` before it is read; `array` is 1-D, and
`at` may lie outside it."""


def _load_word(typingctx: Any, array: Any, at: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(32).as_pointer())
        return builder.load(address, align=1)

    return types.uint32(array, types.int64), generate


load_word: Any = intrinsic(_load_word)
"""`load_word(array, at)`, within a kernel: the four bytes of `array`, 1-D uint8, from `at` on as a uint32."""


WOVEN_PIXELS = 16
"""Pixels that `weave` takes at once."""
_VECTOR = 64
"""Bytes that `weave` reads from each place: those of 16 pixels, and what lies behind."""
MASK = 512
"""Bytes of a mask of `weave`."""
MOST_WOVEN = 128
"""Pixels of a row that a mask covers, with what `weave` reads behind it."""


def _weave(typingctx: Any, store: Any, places: Any, masks: Any, chosen: Any, glimpse: Any, at: Any) -> Any:
    woven = 9 * WOVEN_PIXELS  # bytes written

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, mask, target = (
            context.make_array(signature.args[n])(context, builder, arguments[n]).data for n in (0, 2, 4)
        )
        number, vector = ir.IntType(32), ir.VectorType(ir.IntType(8), _VECTOR)

        def load(array: Any, at: Any) -> Any:
            return builder.load(builder.bitcast(builder.gep(array, [at]), vector.as_pointer()), align=1)

        def shuffle(first: Any, second: Any, places: list[int]) -> Any:
            return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(number, len(places)), places))

        def row(level: int) -> Any:
            place, kept = (builder.extract_value(arguments[n], level) for n in (1, 3))
            filled = builder.add(kept, ir.Constant(ir.IntType(64), MASK))
            return builder.or_(builder.and_(load(source, place), load(mask, kept)), load(mask, filled))

        rows = [row(level) for level in range(3)]
        for begin in range(0, woven, _VECTOR):
            places = [divmod(byte, 9) for byte in range(begin, min(begin + _VECTOR, woven))]
            # Of the byte `within` its nine: from the first two, where the third's bytes are left open; then those.
            of_two = [within // 3 * _VECTOR + 3 * pixel + within % 3 if within < 6 else 0 for pixel, within in places]
            two = shuffle(rows[0], rows[1], of_two + [0] * (_VECTOR - len(places)))
            of_third = [
                n if within < 6 else _VECTOR + 3 * pixel + within - 6 for n, (pixel, within) in enumerate(places)
            ]
            three = shuffle(two, rows[2], of_third)
            address = builder.gep(target, [builder.add(arguments[5], ir.Constant(ir.IntType(64), begin))])
            builder.store(three, builder.bitcast(address, three.type.as_pointer()), align=1)
        return context.get_dummy_value()

    three_numbers = types.UniTuple(types.int64, 3)
    return types.void(store, three_numbers, masks, three_numbers, glimpse, types.int64), generate


weave: Any = intrinsic(_weave)
"""`weave(store, places, masks, chosen, glimpse, at)`, within a kernel: read 16 pixels of three bytes from each of three
places in `store`, 1-D uint8, and write them to `glimpse`, 1-D uint8, from `at` on: nine bytes for each pixel, three of
each place. What is read is masked: `masks`, 1-D uint8, has from `chosen` on which bits are kept, and `MASK` bytes later
which are set. 64 bytes are read whichever count. Vector instructions do it, those the processor has; Numba finds none
by itself."""


@numba.njit(inline="always")
def _first_cell(level, size, corner):
    """Return (x, y) of the first cell that a glimpse sees, which may be outside, and the first pixel of its plane."""
    box, step, cells = level[0], level[1], level[2]
    shift = box - 1 - (step - 1) * size // 2
    x, y = (corner[0] + shift) // step, (corner[1] + shift) // step
    column, row = corner[0] + shift - x * step, corner[1] + shift - y * step
    return x, y, level[3] + (row * step + column) * cells * cells


@kernel(f"void({_BYTES}, int64, int64, {_INDEX}, {_PLACES}, uint8, uint8[:, :, ::1])")
def gather_crops(flat, side, channels, index, corner, padding, glimpses):
    """Cut squares out of images.

    Args:
        flat: (N * S * S * C,) uint8, the images.
        side: S.
        channels: C.
        index: (n,) int64, which image.
        corner: (n, 2) int64, (x, y) of the top left pixels; may be outside.
        padding: value of what lies outside the image.
        glimpses: (n, size, size * C) uint8, to write into.
    """
    count, size, run = glimpses.shape
    stride = side * channels
    for i in range(-1, count):
        ahead = i + 1 < count
        if ahead:
            x, y = corner[i + 1, 0], corner[i + 1, 1]
            next_y, next_first = y, index[i + 1] * side * stride + max(x, 0) * channels
            width = (min(x + size, side) - max(x, 0)) * channels
        if i >= 0:
            x, y = corner[i, 0], corner[i, 1]
            begin = min(max(-x, 0), size) * channels
            end = max(begin, min(side - x, size) * channels)
        for row in range(size):
            if ahead and 0 <= next_y + row < side:
                first = next_first + (next_y + row) * stride
                for at in range(first, first + width + _LINE - 1, _LINE):
                    prefetch(flat, at)
            if i < 0:
                continue
            line = glimpses[i, row]
            a, b = (begin, end) if 0 <= y + row < side else (0, 0)
            first = (index[i] * side + y + row) * stride + x * channels
            for at in range(uint64(0), uint64(a)):
                line[at] = padding
            for at in range(uint64(a), uint64(b)):
                line[at] = flat[uint64(first) + at]
            for at in range(uint64(b), uint64(run)):
                line[at] = padding


@kernel(f"void({_BYTES}, int64[::1], {_PLACES}, int64[:, ::1], int64, uint32, uint8[::1], {_WORDS}, uint8[:, ::1])")
def gather_levels(store, table, corner, levels, size, padding, scratch, words, glimpses):
    """Stack squares of one average each, by whole pixels: `size` x `size` x (level, channel).

    Args:
        store: pixels, the tables of `BoxTables`, with three bytes behind them that may be read.
        table: (n,) int64, the byte of `store` where the image's table begins.
        corner: (n, 2) int64, (x, y) of the top left of the square of `size` image pixels around the gaze.
        levels: (K, 4) int64, `BoxTables.levels`; boxes as wide as the step.
        size: side of the glimpse.
        padding: the packed pixel of what lies outside the image.
        scratch: (bytes of a glimpse + 7,) uint8.
        words: (size * size * K,) the words of `scratch`, one every C bytes.
        glimpses: (n, bytes of a glimpse) uint8, to write into.
    """
    count, length = glimpses.shape
    depth = len(levels)
    channels = length // (depth * size * size)
    line = np.empty((depth, size), np.uint32)
    place = np.empty((depth, 3), np.int64)
    for i in range(count):
        for k in range(depth):
            place[k, 0], place[k, 1], place[k, 2] = _first_cell(levels[k], size, corner[i])
        word = uint64(0)
        for row in range(size):
            line[:] = padding
            for k in range(depth):
                cells, x, y = levels[k, 2], place[k, 0], place[k, 1] + row
                if 0 <= y < cells:
                    first = table[i] + (place[k, 2] + y * cells + x) * channels
                    for at in range(max(-x, 0), min(cells - x, size)):
                        line[k, at] = load_word(store, first + at * channels)
            for at in range(size):
                for k in range(depth):
                    words[word] = line[k, at]
                    word += uint64(1)
        for at in range(uint64(length)):
            glimpses[i, at] = scratch[at]


@kernel(f"void({_BYTES}, int64[::1], {_PLACES}, int64[:, ::1], int64, uint8, uint8[:, ::1])")
def weave_levels(store, table, corner, levels, size, padding, glimpses):
    """Do as `gather_levels` does for three levels of three channels, and a size that `WOVEN_PIXELS` divides.

    Args:
        store: as there, with room to read `size` + 22 pixels before the tables and behind them.
        table: as there.
        corner: as there.
        levels: as there, of K = 3.
        size: at most `MOST_WOVEN`.
        padding: value of what lies outside the image.
        glimpses: as there.
    """
    # Of this glimpse and the next, of each level: (x, y) of the first cell in its plane, and where the plane begins.
    place = np.zeros((2, 3, 3), np.int64)
    at, mask = np.empty(3, np.int64), np.empty(3, np.int64)
    masks = np.zeros(8 * MASK, np.uint8)  # what to keep and what to set, of each level; the same of rows outside of it
    masks[7 * MASK :] = padding
    for i in range(-1, len(glimpses)):
        this, ahead, more = (i + 2) % 2, (i + 1) % 2, i + 1 < len(glimpses)
        for k in range(3):
            if more:
                x, y, plane = _first_cell(levels[k], size, corner[i + 1])
                place[ahead, k, 0], place[ahead, k, 1] = min(max(x, -size), levels[k, 2]), y
                place[ahead, k, 2] = table[i + 1] + 3 * plane
            x, cells = place[this, k, 0], levels[k, 2]
            for byte in range(3 * size):
                inside = (byte >= -3 * x) & (byte < 3 * (cells - x))
                masks[2 * k * MASK + byte] = 255 if inside else 0
                masks[(2 * k + 1) * MASK + byte] = 0 if inside else padding
        for row in range(size):
            for k in range(3):
                cells = levels[k, 2]
                x, y = place[ahead, k, 0], place[ahead, k, 1] + row
                if more and 0 <= y < cells:
                    first = place[ahead, k, 2] + 3 * (y * cells + max(x, 0))
                    for byte in range(first, first + 3 * (min(x + size, cells) - max(x, 0)) + _LINE - 1, _LINE):
                        prefetch(store, byte)
                x, y = place[this, k, 0], place[this, k, 1] + row
                inside = 0 <= y < cells
                at[k] = place[this, k, 2] + 3 * ((y * cells if inside else 0) + x)
                mask[k] = (2 * k if inside else 6) * MASK
            if i >= 0:
                for byte in range(0, 3 * size, 3 * WOVEN_PIXELS):
                    places = at[0] + byte, at[1] + byte, at[2] + byte
                    chosen = mask[0] + byte, mask[1] + byte, mask[2] + byte
                    weave(store, places, masks, chosen, glimpses[i], 3 * (3 * row * size + byte))


@kernel(
    f"void({_BYTES}, int64, int64, {_INDEX}, {_PLACES}, int32[:, ::1], int64, int64, uint32, "
    f"uint8[::1], {_WORDS}, uint8[:, ::1])"
)
def gather_points(flat, side, channels, index, corner, points, reach, margin, padding, scratch, words, glimpses):
    """Take single pixels around the gaze.

    Args:
        flat: (N * S * S * C,) uint8, the images.
        side: S.
        channels: C.
        index: (n,) int64, which image.
        corner: (n, 2) int64, (x, y) of the top left of the square of `size` image pixels around the gaze.
        points: (pixels, 2) int32, (x, y) of each pixel of the glimpse, from `corner`.
        reach: how far from the middle of the square the farthest of the points is, along x or y.
        margin: half the side of the square.
        padding: the packed pixel of what lies outside the image.
        scratch: (bytes of a glimpse + 7,) uint8.
        words: (pixels,) the words of `scratch`, one every C bytes.
        glimpses: (n, bytes of a glimpse) uint8, to write into.
    """
    count, length = glimpses.shape
    image, line = side * side * channels, side * channels
    for i in range(count + 1):
        if i < count:
            x, y = corner[i, 0] + margin, corner[i, 1] + margin
            first, last = max(x - reach, 0) * channels, min(x + reach + 1, side) * channels
            for row in range(max(y - reach, 0), min(y + reach + 1, side)):
                begin = index[i] * image + row * line
                for at in range(begin + first, begin + last + _LINE - 1, _LINE):
                    prefetch(flat, at)
        if i == 0:
            continue
        x, y, begin = corner[i - 1, 0], corner[i - 1, 1], index[i - 1] * image
        if begin + image == len(flat):  # behind the last image there is nothing to read: no words
            for point in range(uint64(len(points))):
                column, row = x + points[point, 0], y + points[point, 1]
                inside = (uint64(column) < uint64(side)) & (uint64(row) < uint64(side))
                for channel in range(uint64(channels)):
                    at = uint64(begin + row * line + column * channels) + channel
                    value = flat[at] if inside else np.uint8(padding >> np.uint32(8 * channel))
                    glimpses[i - 1, point * uint64(channels) + channel] = value
            continue
        for point in range(uint64(len(points))):
            column, row = x + points[point, 0], y + points[point, 1]
            if (uint64(column) < uint64(side)) & (uint64(row) < uint64(side)):  # one branch, and one to mispredict
                words[point] = load_word(flat, begin + (row * side + column) * channels)
            else:
                words[point] = padding
        for at in range(uint64(length)):
            glimpses[i - 1, at] = scratch[at]


@kernel(f"void({_BYTES}, int64[::1], {_PLACES}, int64[:, ::1], uint16[:, :, ::1], uint8, uint8[:, :, ::1])")
def blend_levels(store, table, corner, levels, shares, padding, glimpses):
    """Blend averages over boxes around every pixel: the sum of share / 256 * average, a half rounded up.

    Args:
        store: pixels, the tables of `BoxTables`.
        table: (n,) int64, the byte of `store` where the image's table begins.
        corner: (n, 2) int64, (x, y) of the top left pixels; may be outside.
        levels: (K, 4) int64, `BoxTables.levels`; boxes of odd sides, a pixel apart.
        shares: (K, size, size * C) uint16, of each level; they sum to 256.
        padding: value of what lies outside the image.
        glimpses: (n, size, size * C) uint8, to write into.
    """
    count, size, run = glimpses.shape
    channels = run // size
    total, line = np.empty(run, np.uint32), np.empty(run, np.uint8)
    for i in range(count):
        for row in range(size):
            total[:] = 128
            for k in range(len(levels)):
                cells = levels[k, 2]
                x, y = corner[i, 0] + levels[k, 0] // 2, corner[i, 1] + levels[k, 0] // 2 + row
                a = min(max(-x, 0), size) * channels if 0 <= y < cells else 0
                b = max(a, min(cells - x, size) * channels) if 0 <= y < cells else 0
                first = table[i] + (levels[k, 3] + y * cells + x) * channels
                for at in range(uint64(0), uint64(a)):
                    line[at] = padding
                for at in range(uint64(a), uint64(b)):
                    line[at] = store[uint64(first) + at]
                for at in range(uint64(b), uint64(run)):
                    line[at] = padding
                for at in range(uint64(run)):
                    total[at] += np.uint32(line[at]) * np.uint32(shares[k, row, at])
            for at in range(uint64(run)):
                glimpses[i, row, at] = total[at] >> np.uint32(8)
