"""Random draws that depend on a seed, an episode and a step alone, for many sub-environments at once."""

from __future__ import annotations

from functools import cached_property

import numpy as np

Rows = slice | np.ndarray
"""Which sub-environments: `slice(None)` for all (the fast path), or an int64 array of their numbers."""

ALL = slice(None)

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: np.ndarray) -> np.ndarray:
    """Scramble uint64 values: SplitMix64's finaliser (Steele, Lea and Flood, 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class EpisodeDraws:
    """Counter-based draws for a batch of episodes.

    A draw is a hash of (seed, episode, purpose, step, position), after Salmon et al., "Parallel random numbers: as
    easy as 1, 2, 3" (2011). So an episode's content follows from its seed and number whatever the agent did before,
    sub-environment i of a batch equals a single environment, and resuming needs no generator state.

    Args:
        seeds: (n,) uint64, the seed of each row; read at the first draw, like the episodes.
        episodes: (n,) int64, the number of each row's episode, from 0.
    """

    def __init__(self, seeds: np.ndarray, episodes: np.ndarray) -> None:
        self._seeds, self._episodes = seeds, episodes

    @cached_property
    def _keys(self) -> np.ndarray:
        """(n,) uint64, made by the first draw: most steps draw nothing."""
        with np.errstate(over="ignore"):
            seeds = _mix(self._seeds.astype(np.uint64) + _GOLDEN)
            return _mix(seeds ^ (self._episodes.astype(np.uint64) * _GOLDEN))

    def uniform(self, purpose: int, count: int, steps: np.ndarray | int = 0) -> np.ndarray:
        """Return (n, count) float64 in [0, 1).

        Args:
            purpose: which quantity is drawn; different purposes are independent.
            count: numbers a row.
            steps: (n,) step within the episode, or 0 for what is drawn once an episode.
        """
        with np.errstate(over="ignore"):
            stream = np.asarray(purpose << 40, dtype=np.uint64) + np.asarray(steps).astype(np.uint64)
            keys = _mix(self._keys + _mix(stream * _GOLDEN + _GOLDEN))
            bits = _mix(keys[:, None] + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN)
        return (bits >> np.uint64(11)) * 2.0**-53

    def normal(self, purpose: int, count: int, steps: np.ndarray | int = 0) -> np.ndarray:
        """Return (n, count) float64 standard normal numbers; arguments as of `uniform`.

        Source: Box and Muller (1958), the cosine of each pair.
        """
        uniform = self.uniform(purpose, 2 * count, steps)
        return np.sqrt(-2 * np.log1p(-uniform[:, :count])) * np.cos(2 * np.pi * uniform[:, count:])

    def integers(self, purpose: int, high: int) -> np.ndarray:
        """Return (n,) int64, uniform in [0, high); drawn once an episode."""
        return (self.uniform(purpose, 1)[:, 0] * high).astype(np.int64)
