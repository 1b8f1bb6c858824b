"""How what is compared was tuned: what each method begins with, the changes tried for all, and which were chosen.

Every baseline, and what is held against them, has the same changes to be tried, each alone, and those together that
better it.
A change betters an arm if it adds at least 0.01 to the sum of relative R2, the class from five views together (z_agg of
seq-JEPA, the mean of z of baselines) and, where there is one, the MRR of the prediction, on validation things; the
highest sum is chosen. Not so of "instance", whose weight was chosen for the class.
"""

from __future__ import annotations

from typing import Any

from .grid import Settings

FOUR_TARGETS: Settings = {"replay.targets": 4}
"""What all begin with."""
ONLINE: Settings = {"model.tokens": "pose", "model.target_encoder": "online", **FOUR_TARGETS}
"""As presets have it."""
BEYOND: dict[str, Settings] = {
    "pose-tokens": {"model.tokens": "pose"},
    "online-targets": ONLINE,
    "instance": {**ONLINE, "model.agg_token": "mean", "model.objective.instance": 2.0},
}
"""What is not in the paper and is better, each on top of the one before: tokens that tell where a view was seen from;
an encoder that learns from its targets too; and z and z_agg that also tell the thing, whatever the motions."""

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
    "instance": {"model.objective.instance": 1.0},
}
"""Of each baseline, and of what is to be held against them, a setting of its own, at another value than at first."""
_CHOSEN: dict[str, tuple[str, ...]] = {
    "simclr": ("two", "own"),
    "vicreg": ("two", "own"),
    "sen": ("own",),
    "equimod": ("two", "own"),
    "sie": ("fast", "two"),
    "conditional-byol": ("slow",),
    "context-ssl": ("own",),
}
"""Changes by which an arm departs from what it begins with, chosen by validation things."""
_LIKE = {"vicreg-traj": "vicreg", "saccade-simclr": "simclr"}
"""Arms that were not tuned themselves, and those whose changes they take."""
_COMBINED: dict[str, tuple[str, ...]] = {
    "simclr": ("two", "own"),
    "vicreg": ("two", "own"),
    "sen": ("slow", "own"),
    "equimod": ("two", "own"),
    "sie": ("fast", "two"),
    "conditional-byol": ("slow", "own"),
    "context-ssl": ("fast", "two", "own"),
}
"""Of each arm the changes that better it alone, where there are several."""


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
        "own": _OWN.get(_LIKE.get(arm, arm), {}),
    }
    return _begin(arm) | {key: value for name in names for key, value in changes[name].items()}


def chosen(*arms: str) -> dict[str, Settings]:
    """Return the arms called `arms`, each with the changes that were chosen for it."""
    return {arm: _changed(arm, _CHOSEN.get(_LIKE.get(arm, arm), ())) for arm in arms}


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
    "vicreg-traj": {2: 1.43, 4: 0.89},
    "sen": {2: 1.6, 4: 1.0, 8: 0.56},
    "equimod": {2: 1.42, 4: 0.89, 8: 0.5},
    "sie": {2: 1.6, 4: 1.0, 8: 0.56},
    "conditional-byol": {2: 2.1, 4: 1.6, 8: 1.06},
    "context-ssl": {2: 0.93, 4: 0.6, 8: 0.35},
    "saccade-simclr": {2: 1.7, 4: 1.07},
    "saccade-conv-jepa": {2: 1.65, 4: 1.43, 8: 1.05},
    "online-targets": {2: 1.16, 4: 0.93, 8: 0.6},
    "instance": {2: 1.16, 4: 0.93, 8: 0.6},
}
"""Updates for each of seq-JEPA+'s at like cost, by the number of targets: see `grids.STEPS`. Of arms in
`_LIKE`, what two targets cost is scaled from four as it is of the arm they follow."""
TUNED_STEPS: dict[str, float] = {
    name: steps[settings["replay.targets"]]
    for arm, steps in _STEPS_BY_TARGETS.items()
    for name, settings in {**(_tuning(arm) if arm in _OWN else {}), **chosen(arm)}.items()
}
"""The same of each arm here and of each as chosen."""
