"""From uint8 glimpses to what a network takes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def normalize_views(views: np.ndarray | Tensor, *, device: torch.device | str = "cpu") -> Tensor:
    """Return normalised float views, from 0-255 to about [-2, 2].

    Args:
        views: (..., H, W, C) uint8.
        device: where the result lives; the bytes travel, not the floats.

    Returns:
        (..., C, H, W) float32, (x / 255 - 0.5) / 0.25, with channels innermost in memory, as convolutions like it.
    """
    tensor = torch.from_numpy(views) if isinstance(views, np.ndarray) else views
    if tensor.dtype != torch.uint8:
        raise ValueError(f"expected uint8 views, got {tensor.dtype}")
    scaled = tensor.to(device, non_blocking=True).to(torch.float32).mul_(1 / (255 * 0.25)).sub_(2.0)
    return scaled.movedim(-1, -3)
