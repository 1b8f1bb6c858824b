"""The control benchmark's agents that read classes: classifiers with gazes of several kinds, and search."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ...agents.class_reader import ClassReaders
from ...agents.classifier import ClassifierAgent, ClassifierConfig
from ...agents.scripted import Agent
from ...agents.searcher import ClassTarget, GlimpseTarget, SearchAgent, SearchConfig, Target
from ...envs.saccade import SaccadeWorld
from ...envs.tasks.classify import Classify
from ..worlds import make_agent
from .class_readers import fit_class_readers, fit_place_reader
from .settings import ControlSetting

Gaze = Literal["difference", "information", "coverage", "random", "saliency"]
_GAZES: dict[Gaze, ClassifierConfig] = {
    "difference": ClassifierConfig(),
    "information": ClassifierConfig(difference=0.0, information=1.0),
    "coverage": ClassifierConfig(difference=0.0, coverage=1.0),
    "random": ClassifierConfig(difference=0.0),
    "saliency": ClassifierConfig(difference=0.0),
}


def classifying_agent(setting: ControlSetting, gaze: Gaze) -> Agent:
    """Return an agent that says the class by all that it saw, and looks about by `gaze`."""
    model, task = setting.require_model(), setting.envs.task
    assert isinstance(task, Classify)
    looker = make_agent("saliency", setting.world, setting.num_envs, setting.rng()) if gaze == "saliency" else None
    return ClassifierAgent(
        model,
        setting.motor,
        _readers(setting),
        setting.num_envs,
        np.random.default_rng([setting.seed, 2]),
        logit_scale=task.logit_scale,
        can_stop=task.stop,
        config=_GAZES[gaze],
        gaze=looker,
    )


def search_agent(setting: ControlSetting, *, predictor: bool = True) -> Agent:
    """Return an agent that believes where the target is; without `predictor`, one that covers the field evenly."""
    model, world = setting.require_model(), setting.world
    assert isinstance(world, SaccadeWorld)
    config = SearchConfig(ends=False) if predictor else SearchConfig(ends=False, sharpness=0.0)
    return SearchAgent(model, setting.motor, _target(setting), setting.num_envs, reach=world.reach, config=config)


def _readers(setting: ControlSetting) -> ClassReaders:
    model = setting.require_model()
    return setting.fitted("class readers", lambda: fit_class_readers(model, setting.play(), setting.play("validation")))


def _target(setting: ControlSetting) -> Target:
    model = setting.require_model()
    if setting.task.goal_entry is not None:
        return GlimpseTarget(model)

    def make() -> ClassTarget:
        fit, held_out = setting.playground.envs("train").world, setting.playground.envs("validation").world
        assert isinstance(fit, SaccadeWorld) and isinstance(held_out, SaccadeWorld)
        return ClassTarget(fit_place_reader(model, fit, held_out))

    return setting.fitted("class target", make)
