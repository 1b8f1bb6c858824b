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
def with_way_on(words: str) -> Iterator[None]:
    """Let a KeyboardInterrupt of the block carry `words`, which the command line prints: how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(words) from None


@contextmanager
def held_back() -> Iterator[Callable[[], bool]]:
    """Hold the first Ctrl-C and the first SIGTERM of the block back until its end, where they have their effect.

    A second one has it at once; one of the other kind does not, since whoever ends a group of processes may send both.
    One that is ignored, as Ctrl-C is by a job in the background, stays ignored. In a thread other than the main one,
    which no signal reaches, nothing is held back.

    Yields:
        What tells whether one has come: the block should then save its work and end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in _ASKING if signal.getsignal(number) != signal.SIG_IGN}

    def hold(number: int, frame: FrameType | None) -> None:
        signal.signal(number, before[signal.Signals(number)])
        came.append(number)
        os.write(2, b"\nstopping after this update; once more stops at once\n")

    for number in before:
        signal.signal(number, hold)
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
