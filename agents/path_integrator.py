"""Agents that return to where an episode began: by dead reckoning alone, and by motions and vision together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..world_model.motion import compose, identity
from ..world_model.motion_tensors import identity_like, inverse, size_of
from ..world_model.protocol import WorldModel
from .context import Context
from .localisation import PoseFilter
from .motor import Motor
from .similarity import SimilarityCurve

_CHUNK = 1 << 16
"""Predictions made at once."""


@dataclass(frozen=True)
class PathIntegratorConfig:
    """What a path integrator goes by. JSON-able."""

    particles: int = 512
    """Poses it holds possible at a time."""
    motion_std: float = 0.1
    """Standard deviation of the error that it expects of each observed motion: image units of each component, or
    radians of each component of a rotation vector."""
    lost: float = 0.0
    """Share of particles spread over the space anew at each motion."""
    prior: bool = True
    """Whether it begins certain to be at home; if not, it could be anywhere, and must find out by what it sees."""
    motions: bool = True
    """Whether it knows the motions; if not, its context and its belief hold none, and it goes by the latest view."""
    predictor: float = 12.0
    """Weight of the cosine between the first view and the prediction after the way home."""
    memory: float = 12.0
    """Weight of the same by the path memory, where the model has one and the first view is in its reach."""
    similarity: float = 1.0
    """Weight of the log-likelihood of how alike the present view is to the first one; needs a `SimilarityCurve`."""
    spread: float = 3.0
    """Where particles are that know of no motion: radians from home, or image units in each component."""
    radius: float = 0.2
    """Width of the bet on the pose: about the radius of success, radians or image units."""
    arrived: float = 0.4
    """A way home no longer than this share of `radius` is not gone: it rests, for each motion brings a new error."""
    longest: int = 3
    """Most views that the predictor is asked with."""

    def __post_init__(self) -> None:
        weights = (self.predictor, self.memory, self.similarity)
        if min(weights) < 0 or self.radius <= 0 or self.arrived < 0 or self.longest < 1:
            raise ValueError(
                f"expected weights >= 0, radius > 0, arrived >= 0 and longest >= 1, got {weights}, {self.radius}, "
                f"{self.arrived} and {self.longest}"
            )

    def without_vision(self) -> PathIntegratorConfig:
        """Return the same without evidence by vision: dead reckoning."""
        return replace(self, predictor=0.0, memory=0.0, similarity=0.0)

    def without_motion(self) -> PathIntegratorConfig:
        """Return the same without motions: neither in the context of the model nor in the belief."""
        return replace(self, motions=False, prior=False, lost=1.0)


class DeadReckoningAgent:
    """Composes the observed motions and goes straight back; it does not look.

    A homing task's imposed motions are composed as its own are. Once home by its own account it rests, and takes a
    motion that is observed at rest for noise.

    Args:
        motor: How actions and motions belong together.
        num_envs: B.
        arrived: A way home no longer than this is not gone, image units or radians.
    """

    def __init__(self, motor: Motor, num_envs: int, *, arrived: float = 0.02) -> None:
        if num_envs < 1 or arrived < 0:
            raise ValueError(f"expected num_envs >= 1 and arrived >= 0, got {num_envs} and {arrived}")
        self.motor, self._arrived = motor, arrived
        self._pose = identity(motor.kind, (num_envs, motor.motion_size))
        self._rested = np.zeros(num_envs, dtype=bool)

    def act(self, observation: dict[str, np.ndarray], info: dict[str, Any]) -> np.ndarray:
        """Return (B, A) actions straight towards home, and zeros while motions are imposed."""
        own, first = own_phase(observation), info["step_index"] == 0
        self._rested &= ~first
        moved = ~first & ~self._rested
        motion = observation["motion"][moved].astype(np.float64)
        self._pose[moved] = compose(self.motor.kind, self._pose[moved], motion)
        self._pose[first] = identity(self.motor.kind, self._pose[first].shape)
        way = inverse(self.motor.kind, torch.from_numpy(self._pose))
        actions, self._rested = _homeward(self.motor, way, own, self._arrived)
        return actions

    def state(self) -> dict[str, np.ndarray]:
        """Return where each row is, seen from home, and whether it rests."""
        return {"pose": self._pose.copy(), "rested": self._rested.copy()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what `state` returned."""
        self._pose[...] = state["pose"]
        self._rested[...] = state["rested"]


