"""Fill a seq-JEPA state dict with weights that anyone can regenerate, so that golden outputs need no 45 MB checkpoint.

Each tensor is drawn from a NumPy generator seeded with the CRC-32 of its key, so the same key and shape give the
same values on every machine. Keys are those of the published seq-JEPA checkpoints (see golden/README.md).
"""

import zlib

import numpy as np
import torch


def golden_tensor(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the golden float32 weights for `key`; integer buffers (num_batches_tracked) are not filled here."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    noise = rng.standard_normal(shape)
    if key.endswith("running_var"):
        values = np.exp(0.2 * noise)
    elif key.endswith(("running_mean", "bias")):
        values = 0.1 * noise
    elif len(shape) == 1:  # norm gains
        values = 1.0 + 0.1 * noise
    elif key == "agg_token":
        values = noise
    else:  # matrices and kernels, fan-in scaled
        values = noise * np.sqrt(1.0 / np.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32))


def golden_state_dict(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Return golden weights for every floating-point entry of `shapes` (key -> shape)."""
    return {
        key: golden_tensor(key, tuple(shape))
        for key, shape in shapes.items()
        if not key.endswith("num_batches_tracked")
    }
