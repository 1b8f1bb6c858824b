"""Timing of two pieces of work in turns, so that a busy machine slows both alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_REPETITION = 0.02


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    work: str
    unit: str
    """Of `ours` and `reference`."""
    bar: float
    ours: float | None = None
    reference: float | None = None
    measured: float | None = None
    """What the bar is for: the ratio of ours to the reference, or `ours` where there is none; None: not measured."""
    at_most: bool = False
    """The bar is an upper limit, not a lower one."""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None if that was not measured."""
        if self.measured is None:
            return None
        return self.measured <= self.bar if self.at_most else self.measured >= self.bar


def compare(ours: Callable[[], object], reference: Callable[[], object], seconds: float) -> tuple[float, float, float]:
    """Time two functions in turns.

    Args:
        ours: does one piece of work.
        reference: does one piece of work.
        seconds: how long to go on; each function has at least three repetitions of about 20 ms, or of one call.

    Returns:
        The median calls a second of ours and of the reference, and the median of the ratios of the two.
    """
    calls = _calls_in_a_repetition(ours), _calls_in_a_repetition(reference)
    rates: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while len(rates) < 3 or time.perf_counter() < end:
        rates.append((calls[0] / duration_of(ours, calls[0]), calls[1] / duration_of(reference, calls[1])))
    array = np.array(rates)
    return float(np.median(array[:, 0])), float(np.median(array[:, 1])), float(np.median(array[:, 0] / array[:, 1]))


def _calls_in_a_repetition(work: Callable[[], object]) -> int:
    duration_of(work, 3)  # the first calls warm up caches
    return max(1, int(_REPETITION / (duration_of(work, 3) / 3)))


def duration_of(work: Callable[[], object], calls: int) -> float:
    """Return how many seconds `calls` calls of `work` take."""
    began = time.perf_counter()
    for _ in range(calls):
        work()
    return time.perf_counter() - began
