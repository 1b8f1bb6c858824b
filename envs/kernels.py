"""How the compiled kernels of the worlds are made: by Numba, without the interpreter's lock, kept on disk.

Only modules of kernels import this one, and worlds import those when they are made: Numba takes a third of a second.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numba


def kernel(signature: str) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles a function for the argument types of `signature` alone.

    The machine code is kept beside the source, or in the user's cache where that folder cannot be written, or in
    `NUMBA_CACHE_DIR`. One signature each: so processes that compile at once write the same file. Where there is nowhere
    to write, every process compiles anew, and says so. What is kept goes by the kernel's own file: what a kernel calls
    belongs there too.

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
