"""Compiled gathers of glimpses: from images, and from the tables of `image_tables`.

Memory, not arithmetic, is what they wait for, as glimpses are of images that no cache holds: so each asks for the next
glimpse's pixels before it copies its own.

Tables hold a pixel as a 32-bit word. Pixels are written as 64-bit words, one or two a word, each over the spare bytes
of the one before, into a scratch glimpse with a word to spare, which is then copied. Three levels of colour, the usual
multi-scale glimpse, are woven by vector instructions instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import uint64
from numba.core import types
from numba.extending import intrinsic

from .kernels import kernel

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


WOVEN_PIXELS = 16
"""Pixels that `weave` takes at once."""


def _weave(typingctx: Any, store: Any, a: Any, b: Any, c: Any, glimpse: Any, at: Any) -> Any:
    wide, woven = 4 * WOVEN_PIXELS, 9 * WOVEN_PIXELS  # bytes read from each place, and written

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, target = (context.make_array(signature.args[n])(context, builder, arguments[n]).data for n in (0, 4))
        vector, number = ir.VectorType(ir.IntType(8), wide), ir.IntType(32)

        def shuffle(first: Any, second: Any, places: list[int]) -> Any:
            return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(number, len(places)), places))

        pixels = [
            builder.load(builder.bitcast(builder.gep(source, [place]), vector.as_pointer()), align=4)
            for place in arguments[1:4]
        ]
        for begin in range(0, woven, wide):
            places = [divmod(byte, 9) for byte in range(begin, min(begin + wide, woven))]
            # Of the byte `within` its nine: from a or b, where c's bytes are left open; then c's put in.
            from_two = [within // 3 * wide + 4 * pixel + within % 3 if within < 6 else 0 for pixel, within in places]
            two = shuffle(pixels[0], pixels[1], from_two + [0] * (wide - len(places)))
            with_c = [n if within < 6 else wide + 4 * pixel + within - 6 for n, (pixel, within) in enumerate(places)]
            three = shuffle(two, pixels[2], with_c)
            address = builder.gep(target, [builder.add(arguments[5], ir.Constant(ir.IntType(64), begin))])
            builder.store(three, builder.bitcast(address, three.type.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(store, types.int64, types.int64, types.int64, glimpse, types.int64), generate


weave: Any = intrinsic(_weave)
"""`weave(store, a, b, c, glimpse, at)`, within a kernel: read 16 pixels from each of three places in `store`, 1-D
uint32 words of which three bytes count, and write them to `glimpse`, 1-D uint8, from `at` on: nine bytes for each
pixel, three of each place. Vector instructions do it, whichever the processor has; Numba finds none by itself."""


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
    for i in range(count):
        if i + 1 < count:
            x, y = corner[i + 1, 0], corner[i + 1, 1]
            first = index[i + 1] * side * stride + max(x, 0) * channels
            width = (min(x + size, side) - max(x, 0)) * channels
            for row in range(max(y, 0), min(y + size, side)):
                for at in range(first + row * stride, first + row * stride + width + _LINE - 1, _LINE):
                    prefetch(flat, at)
        x, y = corner[i, 0], corner[i, 1]
        begin = min(max(-x, 0), size) * channels
        end = max(begin, min(side - x, size) * channels)
        for row in range(size):
            line = glimpses[i, row]
            a, b = (begin, end) if 0 <= y + row < side else (0, 0)
            first = (index[i] * side + y + row) * stride + x * channels
            for at in range(uint64(0), uint64(a)):
                line[at] = padding
            for at in range(uint64(a), uint64(b)):
                line[at] = flat[uint64(first) + at]
            for at in range(uint64(b), uint64(run)):
                line[at] = padding


@kernel(f"void(uint32[::1], int64[::1], {_PLACES}, int64[:, ::1], int64, uint32, uint8[::1], {_WORDS}, uint8[:, ::1])")
def gather_levels(store, table, corner, levels, size, padding, scratch, words, glimpses):
    """Stack squares of one average each, by whole pixels: `size` x `size` x (level, channel).

    Args:
        store: packed pixels, the tables of `BoxTables`.
        table: (n,) int64, where in `store` the image's table begins.
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
    woven = depth == 3 and length == 9 * size * size and size % WOVEN_PIXELS == 0
    line = np.empty(depth * size, np.uint32)
    place = np.empty((2, depth, 2), np.int64)  # (x, y) of the first cell in its plane, of this glimpse and the next
    plane = np.empty((2, depth), np.int64)
    for i in range(count + 1):
        this, ahead = (i + 1) % 2, i % 2
        if i < count:
            for k in range(depth):
                box, step, cells = levels[k, 0], levels[k, 1], levels[k, 2]
                shift = box - 1 - (step - 1) * size // 2
                x, y = (corner[i, 0] + shift) // step, (corner[i, 1] + shift) // step
                column, row = corner[i, 0] + shift - x * step, corner[i, 1] + shift - y * step
                place[ahead, k, 0], place[ahead, k, 1] = x, y
                plane[ahead, k] = table[i] + levels[k, 3] + (row * step + column) * cells * cells
                first = plane[ahead, k] + max(x, 0)
                width = min(x + size, cells) - max(x, 0)
                for at_row in range(max(y, 0), min(y + size, cells)):
                    for at in range(
                        first + at_row * cells, first + at_row * cells + width + _LINE // 4 - 1, _LINE // 4
                    ):
                        prefetch(store, at)
        if i == 0:
            continue
        line[:] = padding
        word = uint64(0)
        for row in range(size):
            for k in range(depth):
                cells = levels[k, 2]
                x, y = place[this, k, 0], place[this, k, 1] + row
                run = line[k * size : (k + 1) * size]
                if 0 <= y < cells:
                    first = uint64(plane[this, k] + y * cells + x)
                    for at in range(uint64(max(-x, 0)), uint64(max(0, min(cells - x, size)))):
                        run[at] = store[first + at]
                else:
                    run[:] = padding
            if woven:
                for at in range(0, size, WOVEN_PIXELS):
                    weave(line, at, size + at, 2 * size + at, glimpses[i - 1], 9 * (row * size + at))
                continue
            for at in range(uint64(size)):
                for k in range(uint64(depth)):
                    words[word] = line[k * size + at]
                    word += uint64(1)
        if not woven:
            for at in range(uint64(length)):
                glimpses[i - 1, at] = scratch[at]


