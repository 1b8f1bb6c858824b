"""The lights and floors of 3DIEBench's scene, and how they are drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

MAX_SPOT_POLAR = math.pi / 4


@dataclass(frozen=True, eq=False)
class Lighting:
    """Floor colour and spot light of n views; anything array-like is converted to (n,) float32.

    Args:
        floor_hue: (n,) hue of the floor, in turns: [0, 1) goes once round the colour circle.
        spot_theta: (n,) polar angle of the light from +z, in radians, in [0, pi/4].
        spot_phi: (n,) azimuth of the light, in radians, from +x (the camera's side) towards +y.
        spot_hue: (n,) hue of the light, in turns.

    Raises:
        ValueError: if shapes differ, a value is not finite, or `spot_theta` is out of range.
    """

    floor_hue: np.ndarray
    spot_theta: np.ndarray
    spot_phi: np.ndarray
    spot_hue: np.ndarray

    def __post_init__(self) -> None:
        for field in fields(self):
            values = np.asarray(getattr(self, field.name), dtype=np.float32)
            object.__setattr__(self, field.name, values)
            if values.ndim != 1 or values.shape != self.floor_hue.shape:
                raise ValueError(
                    f"Lighting.{field.name} must have one value a view, shape (n,), like floor_hue "
                    f"{self.floor_hue.shape}; got {values.shape}"
                )
            if not np.isfinite(values).all():
                raise ValueError(f"Lighting.{field.name} must be finite, got NaN or infinity")
        if not ((self.spot_theta >= 0) & (self.spot_theta <= MAX_SPOT_POLAR + 1e-6)).all():
            raise ValueError(
                f"Lighting.spot_theta must be in [0, pi/4] radians, got values from {self.spot_theta.min()} "
                f"to {self.spot_theta.max()}"
            )

    def __len__(self) -> int:
        return len(self.floor_hue)

    def part(self, chosen: slice) -> Lighting:
        """Return that of some of the views."""
        return Lighting(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @classmethod
    def from_unit(cls, draws: np.ndarray) -> Lighting:
        """Map uniform draws to 3DIEBench's distribution of lights and floors.

        Args:
            draws: (n, 4) in [0, 1): floor hue, spot theta, spot phi, spot hue.

        Returns:
            Lighting with hues U[0, 1), theta U[0, pi/4), phi U[0, 2 pi) (SIE, Garrido et al. 2023).
        """
        draws = np.asarray(draws)
        if draws.ndim != 2 or draws.shape[1] != 4:
            raise ValueError(f"Lighting.from_unit needs draws of shape (n, 4), got {draws.shape}")
        return cls(draws[:, 0], draws[:, 1] * MAX_SPOT_POLAR, draws[:, 2] * (2 * math.pi), draws[:, 3])
