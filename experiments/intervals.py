"""Intervals of means, shares and other statistics, 95 % each.

Which interval: with the three seeds that two cores afford, a percentile bootstrap over seeds is the range from the
lowest to the highest, since either extreme comes up in more than 2.5 % of the 27 resamples; for normal values it covers
the true mean in 75 % of cases, not in 95 % (84 % for five seeds, 90 % for ten). The t-interval covers 95 % at any
number of seeds, so it is the one in tables and figures; `results.json` has both. Both speak of training seeds on one
fixed set of held-out things. Where there is one seed there is no interval over seeds.
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
