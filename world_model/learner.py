"""The training step: one optimiser update and one EMA update, with the schedules of both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from .paths import Paths
from .protocol import WorldModel
from .replay import Windows
from .seq_jepa import PathBatch
from .views import normalize_views

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class LearnerConfig:
    """How a model is optimised; the defaults are this project's recipe for small models.

    Attributes:
        total_steps: Steps over which the schedules run.
        learning_rate: After warm-up.
        initial_learning_rate: At step 0; rises linearly during warm-up.
        final_learning_rate: At `total_steps`; a cosine leads there from the end of warm-up.
        warmup_steps: Steps of warm-up; of a shorter schedule, all of it is warm-up.
        weight_decay: AdamW's; none on biases, norm gains and the [AGG] token.
        clip_norm: Largest norm of the gradient; larger ones are scaled down. 0 for no clipping.
        target_tau: EMA coefficient of the target encoder at step 0; a cosine leads it to 1 at `total_steps`.
        precision: Of the forward pass. "auto" takes bfloat16 where the device computes it natively, else float32.
    """

    total_steps: int = 10_000
    learning_rate: float = 1.5e-3
    initial_learning_rate: float = 1e-5
    final_learning_rate: float = 1e-4
    warmup_steps: int = 100
    weight_decay: float = 1e-3
    clip_norm: float = 5.0
    target_tau: float = 0.99
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        if self.total_steps < 1 or self.warmup_steps < 0:
            raise ValueError(
                f"total_steps must be at least 1 and warmup_steps at least 0, got {self.total_steps} and "
                f"{self.warmup_steps}"
            )
        for name in ("learning_rate", "initial_learning_rate", "final_learning_rate", "weight_decay", "clip_norm"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {getattr(self, name)}")
        if not 0 <= self.target_tau <= 1:
            raise ValueError(f"target_tau must be in [0, 1], got {self.target_tau}")
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision must be one of {get_args(Precision)}, got {self.precision!r}")

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of the update that makes step `step` + 1."""
        if step < self.warmup_steps:
            share = step / self.warmup_steps
            return self.initial_learning_rate + share * (self.learning_rate - self.initial_learning_rate)
        share = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        return self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * _half_cosine(share)

    def tau_at(self, step: int) -> float:
        """Return the EMA coefficient of the update that makes step `step` + 1."""
        return 1.0 - (1.0 - self.target_tau) * _half_cosine(step / self.total_steps)


class LossNotFiniteError(RuntimeError):
    """The loss is NaN or infinite; no parameter was updated in that step (BatchNorm statistics may have been)."""


