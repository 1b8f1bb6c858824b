"""Intervals of means, shares and other statistics, 95 % each.

Of means over a few training seeds: `interval`, Student's t. Of statistics over many objects, images or episodes:
`bootstrap_interval`. Of shares of episodes: `share`, by `wilson_interval`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return mean, low and high end of the 95 % t-interval of two or more values."""
    from scipy.stats import t

    mean = float(np.mean(values))
    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def bootstrap_interval(
    values: Sequence[float] | np.ndarray,
    *,
    statistic: Callable[..., Any] = np.mean,
    resamples: int = 10_000,
    seed: int | Sequence[int] = 0,
) -> tuple[float, float]:
    """Return the ends of the 95 % percentile bootstrap interval of a statistic, the mean unless told.

    The draws are the same in every call with one seed.
    """
    chosen = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.percentile(statistic(np.asarray(values)[chosen], axis=1), [2.5, 97.5])
    return float(low), float(high)


def share(flags: Any) -> dict[str, float]:
    """Return the share of (n,) bools that are true: `value`, and `low` and `high`, Wilson's 95 % interval."""
    low, high = wilson_interval(int(np.sum(flags)), len(flags))
    return {"value": float(np.mean(flags)), "low": low, "high": high}


def wilson_interval(successes: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Return the ends of Wilson's interval (1927) of a share, 95 % unless `z` says otherwise."""
    share, spread = successes / count, z**2 / count
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, middle - half), min(1.0, middle + half)
