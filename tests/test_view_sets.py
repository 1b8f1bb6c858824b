"""Where the views of probes come from: scanpaths by the priority map, sequences within them, other conditions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from glimpseworld.envs.imagery.image_set import ImageSet
from glimpseworld.envs.saccade import SaccadeWorld
from glimpseworld.experiments.config import RotationOptions, SaccadeOptions, TrainConfig
from glimpseworld.experiments.evaluate import EvaluateConfig, Plan, condition_of, make_material, result_paths
from glimpseworld.experiments.measure import Material
from glimpseworld.experiments.view_sets import SCANPATH, ViewSet, calibrate_untrained, make_view_set, own_fixations
from glimpseworld.world_model.memory import MemoryConfig
from glimpseworld.world_model.seq_jepa import SeqJEPA, SeqJEPAConfig

LEFT, RIGHT = (-0.55, 0.05), (0.55, -0.15)
PLAN = Plan(30, 30, 10, 10, 100, 100, (1,), (2,), (3,))


def two_places(**priority):
    """40 x 40 images that are salient in two cells alone, one three times as much as the other."""
    saliency = np.zeros((6, 40, 40), np.float32)
    saliency[:, 20:22, 8:10], saliency[:, 16:18, 30:32] = 3.0, 1.0
    pixels = np.random.default_rng(0).integers(0, 256, (6, 40, 40, 3), dtype=np.uint8)
    images = ImageSet(pixels, np.arange(6) % 2, ("a", "b"), saliency=saliency)
    return SaccadeWorld(images, glimpse_size=8, priority={"radius": 0.2, **priority})


def scanpaths(world, length, count=2_000, views=4):
    uniform = np.random.default_rng(0).random((count, views, 3))
    return world.draw_scanpaths(np.arange(count) % len(world.images), uniform, length)


def test_a_scanpath_goes_where_saliency_is_and_nowhere_twice_until_the_next_begins():
    poses = scanpaths(two_places(), length=2)
    left, right = ((np.abs(poses - place) < 1e-9).all(axis=-1) for place in (LEFT, RIGHT))
    assert (left | right).all()
    assert (left[:, 0] != left[:, 1]).all()
    assert (left[:, 2] != left[:, 3]).all()
    assert left[:, 0].mean() == pytest.approx(0.75, abs=0.03)
    assert (left[:, 0] == left[:, 2]).mean() == pytest.approx(0.75**2 + 0.25**2, abs=0.04)  # anew, not in turns
    free = np.abs(scanpaths(two_places(strength=0), length=4) - LEFT).max(axis=-1) < 1e-9
    assert np.allclose(free.mean(axis=0), 0.75, atol=0.03)  # without inhibition of return each draw is a first one


def test_without_saliency_a_scanpath_is_even_but_for_inhibition_of_return():
    world = two_places(saliency=False)
    poses = scanpaths(world, length=4)
    assert np.abs(poses).max() <= world.reach
    assert np.allclose(poses.mean(axis=(0, 1)), 0, atol=0.02)
    assert np.allclose(poses.std(axis=(0, 1)), world.reach / 3**0.5, atol=0.03)
    first, second = np.triu_indices(4, 1)
    assert np.linalg.norm(poses[:, first] - poses[:, second], axis=-1).min() > 0.2 - 1e-9


def test_a_zooming_gaze_has_a_zoom_of_its_own_at_every_fixation():
    world = two_places()
    zooming = SaccadeWorld(world.images, glimpse_size=8, zoom=(0.5, 2.0), priority={"radius": 0.2})
    poses = scanpaths(zooming, length=2)
    np.testing.assert_array_equal(poses[..., :2], scanpaths(world, length=2))
    assert np.abs(poses[..., 2]).max() <= 1
    assert poses[..., 2].std() == pytest.approx(2 / 12**0.5, abs=0.02)


def test_view_sets_see_what_is_where_their_poses_are_and_repeat_by_generator():
    world = two_places()
    items = np.array([4, 1, 3])
    made = make_view_set(world, items, 4, np.random.default_rng(3), fixations="saliency")
    assert made.scanpath == SCANPATH
    for row, item in enumerate(items):
        seen = world.view(np.full(4, item), made.poses[row], np.zeros((4, world.view_randomness)))
        np.testing.assert_array_equal(made.views[row], seen)
    again = make_view_set(world, items, 4, np.random.default_rng(3), fixations="saliency")
    np.testing.assert_array_equal(made.views, again.views)
    even = make_view_set(world, items, 4, np.random.default_rng(3), fixations="uniform")
    assert even.scanpath is None
    uniform = np.random.default_rng(3).random((12, 3))
    np.testing.assert_array_equal(even.poses.reshape(12, 2), world.draw_poses(uniform))


def test_sequences_lie_within_a_scanpath_as_far_as_they_fit():
    poses = np.zeros((5, 9, 2))
    grouped = ViewSet(np.zeros((5, 9, 1, 1, 1), np.uint8), poses, np.zeros(5, np.int64), "translation", 1, scanpath=3)
    material = Material(grouped, grouped, fit_samples=300, test_samples=300)
    _, steps = material.draw("fit", 3, purpose=1)
    assert (steps // 3 == steps[:, :1] // 3).all()
    assert set((steps[:, 0] // 3).tolist()) == {0, 1, 2}
    assert {tuple(row) for row in (steps % 3).tolist()} == {
        (a, b, 3 - a - b) for a in range(3) for b in range(3) if a != b
    }
    _, longer = material.draw("fit", 7, purpose=1)
    assert (longer[:, :3] // 3 == longer[:, :1] // 3).all()
    assert (longer[:, 3:6] // 3 == longer[:, 3:4] // 3).all()
    assert all(len(set(row)) == 7 for row in longer.tolist())
    plain = Material(grouped._replace(scanpath=None), grouped, fit_samples=300)
    expected = np.random.default_rng([0, 1, False]).random((300, 9)).argsort(axis=1)[:, :3]
    np.testing.assert_array_equal(plain.draw("fit", 3, purpose=1)[1], expected)


@pytest.fixture
def gazing(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (400, 24, 24, 3), dtype=np.uint8))
    return TrainConfig(world="saccade", agent="saliency", saccade=SaccadeOptions(str(path), glimpse_size=8))


def test_a_run_is_probed_where_its_agent_looks(gazing):
    asked = EvaluateConfig()
    assert own_fixations(gazing) == "saliency"
    assert make_material(gazing, asked, PLAN).test.scanpath == SCANPATH
    assert make_material(gazing, replace(asked, fixations="uniform"), PLAN).fit.scanpath is None
    even = replace(gazing, agent="random")
    assert own_fixations(even) == "uniform"
    assert make_material(even, asked, PLAN).test.scanpath is None
    assert make_material(even, replace(asked, fixations="saliency"), PLAN).test.scanpath == SCANPATH
    assert own_fixations(TrainConfig()) is None


def test_probes_fitted_on_the_run_s_rotations_are_scored_on_others():
    run = TrainConfig(rotation=RotationOptions(size=16, members_per_family=2))
    asked = EvaluateConfig(rotation="ood")
    material = make_material(run, asked, PLAN)
    fit, test = (
        np.abs(Rotation.from_quat(part.poses.reshape(-1, 4)).as_euler("xyz")) for part in (material.fit, material.test)
    )
    assert fit.max() <= np.pi / 2 + 1e-9
    assert test[:, [0, 2]].min() >= np.pi / 2 - 1e-9


def test_results_of_another_condition_are_kept_apart(gazing, tmp_path):
    rotating = TrainConfig()
    asked = EvaluateConfig()
    cases = [
        (rotating, {}, "", "results.json"),
        (rotating, {"rotation": "3diebench"}, "", "results.json"),
        (rotating, {"rotation": "ood"}, "ood", "results-ood.json"),
        (gazing, {"fixations": "uniform"}, "uniform", "results-uniform.json"),
        (gazing, {"fixations": "saliency"}, "", "results.json"),
    ]
    for run, options, condition, name in cases:
        assert condition_of(replace(asked, **options), run) == condition
        assert result_paths(tmp_path, "test", condition)[0] == tmp_path / name
    assert result_paths(tmp_path, "validation", "ood")[1] == tmp_path / "results-validation-ood.png"
    with pytest.raises(ValueError, match="of the world of rotations"):
        condition_of(replace(asked, rotation="ood"), gazing)
    with pytest.raises(ValueError, match="of the world of saccades"):
        condition_of(replace(asked, fixations="uniform"), rotating)


def test_calibration_gives_every_batchnorm_the_statistics_of_what_it_sees():
    """The path memory's too, and those of targets; no weight is changed."""
    torch.manual_seed(0)
    memory = MemoryConfig(layers=1, heads=2, longest=4, hidden=8)
    sizes = {"size": 16, "z_dim": 8, "motion_dim": 2, "motion_embedding": 8, "layers": 1, "heads": 2}
    model = SeqJEPA(SeqJEPAConfig(**sizes, predictor_hidden=8, memory=memory))
    weights = {name: value.clone() for name, value in model.named_parameters()}
    rng = np.random.default_rng(0)
    seen = rng.integers(0, 256, (12, 4, 16, 16, 3), dtype=np.uint8)
    calibrate_untrained(model, ViewSet(seen, rng.normal(size=(12, 4, 2)), np.arange(12) % 3, "translation", 3))
    assert not model.training
    norms = {name: part for name, part in model.named_modules() if hasattr(part, "running_var")}
    assert {name.split(".")[0] for name in norms} >= {"encoder", "target_encoder", "motion_embedding", "memory"}
    for name, norm in norms.items():
        assert (norm.running_var != 1).all(), name
    assert all((value == weights[name]).all() for name, value in model.named_parameters())
    few = ViewSet(seen[:9], rng.normal(size=(9, 4, 2)), np.arange(9) % 3, "translation", 3)
    calibrate_untrained(model, few, batch=4)  # 4, 4 and 1, of which BatchNorm could make nothing, are 3, 3 and 3
