"""Training windows straight from stored views and their poses, as those of 3DIEBench: no environment, no replay."""

from __future__ import annotations

from typing import Literal

import numpy as np

from .motion import MotionKind, check_motion_dim
from .replay import Spans, Windows, context_range, hindsight_places, window_motions


class StoredSequences:
    """V views of each of N things, from which windows are drawn as `SequenceReplay` draws its hindsight windows.

    For a 3DIEBench tree: `StoredSequences(stored.views, stored.quaternions, "rotation")` with
    `stored = glimpseworld.envs.stored_view_files.load_stored_views(root)`. Nothing is copied, so memory maps stay
    on disk.

    Args:
        views: (N, V, H, W, C) uint8.
        poses: (N, V, A) float64, the pose of each view; of rotations, unit quaternions xyzw, with any colours behind.
        motion_kind: how motions compose.
        labels: (N,) int, the class of each thing, for supervised learning; None for windows without.

    Raises:
        ValueError: if shapes or types do not fit together, or a pose is not finite or not a unit quaternion.
    """

    def __init__(
        self, views: np.ndarray, poses: np.ndarray, motion_kind: MotionKind, labels: np.ndarray | None = None
    ) -> None:
        if views.ndim != 5 or views.dtype != np.uint8 or 0 in views.shape:
            raise ValueError(f"expected views (N, V, H, W, C) uint8, none of them 0, got {views.shape} {views.dtype}")
        if poses.ndim != 3 or poses.shape[:2] != views.shape[:2]:
            raise ValueError(f"expected poses {views.shape[:2]} + (A,), one for each view, got {poses.shape}")
        check_motion_dim(motion_kind, poses.shape[2])
        if not np.isfinite(poses).all():
            raise ValueError("poses must be finite")
        if motion_kind != "translation" and (np.abs(np.square(poses[..., :4]).sum(axis=-1) - 1.0) > 1e-3).any():
            raise ValueError("the poses of rotations must be unit quaternions xyzw")
        if labels is not None and labels.shape != views.shape[:1]:
            raise ValueError(f"expected labels {views.shape[:1]}, one for each thing, got {labels.shape}")
        self.motion_kind: MotionKind = motion_kind
        self._labels = labels
        self._views = views.reshape(-1, *views.shape[2:])
        self._poses = poses.reshape(-1, poses.shape[2])
        items, count = views.shape[:2]
        self._spans = Spans(np.arange(items) * count, np.full(items, count))

    def __len__(self) -> int:
        """Views there are."""
        return len(self._views)

    @property
    def views_per_thing(self) -> int:
        """V."""
        return int(self._spans.length[0])

    def can_sample(self, context: int | tuple[int, int], targets: int) -> bool:
        """Return whether a thing has enough views for the longest window `sample` may be asked for."""
        return self.views_per_thing >= context_range(context, targets)[1] + targets

    def sample(
        self,
        batch_size: int,
        *,
        context: int | tuple[int, int],
        targets: int,
        mode: Literal["hindsight"] = "hindsight",
        generator: np.random.Generator,
    ) -> Windows:
        """Draw windows, with replacement, each of M + K distinct views of one thing in random order.

        Args:
            batch_size: N, windows.
            context: M, or (lowest, highest) inclusive, from which one M is drawn for the whole batch.
            targets: K.
            mode: ``"hindsight"``; stored views have no order of their own, so that none are adjacent.
            generator: source of every draw.

        Returns:
            The windows; `env` is the number of the thing, `episode` is 0, and `step` the number of each view.

        Raises:
            ValueError: if a thing has fewer than M + K views, or an argument is out of range.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if mode != "hindsight":
            raise ValueError(f"mode must be 'hindsight': stored views have no order, got {mode!r}")
        lowest, highest = context_range(context, targets)
        if self.views_per_thing < highest + targets:
            raise ValueError(
                f"each thing has {self.views_per_thing} stored views, fewer than {highest + targets} (context "
                f"{highest} + targets {targets}): ask for shorter windows"
            )
        count = highest if lowest == highest else int(generator.integers(lowest, highest, endpoint=True))
        place, thing = hindsight_places(self._spans, batch_size, count + targets, generator)
        flat = place + self._spans.start[thing, None]
        motions = window_motions(self.motion_kind, self._poses.take(flat, axis=0), count)
        label = None if self._labels is None else self._labels.take(thing).astype(np.int64)
        views = self._views.take(flat, axis=0)
        return Windows(views, motions, count, thing, np.zeros(batch_size, np.int64), place, label)
