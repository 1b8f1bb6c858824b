"""How far ahead a model sees: a model that is right at every horizon, feedback and its controls, and the command."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_models import TrueModel, spelt_out

from glimpseworld.experiments import bench, bench_planning, horizons
from glimpseworld.experiments.config import RotationOptions, TrainConfig
from glimpseworld.experiments.horizons import HORIZONS, HorizonsConfig, Paths, measure, ways_of
from glimpseworld.world_model.baselines import Baseline, BaselineConfig
from glimpseworld.world_model.seq_jepa import SeqJEPA, SeqJEPAConfig

CONTEXT, STEPS = 3, 11


def toy_paths(count=40):
    rng = np.random.default_rng(0)
    poses = rng.uniform(-1, 1, (count, STEPS, 2))
    views = np.stack([spelt_out(row) for row in poses])
    return Paths(TrueModel().eval(), views, np.diff(poses, axis=1).astype(np.float32), "translation", CONTEXT), poses


def small_model(size=16):
    torch.manual_seed(0)
    sizes = {"size": size, "z_dim": 32, "motion_embedding": 8, "predictor_hidden": 32}
    model = SeqJEPA(SeqJEPAConfig(motion_dim=4, motion_kind="rotation", **sizes)).eval()
    model.target_statistics.observe(torch.randn(64, 32) * torch.rand(32) + 1)
    return model


def test_a_model_that_is_right_is_right_at_every_horizon_and_a_copy_is_not():
    paths, poses = toy_paths()
    ways = ways_of(paths.model)
    assert list(ways) == ["jump", "teacher", "copy"]  # only a seq-JEPA feeds back
    for name in ("jump", "teacher"):
        scores = measure(paths, ways[name], seed=0)
        for horizon in HORIZONS:
            assert abs(scores[str(horizon)]["cosine_error"]["value"]) < 1e-3
            assert scores[str(horizon)]["hit_at_1"] == {"value": 1, "low": 1, "high": 1, "chance": 0.1}
    copied = measure(paths, ways["copy"], seed=0)
    for horizon in HORIZONS:
        last, true = (paths.model.as_target(torch.tensor(poses[:, n]).float()) for n in (2, 2 + horizon))
        cosine = torch.cosine_similarity(last, true).mean().item()
        error = copied[str(horizon)]["cosine_error"]
        assert error["value"] == pytest.approx(1 - cosine, abs=0.01) and error["low"] < error["value"] < error["high"]
        # of ten views at random places, as far as it can be told from 40 paths
        assert copied[str(horizon)]["hit_at_1"]["value"] < 0.3


def seq_paths(monkeypatch=None):
    model, rng = small_model(), np.random.default_rng(1)
    if monkeypatch is not None:
        monkeypatch.setattr(model, "as_token", lambda prediction: prediction)
    motions = rng.normal(size=(5, STEPS - 1, 4))
    motions /= np.copysign(np.linalg.norm(motions, axis=-1, keepdims=True), motions[..., 3:])
    views = rng.integers(0, 256, (5, STEPS, 16, 16, 3), dtype=np.uint8)
    return Paths(model, views, motions.astype(np.float32), "rotation", CONTEXT)


@torch.no_grad()
def test_ways_begin_alike_and_raw_feedback_differs_by_the_token_alone(monkeypatch):
    paths = seq_paths()
    ways = {name: way(paths) for name, way in ways_of(paths.model).items()}
    assert {way.shape for way in ways.values()} == {(5, 8, 32)}
    for name in ("feedback", "raw", "teacher"):
        torch.testing.assert_close(ways[name][:, 0], ways["jump"][:, 0], atol=1e-5, rtol=1e-4)
        assert not torch.allclose(ways[name][:, 1], ways["jump"][:, 1], atol=1e-3)
    assert not torch.allclose(ways["raw"][:, 1], ways["feedback"][:, 1], atol=1e-3)
    same = seq_paths(monkeypatch)
    torch.testing.assert_close(horizons.feedback(same), ways["raw"], atol=1e-4, rtol=1e-3)
    for step in (1, 5):
        seen = paths.z[:, : CONTEXT + step], paths.motions[:, : CONTEXT - 1 + step]
        expected = paths.model.predict_from(*seen, paths.motions[:, CONTEXT - 1 + step])
        torch.testing.assert_close(ways["teacher"][:, step], expected)


def test_the_command_writes_what_it_measured(tmp_path, monkeypatch, capsys):
    run = TrainConfig(rotation=RotationOptions(size=16, members_per_family=2))
    monkeypatch.setattr(horizons, "load_config", lambda folder: run)
    monkeypatch.setattr(horizons, "load_model", lambda folder, device: (small_model(), 7))
    horizons.main([str(tmp_path), "--episodes", "12", "--split", "validation"])
    shown = capsys.readouterr().out
    results = json.loads((tmp_path / "horizons-validation.json").read_text())
    assert (tmp_path / "horizons-validation.png").stat().st_size > 5_000
    assert results["step"] == 7 and list(results["ways"]) == ["jump", "feedback", "raw", "teacher", "copy"]
    value = results["ways"]["jump"]["4"]["cosine_error"]
    assert f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]" in shown
    first, again = (
        horizons.walk(horizons.make_world(run, "test"), run, HorizonsConfig(tmp_path, episodes=4), small_model())
        for _ in "ab"
    )
    np.testing.assert_array_equal(first[0], again[0])
    assert first[0].shape == (4, 11, 16, 16, 3) and first[1].shape == (4, 10, 4)
    assert (first[1][:, 0, 3] < 1).all()  # the first motion led to the second view, none to the first
    curious = replace(run, agent="curious")  # which acts by the model that is measured
    seen, _ = horizons.walk(
        horizons.make_world(curious, "test"), curious, HorizonsConfig(tmp_path, episodes=4), small_model()
    )
    assert seen.shape == first[0].shape and not np.array_equal(seen, first[0])


def test_what_cannot_look_ahead_is_refused(tmp_path):
    model = Baseline(BaselineConfig("simclr", size=16, motion_dim=4))
    with pytest.raises(ValueError, match="predicts nothing"):
        ways_of(model)
    with pytest.raises(ValueError, match="at least 1, got 0 and 3"):
        horizons.horizons(HorizonsConfig(tmp_path, episodes=0))


def test_planning_is_timed_beside_the_calls_it_makes(monkeypatch):
    config = bench_planning.PlannerConfig(candidates=32, horizon=2, iterations=2)
    monkeypatch.setattr(bench_planning, "PREDICTED_AT_ONCE", 128)
    monkeypatch.setattr("glimpseworld.agents.planner.PREDICTED_AT_ONCE", 128)
    calls = []

    def count(ours, reference, seconds):
        for work in (ours, reference):
            calls.append([])
            work()
        return 4.0, 5.0, 0.8

    predict = SeqJEPA.predict
    monkeypatch.setattr(SeqJEPA, "predict", lambda m, z, a: calls[-1].append(tuple(a.shape)) or predict(m, z, a))
    monkeypatch.setattr(bench_planning, "compare", count)
    whole, own = bench_planning.planning_rows(0.1, num_envs=5, config=config)
    assert calls[0] == calls[1] == [(2, 64, 4), (2, 64, 4), (1, 64, 4)] * 2
    assert whole.measured == 0.25 and whole.met
    assert own.measured == pytest.approx(0.25) and own.met is False
    assert "MISSED" in bench.bench_table({"machine": {}, "rows": [own]})
