"""Signals that ask a process to end, held back until what it is doing is whole."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ASKING = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what `kill`, process managers and batch systems send first."""


@contextmanager
def held_back() -> Iterator[Callable[[], bool]]:
    """Hold the first Ctrl-C or SIGTERM of the block back until its end, where it has the effect it had before.

    A second one has it at once. One that is ignored, as Ctrl-C is by a job in the background, stays ignored. In a
    thread other than the main one, which no signal reaches, nothing is held back.

    Yields:
        What tells whether one has come: the block should then save its work and end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in _ASKING if signal.getsignal(number) != signal.SIG_IGN}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def hold(number: int, frame: FrameType | None) -> None:
        restore()
        came.append(number)
        os.write(2, b"\nstopping after this update; once more stops at once\n")

    for number in before:
        signal.signal(number, hold)
    try:
        yield lambda: bool(came)
    finally:
        restore()
    if came:
        signal.raise_signal(came[0])
