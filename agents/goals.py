"""The goals of an episode, embedded once: what views, predictions and the inverse model are compared with."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..world_model.protocol import WorldModel
from ..world_model.views import normalize_views


class Goals:
    """Keeps the embedding of each row's goal view.

    Args:
        model: In eval mode.
        num_envs: B.
        name: Of the goal view in the observation: "goal", or "cue" where a glimpse is the cue.

    Attributes:
        z: (B, D), online embeddings.
        target: (B, P), where predictions are scored: `as_target(encode_target(view))`.
    """

    def __init__(self, model: WorldModel, num_envs: int, *, name: str = "goal") -> None:
        self.model, self.name = model, name
        self.device = next(model.parameters()).device
        self.z = torch.zeros(num_envs, model.config.z_dim, device=self.device)
        self.target = torch.zeros_like(model.as_target(self.z), dtype=torch.float32)

    @torch.no_grad()
    def observe(self, observation: dict[str, np.ndarray], first: np.ndarray) -> None:
        """Embed the goals of the rows whose episode begins, `first` (B,) bool.

        Raises:
            ValueError: There is no goal view, or its shape is not that of the glimpses.
        """
        shape = observation["glimpse"].shape
        if self.name not in observation:
            raise ValueError(f"expected a goal view {self.name!r} beside {sorted(observation)}: choose a task with one")
        goal = observation[self.name]
        if goal.shape != shape:
            raise ValueError(
                f"the goal {self.name!r} must be a view as the glimpses are, {shape}, got {goal.shape}: "
                'a cue, for one, is a view in worlds made with cue="glimpse" only'
            )
        fresh = np.flatnonzero(first)
        if len(fresh):
            views = normalize_views(goal[fresh], device=self.device)[:, None]
            rows = torch.from_numpy(fresh).to(self.device)
            self.z[rows] = self.model.encode(views)[:, 0].float()
            self.target[rows] = embed_targets(self.model, goal[fresh])

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of the embeddings."""
        return {"goal_z": self.z.cpu().numpy().copy(), "goal_target": self.target.cpu().numpy().copy()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what `state` returned."""
        self.z.copy_(torch.from_numpy(state["goal_z"]))
        self.target.copy_(torch.from_numpy(state["goal_target"]))


@torch.no_grad()
def embed_targets(model: WorldModel, glimpses: np.ndarray) -> Tensor:
    """Return the embeddings (n, P) float32 of glimpses (n, H, W, C) uint8, where predictions are scored."""
    views = normalize_views(glimpses, device=next(model.parameters()).device)[:, None]
    return model.as_target(model.encode_target(views))[:, 0].float()
