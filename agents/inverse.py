"""An inverse model: which motion leads from one view to another, read off their embeddings; and who acts by it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ..world_model.checkpoint import write_json
from ..world_model.motion import MotionKind, check_motion_dim
from ..world_model.motion_tensors import relative, size_of
from ..world_model.protocol import WorldModel
from .context import Context
from .goals import Goals
from .motor import Motor
from .similarity import check_views


@dataclass(frozen=True)
class InverseConfig:
    """Size and training of an inverse model."""

    components: int = 4
    """Motions that it holds possible at once: views of symmetric things leave several."""
    hidden: int = 256
    """Units of each of its two hidden layers."""
    steps: int = 800
    """Updates."""
    batch_size: int = 256
    """Pairs of views an update."""
    learning_rate: float = 2e-3
    """Highest of a one-cycle schedule."""
    weight_decay: float = 0.01
    """Of AdamW."""
    seed: int = 0
    """Of its weights and its batches."""


class MotionMixture(NamedTuple):
    """M motions that may lead to the goal: `motions` (n, M, A), quaternions of norm 1 for rotations; `spread` (n, M),
    the standard deviation of each in radians or image units; `log_weights` (n, M), normalised."""

    motions: Tensor
    spread: Tensor
    log_weights: Tensor


class InverseModel(nn.Module):
    """A mixture density network (Bishop 1994) over the motion between two views, from both their embeddings.

    Args:
        kind: Of the motions.
        motion_dim: A.
        embedding_dim: P, where targets live.
        config: Sizes.
    """

    mean: Tensor
    std: Tensor
    scale: Tensor

    def __init__(self, kind: MotionKind, motion_dim: int, embedding_dim: int, config: InverseConfig) -> None:
        super().__init__()
        check_motion_dim(kind, motion_dim)
        if kind == "rotation-colour":
            raise ValueError('no action commands a colour: take an inverse model of motion "rotation"')
        self.kind: MotionKind = kind
        self.motion_dim, self.embedding_dim, self.config = motion_dim, embedding_dim, config
        hidden = config.hidden
        self.layers = nn.Sequential(
            *(nn.Linear(2 * embedding_dim, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()),
            nn.Linear(hidden, config.components * (motion_dim + 2)),
        )
        self.register_buffer("mean", torch.zeros(embedding_dim))
        self.register_buffer("std", torch.ones(embedding_dim))
        self.register_buffer("scale", torch.tensor(1.0))  # typical size of a motion

    def forward(self, here: Tensor, goal: Tensor) -> MotionMixture:
        """Return what may lead from views with embeddings `here` (n, P) to those with `goal` (n, P).

        Raises:
            ValueError: Shapes do not fit.
        """
        expected = (len(here), self.embedding_dim)
        if tuple(here.shape) != expected or tuple(goal.shape) != expected:
            raise ValueError(
                f"this inverse model reads embeddings (n, {self.embedding_dim}) of views and of goals, "
                f"got {tuple(here.shape)} and {tuple(goal.shape)}"
            )
        pair = torch.cat([(here - self.mean) / self.std, (goal - self.mean) / self.std], dim=-1)
        out = self.layers(pair).unflatten(-1, (self.config.components, self.motion_dim + 2))
        motions, spread, weights = out.split([self.motion_dim, 1, 1], dim=-1)
        if self.kind == "translation":
            motions = motions * self.scale
        else:
            motions = F.normalize(motions, dim=-1)
            motions = torch.where(motions[..., 3:] < 0, -motions, motions)
        spread = self.scale * (0.03 + F.softplus(spread[..., 0]))
        return MotionMixture(motions, spread, weights[..., 0].log_softmax(dim=-1))

    def log_density(self, here: Tensor, goal: Tensor, motions: Tensor) -> Tensor:
        """Return the log density (n, K), less a constant, of `motions` (n, K, A) from `here` (n, P) to `goal`."""
        mixture = self(here, goal)
        if self.kind == "translation":
            off = motions[:, :, None] - mixture.motions[:, None]
            square, size = off.square().sum(-1), self.motion_dim
        else:
            cosine = torch.einsum("nka,nma->nkm", motions, mixture.motions).abs().clamp(max=1 - 1e-6)
            square, size = (2 * cosine.acos()).square(), 3
        spread = mixture.spread[:, None]
        exponent = mixture.log_weights[:, None] - square / (2 * spread.square()) - size * spread.log()
        return exponent.logsumexp(dim=-1)

    def propose(self, here: Tensor, goal: Tensor) -> Tensor:
        """Return the motion (n, A) of the highest peak."""
        mixture = self(here, goal)
        size = self.motion_dim if self.kind == "translation" else 3
        best = (mixture.log_weights - size * mixture.spread.log()).argmax(dim=1)
        return mixture.motions[torch.arange(len(best), device=best.device), best]

    def save(self, folder: Path) -> None:
        """Write inverse.safetensors and inverse.json into `folder`, which is made if need be."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: value.contiguous() for name, value in self.state_dict().items()}, folder / "inverse.safetensors"
        )
        sizes = {"kind": self.kind, "motion_dim": self.motion_dim, "embedding_dim": self.embedding_dim}
        write_json(folder / "inverse.json", sizes | {"config": asdict(self.config)})

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> InverseModel:
        """Read what `save` wrote, in eval mode.

        Raises:
            FileNotFoundError: There is none in `folder`.
        """
        path = folder / "inverse.json"
        if not path.is_file():
            raise FileNotFoundError(f"no inverse model in {folder}: fit one by fit_inverse, and save it there")
        told = json.loads(path.read_text())
        model = cls(told["kind"], told["motion_dim"], told["embedding_dim"], InverseConfig(**told["config"]))
        model.load_state_dict(load_file(folder / "inverse.safetensors"))
        return model.to(device).eval()


