"""Curious agents go where predictions disagree, and what was not foreseen is rewarded on one scale."""

import math
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from test_train import TINY, assert_same_weights, run_in, saccade_config
from toy_models import ToyModel

import glimpseworld.envs  # noqa: F401 - registers the ids
from glimpseworld.agents.curiosity import (
    CuriosityConfig,
    CuriosityReward,
    CuriousAgent,
    IntrinsicReward,
    RunningMoments,
)
from glimpseworld.agents.disagreement import disagreement, predict_by_context
from glimpseworld.agents.motor import Motor
from glimpseworld.experiments import trainer as trainer_module
from glimpseworld.experiments.config import RotationOptions, make_agent
from glimpseworld.experiments.run_folder import load_config, load_model
from glimpseworld.experiments.train import train
from glimpseworld.experiments.trainer import Trainer

MOTOR = Motor("translation", (1.0, 1.0))


def turned(z, motions, ahead):
    """Predictions from M views that turn by M - 1 times the way to the right: they differ most at the right end."""
    angle = (z.shape[1] - 1) * ahead[..., 0].clamp(min=0)
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


def step(agent, rng, count, index):
    observation = {
        "glimpse": rng.integers(0, 256, (count, 4, 4, 1), dtype=np.uint8),
        "motion": rng.uniform(-1, 1, (count, 2)).astype(np.float32),
    }
    return agent.act(observation, {"step_index": np.full(count, index)})


