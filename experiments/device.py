"""The device that a command computes on."""

from __future__ import annotations

import torch


def checked_device(name: str) -> torch.device:
    """Return the device, or say why it cannot be had.

    Raises:
        ValueError: if PyTorch does not know it, or this machine lacks it.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"cannot compute on device {name!r}: {str(error).splitlines()[0]}") from error
    return device
