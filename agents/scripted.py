"""Agents that need no learning: random motions, independent poses or views, and gaze by saliency."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np


class Agent(Protocol):
    """Chooses actions for B sub-environments at once."""

    def act(self, observation: dict[str, np.ndarray], info: dict[str, Any]) -> np.ndarray:
        """Return (B, A) float64 actions in [-1, 1] for the latest observation and info of a vector environment."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of the arrays that the agent's future depends on, but for its generator."""
        ...

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what `state` returned."""
        ...


class RandomAgent:
    """Actions uniform over the action space.

    Args:
        num_envs: B.
        action_size: A.
        rng: where the draws come from.
    """

    def __init__(self, num_envs: int, action_size: int, rng: np.random.Generator) -> None:
        self._shape = (num_envs, action_size)
        self._rng = rng

    def act(self, observation: dict[str, np.ndarray], info: dict[str, Any]) -> np.ndarray:
        """Return (B, A) uniform in [-1, 1]."""
        return self._rng.uniform(-1.0, 1.0, self._shape)

    def state(self) -> dict[str, np.ndarray]:
        """Return nothing: it remembers nothing."""
        return {}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore nothing."""


class IndependentAgent:
    """Goes to poses drawn independently of each other, as an episode's first one is.

    It is privileged: it knows the pose. Where one motion reaches every pose (`max_angle` pi, or `max_amplitude` twice
    the reach), the views of an episode are i.i.d., as in the published data sets; elsewhere it goes as far as a motion
    does.

    Args:
        num_envs: B.
        draw_poses: maps (B, 3) uniforms to (B, P) poses.
        actions_towards: maps (B, P) poses to (B, A) actions.
        rng: where the draws come from.
    """

    def __init__(
        self,
        num_envs: int,
        draw_poses: Callable[[np.ndarray], np.ndarray],
        actions_towards: Callable[[np.ndarray], np.ndarray],
        rng: np.random.Generator,
    ) -> None:
        self._num_envs, self._draw_poses, self._actions_towards, self._rng = num_envs, draw_poses, actions_towards, rng

    def act(self, observation: dict[str, np.ndarray], info: dict[str, Any]) -> np.ndarray:
        """Return (B, A) actions towards new poses."""
        return self._actions_towards(self._draw_poses(self._rng.random((self._num_envs, 3))))

    def state(self) -> dict[str, np.ndarray]:
        """Return nothing: it remembers nothing."""
        return {}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore nothing."""


class DeckAgent:
    """Sees each of a thing's V stored views once, in random order, then the same again: i.i.d. without replacement.

    It is privileged: it reads `view` and `step_index` from `info`.

    Args:
        num_envs: B.
        views: V, at least 2.
        actions_towards_views: maps (B,) numbers of views to (B, A) actions that lead there at once.
        rng: where the draws come from.
    """

    def __init__(
        self,
        num_envs: int,
        views: int,
        actions_towards_views: Callable[[np.ndarray], np.ndarray],
        rng: np.random.Generator,
    ) -> None:
        self._deck = np.zeros((num_envs, views), dtype=np.int64)
        self._actions_towards_views, self._rng = actions_towards_views, rng

    def act(self, observation: dict[str, np.ndarray], info: dict[str, Any]) -> np.ndarray:
        """Return (B, A) actions towards the next view of each row's deck; its first is where it began."""
        fresh = np.flatnonzero(info["step_index"] == 0)
        if len(fresh):
            order = self._rng.random((len(fresh), self._deck.shape[1]))
            order[np.arange(len(fresh)), info["view"][fresh]] = -1.0
            self._deck[fresh] = order.argsort(axis=1)
        card = (info["step_index"] + 1) % self._deck.shape[1]
        return self._actions_towards_views(self._deck[np.arange(len(card)), card])

    def state(self) -> dict[str, np.ndarray]:
        """Return the decks."""
        return {"deck": self._deck.copy()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore the decks."""
        self._deck[...] = state["deck"]


class PriorityState(Protocol):
    """What `SaliencyAgent` asks of a priority map; `glimpseworld.envs.eye.fixation.PriorityMap` is one."""

    saliency: np.ndarray
    inhibition: np.ndarray

    def begin(self, rows: np.ndarray, saliency: np.ndarray | None) -> None:
        """Forget the scanpaths of `rows`; (n, S, S) saliency maps, or None for all places alike."""
        ...

    def fixate(self, rows: np.ndarray, positions: np.ndarray) -> None:
        """Inhibit a disc around (n, 2) positions; what was inhibited before fades."""
        ...

    def sample(self, rows: np.ndarray, uniform: np.ndarray, *, reach: float = 1.0) -> np.ndarray:
        """Draw (n, 2) positions in proportion to priority, from (n,) uniforms."""
        ...


class SaliencyAgent:
    """Looks where saliency is high and was not just looked at (seq-JEPA's sampling of saccades, arXiv 2505.03176).

    It is privileged: it is given the saliency of the whole image and reads `position`, `index` and `step_index` from
    `info`, as a stand-in for peripheral vision.

    Args:
        priority: a priority map for B scanpaths.
        saliency: maps (n,) image indices to (n, S, S) saliency maps; None for uniform saliency, which leaves only
            inhibition of return.
        reach: the gaze's limit, image units.
        max_amplitude: the saccade, image units, of an action of 1. A target further off is approached.
        rng: where the draws come from.
        action_size: A, at least 2; what is beyond the saccade (zoom, a task's own components) stays 0.
    """

    def __init__(
        self,
        priority: PriorityState,
        saliency: Callable[[np.ndarray], np.ndarray] | None,
        *,
        reach: float,
        max_amplitude: float,
        rng: np.random.Generator,
        action_size: int = 2,
    ) -> None:
        self.priority, self._action_size = priority, action_size
        self._saliency, self._reach, self._max_amplitude, self._rng = saliency, reach, max_amplitude, rng

    def act(self, observation: dict[str, np.ndarray], info: dict[str, Any]) -> np.ndarray:
        """Return (B, A) actions towards the drawn fixations."""
        rows = np.arange(len(info["position"]))
        fresh = np.flatnonzero(info["step_index"] == 0)
        if len(fresh):
            self.priority.begin(fresh, self._saliency(info["index"][fresh]) if self._saliency else None)
        self.priority.fixate(rows, info["position"])
        targets = self.priority.sample(rows, self._rng.random(len(rows)), reach=self._reach)
        actions = np.zeros((len(rows), self._action_size))
        actions[:, :2] = np.clip((targets - info["position"]) / self._max_amplitude, -1.0, 1.0)
        return actions

    def state(self) -> dict[str, np.ndarray]:
        """Return the maps of every scanpath."""
        return {"saliency": self.priority.saliency.copy(), "inhibition": self.priority.inhibition.copy()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore the maps of every scanpath."""
        self.priority.saliency[...] = state["saliency"]
        self.priority.inhibition[...] = state["inhibition"]
