"""A comparison from end to end, tiny: interrupted, resumed, with an arm that fails, and all it writes."""

import csv
import json
import os
from dataclasses import replace

import cv2
import numpy as np
import pytest

from glimpseworld.experiments import evaluate as evaluation
from glimpseworld.experiments import train as training
from glimpseworld.experiments import trainer
from glimpseworld.experiments.compare import command as compare
from glimpseworld.experiments.compare import galleries, grid_runs
from glimpseworld.experiments.compare.figures import RETURN_CURVES, _draw_curves, comparison_figures, context_groups
from glimpseworld.experiments.compare.galleries import pose_angle, project
from glimpseworld.experiments.compare.grid import Grid
from glimpseworld.experiments.compare.grids import load_grid
from glimpseworld.experiments.measure import Material
from glimpseworld.experiments.run_log import read_metrics
from glimpseworld.world_model.checkpoint import latest_checkpoint

GRID = {
    "name": "tiny",
    "preset": "quick",
    "seeds": [0, 1],
    "common": {
        "rotation.size": 16,
        "rotation.members_per_family": 2,
        "num_envs": 4,
        "episode_steps": 8,
        "glimpses_per_update": 6,
        "warmup_glimpses": 120,
        "batch_size": 8,
        "replay.targets": 2,
        "model.target_encoder": "ema",
        "model.z_dim": 16,
        "model.motion_embedding": 8,
        "model.layers": 1,
        "model.predictor_hidden": 16,
        "learner.total_steps": 20,
        "learner.warmup_steps": 2,
        "log_every": 2,
        "probe_every": 10,
        "checkpoint_every": 7,
    },
    "arms": {
        "both": {},
        "explodes": {"learner.learning_rate": 1e30, "learner.clip_norm": 0},
        "none": {"model.condition": "none", "model.tokens": "step"},
    },
}
PLAN = evaluation.Plan(48, 48, 7, 7, 200, 96, (3, 5), (2,), (3, 4))


def probe_material(config, fit_world, rng):
    """As the real one, with a fraction of the views."""
    material = evaluation.make_material(config, evaluation.EvaluateConfig(), PLAN)
    return Material(material.fit, material.test, seed=0, fit_samples=96, test_samples=96)


class Interrupted(BaseException):
    """As a kill: nothing catches it."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A comparison that was interrupted within its first run and then gone on with: folder, grid file, printed text."""
    folder = tmp_path_factory.mktemp("compare")
    (folder / "grid.json").write_text(json.dumps(GRID))
    call = [str(folder / "grid.json"), "--out", str(folder / "out")]

    def interrupted(config, run_folder, *, resume):
        training.train(config, run_folder, resume=resume, stop_after=16)
        raise Interrupted

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(evaluation.PLANS, "quick", PLAN)
        patch.setattr(trainer, "probe_material", probe_material)
        patch.setattr(evaluation, "evaluation_figure", lambda results, path: None)
        patch.setattr(galleries, "PLAN", evaluation.Plan(24, 48, 2, 8, 48, 96, (), (), ()))
        patch.setattr(galleries, "QUERIES", 2)
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(grid_runs, "train", interrupted)
            with pytest.raises(Interrupted):
                compare.main([*call, "--arms", "both", "--seeds", "1"])
        with pytest.raises(SystemExit) as stopped:
            compare.main(call)
        assert stopped.value.code == 1
        yield folder / "out", call


def test_an_interrupted_run_is_resumed(tiny):
    """It was stopped at update 16, after the checkpoint at 14."""
    run = tiny[0] / "runs" / "both-seed1"
    assert [row["step"] for row in read_metrics(run / "metrics.csv")] == list(range(2, 21, 2))
    assert latest_checkpoint(run / "checkpoints").name == "step-00000020"
    events = list(run.glob("events.out.tfevents*"))
    assert len(events) == 2  # begun once and resumed once, not begun anew


def test_a_run_that_was_evaluated_with_less_effort_is_not_done(tiny):
    plans = grid_runs.planned_runs(load_grid(tiny[1][0]), tiny[0], "test")
    run = next(run for run in plans if run.folder.name == "both-seed0")
    assert grid_runs.is_done(run)
    assert not grid_runs.is_done(replace(run, effort="brief"))


