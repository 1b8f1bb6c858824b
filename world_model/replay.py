"""Sequence replay: the views of many episodes, sampled as windows of views and the motions between them."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from .motion import MotionKind, check_motion_dim, compose, identity, relative

WindowMode = Literal["adjacent", "hindsight"]


class Windows(NamedTuple):
    """A batch of N training windows: M context views, then K target views, each window from one episode.

    Attributes:
        views: (N, M + K, H, W, C) uint8, the context views 1 … M, then the targets.
        motions: (N, M - 1 + K, A) float32: M - 1 context motions, the i-th from view i to view i + 1, then K motions,
            each from view M straight to its target.
        context: M.
        env: (N,) int64, the sub-environment each window comes from.
        episode: (N,) int64, the episode's number in that sub-environment, counted from 0.
        step: (N, M + K) int64, for each view the `SequenceReplay.add` call that brought it, counted from 0.
        label: (N,) int64, the class of what each window shows; None unless the replay was asked to keep labels.
    """

    views: np.ndarray
    motions: np.ndarray
    context: int
    env: np.ndarray
    episode: np.ndarray
    step: np.ndarray
    label: np.ndarray | None = None


class SequenceReplay:
    """A ring of the newest views of a batched rollout, from which windows are drawn.

    Every view is stored once. The pose of each is dead-reckoned here from the motions alone, from the identity at the
    episode's first stored view, so that the motion between *any* two views of an episode is known: windows can be
    adjacent views, as in the paper, or hindsight windows, any views in any order. No privileged information enters.

    All sub-environments advance in lockstep and each has its own ring; an episode that the ring has partly
    overwritten loses only its oldest views. Views are not compressed, and only the pixels and motions are kept.

    Args:
        capacity: views in total over all sub-environments, rounded down to a multiple of `num_envs`.
        glimpse_shape: (H, W, C) of a uint8 glimpse.
        motion_kind: how motions compose.
        motion_dim: A, numbers in a motion; 4 for rotations.
        num_envs: B, sub-environments in the rollout.
        labels: keep a class with every view. It is privileged information, for supervised learning alone.

    Raises:
        ValueError: if a size is not positive, `capacity` is below `num_envs`, or kind and dimension disagree.
    """

    def __init__(
        self,
        capacity: int,
        glimpse_shape: tuple[int, int, int],
        motion_kind: MotionKind,
        motion_dim: int,
        num_envs: int,
        *,
        labels: bool = False,
    ) -> None:
        if num_envs < 1 or capacity < num_envs:
            raise ValueError(
                f"capacity must be at least num_envs, which is at least 1, got capacity {capacity} and num_envs "
                f"{num_envs}"
            )
        if len(glimpse_shape) != 3 or min(glimpse_shape) < 1:
            raise ValueError(f"glimpse_shape must be three positive numbers (H, W, C), got {glimpse_shape}")
        check_motion_dim(motion_kind, motion_dim)
        self.motion_kind: MotionKind = motion_kind
        self.num_envs = num_envs
        slots = capacity // num_envs
        # One ring a sub-environment: the view of add call t lies in slot t mod slots.
        self._glimpses = np.zeros((num_envs, slots, *glimpse_shape), np.uint8)
        # float64, or long episodes would drift by more than the float32 motions' own rounding.
        self._poses = identity(motion_kind, (num_envs, slots, motion_dim))
        self._episodes = np.zeros((num_envs, slots), np.int32)
        self._labels = np.zeros((num_envs, slots), np.int64) if labels else None
        self._added = 0
        self._spans: Spans | None = None

    @property
    def capacity(self) -> int:
        """Views the replay can hold."""
        return self._episodes.size

    def __len__(self) -> int:
        """Views the replay holds."""
        return self.num_envs * self._stored

    def add(self, glimpse: np.ndarray, motion: np.ndarray, first: np.ndarray, label: np.ndarray | None = None) -> None:
        """Append one view a sub-environment, over the oldest ones if the ring is full.

        Args:
            glimpse: (B, H, W, C) uint8.
            motion: (B, A) float, the motion that led from the previous glimpse to this one. Ignored where `first`.
            first: (B,) bool, True where a reset made the glimpse, so that its motion is no transition. Where the very
                first call has False, the episode counts as starting there.
            label: (B,) int, the class each glimpse shows; given if and only if the replay keeps labels.

        Raises:
            ValueError: if a shape or dtype is not as said, labels are missing or not wanted, or a used motion is not
                finite or not a unit quaternion.
        """
        motion, first = np.asarray(motion, np.float64), np.asarray(first)
        self._check_row(np.asarray(glimpse), motion, first)
        self._check_label(label)
        slot, previous = self._added % self._slots, (self._added - 1) % self._slots
        begins = first if self._added else np.ones_like(first)
        still = identity(self.motion_kind, motion.shape)
        # Replaced before anything is computed from them: reset rows carry zeros, which are no quaternion.
        origin = np.where(begins[:, None], still, self._poses[:, previous])
        moved = np.where(begins[:, None], still, motion)
        self._glimpses[:, slot] = glimpse
        self._poses[:, slot] = compose(self.motion_kind, origin, moved)
        self._episodes[:, slot] = self._episodes[:, previous] + first if self._added else 0
        if self._labels is not None and label is not None:
            self._labels[:, slot] = label
        self._added += 1
        self._spans = None

    def can_sample(self, context: int | tuple[int, int], targets: int) -> bool:
        """Return whether some episode holds enough views for the longest window `sample` may be asked for."""
        return self._longest >= context_range(context, targets)[1] + targets

    def sample(
        self,
        batch_size: int,
        *,
        context: int | tuple[int, int],
        targets: int,
        mode: WindowMode,
        generator: np.random.Generator,
    ) -> Windows:
        """Draw windows, with replacement, from all episodes that hold enough views, finished or still growing.

        Args:
            batch_size: N, windows.
            context: M, or (lowest, highest) inclusive, from which one M is drawn for the whole batch.
            targets: K.
            mode: ``"adjacent"``: M + K consecutive views, each possible window equally likely; target k is k steps
                after view M, and K = 1 is the paper's window. ``"hindsight"``: M + K distinct views of an episode in
                random order, each view of an episode that is long enough equally likely to be the first.
            generator: source of every draw.

        Returns:
            The windows; their motions are composed from the steps between the views.

        Raises:
            ValueError: if no episode holds M + K views, or an argument is out of range.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        lowest, highest = context_range(context, targets)
        if self._longest < highest + targets:
            raise ValueError(
                f"replay has no episode with {highest + targets} views yet (context {highest} + targets {targets}): "
                f"it holds {len(self)} views, the longest episode {self._longest}. Add more steps before sampling, "
                "ask for shorter windows, or raise the capacity."
            )
        count = highest if lowest == highest else int(generator.integers(lowest, highest, endpoint=True))
        length = count + targets
        spans = self._episode_spans()
        if mode == "adjacent":
            index, span = _adjacent(spans, batch_size, length, generator)
        elif mode == "hindsight":
            index, span = hindsight_places(spans, batch_size, length, generator)
        else:
            raise ValueError(f"mode must be 'adjacent' or 'hindsight', got {mode!r}")
        return self._gather(index + spans.start[span, None], count)

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything that later draws depend on, as NumPy arrays, ints and one string."""
        stored = self._stored
        labels = {} if self._labels is None else {"labels": self._labels[:, :stored].copy()}
        return {
            "motion_kind": self.motion_kind,
            "slots": self._slots,
            "added": self._added,
            "glimpses": self._glimpses[:, :stored].copy(),
            "poses": self._poses[:, :stored].copy(),
            "episodes": self._episodes[:, :stored].copy(),
            **labels,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned, after which adding and sampling go on as if uninterrupted.

        Raises:
            ValueError: if the state is of a replay of another kind or size. This one is then unchanged.
        """
        added, slots = int(state["added"]), int(state["slots"])
        stored = min(added, slots)
        kind = str(state["motion_kind"])
        if (kind, slots) != (self.motion_kind, self._slots):
            raise ValueError(
                f"this replay has {self._slots} slots a sub-environment for {self.motion_kind}s, the state has "
                f"{slots} for {kind}s: build the replay with the saved sizes"
            )
        if ("labels" in state) != (self._labels is not None):
            raise ValueError("labels must be kept by both the replay and the state, or by neither: build it as saved")
        arrays = {"glimpses": self._glimpses, "poses": self._poses, "episodes": self._episodes}
        if self._labels is not None:
            arrays["labels"] = self._labels
        for name, mine in arrays.items():
            expected, got = (self.num_envs, stored, *mine.shape[2:]), state[name].shape
            if (got, state[name].dtype) != (expected, mine.dtype):
                raise ValueError(
                    f"{name}: this replay needs {expected} {mine.dtype}, the state has {got} {state[name].dtype}: "
                    "build the replay with the saved sizes"
                )
        for name, mine in arrays.items():
            mine[:, :stored] = state[name]
        self._added = added
        self._spans = None

    @property
    def _slots(self) -> int:
        return self._episodes.shape[1]

    @property
    def _stored(self) -> int:
        """Views stored for each sub-environment."""
        return min(self._added, self._slots)

    @property
    def _longest(self) -> int:
        return int(self._episode_spans().length.max(initial=0))

    def _episode_spans(self) -> Spans:
        """Find the episodes among the stored views, numbered sub-environment by sub-environment, oldest first."""
        if self._spans is None:
            stored, oldest = self._stored, self._added - self._stored
            episodes = np.roll(self._episodes[:, :stored], -(oldest % self._slots), axis=1)
            begins = np.ones(episodes.shape, bool)
            np.not_equal(episodes[:, 1:], episodes[:, :-1], out=begins[:, 1:])
            start = np.flatnonzero(begins)
            self._spans = Spans(start, np.diff(start, append=begins.size))
        return self._spans

    def _gather(self, index: np.ndarray, context: int) -> Windows:
        """Fetch the views of `index` (N, M + K), counted as in `Spans`, and the motions between them."""
        env, age = np.divmod(index, self._stored)
        step = self._added - self._stored + age
        flat = env * self._slots + step % self._slots
        views = self._glimpses.reshape(-1, *self._glimpses.shape[2:]).take(flat, axis=0)
        poses = self._poses.reshape(-1, self._poses.shape[2]).take(flat, axis=0)
        motions = window_motions(self.motion_kind, poses, context)
        episode = self._episodes.reshape(-1).take(flat[:, 0]).astype(np.int64)
        label = None if self._labels is None else self._labels.reshape(-1).take(flat[:, 0])
        return Windows(views, motions, context, env[:, 0], episode, step, label)

    def _check_label(self, label: np.ndarray | None) -> None:
        if (label is not None) != (self._labels is not None):
            raise ValueError("give a label with each view if the replay was built with labels=True, else none")
        if label is not None and (label.shape != (self.num_envs,) or not np.issubdtype(label.dtype, np.integer)):
            raise ValueError(f"label must be ({self.num_envs},) int, got {label.shape} {label.dtype}")

    def _check_row(self, glimpse: np.ndarray, motion: np.ndarray, first: np.ndarray) -> None:
        shape = (self.num_envs, *self._glimpses.shape[2:])
        if glimpse.shape != shape or glimpse.dtype != np.uint8:
            raise ValueError(f"glimpse must be {shape} uint8, got {glimpse.shape} {glimpse.dtype}")
        shape = (self.num_envs, self._poses.shape[2])
        if motion.shape != shape:
            raise ValueError(f"motion must be {shape}, got {motion.shape}")
        if first.shape != (self.num_envs,) or first.dtype != np.bool_:
            raise ValueError(f"first must be ({self.num_envs},) bool, got {first.shape} {first.dtype}")
        used = motion[~first]
        if not np.isfinite(used).all():
            raise ValueError(f"motions must be finite, got {used[~np.isfinite(used).all(axis=1)][0]}")
        if self.motion_kind != "translation":
            error = np.abs(np.square(used[:, :4]).sum(axis=1) - 1.0)
            if (error > 1e-3).any():
                raise ValueError(
                    f"a rotation must be a unit quaternion xyzw, got {used[error.argmax()]}; if its glimpse is a "
                    "reset's, mark the row as first"
                )


