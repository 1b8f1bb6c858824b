"""The measures on models whose knowledge is known: a seeing, a remembering and a blind one."""

import numpy as np
import pytest
import torch
from torch import nn

from glimpseworld.experiments.measure import (
    Material,
    Subject,
    individual_r2,
    motion_rank,
    path_from_motions,
    pixels,
    predictor_quality,
    relative_r2,
    top1_from_context,
    view_return,
)
from glimpseworld.experiments.view_sets import Embeddings, ViewSet

CLASSES = 4


class Stub(nn.Module):
    """Predicts from the last view: pose plus motion. With `memory`, from the first view and the whole path."""

    def __init__(self, memory=False):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.memory = memory

    def aggregate(self, z, motions):
        if not self.memory:
            return z[:, -1]
        start = z[:, 0].clone()
        start[:, :2] += motions.sum(dim=1)
        return start

    def predict(self, z_agg, motion):
        moved = z_agg.clone()
        moved[:, :2] += motion
        return moved

    def recall(self, z, motions, motion):
        return self.predict(self.aggregate(z, motions), motion)

    def predict_from(self, z, motions, ahead):
        if ahead.ndim == 3:
            return torch.stack([self.predict_from(z, motions, one) for one in ahead.unbind(1)], dim=1)
        return self.predict(self.aggregate(z, motions), ahead)

    def as_target(self, z):
        return z


def view_set(seed, things=60, views=8):
    rng = np.random.default_rng(seed)
    poses = rng.uniform(-1, 1, (things, views, 2))
    return ViewSet(
        np.zeros((things, views, 1, 1, 1), np.uint8), poses, np.arange(things) % CLASSES, "translation", CLASSES
    )


def embeddings(views, blind=False):
    """z = [pose, one-hot class], so that both can be read off; nothing at all where `blind`."""
    z = np.zeros((*views.poses.shape[:2], 2 + CLASSES), np.float32)
    if not blind:
        z[..., :2] = views.poses
        z[..., 2:] = 0.01 * np.eye(CLASSES)[views.labels][:, None]
    return Embeddings(torch.from_numpy(z), torch.from_numpy(z))


MATERIAL = Material(view_set(0), view_set(1), fit_samples=2_000, test_samples=3_000)


def subject(blind=False, memory=False):
    return Subject(Stub(memory), embeddings(MATERIAL.fit, blind), embeddings(MATERIAL.test, blind))


def test_a_model_that_sees_poses_scores_one():
    seeing = subject()
    assert relative_r2(seeing, MATERIAL)["value"] == pytest.approx(1, abs=1e-3)
    assert relative_r2(seeing, MATERIAL)["median_error"] < 1e-2
    assert individual_r2(seeing, MATERIAL)["value"] == pytest.approx(1, abs=1e-3)
    assert top1_from_context(seeing, MATERIAL, 3, aggregate=False)["value"] == 1
    found = predictor_quality(seeing, MATERIAL, 3)
    assert found["mrr"]["value"] > 0.98
    assert found["hit_at_1"]["value"] > 0.97


def test_a_blind_model_scores_chance():
    blind = subject(blind=True)
    assert relative_r2(blind, MATERIAL)["value"] == pytest.approx(0, abs=0.02)
    assert top1_from_context(blind, MATERIAL, 3)["value"] == pytest.approx(1 / CLASSES, abs=0.05)
    found = predictor_quality(blind, MATERIAL, 3)
    for name, chance in (("mrr", sum(1 / r for r in range(1, 9)) / 8), ("hit_at_1", 1 / 8), ("hit_at_5", 5 / 8)):
        assert found[name]["chance"] == pytest.approx(chance)
        assert found[name]["value"] == pytest.approx(chance, abs=0.04)
    assert view_return(blind, MATERIAL, 4)["value"] == pytest.approx(1 / 3, abs=0.04)


def test_the_motion_made_ranks_first_for_a_model_that_sees_and_in_the_middle_for_a_blind_one():
    seeing = motion_rank(subject(), MATERIAL, 3, candidates=101)
    assert seeing["value"] == 1
    assert seeing["chance"] == 51
    assert motion_rank(subject(blind=True), MATERIAL, 3, candidates=101)["value"] == pytest.approx(51, abs=25)


