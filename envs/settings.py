"""Settings that an environment takes as a JSON-able dict and keeps as a frozen dataclass; checks of its arguments."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

EPISODE_STEPS = 16
"""Steps after which an episode of a registered id is truncated."""


def settings_from(kind: type[T], options: Mapping[str, Any], argument: str) -> T:
    """Return the dataclass `kind` with the values of `options`; what is not named keeps its default.

    Args:
        kind: a dataclass whose constructor validates its values.
        options: names and values.
        argument: what the user calls it, for the error messages.

    Raises:
        ValueError: if `options` is no mapping or has a name that `kind` lacks, or from the constructor.
    """
    known = [field.name for field in fields(kind)]  # pyright: ignore[reportArgumentType]
    if not isinstance(options, Mapping):
        raise ValueError(f"{argument} must be a dict with some of {known}, got {options!r}")
    unknown = sorted(set(options) - set(known), key=str)
    if unknown:
        raise ValueError(f"{argument} has no settings {unknown}; it has {known}")
    return kind(**options)


def check_number(name: str, value: Any, *, low: float, high: float = math.inf, above: bool = False) -> None:
    """Raise a ValueError that calls the value `name`, unless it is a finite number in [low, high].

    Args:
        name: what the user calls it.
        value: what came; a bool is no number.
        low: the least value.
        high: the greatest value.
        above: whether `low` itself is excluded.
    """
    if isinstance(value, Real) and not isinstance(value, bool):
        number = float(value)
        if math.isfinite(number) and low <= number <= high and not (above and number == low):
            return
    expected = f"above {low:g}" if above else f"at least {low:g}"
    if high < math.inf:
        expected += f" and at most {high:g}"
    raise ValueError(f"{name} must be a finite number {expected}, got {value!r}")


def check_whole(name: str, value: Any, *, low: int, high: int | None = None) -> None:
    """Raise a ValueError that calls the value `name`, unless it is a whole number in [low, high]; 2.0 is none."""
    highest = math.inf if high is None else high
    if isinstance(value, Integral) and not isinstance(value, bool) and low <= int(value) <= highest:
        return
    expected = f"at least {low}" + ("" if high is None else f" and at most {high}")
    raise ValueError(f"{name} must be a whole number, {expected}, got {value!r}")


def check_flag(name: str, value: Any) -> None:
    """Raise a ValueError that calls the value `name`, unless it is True or False: any text, "False" too, is true."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False, got {value!r}")


def check_path(name: str, value: Any) -> None:
    """Raise a ValueError that calls the value `name`, unless it is a text or a path; it need not lead anywhere."""
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError(f"{name} must be a name or a path, got {value!r}")


def is_numbers(value: Any) -> bool:
    """Return whether `value` is a sequence or an array of numbers."""
    if not isinstance(value, (Sequence, np.ndarray)) or isinstance(value, str):
        return False
    return all(isinstance(number, Real) for number in value)
