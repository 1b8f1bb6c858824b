"""Policies are trained, kept without pickle, go on, and play as they did; what they cost is told."""

import csv
import itertools
import json
import math
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from glimpseworld.experiments import cli
from glimpseworld.experiments.cli import COMMANDS
from glimpseworld.experiments.config import presets
from glimpseworld.experiments.policy import policies
from glimpseworld.experiments.policy.command import PlayPolicy, main, play
from glimpseworld.experiments.policy.config import PolicyConfig, load_policy_config, make_envs
from glimpseworld.experiments.policy.curves import CurvesConfig, curves_table, policy_curves, reached
from glimpseworld.experiments.policy.learning_curve import COLUMNS, play_out, read_curve
from glimpseworld.experiments.policy.policies import VALIDATION_SEED, train_policy
from glimpseworld.experiments.policy.store import load_policy, restore_training
from glimpseworld.experiments.policy.training import Training
from glimpseworld.world_model.build import model_settings
from glimpseworld.world_model.checkpoint import CheckpointError, latest_checkpoint, save_checkpoint
from glimpseworld.world_model.learner import LossNotFiniteError
from glimpseworld.world_model.seq_jepa import SeqJEPA, SeqJEPAConfig

TINY = PolicyConfig(
    env="GlimpseWorld/SaccadeHoming-v0",
    env_options={"glimpse_size": "16", "max_episode_steps": "6", "imposed": "1"},
    steps=128,
    num_envs=8,
    rollout_steps=8,
    batch_size=32,
    epochs=2,
    hidden=(16,),
    channels=(4, 4),
    image_features=8,
    settle=4,
    warmup_glimpses=40,
    evaluate_every=64,
    evaluation_episodes=8,
)
SAC = replace(TINY, algorithm="sac", replay=64, updates=2, batch_size=16)


@pytest.fixture(scope="module")
def world_model(tmp_path_factory):
    """A run's folder with a small model for 16 x 16 glimpses and saccades, of 500 glimpses."""
    torch.manual_seed(0)
    sizes = {"size": 16, "z_dim": 24, "motion_embedding": 8, "predictor_hidden": 32}
    model = SeqJEPA(SeqJEPAConfig(motion_dim=2, motion_kind="translation", **sizes))
    budget = {"core_seconds": 7.0, "online_views": 1, "target_views": 1}
    state = {"steps": 3, "model": model_settings(model), "glimpses": 500, "seconds": 9.0, "budget": budget}
    folder = tmp_path_factory.mktemp("run")
    arrays = {key: value.numpy() for key, value in model.state_dict().items()}
    save_checkpoint(folder / "checkpoints", 3, {"model": arrays}, state)
    return str(folder)


def played(folder):
    envs = make_envs(load_policy_config(folder), "validation", 8)
    return play_out(envs, load_policy(folder, envs), 8, VALIDATION_SEED)


@pytest.mark.parametrize(
    ("base", "on", "frames"),
    [
        (TINY, "pixels", 1),
        (TINY, "pixels", 2),
        (TINY, "z", 1),
        (TINY, "z_agg-online", 1),
        (SAC, "pixels", 1),
        (SAC, "z_agg", 1),
    ],
)
def test_a_loaded_policy_plays_as_it_did_in_training(tmp_path, world_model, base, on, frames):
    settings = replace(base, on=on, frames=frames, world_model=world_model if on in ("z", "z_agg") else None)
    folder = train_policy(settings, tmp_path / "policy")
    curve = read_curve(folder)
    assert [row["steps"] for row in curve] == [0, 64, 128]
    assert played(folder).returns.mean() == pytest.approx(curve[-1]["return"], abs=1e-6)
    assert played(folder).successes.mean() == pytest.approx(curve[-1]["success"])
    assert {path.suffix for path in (folder / "checkpoints").rglob("*.*")} == {".json", ".safetensors"}
    assert list(folder.glob("events.*"))
    assert curve[-1]["core_seconds"] > 0
    own = 500 if settings.on in ("z", "z_agg") else 0
    assert {row["model_glimpses"] for row in curve} == {own}
    # 17 glimpses a row, the first of which the reset brought: (8 x 17 - 40) / 24.
    assert curve[-1]["model_updates"] == (4 if settings.on == "z_agg-online" else 0)


