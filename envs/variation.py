"""Factors of variation: numbers that a view depends on beside its pose, fixed or drawn per episode or per step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from .draws import EpisodeDraws, Rows

FactorDraw = Literal["fixed", "episode", "step"]
_LEAST_RANDOMNESS = 4


@dataclass(frozen=True)
class Factor:
    """One factor of variation.

    Args:
        name: as in `variation` and `info["variation"]`.
        value: its value while it is fixed.
        limits: least and greatest value it can have.
        spread: the range it is drawn from, uniformly.
        unit: of its value, as in "radians".
        draw: "fixed", or drawn anew with each "episode" or each "step".
        random: whether views themselves are random while it is not at its default, as noise makes them.
    """

    name: str
    value: float
    limits: tuple[float, float]
    spread: tuple[float, float]
    unit: str
    draw: FactorDraw = "fixed"
    random: bool = False

    def configured(self, specification: Any) -> Factor:
        """Return this factor as an environment's `variation` asks for it.

        Args:
            specification: a `FactorDraw`; or a dict with "draw" and, for one that is drawn, "low" and "high" of its
                range, or for one that is fixed its "value" (with which "draw" may be left out).

        Raises:
            ValueError: if it is none of these, or a number is out of `limits`.
        """
        wanted = {"draw": specification} if isinstance(specification, str) else specification
        if not isinstance(wanted, Mapping):
            raise self._error(f"must be one of {get_args(FactorDraw)} or a dict, got {specification!r}")
        draw = wanted.get("draw", "fixed" if "value" in wanted else None)
        if draw not in get_args(FactorDraw):
            raise self._error(f'"draw" must be one of {get_args(FactorDraw)}, got {draw!r}')
        known = {"draw", "value"} if draw == "fixed" else {"draw", "low", "high"}
        if not set(wanted) <= known:
            raise self._error(f'takes {sorted(known)} when "draw" is "{draw}", got {sorted(wanted)}')
        numbers = {key: self._checked(wanted[key], f'"{key}"') for key in wanted if key != "draw"}
        low, high = numbers.get("low", self.spread[0]), numbers.get("high", self.spread[1])
        if low > high:
            raise self._error(f'"low" must not be above "high", got {low} and {high}')
        return replace(self, draw=draw, value=numbers.get("value", self.value), spread=(low, high))

    def describe(self) -> str:
        """Return the name with limits and unit, for messages."""
        return f"{self.name} in [{self.limits[0]:g}, {self.limits[1]:g}] {self.unit}"

    def _checked(self, number: Any, what: str) -> float:
        if isinstance(number, bool) or not isinstance(number, (int, float, np.number)):
            raise self._error(f"{what} must be a number, got {number!r}")
        if not self.limits[0] <= number <= self.limits[1]:
            raise self._error(f"{what} must be in [{self.limits[0]:g}, {self.limits[1]:g}] {self.unit}, got {number}")
        return float(number)

    def _error(self, problem: str) -> ValueError:
        return ValueError(f'variation["{self.name}"]: {problem}')


class Variation:
    """The factors of a world and their values in each of B sub-environments.

    A factor's value follows from (seed, episode), and the step if it is drawn at each one, unless the reset forced it:
    then it keeps the forced value through the episode. Draws do not depend on which other factors are drawn or forced.

    Args:
        factors: those of the world, in the order of their draws.
        purpose: under which `EpisodeDraws` draws them.
        specification: name -> what `Factor.configured` takes, for factors that are not as in `factors`.

    Raises:
        ValueError: if a name is unknown or a specification wrong.
    """

    def __init__(self, factors: Sequence[Factor], purpose: int, specification: Mapping[str, Any] | None = None) -> None:
        wanted = {} if specification is None else specification
        if not isinstance(wanted, Mapping):
            raise ValueError(f"variation must be None or a dict of factors, got {wanted!r}")
        self.names = tuple(factor.name for factor in factors)
        for name in wanted:
            if name not in self.names:
                raise ValueError(f"unknown factor of variation {name!r}: this world has {list(self.names)}")
        self.factors = tuple(f.configured(wanted[f.name]) if f.name in wanted else f for f in factors)
        self._purpose = purpose
        self._defaults = np.array([factor.value for factor in self.factors])
        self._low = np.array([factor.spread[0] for factor in self.factors])
        self._span = np.array([factor.spread[1] - factor.spread[0] for factor in self.factors])
        self._drawn = {
            draw: np.array([i for i, factor in enumerate(self.factors) if factor.draw == draw], dtype=np.int64)
            for draw in ("episode", "step")
        }
        self.bind(0)

    def bind(self, num_envs: int) -> None:
        """Allocate the state of `num_envs` rows."""
        # In column order: a factor's values are read together.
        self._values = np.array(np.tile(self._defaults, (num_envs, 1)), order="F")
        self._forced = np.full_like(self._values, np.nan)

    def begin(self, rows: Rows, draws: EpisodeDraws, forced: np.ndarray | None = None) -> None:
        """Give the factors of `rows` their values for the first step of a new episode.

        Args:
            rows: the sub-environments.
            draws: their draws.
            forced: (B, F) from `checked_forced`, of all sub-environments; None forces nothing.
        """
        self._forced[rows] = np.nan if forced is None else forced[rows]
        self._values[rows] = self._defaults
        self._draw("episode", rows, draws, 0)
        self._draw("step", rows, draws, 0)
        if forced is not None:
            self._values[rows] = np.where(np.isnan(forced[rows]), self._values[rows], forced[rows])

    def update(self, rows: Rows, draws: EpisodeDraws, steps: np.ndarray) -> None:
        """Draw what is drawn at each step anew, for (n,) steps since the reset of `rows`."""
        self._draw("step", rows, draws, steps)

    def values(self, rows: Rows) -> dict[str, np.ndarray]:
        """Return the present value of every factor in `rows`, each (n,) float64."""
        return dict(zip(self.names, self._values[rows].T, strict=True))

    def values_from(self, uniform: np.ndarray) -> dict[str, np.ndarray]:
        """Return the values, each (n,) float64, that factors take for (n, `randomness`) uniforms in [0, 1)."""
        values = np.tile(self._defaults, (len(uniform), 1))
        for columns in self._drawn.values():
            values[:, columns] = self._low[columns] + uniform[:, columns] * self._span[columns]
        return dict(zip(self.names, values.T, strict=True))

    def values_of_another(self, rows: Rows, uniform: np.ndarray) -> dict[str, np.ndarray]:
        """Return the values, each (n,) float64, of another view in the episodes of `rows`.

        Factors drawn at each step follow from (n, `randomness`) uniforms, unless they are forced; the others are as
        they are.
        """
        values, columns = self._values[rows].copy(), self._drawn["step"]
        drawn = self._low[columns] + uniform[:, columns] * self._span[columns]
        values[:, columns] = np.where(np.isnan(self._forced[rows][:, columns]), drawn, values[:, columns])
        return dict(zip(self.names, values.T, strict=True))

    @property
    def randomness(self) -> int:
        """How many uniforms decide on a view: factor i takes number i, and noise the one after the factors'."""
        needed = [i + 1 for i, factor in enumerate(self.factors) if factor.draw != "fixed"]
        if any(factor.random and (factor.draw != "fixed" or factor.value) for factor in self.factors):
            needed.append(len(self.factors) + 1)
        return max(_LEAST_RANDOMNESS, *needed, 0)

    def seeds_from(self, uniform: np.ndarray) -> np.ndarray:
        """Return the column (n,) of (n, `randomness`) uniforms that a view's noise follows from."""
        return uniform[:, len(self.factors)]

    def checked_forced(self, wanted: Any, num_envs: int) -> np.ndarray | None:
        """Return `options["variation"]` as (B, F) float64, NaN where nothing is forced, or None if it is None.

        Args:
            wanted: name -> a number for all sub-environments, or an array (B,) with one for each.
            num_envs: B.

        Raises:
            ValueError: if a name is unknown, or a value no number, of another shape or out of the factor's limits.
        """
        if wanted is None:
            return None
        if not isinstance(wanted, Mapping):
            raise ValueError(f'options["variation"] must be a dict of factors and their values, got {wanted!r}')
        forced = np.full((num_envs, len(self.factors)), np.nan)
        for name, value in wanted.items():
            if name not in self.names:
                raise ValueError(
                    f'options["variation"] names an unknown factor {name!r}: this world has '
                    f"{', '.join(factor.describe() for factor in self.factors)}"
                )
            column = self.names.index(name)
            forced[:, column] = _checked_values(self.factors[column], value, num_envs)
        return forced

    def state(self) -> dict[str, np.ndarray]:
        """Return the live arrays (B, F): the values of the factors, and those that are forced (NaN: not)."""
        return {"values": self._values, "forced": self._forced}

    def info(self) -> dict[str, np.ndarray]:
        """Return copies of the present values (B,) by name."""
        return dict(zip(self.names, self._values.T.copy(), strict=True))

    def _draw(self, draw: FactorDraw, rows: Rows, draws: EpisodeDraws, steps: np.ndarray | int) -> None:
        columns = self._drawn[draw]
        if not len(columns):
            return
        uniform = draws.uniform(self._purpose, int(columns[-1]) + 1, steps)
        values = self._values[rows]
        forced = self._forced[rows][:, columns]
        drawn = self._low[columns] + uniform[:, columns] * self._span[columns]
        values[:, columns] = np.where(np.isnan(forced), drawn, forced)
        self._values[rows] = values


def _checked_values(factor: Factor, value: Any, num_envs: int) -> np.ndarray:
    """Return a number or an array (B,) for `factor` as float64, () or (B,)."""
    where = f'options["variation"]["{factor.name}"]'
    try:
        values = np.asarray(value)
    except ValueError:
        values = np.asarray(None)
    if values.dtype.kind not in "iuf" or values.shape not in ((), (num_envs,)):
        raise ValueError(f"{where} must be a number or an array ({num_envs},) of numbers, got {value!r}")
    low, high = factor.limits
    if not ((values >= low) & (values <= high)).all():
        raise ValueError(f"{where} must be in [{low:g}, {high:g}] {factor.unit}, got {value!r}")
    return values.astype(np.float64)
