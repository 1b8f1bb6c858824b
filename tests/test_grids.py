"""Grids are data: the built-in ones are valid, JSON gives others, and what is wrong in one is said before a run."""

import json
from dataclasses import replace
from typing import get_args

import pytest

from glimpseworld.experiments.compare.grid import Grid, with_settings
from glimpseworld.experiments.compare.grids import ABLATIONS, BUILT_IN, NO_ADDITIONS, load_grid
from glimpseworld.experiments.compare.tuning import TUNING
from glimpseworld.experiments.config import ModelOptions, presets
from glimpseworld.world_model.objectives import Objective
from glimpseworld.world_model.recipes import BaselineName


def test_built_in_grids_are_valid_and_their_arms_differ():
    for name, grid in BUILT_IN.items():
        assert load_grid(name) is grid
        configs = [grid.config(arm, seed) for arm in grid.arms for seed in grid.seeds]
        assert all(a != b for i, a in enumerate(configs) for b in configs[:i])
    assert BUILT_IN["ablations"].config("paper", 0).model.objective == Objective.paper()


@pytest.mark.parametrize("addition", ["targets", "standardized", "regularised", "contrast", "two-hidden-layers"])
def test_an_addition_alone_is_all_that_an_arm_changes_of_the_plain_objective(addition):
    arm = ABLATIONS[f"{addition}-only"]
    changed = {key for key in arm if arm[key] != NO_ADDITIONS.get(key)}
    assert set(arm) == set(NO_ADDITIONS)
    assert (
        changed
        == {
            "targets": {"replay.targets"},
            "standardized": {"model.objective.standardize_targets"},
            "regularised": {"model.objective.variance", "model.objective.covariance"},
            "contrast": {"model.objective.contrast", "model.objective.temperature"},
            "two-hidden-layers": {"model.predictor_layers"},
        }[addition]
    )
    quick, every = presets()["quick"][1], with_settings(presets()["quick"][1], NO_ADDITIONS)
    assert with_settings(quick, arm) != every
    assert (every.learner.learning_rate, every.replay.targets, every.model.predictor_layers) == (1.5e-3, 1, 1)


def test_presets_are_what_won_and_grids_start_from_the_recipe_before_it():
    """Figures of one arm of a grid are so those of a preset."""
    (_, quick), (_, cpu) = presets()["quick"], presets()["cpu"]
    assert BUILT_IN["full"].config("online-targets", 0) == cpu
    small = BUILT_IN["small"].config("online-targets", 0)
    shorter = replace(quick.learner, total_steps=small.learner.total_steps)
    assert small == replace(quick, learner=shorter, glimpses_per_update=24.0)
    fresh = BUILT_IN["fresh"].config("online-targets", 0)
    assert fresh == replace(quick, learner=shorter)
    assert (quick.model.tokens, quick.model.target_encoder, quick.replay.targets) == ("pose", "online", 4)
    for name, grid in BUILT_IN.items():
        fed = {grid.config(arm, 0).glimpses_per_update for arm in grid.arms}
        assert fed == {24.0} or name == "fresh"
        for arm in ("plus", "saccade-plus", "random", "saccade-random"):
            if arm in grid.arms:
                config = grid.config(arm, 0)
                own = (config.model.tokens, config.model.target_encoder, config.replay.targets)
                assert own == ("step", "ema", 8), (name, arm)


def test_quick_is_cpu_with_smaller_views_for_less_long():
    (_, quick), (_, cpu) = presets()["quick"], presets()["cpu"]
    assert (quick.rotation.size, cpu.rotation.size) == (32, 64)
    shorter = {"total_steps": quick.learner.total_steps}
    lengths = {"probe_every": quick.probe_every, "checkpoint_every": quick.checkpoint_every}
    assert quick.glimpses_per_update == 4 * cpu.glimpses_per_update  # smaller ones cost less
    changes = {"glimpses_per_update": quick.glimpses_per_update, **lengths}
    assert quick == replace(cpu, rotation=quick.rotation, learner=replace(cpu.learner, **shorter), **changes)


