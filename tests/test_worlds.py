"""Every option of a run's world reaches it, survives JSON, and is refused where it has no effect."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from glimpseworld.envs.environment import GlimpseVectorEnv
from glimpseworld.envs.eye.oculomotor import Oculomotor
from glimpseworld.envs.rotations import uniform_rotations
from glimpseworld.envs.saccade import SaccadeWorld
from glimpseworld.envs.stored_view_files import StoredViews
from glimpseworld.envs.stored_views import StoredViewsWorld
from glimpseworld.experiments.config import TrainConfig, from_dict, make_world, presets
from glimpseworld.experiments.worlds import (
    PriorityOptions,
    RotationOptions,
    SaccadeOptions,
    SceneVariation,
    SensorVariation,
    StoredOptions,
    make_agent,
)

SCENE = SceneVariation(camera_elevation=("step", 0.3, 0.6), object_hue="episode", ground_texture=0.5, spot_hue="fixed")
EYE = Oculomotor(amplitude_limit=0.5, gain=0.9, scatter=0.01)
EVERYTHING = TrainConfig(
    world="saccade",
    agent="saliency",
    saccade=SaccadeOptions(
        fovea="multiscale",
        scales=(1.0, 2.0),
        subpixel=True,
        zoom=(0.5, 2.0),
        motion_signal="commanded",
        priority=PriorityOptions(saliency=False, radius=0.5, decay=0.7, temperature=2.0, centre_bias=0.4),
        oculomotor=EYE,
        variation=SensorVariation(image_noise=("step", 0.0, 3.0), image_contrast="episode"),
    ),
)


@pytest.fixture
def images(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (60, 24, 24, 3), dtype=np.uint8))
    return str(path)


def test_factors_of_a_scene_are_as_they_are_set():
    options = RotationOptions(size=16, members_per_family=1, rotation="ood", lighting="episode", variation=SCENE)
    world = options.world("train")
    factors = {factor.name: factor for factor in world.variation.factors}
    assert (factors["camera_elevation"].draw, factors["camera_elevation"].spread) == ("step", (0.3, 0.6))
    assert factors["object_hue"].draw == "episode"
    assert (factors["ground_texture"].draw, factors["ground_texture"].value) == ("fixed", 0.5)
    assert factors["spot_hue"].draw == "fixed"  # before what lighting says of the rest
    assert factors["floor_hue"].draw == "episode"
    angles = np.abs(Rotation.from_quat(world.draw_poses(np.random.default_rng(0).random((50, 3)))).as_euler("xyz"))
    assert (angles[:, [0, 2]] >= np.pi / 2 - 1e-9).all()


def test_options_of_the_gaze_and_the_eye_reach_the_world(images):
    world = replace(EVERYTHING.saccade, images=images, glimpse_size=8).world("train")
    assert world.glimpse_space.shape == (8, 8, 6)  # two scales of three channels
    assert world.motion_space.shape == (3,)
    assert asdict(world.priority) == {**asdict(EVERYTHING.saccade.priority), "strength": 1.0}
    assert world.oculomotor == EYE
    assert world.motion_signal == "commanded"
    assert {f.name: f.draw for f in world.variation.factors} == {"image_contrast": "episode", "image_noise": "step"}


def test_untouched_options_make_the_world_that_no_options_make(images):
    made = SaccadeOptions(images, glimpse_size=8).world("validation")
    plain = SaccadeWorld(images, split="validation", glimpse_size=8)
    assert made.priority == plain.priority
    assert made.priority.radius == pytest.approx(2 * 16 / 24)  # 16 pixels
    assert made.oculomotor is None
    assert made.variation.factors == plain.variation.factors


def test_probes_may_look_at_images_of_their_own(images, tmp_path):
    labelled = tmp_path / "labelled.npz"
    np.savez(labelled, images=np.zeros((60, 24, 24, 3), np.uint8), labels=np.arange(60) % 3)
    options = SaccadeOptions(images, glimpse_size=8, probe_images=str(labelled))
    config = TrainConfig(world="saccade", saccade=options)
    assert len(make_world(config, "train").class_names) == 1
    assert len(make_world(config, "train", probing=True).class_names) == 3
    same = replace(config, saccade=replace(options, probe_images=None))
    assert len(make_world(same, "train", probing=True).class_names) == 1


@pytest.mark.parametrize(
    "config",
    [
        EVERYTHING,
        TrainConfig(rotation=RotationOptions(rotation="ood", motion_signal="commanded", variation=SCENE)),
        TrainConfig(world="stored-views", stored=StoredOptions("somewhere", size=32)),
        *(config for _, config in presets().values()),
    ],
)
def test_options_survive_json(config):
    assert from_dict(TrainConfig, json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"saccade": SaccadeOptions(fovea="blurred")}, "saccade options have no effect with --world rotation"),
        ({"world": "saccade", "rotation": RotationOptions(variation=SCENE)}, "rotation options have no effect"),
        ({"world": "stored-views", "rotation": RotationOptions(size=16)}, "no effect with --world stored-views"),
        ({"stored": StoredOptions("somewhere")}, "stored options have no effect"),
        ({"world": "stored-views", "agent": "saliency"}, "looks at images"),
        ({"world": "saccade", "saccade": EVERYTHING.saccade}, "saccade.priority has no effect with --agent random"),
    ],
)
def test_options_without_effect_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**options)


def test_data_that_is_not_named_is_asked_for():
    with pytest.raises(ValueError, match=r"--stored\.source"):
        make_world(TrainConfig(world="stored-views"), "train")
    with pytest.raises(ValueError, match=r"--saccade\.images"):
        make_world(TrainConfig(world="saccade", saccade=SaccadeOptions("")), "train")


def test_independent_views_are_each_seen_once_an_episode():
    """With fewer actions than views, so that the last act of an episode, before the reset, shows none twice."""
    views, objects, envs_count = 6, 3, 5
    rng = np.random.default_rng(0)
    quaternions = uniform_rotations(rng.random((objects * views, 3))).reshape(objects, views, 4)
    pixels = np.zeros((objects, views, 4, 4, 3), np.uint8)
    stored = StoredViews(pixels, quaternions, np.zeros((objects, views, 7)), np.arange(3), ("a", "b", "c"), "train")
    world = StoredViewsWorld(stored, max_angle=np.pi)
    envs = GlimpseVectorEnv(world, num_envs=envs_count, max_episode_steps=views - 1)
    agent = make_agent("independent", world, envs_count, np.random.default_rng(1))
    observation, info = envs.reset(seed=0)
    for _ in range(3):
        seen = [info["view"]]
        for _ in range(views - 1):
            observation, _, _, truncated, info = envs.step(agent.act(observation, info))
            seen.append(info["view"])
        assert truncated.all()
        assert (np.sort(np.stack(seen), axis=0) == np.arange(views)[:, None]).all()
        assert len({tuple(order) for order in np.stack(seen).T.tolist()}) > 1
        observation, *_, info = envs.step(agent.act(observation, info))
        assert (info["step_index"] == 0).all()
    other = make_agent("independent", world, envs_count, np.random.default_rng(2))
    other.set_state(agent.state())
    info["step_index"] = np.full(envs_count, 2)
    np.testing.assert_array_equal(other.act(observation, info), agent.act(observation, info))
