"""The built-in grids of `glimpseworld compare`, as data; see `grid`. Adding an arm is one line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from ...world_model.objectives import Objective
from ...world_model.settings import expected, fits
from ..config import Effort, presets
from .grid import Grid, Settings
from .tuning import BEYOND, FOUR_TARGETS, ONLINE, TUNED_STEPS, TUNING, chosen

PLUS: Settings = {
    "model.tokens": "step",
    "model.target_encoder": "ema",
    "replay.targets": 8,
    "glimpses_per_update": 24.0,
}
"""seq-JEPA+: the presets' recipe without what is beyond the paper in the model itself, with the eight targets that an
averaged encoder encodes at little cost, and with as many new glimpses as grids were run with but `FRESH`."""
NO_ADDITIONS: Settings = {
    **PLUS,
    "replay.targets": 1,
    "model.objective.standardize_targets": False,
    "model.objective.variance": 0.0,
    "model.objective.covariance": 0.0,
    "model.objective.contrast": 0.0,
    "model.objective.temperature": Objective.temperature,
    "model.predictor_layers": 1,
    "learner.learning_rate": 1.5e-3,
}
"""The objective of the paper: one target, the cosine and nothing else; its predictor; and a learning rate that suits
it better, by validation objects: at the 0.0025 of the presets it all but collapses."""
_PLUS, _PREDICTIVE = Objective.plus(), Objective.predictive()
_RECIPE = presets()["quick"][1]
_REGULARISED: Settings = {
    "model.objective.variance": _PLUS.variance,
    "model.objective.covariance": _PLUS.covariance,
}
_CONTRAST: Settings = {
    "model.objective.contrast": _PREDICTIVE.contrast,
    "model.objective.temperature": _PREDICTIVE.temperature,
}
_INDEPENDENT: Settings = {"agent": "independent", "rotation.max_angle": math.pi}


CONTRASTS: dict[str, Settings] = {
    "plus": {},
    "paper": NO_ADDITIONS,
    "no-actions": {"model.condition": "none"},
    **chosen("online-targets"),
    "online-third": chosen("online-targets")["online-targets"],
    **chosen("instance", "byol", "simclr", "equimod", "sie"),
}
"""The main contrasts: seq-JEPA with the additions; without any; without actions; with what is better beyond the paper,
in full and in a third of the time; and baselines."""

BASELINES: dict[str, Settings] = {
    "plus": {},
    **chosen("byol", "simclr", "equimod", "sie", "vicreg", "vicreg-traj", "sen", "conditional-byol", "context-ssl"),
    **chosen("supervised"),
}
"""All baselines that know rotations, and the supervised ceiling; the untrained encoder and pixels are the floors."""

STEPS: dict[str, float] = {
    "online-third": TUNED_STEPS["online-targets"] / 3,
    "online-no-actions": TUNED_STEPS["online-targets"],
    "instance-4": TUNED_STEPS["instance"],
    "paper": 1.95,
    "no-actions": 1.05,
    "supervised": 1.2,
    **dict.fromkeys(
        ("standardized-only", "regularised-only", "contrast-only", "two-hidden-layers-only", "palette-objects-paper"),
        1.95,
    ),
    "four-targets": 1.3,
    "saccade-paper": 1.6,
    "saccade-no-actions": 1.1,
    **TUNED_STEPS,
}
"""Updates for each of seq-JEPA+'s, by what updates of 32 x 32 views cost here, so that arms cost like core-seconds."""


def equal_cost(arms: Mapping[str, Settings], updates: int) -> dict[str, Settings]:
    """Return `arms` with as many updates each as cost about what `updates` of seq-JEPA+ do; see `budget` for what
    they did cost."""
    return {arm: {**arms[arm], "learner.total_steps": 10 * round(updates * STEPS.get(arm, 1.0) / 10)} for arm in arms}


