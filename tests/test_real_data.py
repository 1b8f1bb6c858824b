"""Data sets and checkpoints in their published layouts, fabricated: a run on each, from training to its results."""

import json
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_images import write_stl10
from test_stored_views import write_object

from glimpseworld.experiments import evaluate as evaluation
from glimpseworld.experiments import homing as homing_module
from glimpseworld.experiments import reference_run
from glimpseworld.experiments.config import (
    ModelOptions,
    ReplayOptions,
    RotationOptions,
    SaccadeOptions,
    StoredOptions,
    TrainConfig,
    make_world,
    presets,
)
from glimpseworld.experiments.evaluate import EvaluateConfig, Plan, evaluate, make_material
from glimpseworld.experiments.homing import HomingConfig, homing
from glimpseworld.experiments.run_folder import load_config, load_model, save_config
from glimpseworld.experiments.train import train
from glimpseworld.experiments.trainer import Trainer
from glimpseworld.world_model.checkpoint import CheckpointError
from glimpseworld.world_model.learner import LearnerConfig
from glimpseworld.world_model.memory import MemoryConfig
from glimpseworld.world_model.objectives import Objective
from glimpseworld.world_model.views import normalize_views

GOLDEN = Path(__file__).parent / "golden"
VIEWS = 8
TINY = TrainConfig(
    num_envs=4,
    episode_steps=5,
    glimpses_per_update=8.0,
    warmup_glimpses=40,
    batch_size=8,
    replay=ReplayOptions(capacity=200, context=(1, 3), targets=2),
    model=ModelOptions(z_dim=16, motion_embedding=8, layers=1, heads=2, predictor_hidden=16),
    learner=LearnerConfig(total_steps=4, warmup_steps=2),
    log_every=2,
    probe_every=4,
    checkpoint_every=4,
)
PLAN = Plan(16, 12, 7, 7, 100, 60, (1,), (2,), (3,))
REFERENCE = ModelOptions(
    encoder="resnet18", z_dim=512, motion_embedding=128, layers=3, predictor_hidden=1024, objective=Objective.paper()
)


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    monkeypatch.setenv("GLIMPSEWORLD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(evaluation.PLANS, "quick", PLAN)
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def stl10(tmp_path):
    """Images, and maps that are salient in their upper left quarter alone."""
    folder = write_stl10(tmp_path / "stl10", count=60)
    maps = np.zeros((60, 1, 96, 96), np.float32)
    maps[..., :48, :48] = 0.5
    for part in ("train", "test", "unlabeled"):
        np.save(folder / f"saliency_{part}.npy", maps)
    return folder


@pytest.fixture
def tree(tmp_path):
    """24 objects of two classes with the published lists, which leave the last eight for the test."""
    root = tmp_path / "3DIEBench"
    names = [f"/{('02691156', '03001627')[i % 2]}/{i:04x}" for i in range(24)]
    for i, name in enumerate(names):
        write_object(root / name[1:], i, views=VIEWS)
    for part, chosen in (("train", range(16)), ("val", range(16, 24))):
        np.save(root / f"{part}_images.npy", np.array([names[i] for i in chosen]))
        np.save(root / f"{part}_labels.npy", np.array([i % 2 for i in chosen]))
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """One for rotations, with the ImageNet stem, as the published code saves it."""
    path = tmp_path_factory.mktemp("published") / "published.pth"
    weights = runpy.run_path(str(GOLDEN / "weights.py"))["golden_state_dict"]
    shapes = json.loads((GOLDEN / "shapes.json").read_text())["rotation_m3"]
    torch.save({"model": weights(shapes), "epoch": 1}, path)
    return path


def run_of(folder, config):
    folder.mkdir()
    save_config(config, folder)
    train(config, folder)
    return folder


def on_tree(tree, **options):
    stored = StoredOptions(str(tree), size=16, views_per_object=VIEWS)
    return replace(TINY, world="stored-views", agent="independent", stored=stored, **options)


def test_a_run_over_stl10_fixates_by_the_published_maps(tmp_path, stl10):
    config = replace(TINY, world="saccade", agent="saliency", saccade=SaccadeOptions(str(stl10), max_amplitude=2.0))
    asked = EvaluateConfig()
    for material in (make_material(config, asked, PLAN), Trainer(config, tmp_path).material):
        assert material.fit.num_classes == material.test.num_classes == 10
        assert material.fit.poses[:, :2].max() < 0  # later ones may find all of the quarter inhibited
        assert material.test.poses[:, :2].max() < 0
    off = replace(config.saccade, priority=replace(config.saccade.priority, saliency=False))
    assert make_material(replace(config, saccade=off), asked, PLAN).test.poses[:, :2].max() > 0.5


def test_a_run_over_the_unlabelled_part_is_probed_on_the_labelled_ones(tmp_path, stl10, monkeypatch):
    for path in stl10.glob("saliency_*.npy"):
        path.unlink()  # without the published maps, saliency is computed
    saccade = SaccadeOptions(str(stl10 / "unlabeled_X.bin"), probe_images=str(stl10))
    config = replace(TINY, world="saccade", agent="saliency", saccade=saccade)
    trainer = Trainer(config, tmp_path)
    assert len(trainer.envs.world.class_names) == 1
    assert trainer.material.fit.num_classes == trainer.material.test.num_classes == 10
    run = run_of(tmp_path / "run", config)
    results = evaluate(run, EvaluateConfig(effort="quick"), quiet=True)
    assert results["sizes"]["classes"] == 10
    assert results["fixations"] == "saliency"
    assert results["rotation"] is None
    shown = []
    monkeypatch.setattr(homing_module, "make_world", lambda *a, **k: shown.append(make_world(*a, **k)) or shown[-1])
    homing(HomingConfig(run, episodes=4, imposed=(1,), noise=(0.0,), agents=("dead reckoning",)), quiet=True)
    assert shown and all(len(world.class_names) == 10 for world in shown)


def test_a_run_over_3diebench_learns_from_stored_views_and_is_tested_on_the_val_list(tmp_path, tree):
    config = on_tree(tree)
    folder = run_of(tmp_path / "run", config)
    results = evaluate(folder, EvaluateConfig(effort="quick"), quiet=True)
    assert results["sizes"]["test_things"] == 8
    assert results["fixations"] is None
    assert 0 <= results["trained"]["relative_r2"]["median_error"] <= 180
    whole = replace(PLAN, test_views=VIEWS)
    material = make_material(config, EvaluateConfig(), whole)
    darkest = material.test.views.mean(axis=(2, 3, 4)).min(axis=1)  # 40 + 3 * number
    assert set(np.rint((darkest - 40) / 3).astype(int).tolist()) == set(range(16, 24))


def test_windows_of_stored_views_hold_no_view_twice(tmp_path, tree):
    trainer = Trainer(on_tree(tree), tmp_path)
    trainer.advance()
    windows = trainer.replay.sample(40, context=3, targets=2, mode="adjacent", generator=np.random.default_rng(0))
    mean = windows.views.mean(axis=(2, 3, 4)).round()
    assert all(len(set(row)) == 5 for row in mean.tolist())


def test_evaluating_a_published_checkpoint_makes_a_run_of_it(tmp_path, tree, checkpoint, monkeypatch, capsys):
    stored = StoredOptions(size=16, views_per_object=VIEWS)
    preset = replace(TINY, world="stored-views", agent="independent", stored=stored)
    monkeypatch.setattr(reference_run, "presets", lambda: {"paper-3diebench": ("", preset)})
    arguments = ["--preset", "paper-3diebench", "--data", str(tree), "--effort", "quick", "--json"]
    evaluation.main(["--from-reference", str(checkpoint), *arguments])
    results = json.loads(capsys.readouterr().out)
    (folder,) = Path("runs").iterdir()
    assert results["step"] == 0
    assert results == json.loads((folder / "results.json").read_text())
    config = load_config(folder)
    assert config.from_reference == str(checkpoint)
    assert (config.model.encoder, config.model.z_dim, config.model.predictor_hidden) == ("resnet18", 512, 1024)
    model, _ = load_model(folder)
    assert model.target_statistics.batches > 0
    fit = make_material(config, EvaluateConfig(), PLAN).fit
    with torch.no_grad():
        norm = model.encode_target(normalize_views(fit.views)).norm(dim=-1).mean()
    assert float(model.target_statistics.norm) == pytest.approx(float(norm), rel=0.05)
    with pytest.raises(CheckpointError, match="is finished"):
        train(config, folder, resume=True)


def test_training_begins_from_a_published_checkpoint(tmp_path, tree, checkpoint):
    config = on_tree(tree, model=REFERENCE, from_reference=str(checkpoint))
    trainer = Trainer(config, tmp_path)
    fresh = trainer.learner.model.predictor.output.weight.clone()
    trainer.begin_from(checkpoint)
    weights = torch.load(checkpoint, weights_only=True)["model"]
    model = trainer.learner.model
    assert torch.equal(model.predictor.output.weight, weights["predictor.3.weight"])
    assert torch.equal(model.target_encoder.layer4[1].conv2.weight, weights["target_encoder.layer4.1.conv2.weight"])
    assert not torch.equal(fresh, model.predictor.output.weight)
    for changes, message in (
        ({"layers": 2}, "layers 3, not 2"),
        ({"heads": 8}, "4 attention heads"),
        ({"memory": MemoryConfig(layers=1)}, "no path memory"),
        ({"tokens": "pose"}, "tokens 'step', not 'pose': leave --model.tokens out"),
        ({"agg_token": "mean"}, "agg_token 'learned', not 'mean': leave --model.agg-token out"),
    ):
        with pytest.raises(ValueError, match=message):
            Trainer(replace(config, model=replace(REFERENCE, **changes)), tmp_path).begin_from(checkpoint)


def test_a_run_begins_from_its_checkpoint_once(tmp_path, tree, monkeypatch):
    begun = []
    monkeypatch.setattr(Trainer, "begin_from", lambda self, reference: begun.append((self.learner.steps, reference)))
    config = on_tree(tree, from_reference="published.pth", checkpoint_every=2)
    folder = tmp_path / "run"
    folder.mkdir()
    train(config, folder, stop_after=3)
    assert begun == [(0, Path("published.pth"))]
    train(config, folder, resume=True)
    assert len(begun) == 1


def test_data_is_asked_for_where_a_preset_has_none(checkpoint):
    reference = reference_run.ReferenceConfig(checkpoint, "paper-3diebench")
    for config, message in (
        (reference, r"--stored\.source"),
        (replace(reference, preset="paper-saccade"), r"--saccade\.images"),
        (replace(reference, preset="paper", data="somewhere"), "no effect"),
        (replace(reference, preset="paperback"), "no preset"),
    ):
        with pytest.raises(ValueError, match=message):
            reference_run.make_reference_run(config)
    assert not Path("runs").exists()


def test_the_papers_presets_fit_its_settings():
    saccade, stored = presets()["paper-saccade"][1], presets()["paper-3diebench"][1]
    for config in (saccade, stored):
        assert config.batch_size == 512
        assert config.model.objective == Objective.paper()
        assert (config.learner.learning_rate, config.learner.target_tau) == (4e-4, 0.996)
        assert config.rotation == RotationOptions()
    assert (saccade.replay.context, saccade.saccade.glimpse_size, saccade.model.encoder) == (
        (4, 4),
        32,
        "resnet18-cifar",
    )
    assert (stored.replay.context, stored.stored.size, stored.stored.views_per_object) == ((3, 3), 128, 50)
