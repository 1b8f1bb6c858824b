"""Visual search by the world model: a belief over where the target is, fed by what is predicted all over the field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..world_model.protocol import WorldModel
from .class_reader import ClassReader
from .context import Context
from .disagreement import evaluating
from .goals import embed_targets
from .motor import Motor


class Target(Protocol):
    """What a cue makes of embeddings: how well each shows the target."""

    def wanted(self, cue: np.ndarray) -> Tensor:
        """Return what to keep of the cues (n, ...) of episodes that begin, (n, Q) float32."""
        ...

    def score(self, embeddings: Tensor, wanted: Tensor) -> Tensor:
        """Return log-likelihoods (n, G), up to a constant a row, that unit embeddings (n, G, P) show what is wanted."""
        ...


class ClassTarget:
    """A target of a class that is read off embeddings.

    Args:
        reader: Of unit embeddings where targets live; it may know one class more than the cue has, "nothing", as the
            last.
    """

    def __init__(self, reader: ClassReader) -> None:
        self.reader = reader

    def wanted(self, cue: np.ndarray) -> Tensor:
        """Return the one-hot classes (n, C).

        Raises:
            ValueError: The cue does not name one of the reader's classes.
        """
        if cue.ndim != 2 or self.reader.num_classes - cue.shape[1] not in (0, 1):
            raise ValueError(
                f"the reader knows {self.reader.num_classes} classes, and the cue is {cue.shape}: use a reader of as "
                'many classes, or one more for nothing, and an environment with cue="class"'
            )
        return torch.from_numpy(cue).to(self.reader.weight)

    def score(self, embeddings: Tensor, wanted: Tensor) -> Tensor:
        """Return the log-probability of the class."""
        return (self.reader.logs(embeddings)[..., : wanted.shape[1]] * wanted[:, None]).sum(dim=-1)


class GlimpseTarget:
    """A target of which a glimpse is given.

    Args:
        model: Embeds the glimpse.
        temperature: What cosines are divided by.
    """

    def __init__(self, model: WorldModel, temperature: float = 0.1) -> None:
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        self.model, self.temperature = model, temperature

    def wanted(self, cue: np.ndarray) -> Tensor:
        """Return the unit embeddings of glimpses (n, H, W, C) uint8.

        Raises:
            ValueError: The cue is no glimpse.
        """
        if cue.ndim != 4:
            raise ValueError(f'cues must be glimpses (n, H, W, C), got {cue.shape}: use cue="glimpse"')
        return F.normalize(embed_targets(self.model, cue), dim=-1)

    def score(self, embeddings: Tensor, wanted: Tensor) -> Tensor:
        """Return the cosine over the temperature."""
        return (embeddings @ wanted[:, :, None])[..., 0] / self.temperature


@dataclass(frozen=True)
class SearchConfig:
    """How a search agent believes and looks."""

    sharpness: float = 1.0
    """How much each look's predictions count: the power of their likelihood. 0 leaves coverage of the field alone."""
    radius: float = 0.2
    """How near to the target's middle a fixation finds it, along x and y, image units."""
    spacing: float = 0.15
    """Between the places of the belief, image units."""
    look_ahead: float = 1.0
    """How far from the eye the model is asked, along x and y, image units."""
    longest: int = 3
    """Most views that the model is asked with."""
    ends: bool = True
    """Whether success ends the episode, so that the target is not where the eye has been. If not, what is seen there
    counts like a prediction, and the agent comes back to it, or stays; with sharpness 0 it covers the field anyway."""
    tolerance: float = 0.05
    """How much shorter than commanded a saccade must be to tell the field's border, image units; infinite: never."""

    def __post_init__(self) -> None:
        if min(self.radius, self.spacing, self.look_ahead) <= 0 or self.sharpness < 0 or self.longest < 1:
            raise ValueError(f"lengths must be above 0, sharpness at least 0 and longest at least 1, got {self}")