def equal_stream(arms: Mapping[str, Settings], glimpses: int) -> dict[str, Settings]:
    """Return `arms`, each with as many new glimpses an update as make `glimpses` in all its updates together."""
    return {arm: {**own, "glimpses_per_update": glimpses / own["learner.total_steps"]} for arm, own in arms.items()}


FRESH: dict[str, Settings] = {
    **chosen("online-targets", "instance"),
    "instance-4": {**BEYOND["instance"], "model.objective.instance": 4.0},
    **chosen("simclr", "equimod", "sie"),
}
"""The strongest of `CONTRASTS`, and *instance* with more weight on the thing, all fed alike, the presets' recipe four
times as many new glimpses as there, where each update has as many and arms of more updates see more of the world."""

ABLATIONS: dict[str, Settings] = {
    "plus": {},
    # who sees the actions
    "no-actions": {"model.condition": "none"},
    "aggregator-only": {"model.condition": "aggregator"},
    "predictor-only": {"model.condition": "predictor"},
    # the additions, alone and together
    "paper": NO_ADDITIONS,
    "targets-only": {**NO_ADDITIONS, "replay.targets": PLUS["replay.targets"]},
    "standardized-only": {**NO_ADDITIONS, "model.objective.standardize_targets": True},
    "regularised-only": {**NO_ADDITIONS, **_REGULARISED},
    "contrast-only": {**NO_ADDITIONS, **_CONTRAST},
    "two-hidden-layers-only": {**NO_ADDITIONS, "model.predictor_layers": _RECIPE.model.predictor_layers},
    "no-contrast": {"model.objective.contrast": 0.0, "model.objective.temperature": Objective.temperature},
    "four-targets": {"replay.targets": 4},
    "one-hidden-layer": {"model.predictor_layers": 1},
    "low-rate": {"learner.learning_rate": 1.5e-3},
    # the length of an embedded action
    "action-16": {"model.motion_embedding": 16},
    "action-128": {"model.motion_embedding": 128},
    # M_tr; M_val is what every evaluation varies
    "context-1": {"replay.context": (1, 1)},
    "context-3": {"replay.context": (3, 3)},
    "context-1-to-5": {"replay.context": (1, 5)},
    # the stream: windows, agent, and what stays constant within an episode
    "adjacent": {"replay.windows": "adjacent"},
    "independent": _INDEPENDENT,
    "palette-objects": {"rotation.palette": "objects"},
    "palette-objects-paper": {**NO_ADDITIONS, "rotation.palette": "objects"},
    "light-episode": {"rotation.lighting": "episode"},
    # the difference of the floor's and the light's hue as a part of the action
    "colour-actions": {"rotation.motion": "rotation-colour"},
    # the presets' recipe, whose tokens carry poses, without actions
    "online-no-actions": {**ONLINE, "model.tokens": "step", "model.condition": "none"},
}

SACCADES: dict[str, Settings] = {
    "saccade-plus": {"preset": "quick-saccade"},
    "saccade-paper": {"preset": "quick-saccade", **NO_ADDITIONS},
    "saccade-no-actions": {"preset": "quick-saccade", "model.condition": "none"},
    **chosen("saccade-conv-jepa", "saccade-simclr"),
    "saccade-random": {"preset": "quick-saccade", "agent": "random"},
    "saccade-no-saliency": {"preset": "quick-saccade", "saccade.priority.saliency": False},
    "saccade-no-ior": {"preset": "quick-saccade", "saccade.priority.strength": 0.0},
}

PAIRS: dict[str, Settings] = {
    "online-targets": {},
    "plus": PLUS,
    "no-actions": {"model.tokens": "step", "model.condition": "none"},
    "conv-jepa": {**PLUS, "model.method": "conv-jepa", **FOUR_TARGETS},
}
"""Where no glimpse tells the class, and several do only by the motions between them."""