@pytest.mark.parametrize("views", [3, 4, 6])
def test_the_controls_of_view_return_tell_memory_from_one_step_prediction(views):
    """Predicting from the last view needs no memory: its control is as good. Both fall to chance without motions."""
    for memory in (False, True):
        model = subject(memory=memory)
        full = view_return(model, MATERIAL, views)
        assert full["chance"] == pytest.approx(1 / (views - 1))
        assert full["value"] > 0.95
        assert view_return(model, MATERIAL, views, control="last_view")["value"] > 0.95
        assert view_return(model, MATERIAL, views, control="no_motions")["value"] < 0.72


def test_another_path_fools_a_memory_and_not_a_one_step_prediction():
    remembering, seeing = subject(memory=True), subject()
    assert view_return(remembering, MATERIAL, 4, control="other_path")["value"] < 0.72
    assert view_return(seeing, MATERIAL, 4, control="other_path") == view_return(seeing, MATERIAL, 4)
    assert view_return(remembering, MATERIAL, 4, recall=True) == view_return(remembering, MATERIAL, 4)


def test_raw_motions_hold_the_path():
    assert path_from_motions(MATERIAL, 3)["value"] == pytest.approx(1, abs=1e-3)


def test_pixels_are_averaged_over_areas_and_measured_as_z_is():
    views = np.zeros((2, 3, 32, 48, 3), np.uint8)
    views[1, 2, :4, :6, 1] = np.arange(24).reshape(4, 6)  # one cell of the 8 x 8 grid, mean 11.5
    views[1, 2, 3, :, 1] += np.uint8(2) * (np.arange(48) < 6)  # and now 12
    poses = np.random.default_rng(0).uniform(-1, 1, (2, 3, 2))
    seen = ViewSet(views, poses, np.array([0, 1]), "translation", 2)
    features = pixels(Material(seen, seen)).test.online
    assert features.shape == (2, 3, 3 * 8 * 8)
    assert features[1, 2].reshape(3, 8, 8)[1, 0, 0] == 12
    assert features.sum() == 12
    small = pixels(Material(seen._replace(views=views[:, :, :4, :4]), seen)).fit.online
    assert small.shape == (2, 3, 3 * 4 * 4)

    poses = np.random.default_rng(1).integers(0, 100, (60, 8, 2)) * 1.0
    telling = np.zeros((60, 8, 2, 2, 1), np.uint8)
    telling[..., 0, :, 0] = poses  # the pose is written in the pixels, so a linear probe reads it
    told = ViewSet(telling, poses, np.arange(60) % CLASSES, "translation", CLASSES)
    material = Material(told, told, fit_samples=500, test_samples=500)
    floor = pixels(material)
    assert relative_r2(floor, material)["value"] == pytest.approx(1, abs=1e-3)
    assert individual_r2(floor, material)["value"] == pytest.approx(1, abs=1e-3)
    assert top1_from_context(floor, material, 1, aggregate=False)["value"] < 0.6


def test_intervals_hold_the_value_and_shrink_with_more_things():
    few, many = (
        view_return(
            Subject(Stub(), embeddings(views), embeddings(views)),
            Material(views, views, fit_samples=100, test_samples=40 * len(views.labels)),
            4,
            control="no_motions",
        )
        for views in (view_set(2, things=20), view_set(2, things=500))
    )
    for scores in (few, many):
        assert scores["low"] <= scores["value"] <= scores["high"]
    assert many["high"] - many["low"] < few["high"] - few["low"]


def test_sequences_are_of_different_views_of_one_thing_and_repeat_by_seed():
    items, steps = MATERIAL.draw("test", 5, purpose=1)
    assert all(len(set(row)) == 5 for row in steps)
    assert np.bincount(items).min() == 50
    again = MATERIAL.draw("test", 5, purpose=1)[1]
    np.testing.assert_array_equal(steps, again)
    assert (MATERIAL.draw("test", 5, purpose=2)[1] != steps).any()
    with pytest.raises(ValueError, match="views of each thing"):
        MATERIAL.draw("test", 9, purpose=1)
