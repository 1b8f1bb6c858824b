"""A world model that keeps learning from what a policy sees while that policy learns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvWrapper

from ..world_model.learner import Learner
from ..world_model.replay import SequenceReplay


class OnlineWorldModel(VecEnvWrapper):
    """A `VecEnv` that passes everything through, keeps what it sees in a replay and trains a world model on it.

    It goes below `LatentVecEnv`, which embeds with the same model. The replay takes one glimpse a row and step: the one
    that ends an episode is passed over, since the next episode's first one comes in the same step. Windows are drawn in
    hindsight (any views of an episode), as in `glimpseworld train`.

    Args:
        venv: What is below.
        learner: Of the model. Its schedules run by its own count of updates.
        replay: For as many sub-environments as `venv` has.
        glimpses_per_update: The ratio; updates that could not be taken yet, for want of an episode long enough, are
            made up for.
        warmup_glimpses: Glimpses before the first update.
        batch_size: Windows in a batch.
        context: Least and most context views of a window.
        targets: Targets of a window.
        rng: Where the draws of windows come from.

    Attributes:
        glimpses: Glimpses kept so far, all of which the policy saw too.
        updates: Updates taken here.
    """

    def __init__(
        self,
        venv: VecEnv,
        learner: Learner,
        replay: SequenceReplay,
        *,
        glimpses_per_update: float,
        warmup_glimpses: int,
        rng: np.random.Generator,
        batch_size: int = 64,
        context: tuple[int, int] = (1, 3),
        targets: int = 2,
    ) -> None:
        super().__init__(venv)
        if not 0 < glimpses_per_update < math.inf or warmup_glimpses < 0:
            raise ValueError(
                "glimpses_per_update must be above 0 and finite, and warmup_glimpses at least 0, got "
                f"{glimpses_per_update} and {warmup_glimpses}"
            )
        if replay.num_envs != venv.num_envs:
            raise ValueError(f"the replay is for {replay.num_envs} sub-environments, and there are {venv.num_envs}")
        self.learner, self.replay, self.rng = learner, replay, rng
        self.glimpses_per_update, self.warmup_glimpses, self.batch_size = (
            glimpses_per_update,
            warmup_glimpses,
            batch_size,
        )
        self.window, self.targets = context, targets
        self.glimpses = self.updates = 0

    def reset(self) -> dict[str, np.ndarray]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Start an episode in every row and keep its first glimpse."""
        observation = self.venv.reset()
        self._keep(observation, np.ones(self.num_envs, dtype=bool))
        return observation  # pyright: ignore[reportReturnType]

    def step_wait(self) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, list[dict[str, Any]]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Step, keep the glimpses and take the updates that are due."""
        observation, rewards, dones, infos = self.venv.step_wait()
        self._keep(observation, dones)
        due = (self.glimpses - self.warmup_glimpses) // self.glimpses_per_update
        while self.updates < due and self.replay.can_sample(self.window, self.targets):
            self.learner.update(
                self.replay.sample(
                    self.batch_size, context=self.window, targets=self.targets, mode="hindsight", generator=self.rng
                )
            )
            self.updates += 1
        return observation, rewards, dones, infos  # pyright: ignore[reportReturnType]

    def _keep(self, observation: Any, first: np.ndarray) -> None:
        self.replay.add(observation["glimpse"], observation["motion"], first)
        self.glimpses += self.num_envs
