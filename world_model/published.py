"""Files of published seq-JEPA checkpoints: read without running anything in them, and brought to our conventions."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from .motion import MotionKind
from .reference import own_key
from .seq_jepa import SeqJEPA

_3DIEBENCH = ((0.5016, 0.5037, 0.5060), (0.1030, 0.0999, 0.0969))
_NORMALIZATION = {
    "rotation": _3DIEBENCH,
    "rotation-colour": _3DIEBENCH,
    "translation": ((0.4467, 0.4398, 0.4066), (0.2241, 0.2215, 0.2239)),  # of STL-10
}
"""Mean and standard deviation by which the published code normalises views in [0, 1], by the kind of motion."""

_DAMAGED = (ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, TypeError, ValueError)
"""What the restricted unpickler stumbles over in bytes that only look like a pickle."""


def published_model(weights: Mapping[str, Tensor], motion_kind: MotionKind, motion_dim: int, channels: int) -> SeqJEPA:
    """Return the model of a published checkpoint, in eval mode, for the views and motions of a world of ours.

    Its target statistics have yet to see targets: see `SeqJEPA.as_token`.

    Args:
        weights: As `read_published` returns them.
        motion_kind: Of the world's motions.
        motion_dim: Length of a motion of the world.
        channels: Channels of its views.

    Raises:
        ValueError: They are not those of a published checkpoint, or not of such a world.
    """
    model = SeqJEPA.from_reference(own_conventions(weights, motion_kind))
    found, wanted = (model.config.channels, model.config.motion_dim or motion_dim), (channels, motion_dim)
    if found != wanted:
        raise ValueError(
            f"the checkpoint is of a model for views of {found[0]} channels and motions of {found[1]} numbers; the "
            f"world gives {wanted[0]} and {wanted[1]}: choose the preset of the checkpoint's own world"
        )
    return model.eval()


def read_published(path: Path) -> dict[str, Tensor]:
    """Return the weights in a file, by this project's names; those of probes that were trained beside are left out.

    A `.safetensors` file holds numbers alone. Any other is taken for one of `torch.save`, a pickle, and read with
    `weights_only`: PyTorch's own unpickler, which builds tensors, numbers, strings and containers and refuses
    everything else, so that a stranger's file can run nothing (from 2.6 on, which this project asks for, without the
    known hole, CVE-2025-32434). The argparse.Namespace that published files may hold beside the weights is let through:
    it holds values and does nothing.

    Args:
        path: Of a state dict, or of a dict with one under "model", as the published code saves it, or "state_dict".

    Raises:
        ValueError: There is no such file, it cannot be read, or holds something else.
    """
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {path}: expected a .safetensors file, or one that torch.save wrote")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            with torch.serialization.safe_globals([argparse.Namespace]):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, OSError, *_DAMAGED) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if isinstance(error, pickle.UnpicklingError):  # PyTorch's words advise to unpickle it all the same
            reason = "it is damaged, or holds objects"
        raise ValueError(
            f"cannot read {path}: {reason}. Expected a .safetensors file, or one that torch.save "
            "wrote, of tensors and plain values; nothing else is unpickled, since that could run any code"
        ) from error
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{path} holds no weights: expected a state dict, or one under the key model or state_dict")
    weights = {own_key(str(key)): value for key, value in content.items()}
    return {key: value for key, value in weights.items() if not key.startswith("online_")}


def own_conventions(weights: Mapping[str, Tensor], motion_kind: MotionKind) -> dict[str, Tensor]:
    """Return the weights of a published model, by our names, as they are for our views and motions.

    The published code normalises views by its data set's mean and deviation, here by 0.5 and 0.25; the difference is
    folded into the first convolution and BatchNorm. That is exact but within a pixel or three of the border, where
    padding is the mean there and mid-grey here. Its saccades are in image sides, ours in half sides; their components
    come in the same order, since patches are cut with a row for x and a column for y.
    """
    folded = dict(weights)
    mean, std = (torch.tensor(values) for values in _NORMALIZATION[motion_kind])
    for encoder in ("encoder", "target_encoder"):
        kernel, centre = weights.get(f"{encoder}.conv1.weight"), weights.get(f"{encoder}.bn1.running_mean")
        if kernel is None or centre is None or kernel.ndim != 4 or kernel.shape[1] != 3:
            continue  # no published model; what is missing is told where the model is built
        shift = (kernel * ((0.5 - mean) / std)[:, None, None]).sum(dim=(1, 2, 3))
        folded[f"{encoder}.conv1.weight"] = kernel * (0.25 / std)[:, None, None]
        folded[f"{encoder}.bn1.running_mean"] = centre - shift
    motions = weights.get("motion_embedding.linear.weight")
    if motion_kind == "translation" and motions is not None:
        folded["motion_embedding.linear.weight"] = motions / 2
    return folded
