"""The eye as a motor: how far a saccade can go, and where it lands of where it was aimed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..settings import check_number


@dataclass(frozen=True)
class Oculomotor:
    """An amplitude limit, a gain that errs, and a scatter that grows with the amplitude. The default eye is perfect.

    A saccade s lands at g s' + e. Of these, s' is s cut to `amplitude_limit` along its direction. The gain g is normal
    with mean `gain` and standard deviation `gain_std`, drawn once a saccade, so it errs along the direction alone. The
    scatter e is normal in x and in y, with standard deviation `scatter` + `scatter_slope` |s'|. So landings vary across
    the direction by that, and along it by the root of its square plus (`gain_std` |s'|)^2. A saccade of length 0
    scatters too, by `scatter`.

    Source: a simple model in the spirit of what is known of the eye. Saccades undershoot far targets, of which Harris
    (1995), "Does saccadic undershoot minimize saccadic flight-time?", makes a strategy. The scatter of endpoints grows
    with the distance (Abrams, Meyer and Kornblum, 1989; van Beers, 2007); Kowler and Blaser (1995) measure a mean error
    of 1 % and a std of 5-6 % of the distance, at about 4 degrees and under the best of conditions.
    """

    amplitude_limit: float | None = None
    """Longest saccade in image units; None for no limit."""
    gain: float = 1.0
    """Mean of the share of its length that a saccade covers; below 1 undershoots."""
    gain_std: float = 0.0
    """Standard deviation of that share."""
    scatter: float = 0.0
    """Standard deviation of the landing in x and in y, image units, of a saccade of length 0."""
    scatter_slope: float = 0.0
    """What each image unit of amplitude adds to it."""

    def __post_init__(self) -> None:
        if self.amplitude_limit is not None:
            check_number("oculomotor's amplitude_limit", self.amplitude_limit, low=0, above=True)
        for name in ("gain", "gain_std", "scatter", "scatter_slope"):
            check_number(f"oculomotor's {name}", getattr(self, name), low=0)

    def land(self, saccades: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Return the saccades that are made, (n, 2) float64.

        Args:
            saccades: (n, 2) float64 intended ones (dx, dy), image units.
            normals: (n, 3) float64 standard normal numbers: gain, scatter in x, scatter in y.
        """
        amplitude = np.hypot(saccades[:, 0], saccades[:, 1])
        if self.amplitude_limit is not None:
            share = self.amplitude_limit / np.maximum(amplitude, self.amplitude_limit)
            saccades, amplitude = saccades * share[:, None], amplitude * share
        gain = self.gain + self.gain_std * normals[:, :1]
        std = self.scatter + self.scatter_slope * amplitude
        return gain * saccades + std[:, None] * normals[:, 1:]
