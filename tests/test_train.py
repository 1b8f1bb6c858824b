"""A run from end to end, small: it learns, logs, resumes as if never stopped, is evaluated, and fails clearly."""

import csv
import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from glimpseworld.experiments import run_log
from glimpseworld.experiments.config import (
    ModelOptions,
    PathOptions,
    ReplayOptions,
    RotationOptions,
    SaccadeOptions,
    TrainConfig,
    from_dict,
    make_world,
    model_config,
    presets,
)
from glimpseworld.experiments.evaluate import PLANS, EvaluateConfig, Plan, evaluate, make_material
from glimpseworld.experiments.evaluate import _measures as measures_of
from glimpseworld.experiments.report import evaluation_table
from glimpseworld.experiments.run_folder import load_budget, load_config, load_model, save_config
from glimpseworld.experiments.run_log import COLUMNS, read_metrics
from glimpseworld.experiments.train import train
from glimpseworld.experiments.trainer import Trainer
from glimpseworld.world_model.build import new_model
from glimpseworld.world_model.checkpoint import CheckpointError, latest_checkpoint, load_checkpoint
from glimpseworld.world_model.learner import LearnerConfig
from glimpseworld.world_model.memory import MemoryConfig
from glimpseworld.world_model.objectives import Objective
from glimpseworld.world_model.recipes import RECIPES, BaselineOptions

TINY = TrainConfig(
    rotation=RotationOptions(size=16, members_per_family=2),
    num_envs=4,
    episode_steps=8,
    glimpses_per_update=6.0,
    warmup_glimpses=120,
    batch_size=8,
    replay=ReplayOptions(capacity=200, context=(1, 3), targets=2),
    model=ModelOptions(z_dim=16, motion_embedding=8, layers=1, heads=2, predictor_hidden=16, dropout=0.1),
    learner=LearnerConfig(total_steps=20, warmup_steps=2),
    log_every=2,
    probe_every=10,
    checkpoint_every=7,
)
SMALL_PLAN = Plan(60, 60, 7, 7, 400, 240, (1, 3, 5), (2,), (3, 4))


pytestmark = pytest.mark.usefixtures("one_thread")


def run_in(folder, config, **options):
    folder.mkdir(exist_ok=True)
    save_config(config, folder)
    train(config, folder, **options)
    return folder


def baseline(method):
    options = BaselineOptions(projector=(16, 8)) if RECIPES[method].projects else BaselineOptions()
    return replace(TINY, model=replace(TINY.model, method=method, baseline=options))