@pytest.mark.parametrize("settings", [TINY, SAC, replace(TINY, on="z_agg-online")], ids=["ppo", "sac", "online"])
def test_an_interrupted_training_goes_on_from_its_policy_and_optimiser(tmp_path, settings):
    folder = train_policy(settings, tmp_path / "policy", stop_after=64)
    assert [row["steps"] for row in read_curve(folder)] == [0, 64]
    envs = make_envs(settings, "train", 8)
    restored = Training(settings, envs, torch.device("cpu"))
    assert restore_training(restored, latest_checkpoint(folder / "checkpoints")) == 64
    state = next(v for n, v in restored.algorithm.get_parameters().items() if n.endswith("optimizer"))["state"]
    assert state and all(float(moments["step"]) > 0 and moments["exp_avg"].any() for moments in state.values())
    agent = restored.agent(make_envs(settings, "validation", 8))
    again = play_out(make_envs(settings, "validation", 8), agent, 8, VALIDATION_SEED)
    assert again.returns.mean() == pytest.approx(read_curve(folder)[-1]["return"], abs=1e-6)
    before = read_curve(folder)
    assert train_policy(settings, folder) == folder
    curve = read_curve(folder)
    assert curve[:2] == before and [row["steps"] for row in curve] == [0, 64, 128]
    assert curve[2]["core_seconds"] > before[1]["core_seconds"]
    written = (folder / "curve.csv").stat().st_mtime_ns
    train_policy(settings, folder)  # finished
    assert (folder / "curve.csv").stat().st_mtime_ns == written
    with pytest.raises(CheckpointError, match=r"gamma 0.95, not 0.5"):
        train_policy(replace(settings, gamma=0.5), folder)


def test_a_bar_tells_steps_time_left_and_both_returns(tmp_path, capsys):
    folder = train_policy(TINY, tmp_path / "policy", stop_after=64)
    told, bar = capsys.readouterr()
    assert told == f"policy {folder}: 128 steps. Resume with: glimpseworld policy resume {folder}\n"
    last = bar.split("\r")[-1]
    first = read_curve(folder)[0]["return"]  # the next one comes after the last step
    assert re.search(rf"50%.* 64/128 \[.*<.*return=-?\d\.\d+, validation={first:.3f}\]", last), last
    train_policy(replace(TINY, steps=100), tmp_path / "other")  # 128, since a rollout is of 64
    assert re.search(r"100%.* 100/100 ", capsys.readouterr().err.split("\r")[-1])


def spelt(value):
    """A setting as the command line has it."""
    parts = (
        itertools.chain(*value.items()) if isinstance(value, dict) else value if isinstance(value, tuple) else [value]
    )
    return [str(part) for part in parts]


def interrupted(monkeypatch, at):
    """Interrupt the evaluation number `at`, from 0."""
    count = iter(range(99))

    def play(*arguments):
        if next(count) == at:
            raise KeyboardInterrupt
        return play_out(*arguments)

    monkeypatch.setattr(policies, "play_out", play)


