"""How the compiled kernels of the worlds are made: by Numba, without the interpreter's lock, kept on disk.

Only modules of kernels import this one, and worlds import those when they are made: Numba takes a third of a second.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic


def kernel(signature: str) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles a function for the argument types of `signature` alone.

    The machine code is kept beside the source, or in the user's cache where that folder cannot be written, or in
    `NUMBA_CACHE_DIR`. One signature each: so processes that compile at once write the same file. Where there is nowhere
    to write, every process compiles anew, and says so. What is kept goes by the date of the kernel's own file: touch
    those when `prefetch` or `weave` changes.

    No bounds are checked and no index wraps round if it is unsigned; a division by zero gives infinity or NaN.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
        try:
            return numba.njit(signature, cache=True, **options)(function)
        except RuntimeError as error:  # Numba's for a cache without a folder
            if "cannot cache" not in str(error):
                raise
            warnings.warn(f"{error}; set NUMBA_CACHE_DIR to a folder that can be written", stacklevel=2)
            return numba.njit(signature, **options)(function)

    return compiled


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