def saccade_config(folder):
    import cv2

    for i in range(60):
        path = folder / ("left" if i % 2 else "right") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = np.random.default_rng(i).integers(0, 120, (96, 96, 3), dtype=np.uint8)
        image[30:60, (10 if i % 2 else 60) :][:, :25] += 120
        cv2.imwrite(str(path), image)
    return replace(
        TINY, world="saccade", agent="saliency", rotation=RotationOptions(), saccade=SaccadeOptions(str(folder))
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_in(tmp_path_factory.mktemp("runs") / "finished", TINY)


def assert_same_weights(one, other):
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("world", ["rotation", "saccade"])
def test_resumed_equals_uninterrupted(tmp_path, world):
    """Stopped at update 16, so the run goes back to the checkpoint at 14 and does updates 15 and 16 again."""
    config = TINY if world == "rotation" else saccade_config(tmp_path / "images")
    whole = run_in(tmp_path / "whole", config)
    parts = run_in(tmp_path / "parts", config, stop_after=16)
    assert latest_checkpoint(parts / "checkpoints").name == "step-00000014"
    before = load_budget(parts)
    train(load_config(parts), parts, resume=True)
    assert load_budget(parts)["core_seconds"] > before["core_seconds"] > 0
    assert_same_weights(load_model(whole)[0], load_model(parts)[0])
    timing = {"seconds", "core_seconds", "glimpses_per_second"}
    rows = [
        [{k: v for k, v in r.items() if k not in timing} for r in read_metrics(f / "metrics.csv")]
        for f in (whole, parts)
    ]
    assert rows[0] == rows[1]
    assert [r["step"] for r in rows[0]] == list(range(2, 21, 2))


def test_a_resumed_supervised_run_equals_an_uninterrupted_one(tmp_path):
    """Its labels come from the environment's info and have to come back with the replay."""
    config = replace(baseline("supervised"), probe_every=20)
    whole = run_in(tmp_path / "whole", config)
    parts = run_in(tmp_path / "parts", config, stop_after=16)
    train(load_config(parts), parts, resume=True)
    assert_same_weights(load_model(whole)[0], load_model(parts)[0])


def test_baselines_are_evaluated_by_the_same_measures(tmp_path, monkeypatch):
    import glimpseworld.experiments.evaluate as module

    monkeypatch.setitem(module.PLANS, "quick", SMALL_PLAN)
    config = baseline("simclr")
    run = run_in(tmp_path / "run", replace(config, learner=replace(config.learner, total_steps=3)))
    results = evaluate(run, EvaluateConfig(effort="quick"), quiet=True)
    trained = results["trained"]
    assert trained.keys() == results["untrained"].keys()
    assert trained.keys() >= {"top1_z", "top1_z_agg_5", "top1_z_mean_5", "relative_r2", "individual_r2", "rankme"}
    assert not any(key.startswith(("predictor", "view_return", "path_r2")) for key in trained)
    assert trained["top1_z_agg_5"] == trained["top1_z_mean_5"]
    assert results["controls"].keys() >= {"pixels_top1_z", "pixels_relative_r2", "pixels_individual_r2"}
    assert "3 updates" in evaluation_table(results)
    assert (run / "results.png").is_file()
    assert "loss/invariance" in read_metrics(run / "metrics.csv")[-1]


def test_what_predicts_is_measured_as_a_predictor():
    world, material = make_world(TINY, "train"), make_material(TINY, EvaluateConfig(), SMALL_PLAN)
    for method, predicts in (("byol", False), ("supervised", False), ("sie", True), ("context-ssl", True)):
        model = new_model(model_config(baseline(method), world))
        names = {name for name, _ in measures_of(None, model, material, SMALL_PLAN)}
        assert ("predictor" in names) == ("view_return_4_no_motions" in names) == predicts
        assert "path_r2_2" not in names


def test_checkpoints_of_before_there_were_methods_are_of_seq_jepa(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "old")
    checkpoint = latest_checkpoint(tmp_path / "old" / "checkpoints")
    assert load_checkpoint(checkpoint)[1]["model"]["method"] == "seq-jepa"
    manifest = json.loads((checkpoint / "state.json").read_text())
    del manifest["state"]["model"]["method"]
    (checkpoint / "state.json").write_text(json.dumps(manifest))
    config = json.loads((tmp_path / "old" / "config.json").read_text())
    del config["model"]["method"], config["model"]["baseline"]
    (tmp_path / "old" / "config.json").write_text(json.dumps(config))
    assert load_config(tmp_path / "old") == TINY
    assert_same_weights(load_model(finished)[0], load_model(tmp_path / "old")[0])


def test_metrics_of_a_version_with_fewer_columns_go_on(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,seconds,loss\n1,2,0.5\n2,3,0.25\n3,4\n")
    run_log.RunLog(tmp_path, resume_step=2).close()
    assert read_metrics(tmp_path / "metrics.csv") == [
        {"step": 1, "seconds": 2, "loss": 0.5},
        {"step": 2, "seconds": 3, "loss": 0.25},
    ]


def test_what_is_saved_is_everything(tmp_path):
    """A trainer with other generators, restored, acts and learns as the first one goes on to do."""
    trainer = Trainer(TINY, tmp_path / "a")
    for _ in range(5):
        trainer.advance()
    checkpoint = trainer.save()
    expected = [trainer.advance() for _ in range(6)]
    other = Trainer(replace(TINY, seed=99), tmp_path / "a")
    other.advance()
    other.restore(checkpoint)
    assert [other.advance() for _ in range(6)] == expected
    assert other.glimpses == trainer.glimpses


def test_a_path_memory_is_asked_about_no_longer_paths_than_it_holds():
    config = replace(TINY, model=replace(TINY.model, memory=MemoryConfig(layers=1, heads=2, longest=3, hidden=16)))
    model = new_model(model_config(config, make_world(config, "train")))
    names = [name for name, _ in measures_of(None, model, None, SMALL_PLAN)]  # pyright: ignore[reportArgumentType]
    assert "recall_3" in names and "recall_4" not in names and "view_return_4" in names


def test_a_run_with_a_path_memory_resumes_and_is_measured(tmp_path, monkeypatch):
    monkeypatch.setitem(PLANS, "quick", SMALL_PLAN)
    memory = MemoryConfig(layers=1, heads=2, longest=6, hidden=16)
    config = replace(TINY, model=replace(TINY.model, memory=memory), paths=PathOptions(count=8))
    whole = run_in(tmp_path / "whole", config)
    parts = run_in(tmp_path / "parts", config, stop_after=16)
    train(load_config(parts), parts, resume=True)
    assert_same_weights(load_model(whole)[0], load_model(parts)[0])
    assert all(row["loss/recall"] > 0 for row in read_metrics(whole / "metrics.csv"))
    results = evaluate(whole, EvaluateConfig(effort="quick"), quiet=True)
    assert 0 <= results["trained"]["recall_4_other_path"]["value"] <= 1
    assert "recall_4" in results["untrained"]
    with pytest.raises(ValueError, match="paths have no effect"):
        replace(TINY, paths=PathOptions(count=8))


def test_a_run_that_learns_from_its_targets_resumes_and_counts_them_as_online_views(tmp_path):
    beyond = {"tokens": "pose", "target_encoder": "online", "agg_token": "mean"}
    objective = replace(Objective.predictive(), instance=1.0)
    config = replace(TINY, probe_every=20, model=replace(TINY.model, objective=objective, **beyond))
    whole = run_in(tmp_path / "whole", config)
    parts = run_in(tmp_path / "parts", config, stop_after=16)
    train(load_config(parts), parts, resume=True)
    assert_same_weights(load_model(whole)[0], load_model(parts)[0])
    rows = read_metrics(whole / "metrics.csv")
    assert all(row["loss/instance"] > 0 for row in rows)
    assert rows[-1]["target_views"] == 0
    assert 20 * 8 * (1 + 2) <= rows[-1]["online_views"] <= 20 * 8 * (3 + 2)


def test_acting_and_learning_keep_their_ratio(tmp_path):
    trainer = Trainer(TINY, tmp_path)
    for step in range(1, 9):
        trainer.advance()
        due = TINY.warmup_glimpses + TINY.glimpses_per_update * step
        assert due <= trainer.glimpses < due + TINY.num_envs


def test_metrics_have_the_documented_columns(finished):
    with (finished / "metrics.csv").open() as file:
        header = next(csv.reader(file))
    assert tuple(header) == COLUMNS

    for column in COLUMNS:
        assert column in (run_log.__doc__ or "")
    metrics = read_metrics(finished / "metrics.csv")
    assert [row["step"] for row in metrics if "probe/relative_r2" in row] == [10, 20]
    assert list(finished.glob("events.out.tfevents*"))


def test_a_finished_run_keeps_one_checkpoint_without_replay_and_is_not_resumed(finished):
    checkpoints = list((finished / "checkpoints").iterdir())
    assert [c.name for c in checkpoints] == ["step-00000020"]
    assert not (checkpoints[0] / "replay.safetensors").exists()
    with pytest.raises(CheckpointError, match="is finished"):
        train(TINY, finished, resume=True)


def test_evaluation_writes_documented_results(finished, monkeypatch):
    import glimpseworld.experiments.evaluate as module

    monkeypatch.setitem(module.PLANS, "quick", SMALL_PLAN)
    results = evaluate(finished, EvaluateConfig(effort="quick"), quiet=True)
    assert json.loads((finished / "results.json").read_text()) == json.loads(json.dumps(results, default=str))
    assert (finished / "results.png").read_bytes()[:4] == b"\x89PNG"
    assert results["trained"].keys() == results["untrained"].keys()
    assert results["config"] == asdict(TINY)
    for name, scores in (results["trained"] | results["controls"]).items():
        if isinstance(scores, dict):
            assert scores["low"] <= scores["value"] <= scores["high"], name
    assert results["trained"]["view_return_4"]["chance"] == pytest.approx(1 / 3)
    assert results["controls"]["path_r2_2_raw_motions"]["value"] > 0.3
    again = evaluate(finished, EvaluateConfig(effort="quick"), quiet=True)
    assert {**again, "seconds": 0} == {**results, "seconds": 0}
    table = evaluation_table(results)
    assert "60 held-out things" in table
    assert all(len(line) <= 100 for line in table.splitlines())


def test_several_runs_are_evaluated_at_once_and_a_wrong_one_stops_all_before_it_costs(
    finished, tmp_path, monkeypatch, capsys
):
    import glimpseworld.experiments.evaluate as module

    monkeypatch.setitem(module.PLANS, "brief", SMALL_PLAN)
    runs = [shutil.copytree(finished, tmp_path / name, ignore=shutil.ignore_patterns("results*")) for name in "ab"]
    unborn = tmp_path / "unborn"
    shutil.copytree(finished, unborn, ignore=shutil.ignore_patterns("results*", "step-*"))
    for wrong, message in (("nowhere", "nowhere is no run"), (str(unborn), "no checkpoint in .*unborn yet")):
        with pytest.raises(CheckpointError, match=message):
            module.main([*map(str, runs), wrong, "--effort", "brief"])
    assert not list(tmp_path.glob("*/results*"))
    module.main([*map(str, runs), "--effort", "brief", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert printed == [json.loads((run / "results.json").read_text()) for run in runs]
    assert [results["run"] for results in printed] == [str(run) for run in runs]
    module.main([str(runs[0]), "--effort", "brief", "--json"])
    assert json.loads(capsys.readouterr().out)["run"] == str(runs[0])
    module.main([*map(str, runs), "--effort", "brief"])
    told = capsys.readouterr().out
    assert told.count("60 held-out things") == 2
    assert f"glimpseworld summary {runs[0]} {runs[1]}" in told
    module.main([*map(str, runs), "--effort", "brief", "--split", "validation"])
    assert "summary" not in capsys.readouterr().out
    with pytest.raises(ValueError, match="name no other beside it"):
        module.main(["--from-reference", "x.pt", "--preset", "paper-saccade", str(runs[0])])


def test_held_out_things_are_held_out():
    plan = SMALL_PLAN
    material = make_material(TINY, EvaluateConfig(), plan)
    worlds = [make_world(TINY, split) for split in ("train", "validation", "test")]
    assert len(material.test.labels) == 60
    assert len({tuple(np.bincount(m.labels).tolist()) for m in (material.fit, material.test)}) == 1  # 2 of each class
    meshes = [{w.objects.mesh(i).vertices.tobytes() for i in range(30)} for w in worlds]
    assert not meshes[0] & meshes[1]
    assert not meshes[0] & meshes[2]
    assert not meshes[1] & meshes[2]


def test_probes_leave_the_model_as_it_was(tmp_path):
    trainer = Trainer(TINY, tmp_path)
    trainer.advance()
    before = {k: v.clone() for k, v in trainer.learner.model.state_dict().items()}
    trainer.probe()
    assert trainer.learner.model.training
    for name, value in trainer.learner.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_settings_survive_json_and_presets_are_valid(tmp_path):
    for _, config in presets().values():
        assert from_dict(TrainConfig, json.loads(json.dumps(asdict(config)))) == config
    with pytest.raises(ValueError, match="no settings"):
        from_dict(TrainConfig, {"speed": 3})


def test_damaged_and_missing_runs_are_named(finished, tmp_path):
    with pytest.raises(CheckpointError, match="is no run"):
        load_config(tmp_path)
    save_config(TINY, tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_model(tmp_path)
    with pytest.raises(CheckpointError, match="there is no folder"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="cannot compute on device 'abacus'"):
        load_model(finished, "abacus")
    with pytest.raises(CheckpointError, match="nothing to resume"):
        train(TINY, tmp_path, resume=True)
    (tmp_path / "config.json").write_text('{"seed": 0, "num_envs": "four"}')
    with pytest.raises(CheckpointError, match="cannot read"):
        load_config(tmp_path)
    shutil.copytree(finished / "checkpoints", tmp_path / "checkpoints")
    path = tmp_path / "checkpoints" / "step-00000020" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="truncated"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"episode_steps": 3}, "do not fit episodes"),
        ({"agent": "saliency"}, "looks at images"),
        ({"saccade": SaccadeOptions(glimpse_size=16)}, "no effect"),
        ({"world": "saccade"}, "no effect"),
        ({"batch_size": 0}, "batch_size"),
        ({"glimpses_per_update": 0.0}, "glimpses_per_update"),
        ({"replay": ReplayOptions(context=(3, 2))}, "context"),
        (
            {"model": ModelOptions("vicreg-traj"), "replay": ReplayOptions(200, (1, 3), targets=1)},
            "windows of at least 3 views, and these may have 1 \\+ 1",
        ),
    ],
)
def test_settings_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baseline": BaselineOptions(temperature=0.2)}, "no effect with method seq-jepa"),
        ({"method": "byol", "condition": "none"}, "condition has no effect with method byol"),
        ({"method": "byol", "baseline": BaselineOptions(temperature=0.2)}, "temperature has no effect"),
    ],
)
def test_model_options_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        ModelOptions(**options)