class Learner:
    """Trains a model, seq-JEPA or any baseline, on windows from a replay.

    Args:
        model: The model; moved to `device`.
        config: How to optimise.
        device: Where to compute.
    """

    def __init__(self, model: WorldModel, config: LearnerConfig, *, device: torch.device | str = "cpu") -> None:
        self.model = model.to(device).train()
        self.config = config
        self.device = torch.device(device)
        self.steps = 0
        self.autocast = _use_bfloat16(config.precision, self.device)
        trained = [p for p in model.parameters() if p.requires_grad]
        plain = [p for n, p in model.named_parameters() if p.requires_grad and (p.ndim < 2 or n.endswith("agg_token"))]
        plain_ids = {id(p) for p in plain}
        decayed = [p for p in trained if id(p) not in plain_ids]
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
        self._trained = decayed + plain
        memory = set() if model.memory is None else {id(p) for p in model.memory.parameters()}
        self._sight = [p for p in self._trained if id(p) not in memory]
        self._memory = [p for p in self._trained if id(p) in memory]

    def update(self, windows: Windows, paths: Paths | None = None) -> dict[str, float]:
        """Take one step.

        Args:
            windows: A batch from `SequenceReplay.sample`, with labels if the model needs them.
            paths: Paths through it, for a model with a path memory.

        Returns:
            "loss" and every "loss/<term>" of the objective (unweighted), "learning_rate", "tau", "gradient_norm"
            (before clipping, the path memory's apart), "z_std" (mean over dimensions of the std of z in the batch).

        Raises:
            LossNotFiniteError: If the loss or the gradient is not finite; parameters are as before the step.
            ValueError: If the model needs labels and the windows have none.
        """
        learning_rate, tau = self.config.learning_rate_at(self.steps), self.config.tau_at(self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        views = normalize_views(windows.views, device=self.device)
        motions = torch.from_numpy(windows.motions).to(self.device)
        given: dict[str, Any] = {"labels": self._labels(windows)} if self.model.needs_labels else {}
        if paths is not None:
            given["paths"] = PathBatch(*(torch.from_numpy(part).to(self.device) for part in paths))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            output = self.model(views, motions, num_targets=views.shape[1] - windows.context, **given)
        self.optimizer.zero_grad(set_to_none=True)
        output.loss.backward()
        # Apart, or the memory's gradient would decide how far the encoder moves.
        norm = torch.nn.utils.clip_grad_norm_(self._sight, self.config.clip_norm or math.inf)
        recall_norm = torch.nn.utils.clip_grad_norm_(self._memory, self.config.clip_norm or math.inf)
        loss = output.loss.item()
        self._require_finite(loss, norm.item() + recall_norm.item())
        self.optimizer.step()
        self.model.update_target(tau)
        self.steps += 1
        terms = {f"loss/{name}": value.item() for name, value in output.terms.items()}
        z_std = output.z.detach().float().flatten(0, 1).std(0).mean().item()
        return {
            "loss": loss,
            **terms,
            "learning_rate": learning_rate,
            "tau": tau,
            "gradient_norm": norm.item(),
            "z_std": z_std,
        }

    def arrays(self) -> dict[str, dict[str, np.ndarray]]:
        """Return model and optimiser as arrays, group -> name -> array: all but `steps` of what the future needs."""
        model = {key: _to_numpy(value) for key, value in self.model.state_dict().items()}
        optimizer = {}
        for index, values in self.optimizer.state_dict()["state"].items():
            optimizer |= {f"{index}.{name}": _to_numpy(value) for name, value in values.items()}
        return {"model": model, "optimizer": optimizer}

    def load_arrays(self, arrays: dict[str, dict[str, np.ndarray]], steps: int) -> None:
        """Restore what `arrays` returned after `steps` steps.

        Raises:
            ValueError: if they are of a model of another version.
        """
        self.model.load_weights(arrays["model"])
        state: dict[int, dict[str, Any]] = {}
        for key, value in arrays["optimizer"].items():
            index, name = key.split(".", 1)
            tensor = torch.from_numpy(value)
            if tensor.ndim:  # the fused AdamW walks memory, so moments must be laid out as their parameters are
                tensor = torch.empty_like(self._trained[int(index)]).copy_(tensor)
            state.setdefault(int(index), {})[name] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.steps = steps

    def _labels(self, windows: Windows) -> Tensor:
        if windows.label is None:
            raise ValueError("the model needs labels and these windows have none: keep them in the replay, labels=True")
        return torch.from_numpy(windows.label).to(self.device)

    def _require_finite(self, loss: float, gradient_norm: float) -> None:
        if math.isfinite(loss) and math.isfinite(gradient_norm):
            return
        self.optimizer.zero_grad(set_to_none=True)
        raise LossNotFiniteError(
            f"the loss is {loss} and the gradient's norm {gradient_norm} at step {self.steps}; parameters are as "
            "before the step. Lower the learning rate, lengthen the warm-up, or use precision float32"
        )


def _half_cosine(share: float) -> float:
    """Return a cosine from 1 at share 0 to 0 at share 1 and beyond."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def _use_bfloat16(precision: Precision, device: torch.device) -> bool:
    """Emulated bfloat16 is slower than float32, so "auto" asks the device whether it has the instructions.

    oneDNN's own answer does not do: it counts every CPU with AVX-512 as able, also those that only emulate it.
    """
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        native = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, name, lambda: False)() for name in native)
    return False


def _to_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