@kernel(
    f"void(uint32[::1], int64[::1], {_PLACES}, int32[:, ::1], int64, int64, int64, uint32, "
    f"uint8[::1], {_WORDS}, uint8[:, ::1])"
)
def gather_points(store, table, corner, points, reach, side, margin, padding, scratch, words, glimpses):
    """Take single pixels around the gaze.

    Args:
        store: packed pixels, the tables of `BoxTables` whose only level is that of single pixels.
        table: (n,) int64, where in `store` the image begins.
        corner: (n, 2) int64, (x, y) of the top left of the square of `size` image pixels around the gaze.
        points: (pixels, 2) int32, (x, y) of each pixel of the glimpse, from `corner`.
        reach: how far from the middle of the square the farthest of the points is, along x or y.
        side: S of the images.
        margin: half the side of the square.
        padding: the packed pixel of what lies outside the image.
        scratch: (bytes of a glimpse + 7,) uint8.
        words: (pixels,) the words of `scratch`, one every C bytes.
        glimpses: (n, bytes of a glimpse) uint8, to write into.
    """
    count, length = glimpses.shape
    for i in range(count + 1):
        if i < count:
            x, y = corner[i, 0] + margin, corner[i, 1] + margin
            first, last = max(x - reach, 0), min(x + reach + 1, side)
            for row in range(max(y - reach, 0), min(y + reach + 1, side)):
                begin = table[i] + row * side
                for at in range(begin + first, begin + last + _LINE // 4 - 1, _LINE // 4):
                    prefetch(store, at)
        if i == 0:
            continue
        x, y, begin = corner[i - 1, 0], corner[i - 1, 1], table[i - 1]
        for point in range(uint64(len(points))):
            column, row = x + points[point, 0], y + points[point, 1]
            if (uint64(column) < uint64(side)) & (uint64(row) < uint64(side)):  # one branch, and one to mispredict
                words[point] = store[uint64(begin + row * side + column)]
            else:
                words[point] = padding
        for at in range(uint64(length)):
            glimpses[i - 1, at] = scratch[at]


@kernel(f"void(uint32[::1], int64[::1], {_PLACES}, int64[:, ::1], uint16[:, :, ::1], uint32, uint8[:, :, :, ::1])")
def blend_levels(store, table, corner, levels, shares, padding, glimpses):
    """Blend averages over boxes around every pixel: the sum of share / 256 * average, a half rounded up.

    Args:
        store: packed pixels, the tables of `BoxTables`.
        table: (n,) int64, where in `store` the image's table begins.
        corner: (n, 2) int64, (x, y) of the top left pixels; may be outside.
        levels: (K, 4) int64, `BoxTables.levels`; boxes of odd sides, a pixel apart.
        shares: (K, size, size) uint16, of each level; they sum to 256.
        padding: the packed pixel of what lies outside the image.
        glimpses: (n, size, size, C) uint8, to write into.
    """
    count, size, _, channels = glimpses.shape
    total = np.empty((channels, size), np.uint32)
    line = np.empty(size, np.uint32)
    for i in range(count):
        for row in range(size):
            total[:] = 128
            for k in range(len(levels)):
                cells = levels[k, 2]
                x, y = corner[i, 0] + levels[k, 0] // 2, corner[i, 1] + levels[k, 0] // 2 + row
                a = min(max(-x, 0), size) if 0 <= y < cells else 0
                b = max(a, min(cells - x, size)) if 0 <= y < cells else 0
                first = table[i] + levels[k, 3] + y * cells + x
                for at in range(uint64(0), uint64(a)):
                    line[at] = padding
                for at in range(uint64(a), uint64(b)):
                    line[at] = store[uint64(first) + at]
                for at in range(uint64(b), uint64(size)):
                    line[at] = padding
                for channel in range(channels):
                    shift = np.uint32(8 * channel)
                    for at in range(uint64(size)):
                        total[channel, at] += ((line[at] >> shift) & np.uint32(255)) * np.uint32(shares[k, row, at])
            for at in range(size):
                for channel in range(channels):
                    glimpses[i, row, at, channel] = total[channel, at] >> np.uint32(8)
