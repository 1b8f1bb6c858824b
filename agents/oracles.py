"""The oracle: an agent that knows what the task knows, as the upper end of a scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class OracleAgent:
    """Does what an all-knowing agent would do. It is privileged: it reads goals and poses that no observation tells.

    Args:
        best_actions: returns (B, A) float64 actions for the environment as it is, such as
            `lambda: envs.task.oracle_actions(envs.world)`.
    """

    def __init__(self, best_actions: Callable[[], np.ndarray]) -> None:
        self._best_actions = best_actions

    def act(self, observation: dict[str, np.ndarray], info: dict[str, Any]) -> np.ndarray:
        """Return (B, A) actions in [-1, 1]."""
        return self._best_actions()

    def state(self) -> dict[str, np.ndarray]:
        """Return nothing: it remembers nothing."""
        return {}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore nothing."""
