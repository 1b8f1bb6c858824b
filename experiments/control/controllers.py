"""The control benchmark's agents: a name, what makes it, and where it can act. Adding one is an entry of `CONTROLLERS`.

A factory gets a `ControlSetting` and returns an agent for its B rows. What an agent is fitted on comes from
`setting.play()`, training things; choices between settings are made by `choose_on_validation`. Neither ever sees the
objects or images that the benchmark scores on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import numpy as np

from ...agents.oracles import OracleAgent
from ...agents.path_integrator import DeadReckoningAgent
from ...agents.reference import GreedyRendererAgent, RasterAgent, raster_actions
from ...agents.scripted import Agent, RandomAgent
from ...envs.object_rotation import ObjectRotationWorld
from ...envs.saccade import SaccadeWorld
from ...envs.world import World
from ...world_model.motion import compose
from ..policy.config import On
from ..worlds import make_agent
from .episodes import play_episodes
from .goal_controllers import (
    belief_agent,
    inverse_agent,
    path_integrator_agent,
    planner_agent,
    random_return_agent,
)
from .policies import policy_agent
from .reading_controllers import Gaze, classifying_agent, search_agent
from .settings import ControlSetting
from .tasks import ControlTask, TaskKind

ANYWHERE: tuple[TaskKind, ...] = get_args(TaskKind)
MOVING: tuple[TaskKind, ...] = ("reorient", "reach", "search", "homing")
"""Kinds of task whose action is a motion and nothing else."""


Factory = Callable[[ControlSetting], Agent]


@dataclass(frozen=True)
class Controller:
    """An agent of the benchmark."""

    make: Factory
    """Makes it."""
    about: str
    """What it does, in one line."""
    kinds: tuple[TaskKind, ...] = MOVING
    """Kinds of task that it can act in."""
    worlds: tuple[str, ...] = ("rotation", "saccade")
    """Worlds that it can act in."""
    needs_model: bool = False
    """Whether it is made anew for every world model."""
    needs_policy: bool = False
    """Whether it is a policy by reinforcement learning, made anew for every one that was trained in the task's id."""
    needs_goal_view: bool = False
    """Whether the observation has to show what the goal looks like."""
    privileged: bool = False
    """Whether it knows more than is observed."""

    def unfit(self, task: ControlTask) -> str | None:
        """Return why it cannot act in `task`, or None if it can."""
        if task.kind not in self.kinds:
            return f"it does {', '.join(self.kinds)}"
        if task.world not in self.worlds:
            return f"it acts in the world {', '.join(self.worlds)}"
        if self.needs_goal_view and task.goal_entry is None:
            return "nothing shows it what the goal looks like"
        return None


def choose_on_validation(setting: ControlSetting, factories: Sequence[Factory], *, episodes: int = 100) -> int:
    """Return the number of the factory whose agent is best on validation episodes.

    That is the one with the highest success at the end; of equals, the highest success at any step, then the first.
    """
    where = setting.on_validation()
    scores = []
    for make in factories:
        found = play_episodes(where.envs, make(where), setting.steps, episodes, setting.seed)
        scores.append((found.success[:, -1].mean(), found.success.any(axis=1).mean()))
    return max(range(len(scores)), key=lambda n: (scores[n], -n))


