"""How actions and motions belong together, as a body knows them: what an action does, and which action to take."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..world_model.motion import MotionKind, check_motion_dim
from ..world_model.motion_tensors import as_vectors, from_vectors


@dataclass(frozen=True)
class Motor:
    """Actions in [-1, 1] and the motions that they command.

    What a world makes of them may differ: it stops at its limits, lands on whole pixels, or misses.

    Attributes:
        kind: "translation" or "rotation".
        unit: What an action component of 1 moves: image units of (x, y), and octaves of zoom where there is one; or
            radians, the same for all three components of a rotation.

    Raises:
        ValueError: The kind has no motor, or a unit is not above 0.
    """

    kind: MotionKind
    unit: tuple[float, ...]

    def __post_init__(self) -> None:
        check_motion_dim(self.kind, self.motion_size)
        if self.kind == "rotation-colour":
            raise ValueError('no action commands a colour: agents that plan act in worlds of motion "rotation"')
        if not self.unit or min(self.unit) <= 0 or (self.kind == "rotation" and len(self.unit) != 1):
            raise ValueError(f"unit must be one number above 0 for rotations, else one a component, got {self.unit}")

    @property
    def action_size(self) -> int:
        """Components A of an action."""
        return len(self.unit) if self.kind == "translation" else 3

    @property
    def motion_size(self) -> int:
        """Components of a motion."""
        return {"translation": len(self.unit), "rotation": 4, "rotation-colour": 6}[self.kind]

    def motions(self, actions: Tensor) -> Tensor:
        """Return the motions (..., M) that `actions` (..., A) in [-1, 1] command."""
        return from_vectors(self.kind, actions * self._unit_like(actions))

    def actions(self, motions: Tensor) -> Tensor:
        """Return the actions (..., A) that lead as far as one can along the straight way of `motions` (..., M).

        Longer ones are scaled as a whole, so that the direction stays.
        """
        actions = as_vectors(self.kind, motions) / self._unit_like(motions)
        return actions / actions.abs().amax(dim=-1, keepdim=True).clamp(min=1)

    def steps(self, motions: Tensor) -> Tensor:
        """Return how many actions, not in whole numbers, carry out `motions` (..., M) the straight way, (...)."""
        return (as_vectors(self.kind, motions) / self._unit_like(motions)).abs().amax(dim=-1)

    def draw(self, count: int, generator: torch.Generator, *, device: torch.device | str = "cpu") -> Tensor:
        """Return (count, A) actions uniform in [-1, 1]."""
        return 2 * torch.rand(count, self.action_size, generator=generator, device=device) - 1

    def _unit_like(self, tensor: Tensor) -> Tensor:
        return torch.tensor(self.unit, dtype=tensor.dtype, device=tensor.device)
