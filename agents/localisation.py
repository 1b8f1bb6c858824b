"""Monte Carlo localisation: where am I now, seen from home? Particles moved by noisy motions, weighed by evidence."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..world_model.motion import MotionKind, check_motion_dim
from ..world_model.motion_tensors import (
    as_vectors,
    compose,
    from_vectors,
    identity_like,
    relative,
    rotation_from_vector,
)

_MODES = 32
"""Heaviest particles that are tried as the place to start climbing from."""
_CLIMBS = 5


class PoseFilter:
    """A Bayes filter over the pose of each of B rows, seen from where its episode began.

    Particles are moved by each observed motion and an error of the stated std, so that their spread is what the motions
    leave unknown; evidence weighs them. All rows share the draws, so that a row does alone what it does in company.

    Args:
        kind: "translation" or "rotation".
        motion_size: A, components of a motion.
        num_envs: B.
        generator: Source of every draw; equally many are drawn at each call of `advance`.
        particles: K of each row.
        std: Of the error of a motion: image units of each component, or radians of each of a rotation vector's. With 0
            all particles stay together: exact dead reckoning, whatever the evidence.
        spread: Where a particle can be that knows of no motion: each component of a translation uniform within this
            many image units of home, a rotation uniform in angle up to this many radians about a uniform axis.
        lost: Share of particles, the last ones, spread anew at each motion with the mean weight: how far motions are
            distrusted; 1 for a belief that no motion enters, nor what was seen before.
        anywhere: Whether an episode's particles begin spread over the space, as if its start were unknown, and not at
            home.

    Attributes:
        pose: (B, K, A), the particles.
        log_weights: (B, K), whose exponentials sum to 1.

    Raises:
        ValueError: A value is out of range, or motions of this kind have no such size.

    Source: Dellaert, Fox, Burgard and Thrun (1999), "Monte Carlo localization for mobile robots"; particles added
    anywhere as in Thrun, Burgard and Fox (2005), "Probabilistic Robotics", section 8.3.5.
    """

    def __init__(
        self,
        kind: MotionKind,
        motion_size: int,
        num_envs: int,
        generator: torch.Generator,
        *,
        particles: int,
        std: float,
        spread: float,
        lost: float = 0.0,
        anywhere: bool = False,
    ) -> None:
        check_motion_dim(kind, motion_size)
        if num_envs < 1 or particles < 1 or std < 0 or spread <= 0 or not 0 <= lost <= 1:
            raise ValueError(
                "expected num_envs >= 1, particles >= 1, std >= 0, spread > 0 and lost in [0, 1], got "
                f"{num_envs}, {particles}, {std}, {spread} and {lost}"
            )
        self.kind: MotionKind = kind
        self._generator, self._std, self._spread = generator, std, spread
        self._lost, self._anywhere = round(lost * particles), anywhere
        self.pose = torch.zeros(num_envs, particles, motion_size, device=generator.device)
        self.log_weights = torch.full((num_envs, particles), -math.log(particles), device=generator.device)

    def advance(self, motions: Tensor, moved: Tensor, first: Tensor) -> None:
        """Take in what came of the last action.

        Args:
            motions: (B, A), as observed; read where `moved`.
            moved: (B,) bool, whether a row moved; the others stay as sure as they were.
            first: (B,) bool, whether its episode begins.
        """
        particles, size = self.pose.shape[1:]
        components = size if self.kind == "translation" else 3
        error = from_vectors(self.kind, self._std * self._normal(particles, components))
        elsewhere = self._drawn_anywhere(particles)
        offset = torch.rand((), generator=self._generator, device=self.pose.device)
        self._resample(torch.nonzero(moved & ~first)[:, 0], offset)
        there = compose(self.kind, self.pose, motions[:, None].to(self.pose.dtype))
        there = compose(self.kind, there, error)
        there[:, particles - self._lost :] = elsewhere[particles - self._lost :]
        weights = self.log_weights.clone()
        weights[:, particles - self._lost :] = -math.log(particles)
        self.pose = torch.where((moved & ~first)[:, None, None], there, self.pose)
        self.log_weights = torch.where((moved & ~first)[:, None], weights.log_softmax(dim=1), self.log_weights)
        self.pose[first] = elsewhere if self._anywhere else identity_like(self.kind, elsewhere)
        self.log_weights[first] = -math.log(particles)

    @property
    def certain(self) -> bool:
        """Whether all particles of a row are one, so that no evidence can tell them apart."""
        return self._std == 0 and not self._lost and not self._anywhere

    def weigh(self, rows: Tensor, log_likelihood: Tensor) -> None:
        """Add evidence for each particle, (n, K), to those of `rows` (n,)."""
        self.log_weights[rows] = torch.log_softmax(self.log_weights[rows] + log_likelihood, dim=1)

    def estimate(self, rows: Tensor, radius: float) -> Tensor:
        """Return where `rows` (n,) most likely are, (n, A).

        It is a peak of the particles' weight under a Gaussian of std `radius` (image units or radians), climbed by mean
        shift: asked with the radius in which success lies, about the pose whose neighbourhood is the safest bet.
        """
        pose, weights = self.pose[rows], self.log_weights[rows].exp()
        top = weights.topk(min(_MODES, weights.shape[1]), dim=1).indices  # (n, m)
        tried = pose.gather(1, top[..., None].expand(-1, -1, pose.shape[2]))
        mass = (self._nearness(tried, pose, radius)[0] * weights[:, None]).sum(-1)  # (n, m)
        best = tried[torch.arange(len(rows)), mass.argmax(1)]
        for _ in range(_CLIMBS):
            near, way = self._nearness(best[:, None], pose, radius)
            share = near[:, 0] * weights
            step = (way[:, 0] * share[..., None]).sum(1) / share.sum(1, keepdim=True)
            best = compose(self.kind, best, from_vectors(self.kind, step))
        return best

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of the particles and their weights."""
        return {
            "particles": self.pose.cpu().numpy().copy(),
            "log_weights": self.log_weights.cpu().numpy().copy(),
        }

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what `state` returned."""
        self.pose.copy_(torch.from_numpy(state["particles"]))
        self.log_weights.copy_(torch.from_numpy(state["log_weights"]))

    def _nearness(self, a: Tensor, b: Tensor, radius: float) -> tuple[Tensor, Tensor]:
        """Return the Gaussian weights (n, m, K) of `b` (n, K, A) seen from `a` (n, m, A), and the ways there."""
        count, candidates, particles = len(a), a.shape[1], b.shape[1]
        wide = (count, candidates, particles, a.shape[2])
        way = as_vectors(self.kind, relative(self.kind, a[:, :, None].expand(wide), b[:, None].expand(wide)))
        return torch.exp(-0.5 * (way.norm(dim=-1) / radius) ** 2), way

    def _resample(self, rows: Tensor, offset: Tensor) -> None:
        """Draw the particles of those of `rows` anew, by weight, whose effective number is below half of them."""
        particles = self.pose.shape[1]
        effective = 1 / self.log_weights[rows].mul(2).exp().sum(dim=1)
        rows = rows[(effective < particles / 2).to(rows.device)]
        ends = self.log_weights[rows].exp().cumsum(dim=1)
        marks = (torch.arange(particles, device=ends.device) + offset) / particles * ends[:, -1:]
        chosen = torch.searchsorted(ends, marks.contiguous()).clamp(max=particles - 1)
        self.pose[rows] = self.pose[rows].gather(1, chosen[..., None].expand(-1, -1, self.pose.shape[2]))
        self.log_weights[rows] = -math.log(particles)

    def _drawn_anywhere(self, count: int) -> Tensor:
        size = self.pose.shape[2]
        uniform = torch.rand(count, size, generator=self._generator, device=self.pose.device)
        if self.kind == "translation":
            return (2 * uniform - 1) * self._spread
        axes = torch.nn.functional.normalize(self._normal(count, 3), dim=-1)
        return rotation_from_vector(axes * uniform[:, :1] * self._spread)

    def _normal(self, count: int, size: int) -> Tensor:
        return torch.randn(count, size, generator=self._generator, device=self.pose.device)
