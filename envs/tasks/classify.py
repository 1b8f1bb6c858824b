"""Classification: say with every action what the thing is that one looks at."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from ..draws import EpisodeDraws, Rows
from ..environment import ComposedEnv, ComposedVectorEnv
from ..imagery.image_set import ImageSet
from ..object_rotation import ObjectRotationWorld
from ..saccade import SaccadeWorld
from ..settings import check_flag, check_number
from ..world import World
from .task import Task


class Classify(Task):
    """A prediction with every action, after ap_gym (Schneider et al.); see `SaccadeClassifyEnv`.

    Args:
        logit_scale: logits are the prediction's components times this, above 0.
        motion_cost: of a motion with all components at -1 or 1, in [0, 1].
        stop: add a component that ends the episode.
    """

    def __init__(self, *, logit_scale: float, motion_cost: float, stop: bool) -> None:
        check_number("logit_scale", logit_scale, low=0, above=True)
        check_number("motion_cost", motion_cost, low=0, high=1)
        check_flag("stop", stop)
        self.logit_scale, self.motion_cost, self.stop = logit_scale, motion_cost, stop

    def bind(self, num_envs: int, world: World) -> None:
        """Allocate prediction and success."""
        self._class_names = world.class_names
        self._prediction = np.full(num_envs, -1, dtype=np.int64)
        self._success = np.zeros(num_envs, dtype=bool)

    def begin(self, rows: Rows, draws: EpisodeDraws, world: World, options: dict[str, np.ndarray]) -> None:
        """Nothing is predicted yet."""
        self._prediction[rows], self._success[rows] = -1, False

    def extra_actions(self, world: World) -> int:
        """Return K, and one more for the stop."""
        return len(world.class_names) + self.stop

    def score(self, rows: Rows, actions: np.ndarray, world: World) -> tuple[np.ndarray, np.ndarray]:
        """Return minus cross-entropy and motion cost, and whether the agent stopped."""
        size, classes = world.action_space.shape[0], len(self._class_names)
        labels = world.info()["label"][rows]
        logits = self.logit_scale * actions[:, size : size + classes]
        entropy = cross_entropy(logits, labels)
        cost = self.motion_cost * np.square(actions[:, :size]).mean(axis=1)
        self._prediction[rows] = logits.argmax(axis=1)
        self._success[rows] = self._prediction[rows] == labels
        if not self.stop:
            return -entropy - cost, np.zeros(len(actions), dtype=bool)
        stopped = actions[:, -1] > 0
        return np.where(stopped, np.log(classes) - entropy, 0.0) - cost, stopped

    def state(self) -> dict[str, np.ndarray]:
        """Return the live arrays `prediction` and `success`."""
        return {"prediction": self._prediction, "success": self._success}

    def info(self) -> dict[str, np.ndarray]:
        """Return `prediction` (B,) int64, -1 before the first, and `success` (B,) bool, whether it is right."""
        return {"prediction": self._prediction, "success": self._success}

    def panel(self, row: int) -> tuple[str, str]:
        """Show the predicted class."""
        predicted = int(self._prediction[row])
        return "Prediction", "none yet" if predicted < 0 else self._class_names[predicted]

    def oracle_actions(self, world: World) -> np.ndarray:
        """Return no motion, the right class, and the stop."""
        still = np.zeros((len(self._prediction), world.action_space.shape[0]))
        right = np.where(np.arange(len(self._class_names)) == world.info()["label"][:, None], 1.0, -1.0)
        return np.concatenate([still, right, np.ones((len(still), int(self.stop)))], axis=1)


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return minus the log-probability that the softmax of (n, K) logits gives (n,) labels, (n,) in nats."""
    highest = logits.max(axis=1)
    total = np.log(np.exp(logits - highest[:, None]).sum(axis=1)) + highest
    return total - logits[np.arange(len(logits)), labels]