def test_all_arms_of_fresh_see_as_much_of_the_world_in_their_updates():
    """As many as 96 an update make in the 1,300 updates of the recipe, where `small` has 24 for every arm."""
    grid, small = BUILT_IN["fresh"], BUILT_IN["small"]
    for arm in grid.arms:
        config = grid.config(arm, 0)
        assert config.glimpses_per_update * config.learner.total_steps == pytest.approx(96 * 1_300)
        if arm in small.arms:
            assert replace(config, glimpses_per_update=24.0) == small.config(arm, 0)
    assert set(grid.arms) - set(small.arms) == {"instance-4"}


@pytest.mark.parametrize("name", ["small", "baselines", "saccades", "full"])
def test_a_baseline_is_trained_as_tuning_found_best_and_as_long_as_there(name):
    """Changes of those tried, or none; updates in the same proportion to what it begins with."""
    grid, tuning = BUILT_IN[name], BUILT_IN["tuning"]
    known = {arm.removesuffix("-begin") for arm in tuning.arms if arm.endswith("-begin")} & set(grid.arms)
    assert known
    for method in known:
        mine = grid.config(method, 0)
        tried = {arm: tuning.config(arm, 0) for arm in tuning.arms if arm.startswith(f"{method}-")}

        def like(config, mine=mine):
            length = replace(config.learner, total_steps=mine.learner.total_steps)
            every = {"probe_every": mine.probe_every, "checkpoint_every": mine.checkpoint_every}
            return replace(config, learner=length, rotation=mine.rotation, **every)

        same = [arm for arm, config in tried.items() if like(config) == mine]
        assert len(same) == 1, method
        share = tried[same[0]].learner.total_steps / 1_400
        updates = grid.config("saccade-plus" if method.startswith("saccade-") else "plus", 0).learner.total_steps
        assert mine.learner.total_steps == pytest.approx(share * updates, rel=0.01)


def test_everything_is_tuned_alike_one_setting_at_a_time_and_then_what_helped_together():
    """Baselines, and what they are compared with, which is given no change more than they are."""
    others, ours = {"vicreg-traj", "conv-jepa", "supervised"}, {"online-targets", "instance"}
    tuned = (set(get_args(BaselineName)) - others) | {"saccade-conv-jepa"} | ours
    seen = set()
    for arm in tuned:
        begin = TUNING[f"{arm}-begin"]
        assert begin.get("model.method", "seq-jepa") == ("seq-jepa" if arm in ours else arm.removeprefix("saccade-"))
        tried = {name: s for name, s in TUNING.items() if name.startswith(f"{arm}-")}
        changed = {n: {key for key in s if s[key] != begin.get(key)} for n, s in tried.items()}
        seen |= set(changed)
        changes = {name.removeprefix(f"{arm}-"): keys for name, keys in changed.items()}
        together = [changes.pop(name) for name in list(changes) if "-" in name]
        assert len(together) <= 1
        for name in tried:
            parts = name.removeprefix(f"{arm}-").split("-")
            if len(parts) > 1:
                alone = [tried[f"{arm}-{part}"].items() for part in parts]
                assert tried[name] == begin | {k: v for items in alone for k, v in items if v != begin.get(k)}
        own = changes.pop("own")
        assert len(own) == 1 and not own & {"learner.learning_rate", "replay.targets"}, arm
        assert changes == {
            "begin": set(),
            "slow": {"learner.learning_rate"},
            "fast": {"learner.learning_rate"},
            "two": {"replay.targets"},
            "eight": {"replay.targets"},
        }
    assert seen == set(TUNING)


def test_settings_change_where_the_path_leads_and_nowhere_else():
    before = presets()["quick"][1]
    after = with_settings(before, {"model.objective.variance": 2, "replay.context": [2, 3], "seed": 7})
    objective = replace(before.model.objective, variance=2)
    assert after == replace(
        before,
        model=replace(before.model, objective=objective),
        replay=replace(before.replay, context=(2, 3)),
        seed=7,
    )