class SearchAgent:
    """Looks where the target most probably is, by what the model predicts to see there.

    Places are those of a grid around the first view of the episode, in whose frame the eye's motions are added up: the
    agent is not told where in the image it is. It infers that from where it has been and where saccades stopped short.
    After each look, the model predicts what would be seen at every place around, and the target's log-likelihood there
    adds to the belief; where the eye has been, the target is not. It then takes the saccade whose end has the most
    belief within the radius (Najemnik and Geisler 2005 look for the most probable place in that way).

    Args:
        model: In eval mode.
        motor: Of saccades without zoom.
        target: What cues mean.
        num_envs: B.
        reach: The gaze's limit, image units.
        config: How it believes and looks.

    Raises:
        ValueError: The motor is no eye's, or the model predicts nothing.
    """

    def __init__(
        self,
        model: WorldModel,
        motor: Motor,
        target: Target,
        num_envs: int,
        *,
        reach: float = 1.0,
        config: SearchConfig = SearchConfig(),
    ) -> None:
        if motor.kind != "translation" or motor.action_size != 2:
            raise ValueError(f"search is by saccades (x, y) without zoom, got a motor of {motor}")
        if config.sharpness and not model.predicts:
            raise ValueError(f"{type(model).__name__} predicts nothing: set sharpness to 0 to cover the field alone")
        self.motor, self.target, self.config, self._reach = motor, target, config, reach
        self.context = Context(model, motor.kind, num_envs, capacity=config.longest)
        steps = int(np.ceil(2 * reach / config.spacing))
        line = torch.arange(-steps, steps + 1) * config.spacing
        self._side = len(line)
        device = self.context.device
        self.places = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).flatten(0, 1).to(device)  # (G, 2)
        self.evidence = torch.zeros(num_envs, len(self.places), device=device)
        self.excluded = torch.zeros(num_envs, len(self.places), dtype=torch.bool, device=device)
        self._low = torch.full((num_envs, 2), -reach, device=device)  # of where the first view was in the field
        self._high = -self._low
        self._commanded = torch.zeros(num_envs, 2, device=device)
        self._wanted: Tensor | None = None

    def act(self, observation: dict[str, np.ndarray], info: dict[str, Any]) -> np.ndarray:
        """Return (B, 2) actions."""
        context = self.context
        first = np.asarray(info["step_index"] == 0)
        with evaluating(context.model):
            context.observe(observation["glimpse"], observation["motion"], first)
            self._begin(first, observation["cue"])
            self._locate(torch.from_numpy(observation["motion"]).to(context.device), first)
            if self.config.ends or not self.config.sharpness:
                self.excluded |= self._near(slice(None))
            if self.config.sharpness:
                self._foresee()
            ahead = self._best()
        self._commanded = ahead.clone()
        return self.motor.actions(ahead.double()).cpu().numpy()

    def belief(self) -> Tensor:
        """Return the probability (B, G) that the target's middle is at each of `places`, which sum to 1 a row."""
        inside = torch.ones_like(self.evidence)
        slack = self.config.spacing / 2
        for axis in (0, 1):
            low, high = self._low[:, axis, None] - slack, self._high[:, axis, None] + slack
            place = self.places[None, :, axis]
            overlap = torch.minimum(high, self._reach - place) - torch.maximum(low, -self._reach - place)
            inside = inside * overlap.clamp(min=0) / (high - low)
        logs = (self.evidence + inside.clamp(min=1e-12).log()).masked_fill(inside == 0, -torch.inf)
        open_ = logs.masked_fill(self.excluded, -torch.inf)
        spent = (open_ == -torch.inf).all(dim=1, keepdim=True)  # it has been everywhere: begin again
        return torch.where(spent, logs, open_).softmax(dim=1)

    def _begin(self, first: np.ndarray, cue: np.ndarray) -> None:
        """Forget what was believed of rows whose episode begins, and take their cues."""
        rows = torch.from_numpy(np.flatnonzero(first)).to(self.context.device)
        wanted = self.target.wanted(cue[first]) if len(rows) else None
        if wanted is not None:
            if self._wanted is None:
                self._wanted = torch.zeros(len(first), wanted.shape[1], device=wanted.device)
            self._wanted[rows] = wanted
        self.evidence[rows], self.excluded[rows] = 0.0, False
        self._low[rows], self._high[rows], self._commanded[rows] = -self._reach, self._reach, 0.0

    def _locate(self, motion: Tensor, first: np.ndarray) -> None:
        """Narrow down where in the field the first view was: all that was visited lies within reach."""
        here = self.context.here()
        self._low = torch.maximum(self._low, -self._reach - here)
        self._high = torch.minimum(self._high, self._reach - here)
        missing = self._commanded - motion
        missing[torch.from_numpy(first)] = 0.0
        short = (missing.abs() > self.config.tolerance) & (missing.sign() == self._commanded.sign())
        border = self._commanded.sign() * self._reach - here
        self._low = torch.where(short, border, torch.minimum(self._low, self._high))
        self._high = torch.where(short, border, torch.maximum(self._low, self._high))

    def _near(self, rows: Tensor | slice) -> Tensor:
        """Return which places the eye would find the target at, were its middle there, (n, G) bool."""
        offsets = self.places[None] - self.context.here(rows)[:, None]
        return (offsets.abs() <= self.config.radius).all(dim=-1)

    def _foresee(self) -> None:
        """Add what the model predicts at all places around the eye, centred, so that places beyond stay as they are."""
        assert self._wanted is not None
        context = self.context
        for rows, views in context.groups(self.config.longest):
            z, motions = context.recent(rows, views)
            offsets = self.places[None] - context.here(rows)[:, None]  # (n, G, 2)
            around = (offsets.abs() <= self.config.look_ahead + 1e-6).all(dim=-1)
            embeddings = F.normalize(context.model.predict_from(z, motions, offsets).float(), dim=-1)
            score = self.target.score(embeddings, self._wanted[rows])
            if not self.config.ends:  # what is seen here is known
                seen = F.normalize(context.target[rows, context.held[rows] - 1], dim=-1)[:, None]
                score = torch.where(self._near(rows), self.target.score(seen, self._wanted[rows]), score)
            centre = (score * around).sum(dim=1, keepdim=True) / around.sum(dim=1, keepdim=True)
            self.evidence[rows] += self.config.sharpness * (score - centre) * around

    def _best(self) -> Tensor:
        """Return the saccades (B, 2), image units, to the reachable places with the most belief within the radius."""
        width = 2 * int(self.config.radius / self.config.spacing) + 1
        belief = self.belief().reshape(-1, 1, self._side, self._side)
        found = F.avg_pool2d(belief, width, stride=1, padding=width // 2).flatten(1)
        offsets = self.places[None] - self.context.here()[:, None]
        unit = torch.tensor(self.motor.unit, device=offsets.device)
        reachable = (offsets.abs() <= unit + 1e-6).all(dim=-1)
        best = found.masked_fill(~reachable, -1.0).argmax(dim=1)
        return offsets[torch.arange(len(best), device=best.device), best]

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of all that its future depends on."""
        kept = {"evidence": self.evidence, "excluded": self.excluded, "low": self._low, "high": self._high}
        kept["commanded"] = self._commanded
        if self._wanted is not None:
            kept["wanted"] = self._wanted
        return self.context.state() | {f"search_{name}": value.cpu().numpy().copy() for name, value in kept.items()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what `state` returned."""
        own = {k.removeprefix("search_"): v for k, v in state.items() if k.startswith("search_")}
        self.context.set_state({k: v for k, v in state.items() if not k.startswith("search_")})
        tensors = {name: torch.from_numpy(value.copy()).to(self.context.device) for name, value in own.items()}
        self.evidence, self.excluded, self._low = tensors["evidence"], tensors["excluded"], tensors["low"]
        self._high, self._commanded, self._wanted = tensors["high"], tensors["commanded"], tensors.get("wanted")