class DictPrediction(gym.ActionWrapper[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]):
    """ap_gym's form of the action: `Dict` of `action` and `prediction`.

    `action` is (A,) float32 in [-1, 1], the motion, and with `stop=True` the stop after it; `prediction` is (K,)
    float32, the logits themselves, in [-logit_scale, logit_scale].

    Args:
        env: a single environment of a classification id.

    Raises:
        TypeError: if it is another one.
    """

    def __init__(self, env: gym.Env[dict[str, np.ndarray], np.ndarray]) -> None:
        super().__init__(env)
        task = getattr(env.unwrapped, "task", None)
        if not isinstance(task, Classify):
            raise TypeError(f"expected an environment that asks for a prediction, got {env.unwrapped}")
        shape = env.action_space.shape
        assert shape is not None
        self._classes = len(env.unwrapped.world.class_names)  # pyright: ignore[reportAttributeAccessIssue]
        self._scale, self._stop = task.logit_scale, int(task.stop)
        limit = self._scale
        self.action_space = spaces.Dict(  # pyright: ignore[reportAttributeAccessIssue]
            {
                "action": spaces.Box(-1.0, 1.0, (shape[0] - self._classes,), np.float32),
                "prediction": spaces.Box(-limit, limit, (self._classes,), np.float32),
            }
        )

    def action(self, action: dict[str, np.ndarray]) -> np.ndarray:
        """Return the flat form of `action`."""
        motion, stop = np.split(np.asarray(action["action"]), [len(action["action"]) - self._stop])
        return np.concatenate([motion, np.asarray(action["prediction"]) / self._scale, stop]).astype(np.float32)


def compose_image_classification(
    images: str | ImageSet = "scenes",
    *,
    logit_scale: float = 5.0,
    motion_cost: float = 0.01,
    stop: bool = False,
    **world: Any,
) -> tuple[World, Task]:
    """Return the world and the task of `SaccadeClassifyEnv`."""
    task = Classify(logit_scale=logit_scale, motion_cost=motion_cost, stop=stop)
    return SaccadeWorld(images, **world), task


def compose_object_classification(
    objects: str = "families",
    *,
    logit_scale: float = 5.0,
    motion_cost: float = 0.01,
    stop: bool = False,
    **world: Any,
) -> tuple[World, Task]:
    """Return the world and the task of `ObjectClassifyEnv`."""
    task = Classify(logit_scale=logit_scale, motion_cost=motion_cost, stop=stop)
    return ObjectRotationWorld(objects, **world), task


class SaccadeClassifyEnv(ComposedEnv):
    """Say what an image shows while looking around in it.

    ## Description
    `GlimpseWorld/Saccade-v0` where every action carries a prediction of the image's class, in the formulation of
    ap_gym (Schneider et al., 2025), here as one flat `Box`, which Stable-Baselines3 takes. The wrapper
    `glimpseworld.envs.tasks.classify.DictPrediction` gives the action ap_gym's form, a `Dict` of `action` and
    `prediction`.

    ## Observation space
    As in `GlimpseWorld/Saccade-v0`.

    ## Action space
    `Box(-1, 1, (2 + K,), float32)`, K classes: the saccade, then K components which times `logit_scale` are logits.
    With `stop=True` one more component comes last: above 0 it ends the episode. The prediction of an action is judged
    as it is; the glimpse that its saccade leads to comes after it.

    ## Rewards
    Minus the cross-entropy (nats) between the softmax of the logits and the class, minus the motion cost:
    `motion_cost` times the mean square of the saccade's components. With s = `logit_scale` the cross-entropy lies in
    [log(1 + (K - 1) exp(-2 s)), log(1 + (K - 1) exp(2 s))], the motion cost in [0, `motion_cost`].

    With `stop=True` only the prediction made in stopping counts: log(K) minus its cross-entropy, the information
    gained over a uniform guess; every action bears the motion cost. Were each prediction charged, to stop at once
    would be best.

    ## Starting state
    As in `GlimpseWorld/Saccade-v0`.

    ## Episode end
    Terminates only by the stop action; truncated after 16 steps (`max_episode_steps`).

    ## Info
    As in `GlimpseWorld/Saccade-v0`; `prediction`, the class with the highest logit in the last action, -1 after a
    reset; `success`, whether it is right.

    ## Arguments
    - `logit_scale`: s (5.0).
    - `motion_cost`: of a saccade with both components at -1 or 1 (0.01).
    - `stop`: add the stop component (False).
    - those of `GlimpseWorld/Saccade-v0`.

    ## Baselines
    `glimpseworld rollout --env GlimpseWorld/SaccadeClassify-v0 --agent random --episodes 200`, and the same with
    `--agent oracle`, whose last line gives, with 95 % intervals:
    - random: mean return -96.548 +- 1.561, success 3.5 % [1.7, 7.0].
    - oracle (privileged: knows the class): mean return -0.021 +- 0.000, success 100.0 % [98.1, 100.0].

    ## Version history
    - v0: first version.
    """

    compose = staticmethod(compose_image_classification)