@pytest.mark.parametrize(("at", "left"), [(1, []), (2, ["checkpoints", "config.json", "curve.csv"])])
def test_an_interruption_is_one_line_that_says_what_is_kept(tmp_path, monkeypatch, capsys, at, left):
    interrupted(monkeypatch, at)
    monkeypatch.chdir(tmp_path)
    changed = {name: value for name, value in vars(TINY).items() if value != getattr(PolicyConfig(), name)}
    options = [[f"--{name}", *spelt(value)] for name, value in changed.items()]
    monkeypatch.setattr(sys, "argv", ["glimpseworld", "policy", "train", *itertools.chain(*options)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    last = capsys.readouterr().err.splitlines()[-1]
    found = list(tmp_path.glob("policies/*"))
    if left:
        kept = f"the policy after 64 steps is kept; go on with: glimpseworld policy resume policies/{found[0].name}"
    else:
        kept = "nothing is kept, since the first evaluation, after 64 steps, was not reached"
    assert (ended.value.code, last) == (130, f"glimpseworld: interrupted: {kept}")
    assert sorted(path.name for path in tmp_path.glob("policies/*/*") if "events" not in path.name) == left


def test_interrupted_curves_are_gone_on_with_by_the_same_call(tmp_path, monkeypatch):
    config = CurvesConfig(tmp_path / "curves", on=("pixels",), seeds=(0,), policy=TINY)
    with monkeypatch.context() as patch:
        interrupted(patch, 2)
        with pytest.raises(KeyboardInterrupt, match=r"the same call goes on with what is kept in .*curves"):
            policy_curves(config)
    assert [row["steps"] for row in policy_curves(config)["runs"][0]["curve"]] == [0, 64, 128]


def test_a_training_that_diverges_is_one_clear_error_and_removes_only_a_folder_that_it_made(tmp_path):
    (tmp_path / "mine").mkdir()
    for name in ("policy", "mine"):
        with pytest.raises(LossNotFiniteError, match=r"not finite any more: .* learning_rate below 1e\+06"):
            train_policy(replace(TINY, learning_rate=1e6), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_policy_of_another_observation_space_is_one_clear_error(tmp_path, capsys):
    folder = train_policy(replace(TINY, steps=64), tmp_path / "policy")
    other = make_envs(replace(TINY, env_options={"glimpse_size": "24"}), "validation", 2)
    with pytest.raises(ValueError, match=r"trained on .*\(16, 16, 3\).* this environment has .*\(24, 24, 3\)"):
        load_policy(folder, other)
    other = make_envs(replace(TINY, env="GlimpseWorld/SaccadeReach-v0", env_options={"glimpse_size": "16"}), "test", 2)
    with pytest.raises(ValueError, match=r"imposed.* this environment has .*goal"):
        load_policy(folder, other)
    line = play(PlayPolicy(folder, episodes=4, split="validation"))
    assert re.search(r"4 episodes: mean return -?[0-9.]+ \+- [0-9.]+, success [0-9.]+ % \[[0-9.]+, [0-9.]+\]$", line)
    with pytest.raises(ValueError, match=r"\(16, 16, 3\)"):
        play(PlayPolicy(folder, episodes=4, env_options={"glimpse_size": "24"}))
    with pytest.raises(CheckpointError, match="is no policy"):
        load_policy(tmp_path, other)
    (tmp_path / "config.json").write_text('{"world": "saccade"}')  # a run of `glimpseworld train`
    with pytest.raises(CheckpointError, match=r"as the settings of a policy: .* no settings \['world'\]"):
        load_policy(tmp_path, other)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"on": "z"}, "needs a world model"),
        ({"world_model": "x"}, "no effect on pixels"),
        ({"batch_size": 48}, "must divide a rollout"),
        ({"on": "z_agg-online", "algorithm": "sac"}, "goes stale"),
        ({"on": "z_agg", "world_model": "x", "frames": 2}, "frames has no effect"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"on": "zagg", "world_model": "x"}, "on must be one of .*, got 'zagg'"),
        ({"algorithm": "dqn"}, "algorithm must be one of .*, got 'dqn'"),
        ({"hidden": (16, -4)}, r"hidden must be of numbers that are at least 1, got \(16, -4\)"),
        ({"channels": (0,)}, "channels must be of numbers"),
        ({"image_features": 0}, "image_features must be at least 1"),
        ({"longest": 0}, "longest must be at least 1"),
        ({"settle": -1}, "settle must be at least 0, got -1"),
        ({"warmup_glimpses": -1}, "warmup_glimpses must be at least 0"),
        ({"gamma": 3.0}, r"gamma must be in \[0, 1\], got 3.0"),
        ({"gamma": math.nan}, "gamma must be in"),
        ({"entropy": math.inf}, "entropy must be at least 0 and finite, got inf"),
        ({"log_std": math.nan}, "log_std must be finite"),
        ({"seed": -1}, "seed must be a whole number, at least 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0 and finite, got 0.0"),
        ({"learning_rate": math.nan}, "learning_rate must be above 0 and finite, got nan"),
        ({"model_learning_rate": -1.0}, "model_learning_rate must be above 0"),
        ({"glimpses_per_update": math.nan}, "glimpses_per_update must be above 0"),
        ({"glimpses_per_update": math.inf}, "glimpses_per_update must be above 0 and finite, got inf"),
        ({"batch_size": 1}, "batch_size must be at least 2 with algorithm ppo.*, got 1"),
        ({"algorithm": "sac", "replay": 0}, "replay must be at least 1"),
        ({"algorithm": "sac", "replay": 7}, "a transition of each of 8 sub-environments, .*got 7"),
        ({"algorithm": "sac", "updates": 0}, "updates must be at least 1"),
    ],
)
def test_settings_without_sense_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **wrong)