PATH: dict[str, Settings] = {
    "memory": {"model.memory.layers": 2},
    "own-views": {"model.memory.layers": 2, "paths.swapped": 0.0},
    "saccade-memory": {"preset": "quick-saccade", "model.memory.layers": 2, "learner.total_steps": 4_000},
}
"""The path memory, trained on paths whose views are swapped for others, and on paths with their own views."""

CURIOSITY: dict[str, Settings] = {
    "random": {},
    "curious": {"agent": "curious"},
    "saccade-random": {"preset": "quick-saccade", "agent": "random"},
    "saccade-saliency": {"preset": "quick-saccade"},
    "saccade-curious": {"preset": "quick-saccade", "agent": "curious"},
}
"""Who gathers the data, at equal glimpses and updates. All models of a world are evaluated on the same views, those of
saccades where random gaze may look: anywhere."""

BUILT_IN: dict[str, Grid] = {
    grid.name: grid
    for grid in (
        Grid("small", "quick", equal_cost(CONTRASTS, 1_400), common=PLUS, effort="brief"),
        Grid(
            "full",
            "cpu",
            equal_cost({**CONTRASTS, "independent": _INDEPENDENT}, 6_000) | equal_cost(SACCADES, 3_600),
            common=PLUS,
            effort="full",
        ),
        Grid("baselines", "quick", equal_cost(BASELINES, 1_400), common=PLUS, effort="brief"),
        Grid("tuning", "quick", equal_cost(TUNING, 1_400), seeds=(0,), common=PLUS, effort="brief"),
        Grid("ablations", "quick", equal_cost(ABLATIONS, 1_400), common=PLUS, effort="brief"),
        Grid("saccades", "quick-saccade", equal_cost(SACCADES, 1_200), common=PLUS, effort="brief"),
        Grid(
            "pairs",
            "quick-saccade",
            PAIRS,
            common={"saccade.images": "pairs", "replay.context": (2, 5), "learner.total_steps": 3_000},
            effort="brief",
        ),
        Grid("path", "quick", PATH, common={**PLUS, "learner.total_steps": 2_400}),
        Grid("beyond", "quick", equal_cost({"plus": {}, **BEYOND}, 1_200), common=PLUS, effort="brief"),
        Grid("fresh", "quick", equal_stream(equal_cost(FRESH, 1_400), 124_800), common=PLUS, effort="brief"),
        Grid("curiosity", "quick", CURIOSITY, common={**PLUS, "learner.total_steps": 1_200}, effort="brief"),
    )
}
"""The built-in grids: `small` is at most an hour on two cores, the others take longer: --dry-run tells how long."""


def load_grid(name: str) -> Grid:
    """Return the built-in grid called `name`, or that of a JSON file.

    Raises:
        ValueError: if there is neither, or the file does not hold a grid.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"no grid {name!r}: there are {', '.join(BUILT_IN)}, or give a JSON file")
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    hints = {"name": str, "preset": str, "seeds": tuple[int, ...], "effort": Effort}
    if not isinstance(values, dict) or not {"name", "preset", "arms"} <= set(values):
        raise ValueError(f"{path} must hold an object with name, preset and arms; optional are seeds, common, effort")
    unknown = sorted(set(values) - {f.name for f in fields(Grid)})
    if unknown:
        raise ValueError(
            f"{path}: a grid has no {', '.join(unknown)}; it has {', '.join(f.name for f in fields(Grid))}"
        )
    for key, hint in hints.items():
        if key in values and not fits(values[key], hint):
            raise ValueError(f"{path}: {key} must be {expected(hint)}, got {values[key]!r}")
    groups = [values["arms"], values.get("common", {})]
    if not all(isinstance(group, dict) for group in groups) or not all(
        isinstance(arm, dict) for arm in values["arms"].values()
    ):
        raise ValueError(f"{path}: arms must be an object of objects and common an object, of dotted settings")
    return Grid(**{**values, "seeds": tuple(values.get("seeds", (0, 1, 2)))})
