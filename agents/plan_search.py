"""How plans are searched for, by what scores them alone: cross-entropy method, MPPI, a grid, and jumps.

A score maps candidates to numbers, higher is better, for n rows at once; nothing here knows a model. Random draws are
given from outside and are the same for all rows, so that a row finds alone what it finds in company.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ..world_model.motion import MotionKind
from ..world_model.motion_tensors import compose, identity_like, rotation_from_vector
from .motor import Motor

Method = Literal["cem", "mppi", "grid", "jump"]
Far = Literal["jump", "feedback"]
Score = Callable[[Tensor], Tensor]
NARROWING = 0.3
"""A jump search looks this much nearer around the best jump in each further iteration."""


@dataclass(frozen=True)
class PlannerConfig:
    """How a planner searches and how it looks ahead.

    Raises:
        ValueError: A value is out of range.
    """

    method: Method = "cem"
    """"cem": the cross-entropy method over sequences of actions; "mppi": their mean, weighted by exp(score /
    temperature); "grid": all single actions of a regular grid; "jump": motions as far as several actions lead, each
    predicted at once, of which the first action is taken."""
    candidates: int = 256
    """Plans, single actions or jumps that are scored in an iteration; a grid has as many as fit, the same in each
    direction and an odd number, so that staying is one of them."""
    horizon: int = 4
    """Steps of a plan (cem, mppi), or that a jump may take; a grid looks one step ahead."""
    iterations: int = 3
    """Rounds of candidates (cem, mppi, jump)."""
    elites: int = 32
    """Best plans that the next round is drawn around (cem)."""
    kept_elites: int = 8
    """Of these, how many stay candidates in the next round and, shifted by a step, at the next decision (cem)."""
    temperature: float = 0.05
    """Of the weights, in units of the score (mppi)."""
    std: float = 0.7
    """Standard deviation of the first round's actions; of every round's in mppi."""
    min_std: float = 0.05
    """The least that a search narrows it to (cem)."""
    reach: float | None = None
    """How far jumps go: radians, or image units along x and along y. None: as far as `horizon` actions lead."""
    far: Far = "jump"
    """How plans of several steps are predicted: "jump" composes their motions into one from the last view seen;
    "feedback" feeds each prediction back as if it had been seen, which only a seq-JEPA can."""
    longest: int = 3
    """Views of the context that the model is asked with, at most."""

    def __post_init__(self) -> None:
        for name, allowed in (("method", Method), ("far", Far)):
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(f"{name} must be one of {get_args(allowed)}, got {getattr(self, name)!r}")
        for name in ("candidates", "horizon", "iterations", "elites", "longest"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.method == "cem" and not 0 <= self.kept_elites <= self.elites <= self.candidates:
            raise ValueError(
                "expected 0 <= kept_elites <= elites <= candidates, "
                f"got {self.kept_elites}, {self.elites} and {self.candidates}"
            )
        for name in ("temperature", "std", "min_std", "reach"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")


class Warm(NamedTuple):
    """What a search starts from.

    `plan` (n, H, A) actions, zeros where nothing is known; `elites` (n, E, H, A) and `known` (n,) bool: whether they
    are those of the decision before.
    """

    plan: Tensor
    elites: Tensor
    known: Tensor


class Found(NamedTuple):
    """What a search found: the `plan` (n, H, A) to follow, and `elites` (n, E, H, A) to begin with next time."""

    plan: Tensor
    elites: Tensor


def cem(score: Score, warm: Warm, noise: Tensor, config: PlannerConfig) -> Found:
    """Search by the cross-entropy method; the best plan that was scored is followed.

    Elites stay in the search from round to round and, by way of `warm`, from step to step (iCEM, Pinneri et al. 2020).

    Args:
        score: Maps actions (n, K, H, A) to (n, K).
        warm: The first round is drawn around its plan; elites that are known take part.
        noise: (I, K, H, A) standard normal.
        config: Settings.
    """
    mean, std = warm.plan, torch.full_like(warm.plan, config.std)
    elites, best = warm.elites, mean.new_zeros(len(mean), 0)
    kept = config.kept_elites
    for number, draws in enumerate(noise):
        candidates = torch.addcmul(mean[:, None], std[:, None], draws[None]).clamp_(-1, 1)  # (n, K, H, A)
        candidates[:, -1] = mean
        if number == 0:
            candidates[:, -2:-1] = 0  # staying
            candidates[:, :kept] = torch.where(warm.known[:, None, None, None], elites, candidates[:, :kept])
        scores = score(candidates)
        if number > 0:
            candidates, scores = torch.cat([elites, candidates], dim=1), torch.cat([best, scores], dim=1)
        best, order = scores.topk(config.elites, dim=1)
        chosen = candidates[torch.arange(len(order), device=order.device)[:, None], order]
        mean = chosen.mean(dim=1)
        std = chosen.std(dim=1, unbiased=False).clamp_(min=config.min_std)
        elites, best, plan = chosen[:, :kept], best[:, :kept], chosen[:, 0]
    return Found(plan, elites)


def mppi(score: Score, warm: Warm, noise: Tensor, config: PlannerConfig) -> Found:
    """Search by model predictive path integrals (Williams et al. 2017): the weighted mean of all plans is followed.

    Args: see `cem`.
    """
    mean = warm.plan
    for draws in noise:
        candidates = torch.add(mean[:, None], draws[None], alpha=config.std).clamp_(-1, 1)  # (n, K, H, A)
        candidates[:, -1] = mean
        weights = torch.softmax(score(candidates) / config.temperature, dim=1)  # (n, K)
        mean = torch.einsum("nk,nkha->nha", weights, candidates)
    return Found(mean, warm.elites)


def jump(score: Score, still: Tensor, spread: list[Tensor], kind: MotionKind) -> Tensor:
    """Return the best (n, M) of jumps spread around staying, then ever nearer around the best so far.

    Args:
        score: Maps motions (n, K, M) to (n, K).
        still: (n, M), the motion that changes nothing; it is always a candidate.
        spread: For each round, (K, M) motions: `spread_motions`.
        kind: How motions compose.
    """
    best = still
    for offsets in spread:
        jumps = compose(kind, best[:, None], offsets)
        jumps[:, 0] = best
        best = jumps[torch.arange(len(best), device=best.device), score(jumps).argmax(dim=1)]
    return best


def grid_actions(size: int, candidates: int, *, device: torch.device | str = "cpu") -> Tensor:
    """Return (K, A = `size`) actions on a regular grid over [-1, 1], K at most `candidates`, staying among them.

    Raises:
        ValueError: There would be fewer than 3 in a direction.
    """
    side = int(candidates ** (1 / size) + 1e-9)
    side -= side % 2 == 0
    if side < 3:
        raise ValueError(f"a grid over actions of {size} components needs at least {3**size} candidates: {candidates}")
    axis = torch.linspace(-1, 1, side, device=device)
    return torch.cartesian_prod(*[axis] * size).reshape(-1, size)


def spread_motions(motor: Motor, config: PlannerConfig, generator: torch.Generator) -> list[Tensor]:
    """Return for each round of a jump search (K, M) motions, on the generator's device.

    Those of rotations are spread evenly over a ball of rotation vectors of at most pi, others over a box.
    """
    device, count, size = generator.device, config.candidates, motor.action_size
    far = config.horizon * torch.tensor(motor.unit, device=device)
    if config.reach is not None:
        far[:2] = config.reach
    rounds: list[Tensor] = []
    for number in range(config.iterations):
        if motor.kind == "translation":
            box = 2 * torch.rand(count, size, generator=generator, device=device) - 1
            rounds.append(box * far * NARROWING**number)
        else:
            axis = torch.randn(count, size, generator=generator, device=device)
            radius = torch.rand(count, 1, generator=generator, device=device) ** (1 / 3)
            angle = far.clamp(max=torch.pi) * NARROWING**number
            rounds.append(rotation_from_vector(axis / axis.norm(dim=1, keepdim=True) * radius * angle))
    return rounds


def still_motions(motor: Motor, count: int, device: torch.device) -> Tensor:
    """Return (count, M) motions that change nothing."""
    return identity_like(motor.kind, torch.zeros(count, motor.motion_size, device=device))