def test_episodes_that_would_not_end_are_refused_and_no_number_is_that_of_the_id():
    endless, ids_own = (
        replace(TINY, env_options={**TINY.env_options, "max_episode_steps": steps}) for steps in ("-1", "null")
    )
    with pytest.raises(ValueError, match=r"must end: max_episode_steps .* at least 1, got -1"):
        make_envs(endless, "train", 2)
    assert make_envs(ids_own, "train", 2).unwrapped.max_episode_steps == 16


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"latent_steps": 0}, "latent_steps must be at least 1"),
        ({"seeds": (1, 1)}, "seeds must differ"),
        ({"on": ("z",)}, 'on must name "pixels"'),
    ],
)
def test_curves_without_sense_are_refused(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        CurvesConfig(tmp_path, **({"world_models": ("a",), "policy": TINY} | wrong))


@pytest.mark.parametrize(("numbers", "message"), [(["--hidden", "-4"], "hidden must be"), (["--gamma", "3"], "gamma")])
def test_a_wrong_number_on_the_command_line_is_told_of_at_once(numbers, message, capsys):
    with pytest.raises(SystemExit) as left:
        main(["train", *numbers])
    assert left.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize(("steps", "targets"), [(16, 4), (6, 3)])
def test_a_world_model_that_keeps_learning_has_the_targets_of_the_preset_where_episodes_allow(steps, targets):
    config = replace(TINY, on="z_agg-online", env_options={**TINY.env_options, "max_episode_steps": str(steps)})
    envs = make_envs(config, "train", config.num_envs)
    assert Training(config, envs, torch.device("cpu")).online.targets == targets
    envs.unwrapped.max_episode_steps = 3
    with pytest.raises(ValueError, match="at least 4 steps, got 3"):
        Training(config, envs, torch.device("cpu"))
    envs.close()


def test_a_world_model_that_keeps_learning_learns_as_in_preset_quick_but_for_length_and_more_from_each_glimpse():
    quick = replace(presets()["quick"][1], glimpses_per_update=24.0)
    default = PolicyConfig(on="z_agg-online", env=TINY.env, steps=240_000)
    envs = make_envs(default, "train", default.num_envs)
    online = Training(default, envs, torch.device("cpu")).online
    envs.close()
    schedule = replace(online.learner.config, final_learning_rate=quick.learner.final_learning_rate)
    assert schedule == replace(quick.learner, total_steps=int(240_000 / quick.glimpses_per_update))
    own = (online.glimpses_per_update, online.warmup_glimpses, online.batch_size, online.window, online.targets)
    assert own == (
        *(quick.glimpses_per_update, quick.warmup_glimpses, quick.batch_size),
        *(quick.replay.context, quick.replay.targets),
    )


def curve_of(returns, every=100, model=0.0):
    zeros = dict.fromkeys(COLUMNS, 0.0)
    steps = every * np.arange(len(returns))
    costs = {"model_glimpses": model, "model_core_seconds": model / 10}
    return [
        zeros | costs | {"steps": s, "core_seconds": s / 50, "return": r} for s, r in zip(steps, returns, strict=True)
    ]


def test_what_was_reached_counts_the_models_own_glimpses_apart():
    runs = [
        {"on": "pixels", "seed": 0, "curve": curve_of([-4, -3, -2, 0, 0.5, 1])},
        {"on": "pixels", "seed": 1, "curve": curve_of([-4, -3, -2, 0, 0.5, 1])},
        {"on": "z", "seed": 0, "curve": curve_of([-4, 0.2, 2], model=50)},
        {"on": "z", "seed": 1, "curve": curve_of([-4, 0.6, 2], model=50)},  # the mean is at 0.4 after 100 steps
        {"on": "z_agg", "seed": 0, "curve": curve_of([-4, 1, 0.4], model=50)},
        {"on": "z_agg-online", "seed": 0, "curve": curve_of([-4, -4, -4])},
    ]
    found = reached(runs)
    assert found["target"] == 0.5
    assert found["reached"]["pixels"] == {
        **{"steps": 400, "core_seconds": 8, "steps_with_model": 400, "core_seconds_with_model": 8},
        **{"share": 1, "share_with_model": 1, "seeds_reached": 2, "seed_steps": [400, 400]},
    }
    assert found["reached"]["z"]["steps"] == 200
    assert (found["reached"]["z"]["seeds_reached"], found["reached"]["z"]["seed_steps"]) == (2, [100, 200])
    agg = found["reached"]["z_agg"]
    assert (agg["steps"], agg["share"], agg["steps_with_model"], agg["share_with_model"]) == (100, 0.25, 150, 0.375)
    assert (agg["core_seconds"], agg["core_seconds_with_model"]) == (2, 7)
    assert found["reached"]["z_agg-online"] is None
    table = curves_table(found)
    assert "not reached" in table and "| 2: 100-200 " in table


def test_curves_are_trained_written_and_gone_on_with(tmp_path, world_model):
    config = CurvesConfig(
        tmp_path / "curves",
        (world_model,),
        ("pixels", "z_agg"),
        (0, 1),
        latent_steps=64,
        policy=replace(TINY, on="pixels"),
    )
    first = policy_curves(replace(config, seeds=(0,)))
    results = policy_curves(config)
    assert results["runs"][:2] == first["runs"]  # seed 0 was done
    assert [(run["on"], run["seed"], len(run["curve"])) for run in results["runs"]] == [
        *[("pixels", 0, 3), ("z_agg", 0, 2)],
        *[("pixels", 1, 3), ("z_agg", 1, 2)],
    ]
    assert json.loads((tmp_path / "curves" / "curves.json").read_text())["reached"].keys() == {"pixels", "z_agg"}
    with (tmp_path / "curves" / "curves.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 10
    assert (tmp_path / "curves" / "curves.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="needs a world model"):
        replace(config, world_models=())


@pytest.mark.parametrize(
    ("options", "wrong", "message"),
    [
        ({}, "nowhere", r"there is no folder .*nowhere"),
        ({}, "", r"no checkpoint in .* yet"),
        ({"glimpse_size": "24"}, None, r"world model in .*run0 does not fit: .*\(24, 24, 3\), .*model's \(16, 16, 3\)"),
        ({"zoom": "[1, 2]"}, None, "'translation' of 3 numbers, and the world model's 'translation' of 2"),
    ],
)
def test_curves_check_every_world_model_before_the_first_policy(tmp_path, world_model, options, wrong, message):
    policy = replace(TINY, env_options=TINY.env_options | options)
    second = world_model if wrong is None else str(tmp_path / wrong)
    config = CurvesConfig(tmp_path / "curves", (world_model, second), ("pixels", "z"), (0, 1), policy=policy)
    with pytest.raises((CheckpointError, ValueError), match=message):
        policy_curves(config)
    assert not (tmp_path / "curves").exists()


def test_curves_check_every_folder_before_the_first_policy(tmp_path, world_model):
    config = CurvesConfig(tmp_path, (world_model,), ("pixels", "z"), (0,), policy=TINY)
    train_policy(replace(config.runs()["z", 0], gamma=0.5), tmp_path / "z-seed0", stop_after=64)
    with pytest.raises(CheckpointError, match=r"z-seed0 is a policy of other settings: gamma 0.5, not 0.95"):
        policy_curves(config)
    assert not (tmp_path / "pixels-seed0").exists()


def test_each_seed_may_have_a_world_model_of_its_own(tmp_path):
    config = CurvesConfig(tmp_path, ("a", "b"), ("pixels", "z"), (3, 4))
    assert {key: run.world_model for key, run in config.runs().items()} == {
        **{("pixels", 3): None, ("z", 3): "a"},
        **{("pixels", 4): None, ("z", 4): "b"},
    }
    assert {run.world_model for run in replace(config, world_models=("a",)).runs().values()} == {None, "a"}
    with pytest.raises(ValueError, match="one for each of"):
        replace(config, seeds=(3, 4, 5))


def test_a_wrong_call_leaves_nothing_behind(tmp_path, world_model):
    lost = [
        (replace(TINY, on="z", world_model=str(tmp_path / "nowhere")), CheckpointError, "nowhere"),
        (replace(TINY, env_options={"colour": "1"}), ValueError, "does not take these options"),
        (replace(TINY, env_options={"split": "test"}), ValueError, "cannot set split"),
        (replace(TINY, env="GlimpseWorld/Saccade-v0", env_options={}), ValueError, "has no task.*SaccadeSearch-v0"),
        (
            replace(TINY, on="z", world_model=world_model, env_options={}),
            ValueError,
            r"the world model's \(16, 16, 3\)",
        ),
    ]
    for settings, kind, message in lost:
        with pytest.raises(kind, match=message):
            train_policy(replace(settings, folder=str(tmp_path / "policies")))
    assert not (tmp_path / "policies").exists()


@pytest.mark.parametrize("name", ["train", "resume", "play", "curves"])
def test_each_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as left:
        main([name, "--help"])
    assert left.value.code == 0 and COMMANDS["policy"][1] == "policy.command"
    assert "usage: glimpseworld policy" in capsys.readouterr().out
