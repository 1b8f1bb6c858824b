"""The control benchmark's agents that look for a goal or for home: planners, beliefs, path integrator, and rivals."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from ...agents.belief import BeliefSettings, rotation_hypotheses, translation_hypotheses
from ...agents.goal_agent import GoalAgent, GoalSettings, RandomReturnAgent
from ...agents.inverse import InverseAgent, InverseModel, fit_inverse
from ...agents.path_integrator import PathIntegratorAgent, PathIntegratorConfig
from ...agents.plan_objectives import ReachEmbedding
from ...agents.planner import Planner, PlannerConfig
from ...agents.planning_agent import PlannerAgent
from ...agents.scripted import Agent
from ...agents.similarity import SimilarityCurve, calibrate_stop, fit_similarity, pairs_of_views
from ...envs.saccade import SaccadeWorld
from ..worlds import half_glimpse
from .settings import ControlSetting

PLANS = {
    "jump": PlannerConfig(method="jump", candidates=512, horizon=4, iterations=3),
    "cem": PlannerConfig(method="cem", candidates=256, horizon=4, iterations=3),
    "mppi": PlannerConfig(method="mppi", candidates=256, horizon=4, iterations=3),
    "grid": PlannerConfig(method="grid", candidates=343),
}
"""How each planner searches, by its name."""
HYPOTHESES, SPACING = 2_000, 0.1
"""Rotations that a belief holds possible, and the image units between its places."""


def planner_agent(setting: ControlSetting, plan: Literal["jump", "cem", "mppi", "grid"]) -> Agent:
    """Return an agent that plans towards the goal's embedding, with no memory but the views of its context."""
    objective = ReachEmbedding(when="all" if plan in ("cem", "mppi") else "end")
    planner = Planner(setting.require_model(), setting.motor, objective, PLANS[plan])
    return PlannerAgent(planner, setting.num_envs, setting.generator(), goal=_goal(setting))


def inverse_agent(setting: ControlSetting) -> Agent:
    """Return an agent that goes where an inverse model says."""
    model = setting.require_model()
    return InverseAgent(model, _inverse_model(setting), setting.motor, setting.num_envs, goal=_goal(setting))


def random_return_agent(setting: ControlSetting) -> Agent:
    """Return an agent that moves at random and returns to the view most like the goal."""
    return RandomReturnAgent(
        setting.require_model(),
        setting.motor,
        setting.num_envs,
        steps=setting.steps,
        rng=setting.rng(),
        goal=_goal(setting),
    )


def belief_agent(setting: ControlSetting, *, predictor: bool = True, others: bool = True) -> Agent:
    """Return an agent that believes where the goal is.

    Args:
        setting: Where.
        predictor: Whether predictions are evidence.
        others: Whether the inverse model and the similarity of what was seen are.
    """
    weights = BeliefSettings()
    if not predictor:
        weights = replace(weights, prediction=0.0, postdiction=0.0)
    if not others:
        weights = replace(weights, inverse=0.0, similarity=0.0)
    model, tolerance = setting.require_model(), _tolerance(setting)
    return GoalAgent(
        model,
        setting.motor,
        setting.num_envs,
        hypotheses=_hypotheses(setting).to(next(model.parameters()).device),
        tolerance=tolerance,
        steps=setting.steps,
        settings=GoalSettings(weights, recognise=_recognition(setting, tolerance) if others else None),
        inverse=_inverse_model(setting) if others else None,
        curve=_similarity(setting) if others else None,
        goal=_goal(setting),
    )


def path_integrator_agent(setting: ControlSetting, *, motions: bool = True) -> Agent:
    """Return an agent that goes home by motions and vision together; without `motions`, by vision alone.

    It is told how far motions err, as an animal knows its own body: a tenth of an image unit or radian in each
    component where they are those commanded, hardly at all where they are those realised.
    """
    model, motor = setting.require_model(), setting.motor
    exact = setting.world.motion_signal == "realised"
    config = PathIntegratorConfig(
        motion_std=0.01 if exact else 0.1,
        radius=_tolerance(setting),
        spread=torch.pi if setting.task.world == "rotation" else 2 * setting.reach,
    )
    device = next(model.parameters()).device
    return PathIntegratorAgent(
        model,
        motor,
        setting.num_envs,
        torch.Generator(device).manual_seed(setting.seed),
        config=config if motions else config.without_motion(),
        curve=_similarity(setting),
    )


def _goal(setting: ControlSetting) -> str:
    assert setting.task.goal_entry is not None  # `Controller.unfit` sees to it
    return setting.task.goal_entry


def _tolerance(setting: ControlSetting) -> float:
    """Return the distance that counts as success, in radians or image units; half a glimpse where that is a box."""
    if setting.task.kind == "search":
        assert isinstance(setting.world, SaccadeWorld)
        return half_glimpse(setting.world)
    tolerance = setting.tolerance
    return torch.pi * tolerance / 180 if setting.task.world == "rotation" else tolerance


def _hypotheses(setting: ControlSetting) -> Tensor:
    if setting.task.world == "rotation":
        return rotation_hypotheses(HYPOTHESES)
    return translation_hypotheses(SPACING, reach=2 * 2**0.5 * setting.reach, motion_size=setting.motor.motion_size)


def _inverse_model(setting: ControlSetting) -> InverseModel:
    kind, device = setting.motor.kind, next(setting.require_model().parameters()).device

    def make() -> InverseModel:
        embeddings, poses = setting.embedded()
        return fit_inverse(kind, embeddings.to(device), poses.to(device))

    return setting.fitted("inverse model", make)


def _similarity(setting: ControlSetting) -> SimilarityCurve:
    kind = setting.motor.kind
    return setting.fitted("similarity", lambda: fit_similarity(kind, *setting.embedded("validation")))


def _recognition(setting: ControlSetting, tolerance: float) -> float:
    pairs = setting.fitted("pairs", lambda: pairs_of_views(setting.motor.kind, *setting.embedded("validation")))
    return calibrate_stop(*pairs, tolerance)
