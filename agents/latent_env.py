"""Reinforcement learning on a world model: observations with embeddings in the place of images, episode by episode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvWrapper
from torch import Tensor, nn

from ..world_model.objectives import TargetStatistics
from ..world_model.protocol import WorldModel
from ..world_model.views import normalize_views
from .context import append
from .disagreement import evaluating
from .fit import require_fit

Latent = Literal["z", "z_agg"]
LIMIT = 10.0
"""Standardised embeddings are clipped to this many standard deviations."""


class LatentContext:
    """Turns observations of B sub-environments into what a world model makes of them; rows do not influence each other.

    The entry "glimpse" becomes "z", the embedding of the present view, or "z_agg", the aggregate of the last up to
    `longest` views of the episode and the motions between them. Any other entry that is an image of the same shape,
    "goal" or "cue", becomes its embedding, "z_goal" or "z_cue"; it is embedded when an episode begins and belongs to
    all of it. Other entries are passed on flat. Embeddings are standardised, dimension by dimension, by running
    statistics of what this context saw during its first `settle` observations, and are clipped to +-10; goals by the
    statistics of z. Nothing in it is privileged.

    Args:
        model: It is evaluated in eval mode and left in the mode it was in; nothing here trains it.
        space: The observation space of one sub-environment.
        num_envs: B.
        latent: "z" or "z_agg".
        longest: Views that an aggregate is made of, at most.
        settle: Observations of all rows that the statistics follow; 0 for none, None for all, averaged over the last
            hundred or so, as a model that keeps learning needs it.
        statistics: Those of another context, to share; None for statistics of its own.

    Attributes:
        space: The space of what `observe` returns for one sub-environment.
        statistics: "z" and, where there are aggregates, "z_agg".

    Raises:
        ValueError: The model was made for other views or motions.
    """

    def __init__(
        self,
        model: WorldModel,
        space: spaces.Dict,
        num_envs: int,
        latent: Latent,
        *,
        longest: int = 3,
        settle: int | None = 0,
        statistics: nn.ModuleDict | None = None,
    ) -> None:
        if latent not in ("z", "z_agg"):
            raise ValueError(f'latent must be "z" or "z_agg", got {latent!r}')
        if longest < 1 or num_envs < 1:
            raise ValueError(f"longest and num_envs must be at least 1, got {longest} and {num_envs}")
        _check_model(model, space)
        self.model, self.num_envs, self.latent, self.longest = model, num_envs, latent, longest
        self.settle = settle
        self.device = next(model.parameters()).device
        shape = space["glimpse"].shape
        self.pictures = tuple(key for key in space.spaces if key != "glimpse" and space[key].shape == shape)
        self.flat = tuple(key for key in space.spaces if key != "glimpse" and key not in self.pictures)
        size, motion_dim = model.config.z_dim, space["motion"].shape[0]  # pyright: ignore[reportOptionalSubscript]
        self._held = torch.zeros(num_envs, dtype=torch.int64)
        self._z = torch.zeros(num_envs, longest, size, device=self.device)
        self._motion = torch.zeros(num_envs, longest, motion_dim, device=self.device)  # what led to each view
        self._shown = {key: torch.zeros(num_envs, size, device=self.device) for key in self.pictures}
        with evaluating(model):
            sizes = {"z": size, "z_agg": model.aggregate(self._z[:1, :1], self._motion[:1, :0]).shape[-1]}
        wanted = ["z"] if latent == "z" else ["z", "z_agg"]
        own = nn.ModuleDict({key: TargetStatistics(sizes[key], True) for key in wanted}).to(self.device)
        self.statistics = own if statistics is None else statistics
        names = {latent: sizes[latent]} | {f"z_{key}": size for key in self.pictures}
        parts: dict[str, spaces.Space[Any]] = {
            name: spaces.Box(-LIMIT, LIMIT, (length,), np.float32) for name, length in names.items()
        }
        self.space = spaces.Dict(parts | {key: spaces.flatten_space(space[key]) for key in self.flat})

    def observe(
        self, observation: dict[str, np.ndarray], first: np.ndarray, final: Sequence[dict[str, np.ndarray]] = ()
    ) -> tuple[dict[str, np.ndarray], list[dict[str, np.ndarray]]]:
        """Take in one observation of every row; the encoder is called once.

        Args:
            observation: entries (B, ...).
            first: (B,) bool, whether an episode begins with it: all seen before is forgotten.
            final: of rows where `first`, in their order, the observations that ended the episodes before; or nothing.

        Returns:
            Entries (B, ...) of `space`, and those of the `final` observations, one dict each.
        """
        fresh = np.flatnonzero(first)
        ended = {key: np.stack([one[key] for one in final]) for key in observation} if final else {}
        images = [observation["glimpse"], *(observation[key][fresh] for key in self.pictures)]
        with evaluating(self.model):
            z = self._encode(np.concatenate([*images, ended["glimpse"]] if final else images))
            parts = z.split([len(image) for image in images] + [len(final)] * bool(final))
            lasts: list[dict[str, np.ndarray]] = []
            if final:
                self._append(fresh, parts[-1], ended["motion"])
                found = self._latents(fresh, ended)
                lasts = [{key: value[i] for key, value in found.items()} for i in range(len(final))]
            self._held[fresh] = 0
            for key, shown in zip(self.pictures, parts[1:], strict=False):
                self._shown[key][fresh] = shown
            rows = np.arange(self.num_envs)
            self._append(rows, parts[0], observation["motion"])
            return self._latents(rows, observation, settling=self.settle != 0), lasts

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of what is kept of the present episodes, statistics apart."""
        kept = {"held": self._held, "z": self._z, "motion": self._motion} | self._shown
        return {name: value.cpu().numpy().copy() for name, value in kept.items()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what `state` returned."""
        kept = {"held": self._held, "z": self._z, "motion": self._motion} | self._shown
        for name, value in state.items():
            kept[name].copy_(torch.from_numpy(value))

    def _encode(self, glimpses: np.ndarray) -> Tensor:
        return self.model.encode(normalize_views(glimpses, device=self.device)[:, None])[:, 0].float()

    def _append(self, rows: np.ndarray, z: Tensor, motion: np.ndarray) -> None:
        led = torch.from_numpy(motion).to(self.device)
        append(self._held, torch.from_numpy(rows), [(self._z, z), (self._motion, led)])

    def _latents(
        self, rows: np.ndarray, observation: dict[str, np.ndarray], *, settling: bool = False
    ) -> dict[str, np.ndarray]:
        """Return entries (n, ...) of `space` for `rows`, of which the context holds the present view."""
        held = self._held[rows]
        made = {"z": self._z[rows, held - 1]}
        if self.latent == "z_agg":
            made["z_agg"] = self._aggregates(rows, held)
        if settling:
            for key, value in made.items():
                self.statistics[key].observe(value)  # pyright: ignore[reportCallIssue]
            if self.settle is not None:
                self.settle -= 1
        latents = {self.latent: self._standardized(self.latent, made[self.latent])}
        latents |= {f"z_{key}": self._standardized("z", self._shown[key][rows]) for key in self.pictures}
        return latents | {key: np.asarray(observation[key], np.float32).reshape(len(rows), -1) for key in self.flat}

    def _aggregates(self, rows: np.ndarray, held: Tensor) -> Tensor:
        found: list[Tensor] = []
        order: list[Tensor] = []
        for count in torch.unique(held).tolist():
            places = torch.nonzero(held == count)[:, 0]
            some = rows[places.numpy()]
            found.append(self.model.aggregate(self._z[some, :count], self._motion[some, 1:count]).float())
            order.append(places)
        return torch.cat(found)[torch.cat(order).argsort()]

    def _standardized(self, key: str, z: Tensor) -> np.ndarray:
        standard = self.statistics[key].standardized_z(z)  # pyright: ignore[reportCallIssue]
        return standard.clamp(-LIMIT, LIMIT).cpu().numpy()


class LatentVecEnv(VecEnvWrapper):
    """A `VecEnv` whose observations are embedded by a world model: `GlimpseVecEnv` below, Stable-Baselines3 above.

    Episodes end within a step: the observation of a row that ended is the first of its next episode, and its
    `terminal_observation` is embedded in the context of the episode that it ends.

    Args:
        venv: What is below; its observations are those of an environment of GlimpseWorld.
        model, latent, longest, settle, statistics: see `LatentContext`.
    """

    def __init__(self, venv: VecEnv, model: WorldModel, latent: Latent, **options: Any) -> None:
        assert isinstance(venv.observation_space, spaces.Dict)
        self.context = LatentContext(model, venv.observation_space, venv.num_envs, latent, **options)
        super().__init__(venv, observation_space=self.context.space)

    def reset(self) -> dict[str, np.ndarray]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Start an episode in every row."""
        observation = self.venv.reset()
        return self.context.observe(observation, np.ones(self.num_envs, dtype=bool))[0]  # pyright: ignore[reportArgumentType]

    def step_wait(self) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, list[dict[str, Any]]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Step; return observation, rewards, dones and infos as the environment below does, embedded."""
        observation, rewards, dones, infos = self.venv.step_wait()
        ended = [infos[row] for row in np.flatnonzero(dones)]
        final = [info["terminal_observation"] for info in ended]
        latents, finals = self.context.observe(observation, dones, final)  # pyright: ignore[reportArgumentType]
        for info, last in zip(ended, finals, strict=True):
            info["terminal_observation"] = last
        return latents, rewards, dones, infos


def _check_model(model: WorldModel, space: spaces.Dict) -> None:
    """Raise ValueError unless the views and motions of `space` are the model's."""
    if not {"glimpse", "motion"} <= set(space.spaces):
        raise ValueError(f"a world model sees glimpses and motions, the observation has {sorted(space.spaces)}")
    (motion_dim,) = space["motion"].shape or (0,)
    require_fit(model, "the environment", views=space["glimpse"].shape, motion_dim=motion_dim)
