"""The measure of homing: fixed-length episodes, paired agents, intervals, and what is written."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from glimpseworld.agents.path_integrator import DeadReckoningAgent, PathIntegratorConfig
from glimpseworld.envs.saccade import SaccadeWorld
from glimpseworld.experiments import homing as measured
from glimpseworld.experiments.config import RotationOptions, SaccadeOptions, TrainConfig, model_config
from glimpseworld.experiments.homing import HomingConfig, homing, homing_table
from glimpseworld.experiments.worlds import half_glimpse, motor_of
from glimpseworld.world_model.build import new_model
from glimpseworld.world_model.checkpoint import CheckpointError

FEW = PathIntegratorConfig(particles=64)


def test_distances_are_those_after_own_motions(toy_images):
    config = HomingConfig(Path("run"), episodes=5, steps=3)
    world = SaccadeWorld(toy_images, glimpse_size=8)
    found = measured._distances(world, lambda count: DeadReckoningAgent(motor_of(world), count), 2, 0.0, config)
    assert found.shape == (5, 3) and found[:, -1].max() < 0.05


def test_home_is_in_the_glimpse_as_far_as_the_fovea_sees(toy_images):
    """A crop sees its 8 pixels; scales up to 4 see 32, though the glimpse has 8 all the same."""
    crop = SaccadeWorld(toy_images, glimpse_size=8)
    wide = SaccadeWorld(toy_images, glimpse_size=8, fovea="multiscale", scales=(1, 2, 4))
    assert half_glimpse(crop) * crop.images.side == 8 and half_glimpse(wide) * wide.images.side == 32


def test_scores_by_hand():
    far = {"dead reckoning": np.array([[5.0, 20.0], [30.0, 10.0]]), "random": np.array([[20.0, 2.0], [30.0, 3.0]])}
    scores = measured._scored(far, 15.0, 2.5)
    assert [scores["dead reckoning"][key]["value"] for key in ("success", "any", "glimpse")] == [0.5, 1.0, 0.0]
    assert scores["random"]["success"]["value"] == 1.0 and scores["random"]["glimpse"]["value"] == 0.5
    gain = scores["random"]["gain"]  # 1 and 0: mean 0.5, std 0.5
    half = 1.96 * 0.5 / np.sqrt(2)
    assert (gain["low"], gain["value"], gain["high"]) == pytest.approx((0.5 - half, 0.5, 0.5 + half))
    assert "gain" not in scores["dead reckoning"] and scores["dead reckoning"]["median_distance"] == 15.0


@pytest.fixture
def untrained(monkeypatch, tmp_path):
    """Let runs be untrained models of 16 x 16 views, of the world that the run's folder names."""
    path = tmp_path / "images.npy"
    images = np.random.default_rng(0).integers(0, 256, (40, 48, 48, 3), dtype=np.uint8)
    np.save(path, images)
    rotation = RotationOptions(size=16, members_per_family=2, rotation="free")
    runs = {
        "rotation": TrainConfig(rotation=rotation),
        "saccade": TrainConfig(world="saccade", saccade=SaccadeOptions(images=str(path), glimpse_size=16)),
    }

    def load_model(folder, device):
        torch.manual_seed(0)
        run = runs[folder.name]
        return new_model(model_config(run, measured.make_world(run, "test"))).to(device).eval(), 7

    monkeypatch.setattr(measured, "load_config", lambda folder: runs[folder.name])
    monkeypatch.setattr(measured, "load_model", load_model)


@pytest.mark.parametrize("world", ["rotation", "saccade"])
def test_exact_motions_lead_home_and_all_is_written(untrained, tmp_path, world):
    config = HomingConfig(
        Path(world), episodes=6, imposed=(2,), noise=(0.0, 0.3), steps=6, out=tmp_path / "out", path_integrator=FEW
    )
    results = homing(config, quiet=True)
    exact, noisy = (results["results"][noise]["2"] for noise in ("0", "0.3"))
    assert set(exact) == set(measured.AGENTS)
    for name in ("dead reckoning", "path integrator", "no vision"):
        assert exact[name]["success"]["value"] == 1.0
        assert noisy[name]["median_distance"] > exact[name]["median_distance"]
    assert exact["random"]["success"]["value"] < 1.0
    assert ("glimpse" in exact["random"]) == (world == "saccade")
    assert json.loads((tmp_path / "out" / "homing.json").read_text()) == json.loads(json.dumps(results))
    assert (tmp_path / "out" / "homing.png").stat().st_size > 10_000
    other = measured.result_paths(replace(config, split="validation"))  # which must not take the place of the test's
    assert [path.name for path in other] == ["homing-validation.json", "homing-validation.png"]
    rows = [line for line in homing_table(results).splitlines() if line.startswith("| dead reckoning")]
    assert " ".join(rows[0].split()) == "| dead reckoning | 1.00 (0.61-1.00) |" and len(rows) == 2


def test_agents_meet_the_same_episodes_and_the_seed_settles_them(untrained, tmp_path):
    def measure(agents, seed):
        settings = {"episodes": 4, "imposed": (1,), "noise": (0.2,), "steps": 3, "path_integrator": FEW}
        config = HomingConfig(Path("saccade"), **settings, agents=tuple(agents), seed=seed, out=tmp_path)
        return homing(config, quiet=True)["results"]["0.2"]["1"]

    both = measure(["dead reckoning", "path integrator"], 1)
    assert measure(["path integrator"], 1)["path integrator"]["success"] == both["path integrator"]["success"]
    alone = measure(["dead reckoning"], 1)["dead reckoning"]
    assert alone == both["dead reckoning"]
    assert alone["median_distance"] != measure(["dead reckoning"], 2)["dead reckoning"]["median_distance"]


@pytest.mark.parametrize("name", ["imposed", "noise", "agents"])
def test_nothing_to_measure_and_the_same_twice_are_refused(name):
    twice = getattr(HomingConfig(Path("run")), name)[:1] * 2
    for given in ((), twice):
        with pytest.raises(ValueError, match=f"{name} must name at least one value, each once"):
            HomingConfig(Path("run"), **{name: given})


@pytest.mark.parametrize(
    "wrong", [{"episodes": 0}, {"imposed": (0,)}, {"noise": (-0.1,)}, {"noise": (float("nan"),)}, {"steps": 0}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="expected episodes, steps and imposed of at least 1"):
        HomingConfig(Path("run"), **wrong)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is no run"):
        measured.main([str(tmp_path / "nowhere")])