def candidate_views(world: World, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from (B, C, A) actions to the views (B, C, H, W, C') uint8 that each leads to.

    It goes from where the rows are when it is called. Factors of variation that are drawn with every step are drawn
    from `rng`, since the next step's are not known.
    """

    def render(actions: np.ndarray) -> np.ndarray:
        rows, count = actions.shape[:2]
        which, flat = np.repeat(np.arange(rows), count), actions.reshape(rows * count, -1)
        if isinstance(world, ObjectRotationWorld):
            flat = world.within_range(world.pose[which], flat)
        poses = compose(world.motion_kind, world.pose[which], world.commanded(flat))
        views = world.another_view(which, poses, rng.random((len(which), world.view_randomness)))
        return views.reshape(rows, count, *views.shape[1:])

    return render


def _random(setting: ControlSetting) -> Agent:
    return RandomAgent(setting.num_envs, setting.action_size, setting.rng())


def _raster(setting: ControlSetting) -> Agent:
    paths = scan_paths(setting.world)
    best = choose_on_validation(setting, [lambda _, path=path: RasterAgent(path) for path in paths])
    return RasterAgent(paths[best])


def scan_paths(world: World) -> list[np.ndarray]:
    """Return the fixed sequences of actions, each (T, A), that agent "raster" chooses from."""
    if isinstance(world, SaccadeWorld):
        size = world.action_space.shape[0]
        rasters = [raster_actions(columns, world.reach, world.max_amplitude) for columns in (2, 3, 4)]
        return [np.pad(path, ((0, 0), (0, size - 2))) for path in rasters]
    turns = np.eye(3)
    weaves = [np.stack([turns[a], turns[b]]) for a, b in ((0, 1), (1, 2), (0, 2))]
    return [*(turn[None] for turn in turns), *weaves]


def _saliency(setting: ControlSetting) -> Agent:
    return make_agent("saliency", setting.world, setting.num_envs, setting.rng())


def _oracle(setting: ControlSetting) -> Agent:
    return OracleAgent(lambda: setting.envs.task.oracle_actions(setting.world))


def _greedy_renderer(setting: ControlSetting) -> Agent:
    goal = setting.task.goal_entry
    assert goal is not None
    return GreedyRendererAgent(
        setting.require_model(),
        setting.motor,
        candidate_views(setting.world, setting.rng()),
        generator=setting.generator(),
        goal=goal,
    )


def _dead_reckoning(setting: ControlSetting) -> Agent:
    return DeadReckoningAgent(setting.motor, setting.num_envs)


def _reader(gaze: Gaze, about: str, **where: Any) -> Controller:
    """Return an agent that reads classes off a world model's embeddings and looks about by `gaze`."""
    return Controller(partial(classifying_agent, gaze=gaze), about, ("classify",), needs_model=True, **where)


def _seeker(make: Factory, about: str) -> Controller:
    """Return an agent that is shown a goal view and asks a world model."""
    return Controller(make, about, needs_model=True, needs_goal_view=True)


def _learned(algorithm: str, on: str) -> Controller:
    """Return an agent that was trained on the task's rewards."""
    about = f"a policy that {algorithm.upper()} trained on {on}, in the task's environment"
    return Controller(policy_agent, about, ANYWHERE, needs_policy=True)


CONTROLLERS: dict[str, Controller] = {
    "random": Controller(_random, "actions uniform over the action space", ANYWHERE),
    "raster": Controller(_raster, "a fixed scan path, chosen on validation episodes"),
    "saliency": Controller(
        _saliency, "looks where saliency is high, with inhibition of return", worlds=("saccade",), privileged=True
    ),
    "greedy-renderer": Controller(
        _greedy_renderer,
        "of 32 actions, the one whose true view is most like the goal by the model's embedding",
        needs_model=True,
        needs_goal_view=True,
        privileged=True,
    ),
    "random-return": _seeker(random_return_agent, "moves at random, then returns to the view most like the goal"),
    "inverse": _seeker(inverse_agent, "goes where an inverse model of z says, at every view anew"),
    "planner-jump": _seeker(partial(planner_agent, plan="jump"), "predicts composed motions, begins the best"),
    "planner-cem": _seeker(partial(planner_agent, plan="cem"), "plans 4 actions by the cross-entropy method"),
    "planner-mppi": _seeker(partial(planner_agent, plan="mppi"), "plans 4 actions by MPPI"),
    "planner-grid": _seeker(partial(planner_agent, plan="grid"), "predicts each single action of a grid"),
    "belief": _seeker(belief_agent, "believes where the goal is, by predictions, inverse model and what it saw"),
    "belief-no-predictor": _seeker(partial(belief_agent, predictor=False), "the same without predictions"),
    "belief-predictor-only": _seeker(partial(belief_agent, others=False), "the same by predictions alone"),
    "search": Controller(
        search_agent,
        "believes where the target is by what is predicted all over the field",
        ("search",),
        ("saccade",),
        needs_model=True,
    ),
    "search-coverage": Controller(
        partial(search_agent, predictor=False),
        "the same without predictions",
        ("search",),
        ("saccade",),
        needs_model=True,
    ),
    "dead-reckoning": Controller(_dead_reckoning, "composes the motions and goes straight back", ("homing",)),
    "path-integrator": Controller(
        path_integrator_agent, "goes home by motions and by what it sees", ("homing",), needs_model=True
    ),
    "path-integrator-no-motions": Controller(
        partial(path_integrator_agent, motions=False), "the same by what it sees alone", ("homing",), needs_model=True
    ),
    "gaze-random": _reader("random", "reads the class from the mean of z, looks at random"),
    "gaze-saliency": _reader("saliency", "the same, looks by saliency", worlds=("saccade",), privileged=True),
    "gaze-coverage": _reader("coverage", "the same, looks where it has not been"),
    "gaze-information": _reader("information", "the same, looks where the class is predicted to get surer"),
    "gaze-difference": _reader("difference", "the same, looks where what is predicted is unlike what it saw"),
    **{f"ppo-{on}": _learned("ppo", on) for on in get_args(On)},
    **{f"sac-{on}": _learned("sac", on) for on in get_args(On) if on != "z_agg-online"},
    "oracle": Controller(_oracle, "knows the goal and the pose, or the class", ANYWHERE, privileged=True),
}
"""Name -> agent, in the order of tables and figures."""


def controller_named(name: str) -> Controller:
    """Return the agent called `name`.

    Raises:
        ValueError: if there is none.
    """
    if name not in CONTROLLERS:
        raise ValueError(f"no agent {name!r}; there are {', '.join(CONTROLLERS)}")
    return CONTROLLERS[name]