def test_an_arm_may_start_from_another_preset_and_common_settings_come_first():
    grid = Grid("g", "quick", {"a": {}, "b": {"preset": "quick-saccade", "batch_size": 8}}, common={"batch_size": 4})
    assert (grid.config("a", 5).world, grid.config("a", 5).batch_size, grid.config("a", 5).seed) == ("rotation", 4, 5)
    assert (grid.config("b", 5).world, grid.config("b", 5).batch_size) == ("saccade", 8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model.condition": "neither"}, "must be 'both', .* or 'none', got 'neither'"),
        ({"model.colour": 1}, "no setting 'model.colour'; ModelOptions has method, encoder"),
        ({"modle.z_dim": 1}, "no group 'modle'"),
        ({"model.objective": {}}, "no setting 'model.objective'"),
        ({"model.z_dim": "12"}, "model.z_dim must be int"),
        ({"model.dropout": True}, "model.dropout must be float"),
        ({"replay.context": [3]}, "replay.context must be tuple"),
        ({"replay.context": [3, 2]}, "least and most|least <= most"),
        ({"model.objective.variance": -1.0}, "variance is a weight"),
        ({"world": "saccade"}, "rotation options have no effect"),
        ({"preset": "fast"}, "no preset 'fast'"),
        ({"seed": 3}, "decides"),
    ],
)
def test_what_is_wrong_in_an_arm_is_named(settings, message):
    with pytest.raises(ValueError, match=f"arm 'wrong': .*({message})|arm 'wrong' sets .*{message}"):
        Grid("g", "quick", {"right": {}, "wrong": settings})


def test_a_grid_of_ones_own(tmp_path):
    path = tmp_path / "grid.json"
    values = {"name": "mine", "preset": "quick", "arms": {"one": {"replay.context": [1, 1]}}, "seeds": [4]}
    path.write_text(json.dumps(values))
    grid = load_grid(str(path))
    assert (grid.seeds, grid.effort, grid.config("one", 4).replay.context) == ((4,), "quick", (1, 1))
    for change, message in (
        ({"colour": 1}, "has no colour"),
        ({"seeds": [0, "1"]}, "seeds must be"),
        ({"seeds": []}, "at least one"),
        ({"seeds": [1, 1]}, "twice"),
        ({"arms": {"a/b": {}}}, "names a folder"),
        ({"arms": [1]}, "object of objects"),
        ({"effort": "huge"}, "effort must be"),
    ):
        path.write_text(json.dumps(values | change))
        with pytest.raises(ValueError, match=message):
            load_grid(str(path))
    path.write_text("{")
    with pytest.raises(ValueError, match="no JSON"):
        load_grid(str(path))
    with pytest.raises(ValueError, match="no grid 'big': there are small, full, baselines, tuning, ablations"):
        load_grid("big")


def test_a_baseline_begins_without_what_is_a_seq_jepas_in_a_preset_but_refuses_what_is_asked_for():
    cpu = presets()["cpu"][1]
    assert cpu.model.objective.contrast > 0
    assert (cpu.model.tokens, cpu.model.target_encoder) == ("pose", "online")
    model = with_settings(cpu, {"model.method": "simclr"}).model
    assert (model.tokens, model.target_encoder) == (ModelOptions.tokens, ModelOptions.target_encoder)
    with pytest.raises(ValueError, match=r"model\.agg_token has no effect with method simclr"):
        with_settings(cpu, {"model.method": "simclr", "model.agg_token": "mean"})
    assert with_settings(cpu, {"model.method": "simclr"}).model.objective == Objective.plus()
    own = with_settings(cpu, {"model.method": "byol", "model.objective.variance": 0.1}).model.objective
    assert own == replace(Objective.plus(), variance=0.1)
    with pytest.raises(ValueError, match=r"objective\.contrast has no effect with method simclr"):
        with_settings(cpu, {"model.method": "simclr", "model.objective.contrast": 1.0})