def test_tensorboards_thread_on_a_full_disk_prints_no_traceback(tmp_path):
    """But any other thread's failure, and any other error of that one, is told as ever."""
    import threading

    from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread

    told = []
    before, threading.excepthook = threading.excepthook, told.append
    try:
        log = run_log.RunLog(tmp_path)
        for thread, error in (
            (_AsyncWriterThread(None, None, 1), OSError("disk full")),
            (_AsyncWriterThread(None, None, 1), ValueError("a bug")),
            (threading.Thread(), OSError("another's")),
        ):
            threading.excepthook(threading.ExceptHookArgs((type(error), error, None, thread)))
        log.close()
        assert [str(args.exc_value) for args in told] == ["a bug", "another's"]
        assert threading.excepthook == told.append
    finally:
        threading.excepthook = before


def test_a_budget_counts_updates_and_no_probes(tmp_path):
    """8 windows of M context views and 2 targets an update; probes encode hundreds of views and are not in it."""
    trainer = Trainer(replace(TINY, replay=replace(TINY.replay, context=(3, 3))), tmp_path)
    for _ in range(2):
        trainer.advance()
    assert (trainer.budget.online_views, trainer.budget.target_views) == (2 * 8 * 3, 2 * 8 * 2)
    cost = asdict(trainer.budget)
    assert cost["core_seconds"] > 0
    trainer.probe()
    assert asdict(trainer.budget) == cost
