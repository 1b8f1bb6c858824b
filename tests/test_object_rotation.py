"""The world of rotations: R_{t+1} = R_t exp(action) against SciPy, limits, lighting, and what is seen."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from glimpseworld.agents.rollout import Rollout
from glimpseworld.agents.scripted import IndependentAgent
from glimpseworld.envs.display import rotation_frame
from glimpseworld.envs.object_rotation import ObjectRotationVectorEnv, ObjectRotationWorld
from glimpseworld.envs.rotations import uniform_rotations

SMALL = {"members_per_family": 1, "size": 16}


def test_the_action_turns_in_the_objects_own_frame():
    envs = ObjectRotationVectorEnv(num_envs=5, max_angle=0.9, **SMALL)
    _, info = envs.reset(seed=0)
    rng = np.random.default_rng(1)
    for _ in range(10):
        before = Rotation.from_quat(info["orientation"])
        actions = rng.uniform(-1, 1, (5, 3))
        obs, *_, info = envs.step(actions)
        expected = before * Rotation.from_rotvec(0.9 * actions)
        after = Rotation.from_quat(info["orientation"])
        assert (expected.inv() * after).magnitude().max() < 1e-6
        motion = obs["motion"].astype(np.float64)
        np.testing.assert_allclose(np.linalg.norm(motion, axis=1), 1, atol=1e-6)
        assert (motion[:, 3] >= 0).all()
        assert (info["orientation"][:, 3] >= 0).all()
        assert ((before * Rotation.from_quat(motion)).inv() * after).magnitude().max() < 1e-6


def test_motions_compose_to_the_pose_difference():
    envs = ObjectRotationVectorEnv(num_envs=2, rotation="3diebench", **SMALL)
    _, first = envs.reset(seed=3)
    path = Rotation.identity(2)
    for _ in range(8):
        obs, *_, info = envs.step(envs.action_space.sample())
        path = path * Rotation.from_quat(obs["motion"])
    direct = Rotation.from_quat(first["orientation"]).inv() * Rotation.from_quat(info["orientation"])
    assert (path.inv() * direct).magnitude().max() < 1e-5


def test_a_motion_stops_where_its_path_leaves_the_3diebench_range():
    envs = ObjectRotationVectorEnv(num_envs=200, rotation="3diebench", max_angle=0.8, **SMALL)
    _, info = envs.reset(seed=0)
    rng = np.random.default_rng(0)
    stopped = 0
    for _ in range(8):
        before = Rotation.from_quat(info["orientation"])
        assert np.abs(before.as_euler("xyz")).max() <= np.pi / 2 + 1e-4
        actions = rng.uniform(-1, 1, (200, 3))
        obs, *_, info = envs.step(actions)
        after = Rotation.from_quat(info["orientation"])
        asked = Rotation.from_rotvec(0.8 * actions)
        realised = before.inv() * after
        assert ((before * Rotation.from_quat(obs["motion"])).inv() * after).magnitude().max() < 1e-6
        inside = np.abs((before * asked).as_euler("xyz")).max(axis=1) <= np.pi / 2
        assert (asked[inside].inv() * realised[inside]).magnitude().max() < 1e-6
        # Never further than asked, along the same axis, and a little further would be outside.
        share = realised.magnitude() / asked.magnitude()
        assert share.max() <= 1 + 1e-9
        moved = ~inside & (realised.magnitude() > 1e-3)
        axes = [r[moved].as_rotvec() / r[moved].magnitude()[:, None] for r in (asked, realised)]
        np.testing.assert_allclose(axes[0], axes[1], atol=1e-5)
        beyond = before * Rotation.from_rotvec(0.8 * actions * (share + 1e-3)[:, None])
        assert (np.abs(beyond[~inside].as_euler("xyz")).max(axis=1) > np.pi / 2).all()
        stopped += (~inside).sum()
    assert stopped > 200


def test_starts_are_spread_as_documented():
    world = ObjectRotationWorld(**SMALL)
    rng = np.random.default_rng(0)
    quaternions = uniform_rotations(rng.random((20_000, 3)))
    turned = Rotation.from_quat(quaternions).apply([0.6, 0.0, 0.8])
    np.testing.assert_allclose(turned.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(np.cov(turned.T), np.eye(3) / 3, atol=0.02)
    angles = Rotation.from_quat(quaternions).magnitude()
    np.testing.assert_allclose(np.mean(angles), np.pi / 2 + 2 / np.pi, atol=0.02)  # of uniform rotations
    assert world.draw_poses(rng.random((4, 3))).shape == (4, 4)
    bounded = ObjectRotationWorld(rotation="3diebench", **SMALL).draw_poses(rng.random((5_000, 3)))
    euler = Rotation.from_quat(bounded).as_euler("xyz")
    np.testing.assert_allclose(np.histogram(euler[:, 0], 4, (-np.pi / 2, np.pi / 2))[0] / 5_000, 0.25, atol=0.03)


@pytest.mark.parametrize(("lighting", "distinct"), [("step", 5), ("episode", 1), ("fixed", 1)])
def test_lighting_is_drawn_when_it_should_be(lighting, distinct):
    envs = ObjectRotationVectorEnv(num_envs=1, lighting=lighting, **SMALL)
    first = [envs.reset(seed=0)[0]["glimpse"]] + [envs.step(np.zeros((1, 3)))[0]["glimpse"] for _ in range(4)]
    assert len({view.tobytes() for view in first}) == distinct
    # The corner shows floor only, so it tells the light whatever the object: another episode, another light.
    other = envs.reset()[0]["glimpse"][0, 0, 0]
    assert (other.tolist() == first[0][0, 0, 0].tolist()) == (lighting == "fixed")


def test_view_agrees_with_acting():
    envs = ObjectRotationVectorEnv(num_envs=3, lighting="fixed", **SMALL)
    _, info = envs.reset(seed=1)
    obs, *_, info = envs.step(np.full((3, 3), 0.5))
    seen = envs.world.view(info["index"], info["orientation"], np.full((3, 4), 0.5))
    np.testing.assert_array_equal(seen, obs["glimpse"])


def test_splits_show_different_objects():
    worlds = [ObjectRotationWorld(split=split, **SMALL) for split in ("train", "validation", "test")]
    index, pose, uniform = np.arange(30), np.tile([[0.0, 0.0, 0.0, 1.0]], (30, 1)), np.full((30, 4), 0.5)
    views = [world.view(index, pose, uniform) for world in worlds]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert (views[a] != views[b]).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_angle": 0}, "max_angle"),
        ({"rotation": "sideways"}, "rotation must be"),
        ({"lighting": "never"}, "lighting must be"),
        ({"palette": "grey"}, "palette"),
        ({"split": "dev"}, "split"),
        ({"objects": "cubes"}, "cubes"),
        ({"size": 0}, "size"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        ObjectRotationWorld(**{**SMALL, **options})


def test_actions_towards_an_orientation_reach_it_or_come_nearer():
    rng = np.random.default_rng(0)
    for limit, arrives in ((np.pi, True), (0.3, False)):
        envs = ObjectRotationVectorEnv(num_envs=20, max_angle=limit, **SMALL)
        _, info = envs.reset(seed=0)
        goal = Rotation.from_quat(envs.world.draw_poses(rng.random((20, 3))))
        before = (Rotation.from_quat(info["orientation"]).inv() * goal).magnitude()
        *_, info = envs.step(envs.world.actions_towards(goal.as_quat()))
        after = (Rotation.from_quat(info["orientation"]).inv() * goal).magnitude()
        if arrives:
            assert after.max() < 1e-6
        else:
            # The longest component turns by the limit, so the whole by the limit at least.
            assert (before - after >= np.minimum(before, limit) - 1e-6).all()


def test_the_independent_agent_gives_iid_views():
    envs = ObjectRotationVectorEnv(num_envs=40, rotation="3diebench", max_angle=np.pi, max_episode_steps=4, **SMALL)
    rng = np.random.default_rng(0)
    agent = IndependentAgent(40, envs.world.draw_poses, envs.world.actions_towards, rng)
    rollout = Rollout(envs, agent, 0)
    euler = np.stack([Rotation.from_quat(rollout.step().info["orientation"]).as_euler("xyz") for _ in range(40)])
    share = np.histogram(euler, 4, (-np.pi / 2, np.pi / 2))[0] / euler.size
    np.testing.assert_allclose(share, 0.25, atol=0.03)
    assert abs(np.corrcoef(euler[:-1, :, 0].ravel(), euler[1:, :, 0].ravel())[0, 1]) < 0.07


def test_a_frame_draws_the_axes_as_the_camera_of_the_episode_sees_them():
    envs = ObjectRotationVectorEnv(num_envs=2, render_mode="rgb_array", **SMALL)
    observation, info = envs.reset(seed=0, options={"variation": {"camera_elevation": np.array([0.2, 1.1])}})
    for row, frame in enumerate(envs.render()):
        view, label = observation["glimpse"][row], envs.world.class_names[info["label"][row]]
        elevation = info["variation"]["camera_elevation"][row]
        expected = rotation_frame(view, view[None][:0], info["orientation"][row], camera_theta=elevation, label=label)
        np.testing.assert_array_equal(frame, expected)
