"""Agents to compare with: a fixed scan path, and greedy steps by the true renderer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ..world_model.protocol import WorldModel
from .goals import embed_targets
from .motor import Motor

_CHUNK = 512
"""Views that are embedded at a time."""


class RasterAgent:
    """Carries out the same sequence of actions in every episode, again and again, whatever it sees.

    Args:
        sequence: (T, A) actions in [-1, 1], T at least 1.

    Raises:
        ValueError: the sequence is no such array.
    """

    def __init__(self, sequence: np.ndarray) -> None:
        if sequence.ndim != 2 or not len(sequence) or np.abs(sequence).max() > 1:
            raise ValueError(f"a fixed scan path is (T, A) actions in [-1, 1], T >= 1, got shape {sequence.shape}")
        self._sequence = sequence.astype(np.float64)

    def act(self, observation: dict[str, np.ndarray], info: dict[str, Any]) -> np.ndarray:
        """Return (B, A) actions: each row's next of the sequence."""
        return self._sequence[info["step_index"] % len(self._sequence)]

    def state(self) -> dict[str, np.ndarray]:
        """Return nothing: it remembers nothing."""
        return {}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore nothing."""


def raster_actions(columns: int, reach: float, max_amplitude: float) -> np.ndarray:
    """Return saccades that scan a square row by row, forth and back, (T, 2) in [-1, 1], wherever the gaze starts.

    The first ones go up and to the left as far as it takes: the gaze stops at the limit, so that the corner is reached
    from every start, and no pose need be known.

    Args:
        columns: Fixations in a row, and rows, at least 2.
        reach: The gaze's limit, image units.
        max_amplitude: Image units that an action of 1 moves; it bounds the distance of fixations too.
    """
    if columns < 2:
        raise ValueError(f"a raster has at least 2 columns, got {columns}")
    to_corner = int(np.ceil(2 * reach / max_amplitude))
    step = min(2 * reach / (columns - 1) / max_amplitude, 1.0)
    saccades = [(-1.0, -1.0)] * to_corner
    for row in range(columns):
        saccades += [(step if row % 2 == 0 else -step, 0.0)] * (columns - 1) + [(0.0, step)]
    return np.array(saccades[:-1])


class GreedyRendererAgent:
    """Takes of some actions the one after which the true view is most like the goal view, by a model's embedding.

    It is privileged: it sees where each action would lead. What a planner with a perfect predictor of one step would
    do, so what is left to gain from a better encoder or a longer horizon.

    Args:
        model: In eval mode; embeds the views.
        motor: Draws actions.
        render: Maps (B, C, A) float64 actions to what would be seen after each, (B, C, H, W, C') uint8.
        candidates: C, how many actions are tried at each step, the first of which is to stay; at least 2.
        generator: Where the actions are drawn from.
        goal: The entry of the observation that shows the goal.

    Raises:
        ValueError: fewer than 2 candidates.
    """

    def __init__(
        self,
        model: WorldModel,
        motor: Motor,
        render: Callable[[np.ndarray], np.ndarray],
        *,
        candidates: int = 32,
        generator: torch.Generator,
        goal: str = "goal",
    ) -> None:
        if candidates < 2:
            raise ValueError(f"candidates must be at least 2, staying among them, got {candidates}")
        self._model, self._motor, self._render, self._goal = model, motor, render, goal
        self._candidates, self._generator = candidates, generator

    @torch.no_grad()
    def act(self, observation: dict[str, np.ndarray], info: dict[str, Any]) -> np.ndarray:
        """Return (B, A) actions."""
        goal = observation[self._goal]
        rows, count, size = len(goal), self._candidates, self._motor.action_size
        drawn = self._motor.draw(rows * (count - 1), self._generator).reshape(rows, count - 1, size).double().numpy()
        actions = np.concatenate([np.zeros((rows, 1, size)), drawn], axis=1)
        views = self._render(actions)
        seen = self._embed(views.reshape(rows * count, *views.shape[2:])).reshape(rows, count, -1)
        likeness = cosine_similarity(seen, self._embed(goal)[:, None], dim=2)
        return actions[np.arange(rows), likeness.argmax(dim=1).numpy()]

    def _embed(self, views: np.ndarray) -> Tensor:
        """Return (n, P) embeddings of (n, H, W, C) views, where predictions live, on the CPU."""
        parts = [embed_targets(self._model, views[i : i + _CHUNK]).cpu() for i in range(0, len(views), _CHUNK)]
        return torch.cat(parts)

    def state(self) -> dict[str, np.ndarray]:
        """Return nothing: it remembers nothing."""
        return {}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore nothing."""
