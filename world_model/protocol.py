"""What a learner, a probe and a checkpoint need of a model: seq-JEPA and every baseline are one `WorldModel`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from textwrap import shorten
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .encoder import EncoderName, build_encoder


class EncoderSettings(Protocol):
    """The settings that every model has: those of its encoder."""

    @property
    def encoder(self) -> EncoderName:
        """Which encoder."""
        ...

    @property
    def size(self) -> int | None:
        """Side of the views in pixels; None is any."""
        ...

    @property
    def channels(self) -> int:
        """Channels of a view."""
        ...

    @property
    def z_dim(self) -> int:
        """Length D of an embedding."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as a nested dict of JSON types."""
        ...


class WorldModel(nn.Module):
    """An encoder, its EMA copy where the method has one, and the verbs by which models are trained and measured.

    In training the target encoder normalises by the statistics of its own batch, as BYOL has it (Grill et al. 2020):
    running statistics start at 0 and 1 and, averaged twice, would take hundreds of steps to fit, with targets all but
    constant until then. In eval mode it uses the averaged statistics.

    Args:
        config: Sizes of the encoder, among other settings.
        ema: Whether targets come from an EMA copy of the encoder; if not, they come from the encoder itself.
    """

    config: Any
    predicts = True
    """Whether there is a prediction that depends on a motion, or that is meant to; predictor measures need one."""
    needs_labels = False
    """Whether `forward` has to be given the class of each window (privileged)."""

    def __init__(self, config: EncoderSettings, *, ema: bool) -> None:
        super().__init__()
        self.config = config
        encoder = build_encoder(config.encoder, size=config.size, in_channels=config.channels, z_dim=config.z_dim)
        self.encoder = encoder.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.target_encoder: nn.Module | None = ema_copy(self.encoder) if ema else None
        self.memory: nn.Module | None = None  # trained by a loss of its own, on what the encoder sees

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Take over the `weights` of a model of the same settings, by name as in its state dict.

        Raises:
            ValueError: They are of another version: some are missing, not known, or of another shape.
        """
        try:
            self.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
        except RuntimeError as error:
            raise ValueError(f"weights of another version, train the model anew: {shorten(str(error), 200)}") from error

    def encode(self, views: Tensor) -> Tensor:
        """Return online embeddings z (B, T, D) of float `views` (B, T, C, H, W), normalised as in training.

        Raises:
            TypeError: The views are not floating point.
            ValueError: Their shape does not fit the config.
        """
        return self._encode(self.encoder, views)

    @torch.no_grad()
    def encode_target(self, views: Tensor) -> Tensor:
        """Return raw embeddings (B, T, D) of `views` (B, T, C, H, W) by the encoder of targets, without gradient."""
        return self._encode(self.target_encoder or self.encoder, views)

    def as_target(self, z: Tensor) -> Tensor:
        """Return target embeddings (..., D) as (..., P), in the space where predictions are scored."""
        return z

    def predict_from(self, z: Tensor, motions: Tensor, ahead: Tensor) -> Tensor:
        """Return what is predicted from M views, (B, P), or (B, K, P) for K motions that share them.

        Args:
            z: Embeddings of the views, (B, M, D).
            motions: Motions between them, (B, M-1, A).
            ahead: Motion from the last view on, (B, A), or K of them, (B, K, A).

        Raises:
            ValueError: The model predicts nothing, or shapes do not fit.
        """
        raise ValueError("this model predicts nothing from a motion: ask its `predicts` first")

    def recall(self, z: Tensor, motions: Tensor, motion: Tensor) -> Tensor:
        """Return what the path memory expects after `motion` (B, A) leads back to an earlier of M views, (B, P).

        Raises:
            ValueError: The model has no path memory, or shapes do not fit.
        """
        raise ValueError("this model has no path memory: only a seq-JEPA can be built with one")

    def aggregate(self, z: Tensor, motions: Tensor) -> Tensor:
        """Return what the model makes of M views together, (B, E): unless it says otherwise, the mean of their z.

        Args:
            z: Embeddings of M >= 1 views, (B, M, D).
            motions: motions[:, i] leads from view i to view i + 1, (B, M-1, A).
        """
        return z.mean(dim=1)

    @torch.no_grad()
    def update_target(self, tau: float) -> None:
        """Move the EMA copies towards what they copy: target = tau * target + (1 - tau) * online.

        Floating-point buffers (BatchNorm statistics) move like the parameters; integer buffers are copied. Without
        EMA copies nothing happens.

        Args:
            tau: In [0, 1]; 1 leaves the target as it is. The paper: 0.996 to 1 by a cosine over training.

        Raises:
            ValueError: `tau` is out of range.
        """
        if not 0 <= tau <= 1:
            raise ValueError(f"tau must be in [0, 1], got {tau}")
        modules = self._ema_pairs()
        pairs = [pair for target, online in modules for pair in zip(_state(target), _state(online), strict=True)]
        floating = [pair for pair in pairs if pair[0].is_floating_point()]
        if floating:
            targets, onlines = [target for target, _ in floating], [online for _, online in floating]
            torch._foreach_lerp_(targets, onlines, 1 - tau)  # pyright: ignore[reportPrivateImportUsage]
        for target, online in pairs:
            if not target.is_floating_point():
                target.copy_(online)

    def _ema_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Return the EMA copies, each with what it copies."""
        return [] if self.target_encoder is None else [(self.target_encoder, self.encoder)]

    def _encode(self, encoder: nn.Module, views: Tensor) -> Tensor:
        size, channels = self.config.size, self.config.channels
        if not views.is_floating_point():
            raise TypeError(f"views must be floating point and normalised as in training, got {views.dtype}")
        if views.ndim != 5 or views.shape[2] != channels or (size and views.shape[3:] != (size, size)):
            expected = f"(B, T, {channels}, {size or 'H'}, {size or 'W'})"
            raise ValueError(f"views must be {expected}, got {tuple(views.shape)}")
        flat = views.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return encoder(flat).unflatten(0, views.shape[:2])


def ema_copy(module: nn.Module) -> nn.Module:
    """Return a copy of `module` that no gradient and no forward pass changes, only `WorldModel.update_target`."""
    target = copy.deepcopy(module).requires_grad_(False)
    for part in target.modules():
        if isinstance(part, _BatchNorm):
            part.momentum = 0.0  # its forward leaves the running statistics alone
    return target


def window_shape(views: Tensor, num_targets: int | None) -> tuple[int, int]:
    """Return M and K of windows of `views` (B, M + K, C, H, W); `num_targets` None is one target.

    Raises:
        ValueError: There is no context view or no target.
    """
    targets = 1 if num_targets is None else num_targets
    context = views.shape[1] - targets if views.ndim == 5 else 0
    if targets < 1 or context < 1:
        raise ValueError(
            f"views must be (B, M + K, C, H, W) with M >= 1 context views and K = {targets} >= 1 targets, "
            f"got {tuple(views.shape)}: pass more views or fewer num_targets"
        )
    return context, targets


def _state(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