def window_motions(kind: MotionKind, poses: np.ndarray, context: int) -> np.ndarray:
    """Return the (N, M - 1 + K, A) float32 motions of windows whose views have `poses` (N, M + K, A): see `Windows`."""
    origin = np.minimum(np.arange(poses.shape[1] - 1), context - 1)  # view i -> i + 1, then view M -> each target
    return relative(kind, poses[:, origin], poses[:, 1:]).astype(np.float32)


class Spans(NamedTuple):
    """Episodes as runs of stored views, which are counted through all sub-environments, in each from the oldest."""

    start: np.ndarray  # (E,) int64, first stored view
    length: np.ndarray  # (E,) int64, stored views


def _adjacent(
    spans: Spans, batch_size: int, length: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw runs of `length` views: their places in their episode (N, length), and the episodes (N,)."""
    windows = np.maximum(spans.length - length + 1, 0)
    ends = np.cumsum(windows)
    ticket = generator.integers(ends[-1], size=batch_size)
    span = np.searchsorted(ends, ticket, side="right")
    begin = ticket - (ends[span] - windows[span])
    return begin[:, None] + np.arange(length), span


def hindsight_places(
    spans: Spans, batch_size: int, length: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw `length` distinct views of an episode in random order: their places in it (N, length), and the episodes."""
    ends = np.cumsum(np.where(spans.length >= length, spans.length, 0))
    span = np.searchsorted(ends, generator.integers(ends[-1], size=batch_size), side="right")
    place = np.empty((batch_size, length), np.int64)
    # Floyd's algorithm, a row an episode: subsets of equal chance, at a cost that does not grow with the episode.
    for k in range(length):
        top = spans.length[span] - length + k
        draw = generator.integers(0, top, endpoint=True)
        taken = (place[:, :k] == draw[:, None]).any(axis=1)
        place[:, k] = np.where(taken, top, draw)
    return generator.permuted(place, axis=1), span


def context_range(context: int | tuple[int, int], targets: int) -> tuple[int, int]:
    """Return the (lowest, highest) context that `SequenceReplay.sample` was asked for.

    Raises:
        ValueError: if `context` or `targets` is out of range.
    """
    lowest, highest = context if isinstance(context, tuple) else (context, context)
    if not 1 <= lowest <= highest:
        raise ValueError(f"context must be at least 1, or a range (lowest, highest) of such, got {context}")
    if targets < 1:
        raise ValueError(f"targets must be at least 1, got {targets}")
    return lowest, highest