def test_disagreement_is_one_minus_the_squared_length_of_the_mean():
    right_angle = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]]])  # (1, 2, 2, 2)
    torch.testing.assert_close(disagreement(right_angle), torch.tensor([[0.5, 0.0]]))
    model, ahead = ToyModel(2, turned), torch.tensor([[[math.pi / 2, 0.0], [-1.0, 0.0]]])
    predictions = predict_by_context(model, torch.zeros(1, 3, 2), torch.zeros(1, 2, 2), ahead)
    assert predictions.shape == (1, 3, 2, 2)
    torch.testing.assert_close(predictions[0, :, 0], torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    torch.testing.assert_close(disagreement(predictions), torch.tensor([[1 - 1 / 9, 0.0]]))


def test_it_goes_where_predictions_disagree_most_and_leaves_the_model_in_its_mode():
    model, rng = ToyModel(2, turned).train(), np.random.default_rng(0)
    agent = CuriousAgent(model, MOTOR, 6, np.random.default_rng(1), CuriosityConfig(candidates=64, explore=0.0))
    first = step(agent, rng, 6, 0)
    assert first[:, 0].min() < 0  # nothing to compare after a reset: it draws
    for index in (1, 2):
        assert (step(agent, rng, 6, index)[:, 0] > 0.8).all()
    assert model.training and not any(model.modes)


def test_a_share_of_its_actions_is_drawn_evenly():
    agent = CuriousAgent(ToyModel(2, turned), MOTOR, 400, np.random.default_rng(1), CuriosityConfig(explore=0.5))
    rng = np.random.default_rng(0)
    step(agent, rng, 400, 0)
    assert 0.3 < (step(agent, rng, 400, 1)[:, 0] < 0.8).mean() < 0.6  # 0.5 of them but for one in ten


def curious_of(z, motions, ahead):
    """Disagreement that depends on what was seen: to the right after bright views, to the left after dark ones."""
    side = torch.where(z[:, -1, :1] > 128, 1.0, -1.0)
    angle = (z.shape[1] - 1) * (side * ahead[..., 0]).clamp(min=0)
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


def test_rows_go_their_own_ways_and_equal_seeds_act_alike():
    bright = np.array([False, True, True])
    others = np.array([True, False, True])
    acted = []
    for pattern in (bright, bright, others):
        agent = CuriousAgent(ToyModel(2, curious_of), MOTOR, 3, np.random.default_rng(1), CuriosityConfig(explore=0.0))
        glimpse = np.where(pattern[:, None, None, None], 200, 20).astype(np.uint8).repeat(4, 1).repeat(4, 2)
        for index in (0, 1):
            observation = {"glimpse": glimpse, "motion": np.zeros((3, 2), np.float32)}
            actions = agent.act(observation, {"step_index": np.full(3, index)})
        acted.append(actions)
    np.testing.assert_array_equal(acted[0], acted[1])
    assert ((acted[0][:, 0] > 0) == bright).all() and ((acted[2][:, 0] > 0) == others).all()
    np.testing.assert_array_equal(acted[0][2], acted[2][2])  # the same view in other company


def test_a_restored_agent_goes_on_as_it_would_have():
    one, other = (CuriousAgent(ToyModel(2, turned), MOTOR, 3, np.random.default_rng(1)) for _ in range(2))
    rng = np.random.default_rng(0)
    for index in range(3):
        step(one, rng, 3, index)
    other.set_state(one.state())
    other._rng.bit_generator.state = one._rng.bit_generator.state
    np.testing.assert_array_equal(
        step(one, np.random.default_rng(5), 3, 3), step(other, np.random.default_rng(5), 3, 3)
    )


def test_moments_in_batches_are_those_of_all():
    values = np.random.default_rng(0).normal(3, 2, 100)
    moments = RunningMoments()
    assert moments.std == 1
    for part in np.split(values, [1, 1, 40]):
        moments.add(part)
    assert (moments.mean, moments.std) == pytest.approx((values.mean(), values.std()))


def straight(z, motions, ahead):
    """Predicts (1, 0) whatever happens."""
    return torch.eye(2)[0].expand(*ahead.shape[:2], 2)


def seen(*views):
    glimpse = np.zeros((len(views), 4, 4, 1), np.uint8)
    glimpse[:, 0, :2, 0] = views
    return {"glimpse": glimpse, "motion": np.zeros((len(views), 2), np.float32)}


def test_the_reward_is_the_error_over_the_deviation_of_discounted_sums():
    """Row 0 sees what is foreseen, row 1 the opposite of nothing: cosines 1 and 0, so errors 0 and 1."""
    reward = IntrinsicReward(ToyModel(2, straight), "translation", 2, discount=0.5)
    began, moved = {"step_index": np.zeros(2, int)}, {"step_index": np.ones(2, int)}
    assert reward(seen((9, 0), (9, 0)), began).tolist() == [0, 0]
    assert reward(seen((9, 0), (0, 9)), moved) == pytest.approx([0, 1 / np.std([0, 1])])
    sums = [0, 1, 0, 1.5]
    assert reward(seen((9, 0), (0, 9)), moved) == pytest.approx([0, 1 / np.std(sums)])
    kept = reward.state()
    again = reward(seen((0, 9), (0, 9)), moved)
    other = IntrinsicReward(ToyModel(2, straight), "translation", 2, discount=0.5)
    other.set_state(kept)
    np.testing.assert_array_equal(other(seen((0, 9), (0, 9)), moved), again)
    assert reward(seen((0, 9), (0, 9)), began).tolist() == [0, 0]  # what a reset shows is no surprise


def test_the_wrapper_adds_curiosity_to_the_reward(toy_images):
    kwargs = {"images": toy_images, "glimpse_size": 8, "max_episode_steps": 3}
    envs = gym.make_vec("GlimpseWorld/Saccade-v0", 2, vectorization_mode="vector_entry_point", **kwargs)
    model = ToyModel(3, lambda z, motions, ahead: torch.eye(3)[0].expand(*ahead.shape[:2], 3))
    both = CuriosityReward(envs, IntrinsicReward(model, "translation", 2), weight=0.5, extrinsic_weight=2.0)
    both.reset(seed=0)
    total = np.zeros(2)
    for _ in range(5):
        _, reward, _, _, info = both.step(both.action_space.sample() * 0 + 0.1)
        np.testing.assert_allclose(reward, 0.5 * info["intrinsic_reward"] + 2 * info["extrinsic_reward"])
        assert (info["intrinsic_reward"][info["step_index"] == 0] == 0).all()
        total += info["intrinsic_reward"]
    assert (total > 0).all()
    with pytest.raises(ValueError, match="has 2 rows, and the intrinsic reward is for 3"):
        CuriosityReward(envs, IntrinsicReward(model, "translation", 3))
    with pytest.raises(ValueError, match="resets all rows at once"):
        both.reset(options={"reset_mask": np.array([True, False])})


@pytest.mark.parametrize("world", ["rotation", "saccade"])
def test_a_resumed_curious_run_equals_an_uninterrupted_one(tmp_path, monkeypatch, world):
    probes = ("probe/relative_r2", "probe/top1_z_agg", "probe/rankme", "probe/z_std")
    monkeypatch.setattr(Trainer, "probe", lambda self: dict.fromkeys(probes, 0.0))  # they would take most of the time
    monkeypatch.setattr(trainer_module, "probe_material", lambda *_: None)
    config = TINY if world == "rotation" else saccade_config(tmp_path / "images")
    config = replace(config, agent="curious", learner=replace(TINY.learner, total_steps=10))
    whole = run_in(tmp_path / "whole", config)
    parts = run_in(tmp_path / "parts", config, stop_after=9)
    train(load_config(parts), parts, resume=True)
    assert_same_weights(load_model(whole)[0], load_model(parts)[0])
    trainer = Trainer(config, tmp_path / "new")
    agent = trainer.rollout.agent
    assert isinstance(agent, CuriousAgent) and agent.context.model is trainer.learner.model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CuriosityConfig(longest=1), "longest at least 2"),
        (lambda: CuriosityConfig(explore=1.5), r"explore in \[0, 1\]"),
        (lambda: IntrinsicReward(ToyModel(2, turned), "translation", 1, discount=1.0), "discount must be"),
        (lambda: CuriousAgent(ToyModel(2, turned), Motor("rotation", (1.0,)), 1, None), "expected|quaternion of 4"),
        (lambda: make_agent("curious", None, 1, None), "by the model of a training run"),
        (lambda: replace(TINY, agent="curious", rotation=RotationOptions(motion="rotation-colour")), "command colours"),
    ],
)
def test_what_cannot_be_curious_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_model_without_predictions_is_refused():
    model = ToyModel(2, turned)
    model.predicts = False
    with pytest.raises(ValueError, match="predicts nothing to be curious about"):
        CuriousAgent(model, MOTOR, 1, np.random.default_rng(0))