def test_results_hold_every_run_and_what_they_say_together(tiny):
    out = tiny[0]
    results = json.loads((out / "results.json").read_text())
    status = {(run["arm"], run["seed"]): run["status"] for run in results["runs"]}
    assert status == {(a, s): "failed" if a == "explodes" else "finished" for a in GRID["arms"] for s in (0, 1)}
    runs = {(run["arm"], run["seed"]): run for run in results["runs"]}
    assert "the loss is nan" in runs["explodes", 0]["message"].lower() or "inf" in runs["explodes", 0]["message"]
    assert "Traceback" in (out / "runs" / "explodes-seed0" / "failed.txt").read_text()
    r2 = {key: run["trained"]["relative_r2"]["value"] for key, run in runs.items() if run["status"] == "finished"}
    own = json.loads((out / "runs" / "none-seed1" / "results.json").read_text())
    assert r2["none", 1] == own["trained"]["relative_r2"]["value"]
    assert list(results["arms"]) == ["both", "none"]
    found = results["arms"]["none"]
    assert found["trained"]["relative_r2"]["mean"] == pytest.approx((r2["none", 0] + r2["none", 1]) / 2)
    expected = np.mean([r2["none", s] - r2["both", s] for s in (0, 1)])
    assert found["difference"]["relative_r2"]["mean"] == pytest.approx(expected)
    assert found["budget"]["steps"]["mean"] == 20
    assert found["budget"]["target_views"]["mean"] == 20 * 8 * 2
    assert [len(run["curve"]) for run in runs.values() if "curve" in run] == [2] * 4


def test_the_csv_and_the_page_agree_with_the_results(tiny):
    out = tiny[0]
    results = json.loads((out / "results.json").read_text())
    with (out / "results.csv").open() as file:
        rows = {(r["arm"], r["seed"], r["group"], r["measure"]): r for r in csv.DictReader(file)}
    first = results["runs"][0]
    row = rows["both", "0", "trained", "relative_r2"]
    assert [float(row[key]) for key in ("value", "low", "high")] == [
        first["trained"]["relative_r2"][key] for key in ("value", "low", "high")
    ]
    assert float(rows["both", "0", "budget", "core_seconds"]["value"]) == first["budget"]["core_seconds"]
    page = (out / "results.md").read_text()
    assert "4 of 6 runs finished" in page
    assert "- explodes, seed 1: LossNotFiniteError" in page
    assert "| none - both | 2 " in page


