"""The built-in grids of `glimpseworld compare`, as data; see `grid`. Adding an arm is one line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ...world_model.objectives import Objective
from ...world_model.settings import expected, fits
from ..config import Effort, presets
from .grid import Grid, Settings

PLUS: Settings = {"model.tokens": "step", "model.target_encoder": "ema", "replay.targets": 8}
"""seq-JEPA+: the presets' recipe without what is beyond the paper in the model itself, and with the eight targets that
an averaged encoder encodes at little cost."""
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


FOUR_TARGETS: Settings = {"replay.targets": 4}
"""What baselines begin with."""
_ONLINE: Settings = {"model.tokens": "pose", "model.target_encoder": "online", **FOUR_TARGETS}
"""As presets have it."""
BEYOND: dict[str, Settings] = {
    "pose-tokens": {"model.tokens": "pose"},
    "online-targets": _ONLINE,
    "instance": {**_ONLINE, "model.agg_token": "mean", "model.objective.instance": 1.0},
}
"""What is not in the paper and is better, each on top of the one before: tokens that tell where a view was seen from;
an encoder that learns from its targets too; and a z_agg that also tells the thing, whatever the motions."""

_OWN: dict[str, Settings] = {
    "byol": {"learner.target_tau": 0.98},
    "simclr": {"model.baseline.temperature": 0.2},
    "vicreg": {"model.baseline.projected_variance": 20.0},
    "sen": {"model.baseline.temperature": 0.1},
    "equimod": {"model.baseline.equivariance": 2.0},
    "sie": {"model.baseline.equivariance": 1.0},
    "conditional-byol": {"learner.target_tau": 0.98},
    "context-ssl": {"model.baseline.temperature": 0.1},
    "saccade-conv-jepa": {"learner.target_tau": 0.98},
    "online-targets": {"model.objective.temperature": 0.1},
    "instance": {"model.objective.instance": 2.0},
}
"""Of each baseline, and of what is to be held against them, a setting of its own, at another value than at first."""
_CHOSEN: dict[str, tuple[str, ...]] = {
    "simclr": ("own",),
    "sen": ("own",),
    "equimod": ("two",),
    "sie": ("two",),
}
"""Changes by which an arm departs from what it begins with, chosen by validation things."""


def _begin(arm: str) -> dict[str, Any]:
    """Return what `arm` begins with."""
    if arm in BEYOND:
        return {**BEYOND[arm]}
    world: dict[str, Any] = {"preset": "quick-saccade"} if arm.startswith("saccade-") else {}
    # One hidden layer is as published, and as the rates of these two were first compared.
    depth = {"model.predictor_layers": 1} if arm in ("byol", "conditional-byol") else {}
    return {**world, "model.method": arm.removeprefix("saccade-"), **FOUR_TARGETS, **depth}


def _changed(arm: str, names: tuple[str, ...] = ()) -> Settings:
    """Return what `arm` begins with, and on top of it the changes called `names`."""
    changes: dict[str, Settings] = {
        "slow": {"learner.learning_rate": 1.5e-3},
        "fast": {"learner.learning_rate": 4e-3},
        "two": {"replay.targets": 2},
        "eight": {"replay.targets": 8},
        "own": _OWN.get(arm, {}),
    }
    return _begin(arm) | {key: value for name in names for key, value in changes[name].items()}


def _chosen(*arms: str) -> dict[str, Settings]:
    return {arm: _changed(arm, _CHOSEN.get(arm, ())) for arm in arms}


CONTRASTS: dict[str, Settings] = {
    "plus": {},
    "paper": NO_ADDITIONS,
    "no-actions": {"model.condition": "none"},
    **_chosen("online-targets"),
    "online-third": _chosen("online-targets")["online-targets"],
    **_chosen("instance", "byol", "simclr", "equimod", "sie"),
}
"""The main contrasts: seq-JEPA with the additions; without any; without actions; with what is better beyond the paper,
in full and in a third of the time; and baselines."""

BASELINES: dict[str, Settings] = {
    "plus": {},
    **_chosen("byol", "simclr", "equimod", "sie", "vicreg", "vicreg-traj", "sen", "conditional-byol", "context-ssl"),
    **_chosen("supervised"),
}
"""All baselines that know rotations, and the supervised ceiling; the untrained encoder and pixels are the floors."""

_COMBINED: dict[str, tuple[str, ...]] = {}
"""Of each arm the changes that better it alone, where there are several."""


def _tuning(arm: str) -> dict[str, Settings]:
    """Return what is tried for `arm`: each change alone, and those together that better it."""
    tried = [("slow",), ("fast",), ("two",), ("eight",), ("own",), *filter(None, [_COMBINED.get(arm)])]
    return {f"{arm}-begin": _changed(arm)} | {"-".join([arm, *names]): _changed(arm, names) for names in tried}


TUNING: dict[str, Settings] = {name: settings for arm in _OWN for name, settings in _tuning(arm).items()}
"""What there is to try for each baseline and for what is held against them, on validation things: see `--split`."""

_STEPS_BY_TARGETS: dict[str, dict[int, float]] = {
    "byol": {2: 2.3, 4: 1.75, 8: 1.16},
    "simclr": {2: 1.75, 4: 1.1, 8: 0.62},
    "vicreg": {2: 1.5, 4: 0.93, 8: 0.52},
    "vicreg-traj": {2: 1.43, 4: 0.89, 8: 0.5},
    "sen": {2: 1.6, 4: 1.0, 8: 0.56},
    "equimod": {2: 1.42, 4: 0.89, 8: 0.5},
    "sie": {2: 1.6, 4: 1.0, 8: 0.56},
    "conditional-byol": {2: 2.1, 4: 1.6, 8: 1.06},
    "context-ssl": {2: 0.93, 4: 0.6, 8: 0.35},
    "saccade-conv-jepa": {2: 1.65, 4: 1.43, 8: 1.05},
    "online-targets": {2: 1.16, 4: 0.93, 8: 0.6},
    "instance": {2: 1.16, 4: 0.93, 8: 0.6},
}
"""As `STEPS`, by the number of targets."""

STEPS: dict[str, float] = {
    "online-targets": 0.93,
    "online-third": 0.31,
    "online-no-actions": 0.93,
    "instance": 0.93,
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
    "saccade-simclr": 1.07,
    **{
        name: _STEPS_BY_TARGETS[arm][settings["replay.targets"]]
        for arm in _STEPS_BY_TARGETS
        for name, settings in {**(_tuning(arm) if arm in _OWN else {}), **_chosen(arm)}.items()
    },
}
"""Updates for each of seq-JEPA+'s, by what updates of 32 x 32 views cost here, so that arms cost like core-seconds."""


def equal_cost(arms: Mapping[str, Settings], updates: int) -> dict[str, Settings]:
    """Return `arms` with as many updates each as cost about what `updates` of seq-JEPA+ do; see `budget` for what
    they did cost."""
    return {arm: {**arms[arm], "learner.total_steps": 10 * round(updates * STEPS.get(arm, 1.0) / 10)} for arm in arms}


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
    "online-no-actions": {**_ONLINE, "model.tokens": "step", "model.condition": "none"},
}

SACCADES: dict[str, Settings] = {
    "saccade-plus": {"preset": "quick-saccade"},
    "saccade-paper": {"preset": "quick-saccade", **NO_ADDITIONS},
    "saccade-no-actions": {"preset": "quick-saccade", "model.condition": "none"},
    **_chosen("saccade-conv-jepa"),
    "saccade-simclr": {**_chosen("simclr")["simclr"], "preset": "quick-saccade"},
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