class SaccadeClassifyVectorEnv(ComposedVectorEnv):
    """The same, batched: `SaccadeClassifyEnv`'s page holds; sub-environment i seeded s equals it seeded s + i."""

    compose = staticmethod(compose_image_classification)


class ObjectClassifyEnv(ComposedEnv):
    """Say what an object is while turning it.

    ## Description
    `GlimpseWorld/ObjectRotation-v0` where every action carries a prediction of the object's family, in the formulation
    of ap_gym (Schneider et al., 2025), here as one flat `Box`, which Stable-Baselines3 takes. The wrapper
    `glimpseworld.envs.tasks.classify.DictPrediction` gives the action ap_gym's form, a `Dict` of `action` and
    `prediction`.

    ## Observation space
    As in `GlimpseWorld/ObjectRotation-v0`.

    ## Action space
    `Box(-1, 1, (3 + K,), float32)`, K classes: the rotation vector, then K components which times `logit_scale` are
    logits. With `stop=True` one more component comes last: above 0 it ends the episode. The prediction of an action is
    judged as it is; the view that its rotation leads to comes after it.

    ## Rewards
    Minus the cross-entropy (nats) between the softmax of the logits and the class, minus the motion cost:
    `motion_cost` times the mean square of the rotation's components. With s = `logit_scale` the cross-entropy lies in
    [log(1 + (K - 1) exp(-2 s)), log(1 + (K - 1) exp(2 s))], the motion cost in [0, `motion_cost`].

    With `stop=True` only the prediction made in stopping counts: log(K) minus its cross-entropy, the information
    gained over a uniform guess; every action bears the motion cost. Were each prediction charged, to stop at once
    would be best.

    ## Starting state
    As in `GlimpseWorld/ObjectRotation-v0`.

    ## Episode end
    Terminates only by the stop action; truncated after 16 steps (`max_episode_steps`).

    ## Info
    As in `GlimpseWorld/ObjectRotation-v0`; `prediction`, the class with the highest logit in the last action, -1 after
    a reset; `success`, whether it is right.

    ## Arguments
    - `logit_scale`: s (5.0).
    - `motion_cost`: of a rotation with all components at -1 or 1 (0.01).
    - `stop`: add the stop component (False).
    - those of `GlimpseWorld/ObjectRotation-v0`.

    ## Baselines
    `glimpseworld rollout --env GlimpseWorld/ObjectClassify-v0 --agent random --episodes 200`, and the same with
    `--agent oracle`, whose last line gives, with 95 % intervals:
    - random: mean return -96.950 +- 1.654, success 2.0 % [0.8, 5.0].
    - oracle (privileged: knows the class): mean return -0.021 +- 0.000, success 100.0 % [98.1, 100.0].

    ## Version history
    - v0: first version.
    """

    compose = staticmethod(compose_object_classification)


class ObjectClassifyVectorEnv(ComposedVectorEnv):
    """The same, batched: `ObjectClassifyEnv`'s page holds; sub-environment i seeded s equals it seeded s + i."""

    compose = staticmethod(compose_object_classification)
