"""What an agent has seen of its episode, embedded: views of B sub-environments and the poses they were seen from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..world_model.motion import MotionKind, check_motion_dim
from ..world_model.motion_tensors import compose, identity_like, relative
from ..world_model.protocol import WorldModel
from ..world_model.views import normalize_views
from .fit import require_fit


class Context:
    """Keeps embeddings of what was seen since each row's reset, and dead-reckons where from.

    Nothing in it is privileged: poses are the observed motions composed, from the first view of the episode on. Rows
    may have seen different numbers of views; what asks a model takes those with equally many together (`groups`).

    Args:
        model: In eval mode; nothing here trains it.
        kind: How the observed motions compose.
        num_envs: B.
        capacity: Views kept of an episode; of longer ones, the last.

    Attributes:
        held: (B,) int64 on the CPU, how many views each row holds; those are the first of its slots, in order.
        z: (B, capacity, D), online embeddings.
        target: (B, capacity, P), embeddings where predictions are scored: `as_target(encode_target(view))`.
        pose: (B, capacity, A) float32, the motion from the first view of the episode to each.

    Raises:
        ValueError: The model's motions are not of this kind.
    """

    def __init__(self, model: WorldModel, kind: MotionKind, num_envs: int, *, capacity: int = 64) -> None:
        if num_envs < 1 or capacity < 1:
            raise ValueError(f"num_envs and capacity must be at least 1, got {num_envs} and {capacity}")
        motion_dim = model.config.motion_dim
        require_fit(model, "the environment", kind=kind)
        check_motion_dim(kind, motion_dim)
        self.model, self.num_envs, self.capacity = model, num_envs, capacity
        self.kind: MotionKind = kind
        self.device = next(model.parameters()).device
        self.held = torch.zeros(num_envs, dtype=torch.int64)
        self.z = torch.zeros(num_envs, capacity, model.config.z_dim, device=self.device)
        self.pose = torch.zeros(num_envs, capacity, motion_dim, device=self.device)
        probe = model.as_target(self.z[:1, :1])
        self.target = torch.zeros(num_envs, capacity, probe.shape[-1], device=self.device)

    @torch.no_grad()
    def observe(self, glimpse: np.ndarray, motion: np.ndarray, first: np.ndarray) -> None:
        """Take in one view of every row.

        Args:
            glimpse: (B, H, W, C) uint8.
            motion: (B, A) float32, what led to it; ignored where `first`.
            first: (B,) bool, whether an episode begins: all seen before is forgotten.

        Raises:
            ValueError: A view's or a motion's shape is not the model's.
        """
        for name, given, axes in (("glimpse", glimpse, 4), ("motion", motion, 2)):
            if given.ndim != axes or len(given) != self.num_envs:
                raise ValueError(f"expected a {name} of each of {self.num_envs} environments, got {given.shape}")
        require_fit(self.model, "the environment", motion_dim=motion.shape[-1])
        views = normalize_views(glimpse, device=self.device)[:, None]
        z, target = self.model.encode(views)[:, 0], self.model.as_target(self.model.encode_target(views))[:, 0]
        step, fresh = torch.from_numpy(motion).to(self.device), torch.from_numpy(np.asarray(first, dtype=bool))
        rows = torch.arange(self.num_envs)
        before = self.pose[rows, (self.held - 1).clamp(min=0)]
        here = compose(self.kind, before, step)
        here[fresh] = identity_like(self.kind, here[fresh])
        self.held[fresh] = 0
        append(self.held, rows, [(self.z, z.float()), (self.target, target.float()), (self.pose, here)])

    def groups(self, longest: int) -> Iterator[tuple[Tensor, int]]:
        """Yield rows (n,) int64 that can be asked together, and of how many last views, at most `longest`."""
        views = self.held.clamp(max=longest)
        for count in torch.unique(views).tolist():
            if count:
                yield torch.nonzero(views == count)[:, 0], count

    def recent(self, rows: Tensor, views: int) -> tuple[Tensor, Tensor]:
        """Return z (n, M, D) of the last M = `views` of `rows` (n,), and the motions between them, (n, M-1, A)."""
        slots = self.held[rows, None] - views + torch.arange(views)
        if int(slots.min()) < 0:
            raise ValueError(f"not all of these rows have seen {views} views yet: take them from `groups`")
        z, pose = self.z[rows[:, None], slots], self.pose[rows[:, None], slots]
        return z, relative(self.kind, pose[:, :-1], pose[:, 1:])

    def here(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """Return where `rows` are now, seen from where their episodes began, (n, A)."""
        held = self.held[rows]
        return self.pose[rows][torch.arange(len(held)), held - 1]

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of everything kept."""
        kept = {"held": self.held, "z": self.z, "target": self.target, "pose": self.pose}
        return {name: value.cpu().numpy().copy() for name, value in kept.items()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what `state` returned."""
        for name, value in state.items():
            getattr(self, name).copy_(torch.from_numpy(value))


def append(held: Tensor, rows: Tensor, kept: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Put a value behind those that some rows hold, in place; full rows lose their first.

    Args:
        held: (B,) int64 on the CPU, how many values each row holds, in the first of its slots; it is counted up.
        rows: (n,) int64, which rows get one, each at most once.
        kept: What holds values, (B, capacity, ·), and the new ones, (n, ·).
    """
    full = rows[held[rows] == kept[0][0].shape[1]]
    for values, _ in kept:
        values[full] = values[full].roll(-1, dims=1)
    held[full] -= 1
    for values, new in kept:
        values[rows, held[rows]] = new
    held[rows] += 1