def assert_drawn(path):
    pixels = cv2.imread(str(path))
    assert pixels is not None, path
    inside = pixels[pixels.shape[0] // 5 : -pixels.shape[0] // 5, pixels.shape[1] // 5 : -pixels.shape[1] // 5]
    assert len(np.unique(inside.reshape(-1, 3), axis=0)) > 10, f"{path.name} is blank"


def test_figures_are_not_blank(tiny):
    out = tiny[0]
    names = {str(path.relative_to(out)) for path in out.rglob("*.png") if "runs" not in path.parts}
    galleries = {f"{kind}/{arm}.png" for kind in ("projections", "retrievals") for arm in ("both", "none")}
    assert names == {"scatter.png", "r2_compute.png", "view_return.png", "path_r2.png", *galleries}
    for name in names:
        assert_drawn(out / name)


def test_pictures_are_drawn_anew_only_of_what_was_evaluated_since(tiny, monkeypatch):
    out, drawn = tiny[0], []
    monkeypatch.setattr(galleries, "_draw_projections", lambda *given: drawn.append(given[-1].stem))
    monkeypatch.setattr(galleries, "_draw_retrievals", lambda *given: None)
    runs = [run for run in grid_runs.planned_runs(load_grid(tiny[1][0]), out, "test") if grid_runs.is_done(run)]
    first = [run for run in runs if run.seed == 0]
    assert [run.arm for run in first] == ["both", "none"]
    galleries.gallery_figures(first, out)
    assert drawn == []
    os.utime(first[1].results)
    galleries.gallery_figures(first, out)
    assert drawn == ["none"]
    (out / "retrievals" / "both.png").rename(out / "away.png")
    with pytest.raises(FileNotFoundError):  # nothing is drawn here
        galleries.gallery_figures(first, out)
    assert drawn == ["none", "both"]
    (out / "away.png").rename(out / "retrievals" / "both.png")


def test_finished_runs_are_not_touched_again_and_failed_ones_are_tried_again(tiny, monkeypatch, capsys):
    begun = []
    monkeypatch.setattr(compare, "complete", lambda run: begun.append((run.arm, run.seed)))
    monkeypatch.setattr(compare, "gallery_figures", lambda runs, out: None)
    monkeypatch.setattr(compare, "comparison_figures", lambda results, out: None)
    compare.main([*tiny[1], "--arms", "both", "none", "--dry-run"])
    printed = capsys.readouterr().out
    assert begun == [] and printed.count("done") == 5 and "explodes" not in printed
    failed = tiny[0] / "runs" / "explodes-seed0" / "failed.txt"
    message = failed.read_text()
    with pytest.raises(SystemExit):  # that of seed 1 is there yet
        compare.main([*tiny[1], "--seeds", "0", "--reference", "none"])
    assert begun == [("explodes", 0)] and not failed.exists()
    assert "explodes, seed 1" in capsys.readouterr().err
    failed.write_text(message)


def test_what_is_scored_on_validation_things_leaves_what_is_of_test_things_as_it_is(tiny):
    out = tiny[0]
    before = {path: path.read_bytes() for path in out.rglob("*") if path.suffix in (".json", ".csv", ".md", ".png")}
    with pytest.raises(SystemExit):  # an arm has failed
        compare.main([*tiny[1], "--split", "validation", "--arms", "both", "--seeds", "0"])
    assert {path: path.read_bytes() for path in before} == before
    folder = out / "validation"
    results = json.loads((folder / "results.json").read_text())
    assert results["split"] == "validation"
    assert [(run["arm"], run["seed"]) for run in results["runs"] if run["status"] == "finished"] == [("both", 0)]
    own = json.loads((out / "runs" / "both-seed0" / "results-validation.json").read_text())
    assert results["runs"][0]["trained"] == own["trained"]
    drawn = {str(path.relative_to(folder)) for path in folder.rglob("*.png")}
    assert {"scatter.png", "projections/both.png", "retrievals/both.png"} <= drawn
    gallery = "projections/both.png"
    assert (folder / gallery).read_bytes() != (out / gallery).read_bytes()  # of other objects


def test_arms_of_one_world_are_measured_where_the_first_one_looks(tmp_path):
    """Unlike, they could not be pooled: a comparison of the saliency agent with the random one ended there."""
    ood = {"rotation.rotation": "ood"}
    gaze = {"preset": "quick-saccade"}
    arms = {"plus": {}, "turned": ood, "saliency": gaze, "random": {**gaze, "agent": "random"}}
    runs = grid_runs.planned_runs(Grid("mixed", "quick", arms, seeds=(0,)), tmp_path, "validation")
    looked = {run.arm: (run.evaluation.rotation, run.evaluation.fixations, run.results.name) for run in runs}
    own = runs[0].config.rotation.rotation
    assert looked == {
        "plus": (own, None, "results-validation.json"),
        "turned": (own, None, f"results-validation-{own}.json"),
        "saliency": (None, "saliency", "results-validation.json"),
        "random": (None, "saliency", "results-validation-saliency.json"),
    }


def test_a_run_killed_before_its_first_checkpoint_begins_anew(tiny, tmp_path, monkeypatch):
    grid = replace(Grid(**{**GRID, "seeds": (0,)}), arms={"both": {}})
    (run,) = grid_runs.planned_runs(grid, tmp_path, "test")
    run.folder.mkdir(parents=True)
    (run.folder / "metrics.csv").write_text("half a ro")
    calls = []
    monkeypatch.setattr(grid_runs, "train", lambda config, folder, resume: calls.append((config, resume)))
    monkeypatch.setattr(grid_runs, "evaluate", lambda folder, config: calls.append(config.split))
    grid_runs.complete(run)
    assert calls == [(run.config, False), "test"]
    assert [path.name for path in run.folder.iterdir()] == ["config.json"]


def test_wrong_calls_are_said_before_anything_runs(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "complete", lambda run: pytest.fail("it ran"))

    def call(grid, *options):
        (tmp_path / "grid.json").write_text(json.dumps(grid))
        compare.main([str(tmp_path / "grid.json"), "--out", str(tmp_path / "out"), *options])

    with pytest.raises(ValueError, match="no arm neither; there are both, explodes, none"):
        call(GRID, "--arms", "neither")
    with pytest.raises(ValueError, match="no arm neither to compare with: both"):
        call(GRID, "--reference", "neither")
    with pytest.raises(ValueError, match="no seed 7; there are 0, 1"):
        call(GRID, "--seeds", "7")
    with pytest.raises(ValueError, match=r"arm 'wide': .*heads"):  # only the model knows
        call({**GRID, "arms": {"wide": {"model.heads": 5}}})
    with pytest.raises(ValueError, match="arm 'far': cannot compute on device"):
        call({**GRID, "arms": {"far": {"device": "abacus"}}})
    changed = {**GRID, "common": {**GRID["common"], "batch_size": 4}}
    (tmp_path / "grid.json").write_text(json.dumps(changed))
    with pytest.raises(ValueError, match="both-seed0 was begun with other settings"):
        compare.main([str(tmp_path / "grid.json"), "--out", str(tiny[0])])


def test_arms_that_differ_in_context_alone_make_a_heat_map(tiny, tmp_path):
    results = json.loads((tiny[0] / "results.json").read_text())
    assert context_groups(results) == []
    assert not (tiny[0] / "context.png").exists()
    one = {**GRID["arms"], "none": {"replay.context": [1, 1]}}
    results["grid"]["arms"] = one
    for run in results["runs"]:
        run["context"] = [1, 1] if run["arm"] == "none" else [1, 3]
    assert context_groups(results) == [["both", "none"]]
    comparison_figures(results, tmp_path)
    assert_drawn(tmp_path / "context.png")


def test_a_path_memory_is_drawn_with_all_its_controls(tmp_path):
    suffixes = {"", "_last_view", "_no_motions", "_other_path"}
    assert suffixes == {suffix for group, suffix, *_ in RETURN_CURVES if group == "trained"}
    scores = {f"recall_{n}{suffix}": {"mean": 1 / n, "low": 0.1, "high": 0.9} for n in (3, 4, 6) for suffix in suffixes}
    arms = {"memory": {"trained": scores, "untrained": scores}, "plus": {"trained": {}, "untrained": {}}}
    _draw_curves({"split": "test", "arms": arms}, tmp_path / "recall.png", "recall_", RETURN_CURVES)
    assert_drawn(tmp_path / "recall.png")


def test_projections_keep_what_is_far_apart_apart():
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 40)
    points, how = project(groups[:, None] * np.ones(6) * 9 + rng.normal(size=(80, 6)))
    assert points.shape == (80, 2) and how in ("PCA", "UMAP")
    means = [points[groups == g].mean(axis=0) for g in (0, 1)]
    assert np.linalg.norm(means[0] - means[1]) > 3 * points[groups == 0].std(axis=0).max()


def test_the_angle_that_poses_are_coloured_by():
    quarter = np.array([[0, 0, np.sin(np.pi / 4), np.cos(np.pi / 4)]])  # xyzw, 90 degrees about z
    angle, name = pose_angle("rotation", quarter)
    assert angle == pytest.approx([90.0]) and "vertical" in name
    coloured = np.concatenate([quarter, [[0.3, 0.6]]], axis=1)
    assert pose_angle("rotation-colour", coloured)[0] == pytest.approx([90.0])
    place, name = pose_angle("translation", np.array([[0.25, -0.5]]))
    assert place == pytest.approx([0.25]) and "horizontal" in name