class PathIntegratorAgent:
    """Goes home by where it believes to be: motions say it with growing error, and what it sees corrects them.

    The belief is a `PoseFilter`. At each view that a motion led to, a particle is weighed by how well the model
    predicts the episode's first view after the way home from there (from the last views, and by the path memory where
    there is one), and by whether the present view is as unlike the first one as it should be from that far away. It
    goes the straight way home from the pose it would bet on, and rests once that is home. At rest nothing changes.

    Args:
        model: In eval mode, of motions of the motor's kind.
        motor: How actions and motions belong together.
        num_envs: B.
        generator: Source of every draw, on the model's device.
        config: What it goes by.
        curve: How alike views are by distance; needed if `config.similarity` is above 0.
        capacity: Views kept of an episode; a path memory's reach and one more are always kept, to tell when the first
            view is beyond it.

    Raises:
        ValueError: There is no curve to weigh by, or the model does not fit.
    """

    def __init__(
        self,
        model: WorldModel,
        motor: Motor,
        num_envs: int,
        generator: torch.Generator,
        *,
        config: PathIntegratorConfig | None = None,
        curve: SimilarityCurve | None = None,
        capacity: int = 32,
    ) -> None:
        config = config or PathIntegratorConfig()
        if config.similarity and curve is None:
            raise ValueError("to weigh by similarity takes a SimilarityCurve: fit one, or set similarity to 0")
        if config.predictor and not model.predicts:
            raise ValueError("this model predicts nothing from a motion: set the weight predictor to 0")
        self.model, self.motor, self.config, self._curve = model, motor, config, curve
        self._remembered = 0 if model.memory is None else int(model.memory.longest)  # pyright: ignore[reportArgumentType]
        self.context = Context(model, motor.kind, num_envs, capacity=max(capacity, self._remembered + 1))
        self.belief = PoseFilter(
            motor.kind,
            motor.motion_size,
            num_envs,
            generator,
            particles=config.particles,
            std=config.motion_std,
            spread=config.spread,
            lost=config.lost,
            anywhere=not config.prior,
        )
        self._home = torch.zeros(num_envs, self.context.target.shape[2], device=self.context.device)
        self._rested = np.zeros(num_envs, dtype=bool)

    @torch.no_grad()
    def act(self, observation: dict[str, np.ndarray], info: dict[str, Any]) -> np.ndarray:
        """Return (B, A) actions towards where home is believed to be, and zeros while motions are imposed."""
        own, first = own_phase(observation), info["step_index"] == 0
        self._rested &= ~first
        motion = observation["motion"].astype(np.float32, copy=True)
        unknown = self._rested | (not self.config.motions)
        motion[unknown] = identity(self.motor.kind, motion[unknown].shape, np.float32)
        self.context.observe(observation["glimpse"], motion, first)
        device = self.context.device
        moved, begins = torch.from_numpy(~first & ~self._rested), torch.from_numpy(first)
        self.belief.advance(torch.from_numpy(motion).to(device), moved.to(device), begins.to(device))
        self._home[begins] = self.context.target[begins, 0]
        self._weigh(torch.nonzero(moved)[:, 0])
        way = identity_like(self.motor.kind, torch.zeros(len(own), self.motor.motion_size, dtype=torch.float64))
        rows = torch.from_numpy(np.flatnonzero(own & ~self._rested))
        if len(rows):
            way[rows] = inverse(self.motor.kind, self.belief.estimate(rows, self.config.radius)).double().cpu()
        actions, self._rested = _homeward(self.motor, way, own, self.config.arrived * self.config.radius)
        return actions

    def state(self) -> dict[str, np.ndarray]:
        """Return context, belief, the first views' embeddings and who rests."""
        own = {"home": self._home.cpu().numpy().copy(), "rested": self._rested.copy()}
        return own | self.context.state() | self.belief.state()

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what `state` returned."""
        self._home.copy_(torch.from_numpy(state["home"]))
        self._rested[...] = state["rested"]
        self.context.set_state({name: state[name] for name in ("held", "z", "target", "pose")})
        self.belief.set_state(state)

    def _weigh(self, moved: Tensor) -> None:
        """Weigh the particles of the rows `moved` (n,) by what is seen now."""
        if self.belief.certain:
            return
        known = torch.zeros(self.context.num_envs, dtype=torch.bool)
        known[moved] = True
        chunk = max(1, _CHUNK // self.config.particles)
        config = self.config
        for rows in moved.split(chunk):
            if config.similarity and self._curve is not None:
                now = self.context.target[rows, self.context.held[rows] - 1]
                alike = F.cosine_similarity(now, self._home[rows], dim=-1)
                far = size_of(self.motor.kind, self.belief.pose[rows])
                self.belief.weigh(rows, config.similarity * self._curve.log_likelihood(alike[:, None], far[:, None]))
        if config.predictor:
            for group, views in self.context.groups(config.longest):
                for rows in group[known[group]].split(chunk):
                    self._weigh_by(self.model.predict_from, config.predictor, rows, views)
        if config.memory and self._remembered:
            for group, views in self.context.groups(self._remembered + 1):
                for rows in group[known[group]].split(chunk) if views <= self._remembered else ():
                    self._weigh_by(self.model.recall, config.memory, rows, views)

    def _weigh_by(self, ask: Any, weight: float, rows: Tensor, views: int) -> None:
        """Weigh by how alike home is to what `ask` (`predict_from` or `recall`) expects after the way home."""
        if not len(rows):
            return
        z, motions = self.context.recent(rows, views)
        expected = ask(z, motions, inverse(self.motor.kind, self.belief.pose[rows]))  # (n, K, P)
        self.belief.weigh(rows, weight * F.cosine_similarity(expected.float(), self._home[rows, None], dim=-1))


def own_phase(observation: dict[str, np.ndarray]) -> np.ndarray:
    """Return (B,) bool, whose next motion is its own.

    Raises:
        ValueError: The observation does not tell, so that it is not of a homing task.
    """
    if "imposed" not in observation:
        raise ValueError(f"expected an observation with 'imposed', as homing tasks give, got {sorted(observation)}")
    return observation["imposed"][:, 0] == 0


def _homeward(motor: Motor, way: Tensor, own: np.ndarray, arrived: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the (B, A) float64 actions along the ways home (B, M) of rows that act, and (B,) bool who of them rest."""
    far = size_of(motor.kind, way).numpy() > arrived
    return motor.actions(way).numpy() * (far & own)[:, None], own & ~far