def fit_inverse(
    kind: MotionKind, embeddings: Tensor, poses: Tensor, config: InverseConfig | None = None
) -> InverseModel:
    """Return an inverse model of pairs of views of one thing, fitted by maximum likelihood, in eval mode.

    The same data and seed give the same model. Torch's own generator is left as it was.

    Args:
        kind: Of the motions.
        embeddings: Of V views of each of N things, where targets live, (N, V, P): `model.as_target` of
            `encode_target`. Things and views of the agent's own play: none that it is judged on.
        poses: Where they were taken, from any origin that a thing's views share, (N, V, A).
        config: Sizes and training.

    Raises:
        ValueError: Shapes do not fit.
    """
    check_views(embeddings, poses)
    config = config or InverseConfig()
    things, views, width = embeddings.shape
    embeddings, poses = embeddings.float(), poses.to(embeddings.device).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = InverseModel(kind, poses.shape[2], width, config)
    model.to(embeddings.device)
    model.mean.copy_(embeddings.mean(dim=(0, 1)))
    model.std.copy_(embeddings.std(dim=(0, 1)).clamp(min=1e-6))
    model.scale.copy_(size_of(kind, relative(kind, poses[:, :-1], poses[:, 1:])).square().mean().sqrt().clamp(min=1e-6))
    optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, max(config.steps, 2))
    generator = torch.Generator().manual_seed(config.seed)
    for _ in range(config.steps):
        item = torch.randint(things, (config.batch_size,), generator=generator)
        start = torch.randint(views, (config.batch_size,), generator=generator)
        end = (start + torch.randint(1, views, (config.batch_size,), generator=generator)) % views
        motion = relative(kind, poses[item, start], poses[item, end])
        loss = -model.log_density(embeddings[item, start], embeddings[item, end], motion[:, None]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


class InverseAgent:
    """Goes where the inverse model says that the goal is, anew at every view.

    Args:
        model: The world model that embeds views and goals.
        inverse: What leads from one to the other.
        motor: Actions and motions of the world.
        num_envs: B.
        goal: Name of the goal view in the observation.
    """

    def __init__(
        self, model: WorldModel, inverse: InverseModel, motor: Motor, num_envs: int, *, goal: str = "goal"
    ) -> None:
        self.inverse, self.motor = inverse, motor
        self._context = Context(model, motor.kind, num_envs, capacity=1)
        self._goals = Goals(model, num_envs, name=goal)

    @torch.no_grad()
    def act(self, observation: dict[str, np.ndarray], info: dict[str, Any]) -> np.ndarray:
        """Return (B, A) actions towards the most likely motion."""
        first = info["step_index"] == 0
        self._goals.observe(observation, first)
        self._context.observe(observation["glimpse"], observation["motion"], first)
        motions = self.inverse.propose(self._context.target[:, 0], self._goals.target)
        return self.motor.actions(motions).cpu().double().numpy()

    def state(self) -> dict[str, np.ndarray]:
        """Return what was seen last, and the goals."""
        return self._context.state() | self._goals.state()

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what `state` returned."""
        self._goals.set_state(state)
        self._context.set_state({name: value for name, value in state.items() if not name.startswith("goal_")})
