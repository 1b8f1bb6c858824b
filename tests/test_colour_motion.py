"""Motions that tell the change of colours beside the rotation: made by the world, composed, and read by probes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from glimpseworld.envs.object_rotation import ObjectRotationVectorEnv, ObjectRotationWorld
from glimpseworld.envs.wrappers import MotionNoise
from glimpseworld.experiments.config import ModelOptions, ReplayOptions, RotationOptions, TrainConfig, make_world
from glimpseworld.experiments.measure import Material, Subject, individual_r2, relative_r2
from glimpseworld.experiments.trainer import Trainer
from glimpseworld.experiments.view_sets import Embeddings, make_view_set
from glimpseworld.world_model.motion import relative
from glimpseworld.world_model.replay import SequenceReplay

SMALL = {"size": 12, "members_per_family": 1, "shadows": False}


def envs_of(**options):
    return ObjectRotationVectorEnv(num_envs=5, max_episode_steps=4, **SMALL, **options)


def hues(info):
    return np.stack([info["variation"]["floor_hue"], info["variation"]["spot_hue"]], axis=1)


def test_a_motion_tells_the_change_of_hues_behind_the_rotation():
    told, plain = envs_of(motion="rotation-colour"), envs_of()
    (observation, info), (expected, _) = told.reset(seed=3), plain.reset(seed=3)
    assert told.world.motion_space.shape == (6,)
    rng, before = np.random.default_rng(0), hues(info)
    assert not observation["motion"].any()
    for _ in range(11):
        actions = rng.uniform(-1, 1, (5, 3))
        (observation, *_, info), (expected, *_) = told.step(actions), plain.step(actions)
        assert observation in told.observation_space
        np.testing.assert_array_equal(observation["glimpse"], expected["glimpse"])
        np.testing.assert_array_equal(observation["motion"][:, :4], expected["motion"])
        change = np.where((info["step_index"] == 0)[:, None], 0, hues(info) - before)
        np.testing.assert_allclose(observation["motion"][:, 4:], change, atol=1e-6)
        assert not info["motion_commanded"][:, 4:].any()
        before = hues(info)


def test_a_restored_world_goes_on_as_if_it_had_never_stopped():
    first, second = envs_of(motion="rotation-colour"), envs_of(motion="rotation-colour")
    first.reset(seed=3)
    second.reset(seed=8)
    actions = np.random.default_rng(0).uniform(-1, 1, (3, 5, 3))
    first.step(actions[0])
    second.set_state(first.state())
    for step in actions[1:]:
        np.testing.assert_array_equal(first.step(step)[0]["motion"], second.step(step)[0]["motion"])


def test_the_replay_composes_rotations_and_adds_hues():
    envs = envs_of(motion="rotation-colour")
    replay = SequenceReplay(200, (12, 12, 3), "rotation-colour", 6, num_envs=5)
    observation, info = envs.reset(seed=0)
    poses = []
    for _ in range(15):
        replay.add(observation["glimpse"], observation["motion"], info["step_index"] == 0)
        poses.append(np.concatenate([info["orientation"], hues(info)], axis=1))
        observation, *_, info = envs.step(np.random.default_rng(len(poses)).uniform(-1, 1, (5, 3)))
    windows = replay.sample(50, context=2, targets=2, mode="hindsight", generator=np.random.default_rng(0))
    pose = np.stack(poses)[windows.step, windows.env[:, None]]
    for motion, (start, end) in enumerate(((0, 1), (1, 2), (1, 3))):
        expected = relative("rotation-colour", pose[:, start], pose[:, end])
        np.testing.assert_allclose(windows.motions[:, motion], expected, atol=1e-5)
    spoiled = observation["motion"] * np.array([2, 2, 2, 2, 1, 1], np.float32)
    with pytest.raises(ValueError, match="unit quaternion"):
        replay.add(observation["glimpse"], spoiled, np.zeros(5, bool))


def test_poses_of_view_sets_are_those_that_are_seen():
    world = ObjectRotationWorld(motion="rotation-colour", **SMALL)
    made = make_view_set(world, np.array([2, 5]), 3, np.random.default_rng(4))
    plain = make_view_set(ObjectRotationWorld(**SMALL), np.array([2, 5]), 3, np.random.default_rng(4))
    np.testing.assert_array_equal(made.views, plain.views)
    np.testing.assert_array_equal(made.poses[..., :4], plain.poses)
    generator = np.random.default_rng(4)
    generator.random((2, 3, 3))
    randomness = generator.random((2, 3, 4))
    for item, index in enumerate((2, 5)):
        for view in range(3):
            floor, spot = made.poses[item, view, 4:]
            factors = {"floor_hue": {"value": floor}, "spot_hue": {"value": spot}}
            same = ObjectRotationWorld(variation=factors, **SMALL)
            seen = same.view(np.array([index]), made.poses[item, view, None, :4], randomness[item, view, None])
            np.testing.assert_array_equal(seen[0], made.views[item, view])


def test_probes_tell_rotation_and_colour_apart():
    world = ObjectRotationWorld(motion="rotation-colour", rotation="3diebench", size=4, members_per_family=2)
    parts = [make_view_set(world, np.arange(40), 6, np.random.default_rng(seed)) for seed in (0, 1)]
    material = Material(*parts, fit_samples=4_000, test_samples=2_000)

    def subject(columns):
        z = [torch.from_numpy(part.poses[..., columns].astype(np.float32)) for part in parts]
        return Subject(None, *(Embeddings(both, both) for both in z))  # pyright: ignore[reportArgumentType]

    for measure in (relative_r2, individual_r2):
        turned, coloured = measure(subject(slice(0, 4)), material), measure(subject(slice(4, 6)), material)
        assert turned["value"] > 0.75
        assert turned["colour"] < 0.1
        assert turned["median_error"] < 30
        assert coloured["value"] < 0.1
        assert coloured["colour"] > 0.9


def test_a_run_conditions_its_model_on_colours():
    config = TrainConfig(
        rotation=RotationOptions(size=16, members_per_family=1, motion="rotation-colour"),
        num_envs=4,
        episode_steps=6,
        warmup_glimpses=60,
        batch_size=4,
        replay=ReplayOptions(capacity=100, targets=2),
        model=ModelOptions(z_dim=8, motion_embedding=8, layers=1, heads=2, predictor_hidden=8),
    )
    trainer = Trainer(config, folder=None)  # pyright: ignore[reportArgumentType]
    assert trainer.learner.model.config.motion_dim == 6
    assert np.isfinite(trainer.advance()["loss"])
    assert trainer.material.test.poses.shape[2] == 6
    fixed = replace(config, rotation=replace(config.rotation, lighting="episode"))
    with pytest.raises(ValueError, match='floor_hue and spot_hue drawn at each "step"'):
        make_world(fixed, "train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variation": {"spot_hue": "fixed"}}, 'needs spot_hue drawn at each "step"'),
        ({"motion_signal": "commanded"}, "no action commands"),
    ],
)
def test_colours_that_no_motion_can_tell_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ObjectRotationWorld(motion="rotation-colour", **SMALL, **options)
    with pytest.raises(ValueError, match="motion must be"):
        ObjectRotationWorld(motion="colour", **SMALL)  # pyright: ignore[reportArgumentType]


def test_noise_of_such_motions_turns_and_adds():
    noisy, clean = (
        MotionNoise(envs_of(motion="rotation-colour"), (0, 0, 0, 0.1, 0.0)),
        envs_of(motion="rotation-colour"),
    )
    noisy.reset(seed=0)
    clean.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (5, 3)).astype(np.float32)
    got, expected = noisy.step(actions)[0]["motion"], clean.step(actions)[0]["motion"]
    np.testing.assert_allclose(got[:, [0, 1, 2, 3, 5]], expected[:, [0, 1, 2, 3, 5]], atol=1e-6)
    assert (np.abs(got[:, 4] - expected[:, 4]) > 1e-3).all()
