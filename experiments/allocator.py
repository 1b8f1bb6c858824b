"""Memory that the process frees is kept for its next use, where glibc can be told to."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
_KEPT = 1 << 30


def keep_freed_memory() -> bool:
    """Tell glibc's `malloc` to keep up to 1 GiB of freed memory, in blocks of any size; elsewhere do nothing.

    Tensors of some megabytes come and go at every step. Left alone, glibc gives them back to the system each time, and
    the system clears every page anew, which training feels and planning even more. It holds for the whole process, so
    the command line does it, and no module that others import.

    Returns:
        Whether it was done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _KEPT)) & bool(mallopt(_M_TRIM_THRESHOLD, _KEPT))
