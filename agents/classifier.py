"""Says what a thing is while looking at it, and looks where the world model expects that the class shows best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..world_model.motion_tensors import compose, relative, size_of
from ..world_model.protocol import WorldModel
from .class_reader import ClassReaders, entropy
from .context import Context
from .disagreement import evaluating, predict_by_context
from .motor import Motor
from .scripted import Agent

Evidence = Literal["sum", "mean", "aggregate"]


@dataclass(frozen=True)
class ClassifierConfig:
    """How a classifying agent reads and where it looks."""

    evidence: Evidence = "mean"
    """What the class is read from: the "sum" of the log-probabilities of all views; the "mean" of their z; or the
    "aggregate" of the last few."""
    information: float = 0.0
    """Weight of minus the entropy (nats) of the class once the predicted view is added to what was seen. With all five
    weights at 0 the gaze is random."""
    confidence: float = 0.0
    """Weight of the probability of the class that is then the most likely."""
    disagreement: float = 0.0
    """Weight of how much predictions from shorter and longer contexts disagree on the class: the mutual information of
    class and context, nats. It is 0 where one view was seen."""
    difference: float = 1.0
    """Weight of how unlike all that was seen the predicted view is: 1 minus the greatest cosine."""
    coverage: float = 0.0
    """Weight of how far a candidate is from all that was seen, in radii, at most 1: inhibition of return."""
    radius: float = 0.5
    """Of inhibition of return: radians, or image units."""
    candidates: int = 64
    """Actions that are drawn, of which it takes one."""
    longest: int = 3
    """Most views that the model is asked with."""
    stop: float = 0.95
    """Probability of the most likely class at which it stops, where it can."""

    def __post_init__(self) -> None:
        if self.evidence not in get_args(Evidence):
            raise ValueError(f"evidence must be one of {get_args(Evidence)}, got {self.evidence!r}")
        if self.candidates < 1 or self.longest < 1 or self.radius <= 0:
            raise ValueError(f"candidates and longest must be at least 1 and radius above 0, got {self}")

    @property
    def predictive(self) -> bool:
        """Whether the gaze depends on predictions."""
        return any((self.information, self.confidence, self.disagreement, self.difference))


class ClassifierAgent:
    """Classifies by all that it has seen, and chooses what to see next by the model's predictions.

    Its actions are those of the classification ids: the motion, then one component a class, then the stop if there is
    one. The surest class is given the component 1, the others what remains of their log-odds within [-1, 1].

    Args:
        model: In eval mode.
        motor: What actions do.
        readers: Fitted on training things.
        num_envs: B.
        rng: Where all draws come from.
        logit_scale: Of the environment: logits are the prediction's components times this.
        can_stop: Whether the actions end in a stop.
        config: How it reads and looks.
        gaze: Who moves in its place, such as a `SaliencyAgent`; only the class is then read.
        capacity: Views of an episode that it keeps.

    Raises:
        ValueError: The model's motions are not the motor's, or a gaze asks a model that predicts nothing.
    """

    def __init__(
        self,
        model: WorldModel,
        motor: Motor,
        readers: ClassReaders,
        num_envs: int,
        rng: np.random.Generator,
        *,
        logit_scale: float = 5.0,
        can_stop: bool = False,
        config: ClassifierConfig = ClassifierConfig(),
        gaze: Agent | None = None,
        capacity: int = 64,
    ) -> None:
        if config.predictive and not model.predicts:
            raise ValueError(f"{type(model).__name__} predicts nothing: set all weights of the gaze but coverage to 0")
        self.motor, self.readers, self.config, self._rng = motor, readers, config, rng
        self._logit_scale, self._can_stop, self.gaze = logit_scale, can_stop, gaze
        self.context = Context(model, motor.kind, num_envs, capacity=capacity)

    def act(self, observation: dict[str, np.ndarray], info: dict[str, Any]) -> np.ndarray:
        """Return (B, A + C) actions, or (B, A + C + 1) with a stop."""
        context = self.context
        with evaluating(context.model):
            context.observe(observation["glimpse"], observation["motion"], info["step_index"] == 0)
            logs = self.present()
            moves = self._chosen(logs) if self.gaze is None else self.gaze.act(observation, info)
        odds = (logs - logs.amax(dim=1, keepdim=True)) / self._logit_scale
        parts = [moves, (1 + odds).clamp(min=-1).double().cpu().numpy()]
        if self._can_stop:
            sure = logs.amax(dim=1).exp().cpu().numpy() >= self.config.stop
            parts.append(np.where(sure, 1.0, -1.0)[:, None])
        return np.concatenate(parts, axis=1)

    def _chosen(self, present: Tensor) -> np.ndarray:
        """Return the actions (B, A), of those that are drawn, that promise most."""
        drawn = self._rng.uniform(-1.0, 1.0, (self.context.num_envs, self.config.candidates, self.motor.action_size))
        best = self._best(torch.from_numpy(drawn), present).cpu().numpy()
        return drawn[np.arange(len(drawn)), best]

    @torch.no_grad()
    def present(self) -> Tensor:
        """Return the log-probabilities (B, C) of the classes by all that was seen, nats."""
        context, readers = self.context, self.readers
        seen = self._seen()
        if self.config.evidence == "sum":
            logs = readers.view.logs(F.normalize(context.target, dim=-1))
            return F.log_softmax((logs * seen[..., None]).sum(dim=1), dim=-1)
        if self.config.evidence == "mean":
            total = (context.z * seen[..., None]).sum(dim=1)
            return readers.mean.logs(total / seen.sum(dim=1, keepdim=True))
        logs = torch.zeros(context.num_envs, readers.aggregate.num_classes, device=context.device)
        for rows, views in context.groups(self.config.longest):
            logs[rows] = readers.aggregate.logs(context.model.aggregate(*context.recent(rows, views)))
        return logs

    def _best(self, actions: Tensor, present: Tensor) -> Tensor:
        """Return which of (B, K, A) actions to take, (B,): the first where all weights are 0."""
        best = torch.zeros(len(actions), dtype=torch.int64)
        for rows, views in self.context.groups(self.config.longest):
            ahead = self.motor.motions(actions[rows]).float().to(self.context.device)
            score = torch.zeros(ahead.shape[:2], device=ahead.device)
            if self.config.predictive:
                score = score + self._promise(rows, views, ahead, present[rows])
            if self.config.coverage:
                score = score + self.config.coverage * self._novelty(rows, ahead)
            best[rows] = score.argmax(dim=1).cpu()
        return best

    def _promise(self, rows: Tensor, views: int, ahead: Tensor, present: Tensor) -> Tensor:
        """Return (n, K): what the views that are predicted after motions `ahead` (n, K, A) promise."""
        config, context = self.config, self.context
        z, motions = context.recent(rows, views)
        if config.disagreement:
            predictions = predict_by_context(context.model, z, motions, ahead)  # (n, M, K, P)
        else:
            predictions = F.normalize(context.model.predict_from(z, motions, ahead).float(), dim=-1)[:, None]
        logs = self.readers.view.logs(predictions)  # (n, M, K, C)
        after = F.log_softmax(present[:, None] + logs[:, -1], dim=-1)  # (n, K, C)
        score = config.confidence * after.amax(dim=-1).exp() - config.information * entropy(after)
        if config.disagreement:
            mixed = logs.exp().mean(dim=1).clamp(min=1e-12).log()
            score = score + config.disagreement * (entropy(mixed) - entropy(logs).mean(dim=1))
        if config.difference:
            seen = F.normalize(context.target[rows], dim=-1)  # zeros where nothing was seen yet
            alike = (predictions[:, -1] @ seen.transpose(1, 2)).masked_fill(~self._seen(rows)[:, None], -1.0)
            score = score + config.difference * (1 - alike.amax(dim=-1))
        return score

    def _novelty(self, rows: Tensor, ahead: Tensor) -> Tensor:
        """Return (n, K) in [0, 1]: how far each candidate is from all poses that were seen, in radii."""
        context = self.context
        there = compose(context.kind, context.here(rows)[:, None], ahead)[:, :, None]
        visited = context.pose[rows][:, None]  # (n, 1, capacity, A)
        apart = size_of(context.kind, relative(context.kind, there, visited))
        apart = apart.masked_fill(~self._seen(rows)[:, None], torch.inf)
        return (apart.amin(dim=-1) / self.config.radius).clamp(max=1)

    def _seen(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """Return which slots of the context hold a view, (n, capacity) bool."""
        return (torch.arange(self.context.capacity) < self.context.held[rows, None]).to(self.context.device)

    def state(self) -> dict[str, np.ndarray]:
        """Return what it has seen, and the state of the one who moves."""
        gaze = {} if self.gaze is None else self.gaze.state()
        return self.context.state() | {f"gaze_{name}": value for name, value in gaze.items()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what `state` returned."""
        self.context.set_state({name: value for name, value in state.items() if not name.startswith("gaze_")})
        if self.gaze is not None:
            gaze = {name.removeprefix("gaze_"): value for name, value in state.items() if name.startswith("gaze_")}
            self.gaze.set_state(gaze)
