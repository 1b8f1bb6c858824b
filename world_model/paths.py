"""Paths over the views of a batch, each with ways back to an earlier place: what a path memory is trained on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .motion import MotionKind, compose, identity, relative
from .replay import Spans, Windows, hindsight_places


class Paths(NamedTuple):
    """P paths of L places; after each place but the first, a motion leads back to an earlier one.

    Attributes:
        views: (P, L) int64, which view is seen at each place, counted through the batch's (N, M + K) views in C order.
        motions: (P, L - 1, A) float32, from each place to the next.
        places_back: (P, L - 1) int64; its entry i, in [0, i], is where the path could return to from place i + 1.
        motions_back: (P, L - 1, A) float32, the motion from place i + 1 to that place.
    """

    views: np.ndarray
    motions: np.ndarray
    places_back: np.ndarray
    motions_back: np.ndarray


def draw_paths(
    windows: Windows, kind: MotionKind, count: int, *, longest: int, swapped: float, generator: np.random.Generator
) -> Paths:
    """Draw paths through the poses of training windows, in random order.

    Args:
        windows: A batch.
        kind: How its motions compose.
        count: P, paths; they take turns among the windows.
        longest: L is this, or M + K where a window has fewer poses.
        swapped: Share of paths, in [0, 1], along which the views are any of the batch's instead of those that belong
            to the poses. They say nothing about where they were seen: only the motions do.
        generator: Source of every draw.

    Returns:
        The paths; `longest` and the window's size are at least 2.

    Raises:
        ValueError: An argument is out of range.
    """
    batch, held = windows.views.shape[:2]
    length = min(longest, held)
    if count < 1 or length < 2 or not 0 <= swapped <= 1:
        raise ValueError(
            f"expected count >= 1, longest >= 2, windows of 2 views or more and swapped in [0, 1], got count {count}, "
            f"longest {longest}, windows of {held} views and swapped {swapped}"
        )
    window = np.arange(count) % batch
    order = hindsight_places(Spans(np.zeros(1, np.int64), np.array([held])), count, length, generator)[0]
    poses = window_poses(kind, windows)[window[:, None], order]  # (P, L, A)
    anywhere = hindsight_places(Spans(np.zeros(1, np.int64), np.array([batch * held])), count, length, generator)[0]
    views = np.where((generator.random(count) < swapped)[:, None], anywhere, window[:, None] * held + order)
    back = np.stack([generator.integers(i + 1, size=count) for i in range(length - 1)], axis=1)
    there = poses[np.arange(count)[:, None], back]
    return Paths(
        views,
        relative(kind, poses[:, :-1], poses[:, 1:]).astype(np.float32),
        back,
        relative(kind, poses[:, 1:], there).astype(np.float32),
    )


def window_poses(kind: MotionKind, windows: Windows) -> np.ndarray:
    """Return the poses (N, M + K, A) float64 of a batch's views, seen from each window's first view."""
    motions = windows.motions.astype(np.float64)
    poses = [identity(kind, (len(motions), motions.shape[2]))]
    for i in range(motions.shape[1]):
        poses.append(compose(kind, poses[min(i, windows.context - 1)], motions[:, i]))
    return np.stack(poses, axis=1)
