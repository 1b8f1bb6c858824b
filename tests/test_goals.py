"""What each task asks for, by hand-worked values and independent geometry."""

import gymnasium as gym
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.special import log_softmax

from glimpseworld.envs.imagery.image_set import ImageSet
from glimpseworld.envs.saccade import SaccadeVectorEnv
from glimpseworld.envs.tasks.classify import (
    DictPrediction,
    ObjectClassifyEnv,
    SaccadeClassifyEnv,
    SaccadeClassifyVectorEnv,
    cross_entropy,
)
from glimpseworld.envs.tasks.homing import RotationHomingVectorEnv, SaccadeHomingEnv, SaccadeHomingVectorEnv
from glimpseworld.envs.tasks.matching import (
    ObjectReorientEnv,
    ObjectReorientVectorEnv,
    Reach,
    SaccadeReachEnv,
    SaccadeReachVectorEnv,
)
from glimpseworld.envs.tasks.search import SaccadeSearchEnv, SaccadeSearchVectorEnv
from glimpseworld.envs.tasks.task import pose_distance

ROTATION = {"members_per_family": 2, "size": 16, "shadows": False}


@pytest.fixture
def boxed(toy_images):
    """One image of 40 x 40 with its target at columns 10-19 and rows 30-35."""
    return ImageSet(toy_images.images[3:4], np.array([2]), ("a", "b", "c"), boxes=np.array([[10, 30, 20, 36]]))


def go_to(env, position):
    """Bring the gaze of a single environment to a position in one saccade."""
    return env.step(np.array(position) - env.unwrapped.world.pose[0])


def pixel(x, y):
    return np.array([x, y]) / 20 - 1


def test_search_succeeds_within_the_box_and_on_its_edge(boxed):
    for place, inside in (((10, 30), True), ((20, 36), True), ((9, 33), False), ((15, 37), False), ((15, 33), True)):
        env = SaccadeSearchEnv(boxed, glimpse_size=8, start="center", max_amplitude=2.0)
        env.reset(seed=0)
        env.step((pixel(*place)) / 2)
        assert env.world.pose[0] == pytest.approx(pixel(*place))
        _, reward, terminated, _, info = env.step(np.zeros(2))
        assert (terminated, info["success"], reward) == (inside, inside, (1.0 if inside else 0.0) - 0.05)


def test_searchs_distance_is_to_the_box_and_dense_reward_is_the_way_made_good(boxed):
    env = SaccadeSearchEnv(boxed, glimpse_size=8, start="center", reward="dense", step_cost=0.02, max_amplitude=2.0)
    _, info = env.reset(seed=0)
    assert info["distance"] == pytest.approx(10 / 20)  # from (20, 20) straight down to row 30
    _, reward, _, _, info = env.step(pixel(23, 26) / 2)
    assert info["distance"] == pytest.approx(np.hypot(3, 4) / 20)
    assert reward == pytest.approx((10 - 5) / 20 / (2 * np.sqrt(2)) - 0.02)


def test_searchs_cue_is_the_class_or_what_is_seen_on_the_target(boxed):
    assert SaccadeSearchEnv(boxed, glimpse_size=8).reset(seed=0)[0]["cue"].tolist() == [0, 0, 1]
    env = SaccadeSearchEnv(boxed, glimpse_size=8, cue="glimpse", start="center", max_amplitude=2.0)
    cue = env.reset(seed=0)[0]["cue"]
    np.testing.assert_array_equal(env.step(pixel(15, 33) / 2)[0]["glimpse"], cue)


def test_search_says_what_it_cannot_look_for(toy_images, boxed):
    with pytest.raises(ValueError, match="needs images with a box"):
        SaccadeSearchEnv(toy_images, glimpse_size=8)
    with pytest.raises(ValueError, match=r"1 of 1 targets lie beyond reach=0\.2"):
        SaccadeSearchEnv(boxed, glimpse_size=8, reach=0.2)
    with pytest.raises(ValueError, match="cue"):
        SaccadeSearchEnv(boxed, glimpse_size=8, cue="word")
    with pytest.raises(ValueError, match="step_cost"):
        SaccadeSearchVectorEnv(boxed, glimpse_size=8, step_cost=-1)


def test_cross_entropy_equals_scipys_and_stays_finite():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 30, (50, 7)), rng.integers(0, 7, 50)
    expected = -log_softmax(logits, axis=1)[np.arange(50), labels]
    np.testing.assert_allclose(cross_entropy(logits, labels), expected, rtol=1e-9, atol=1e-12)
    assert cross_entropy(np.array([[900.0, -900.0]]), np.array([1])) == pytest.approx(1800)


def test_classification_is_charged_its_cross_entropy_and_its_motion(boxed):
    env = SaccadeClassifyEnv(boxed, glimpse_size=8, logit_scale=2.0, motion_cost=0.5)
    env.reset(seed=0)
    _, reward, terminated, _, info = env.step(np.array([0.6, -0.8, 0.5, -1.0, 0.25]))  # logits 1, -2, 0.5; class 2
    by_hand = 0.5 - np.log(np.exp(1.0) + np.exp(-2.0) + np.exp(0.5)) - 0.5 * (0.36 + 0.64) / 2
    assert reward == pytest.approx(by_hand)
    assert not terminated and not info["success"] and info["prediction"] == 0
    np.testing.assert_array_equal(env.step(np.array([0, 0, 0, 0, 1.0]))[4]["prediction"], 2)
    assert env.reset()[1]["prediction"] == -1


def test_the_motion_of_a_classification_is_that_of_the_plain_world(toy_images):
    plain = SaccadeVectorEnv(toy_images, num_envs=4, glimpse_size=8)
    asked = SaccadeClassifyVectorEnv(toy_images, num_envs=4, glimpse_size=8)
    np.testing.assert_array_equal(plain.reset(seed=0)[0]["glimpse"], asked.reset(seed=0)[0]["glimpse"])
    actions = np.random.default_rng(0).uniform(-1, 1, (4, 5))
    np.testing.assert_array_equal(plain.step(actions[:, :2])[0]["motion"], asked.step(actions)[0]["motion"])


def test_stopping_ends_and_only_then_the_prediction_counts(boxed):
    env = SaccadeClassifyEnv(boxed, glimpse_size=8, stop=True, motion_cost=0.0)
    env.reset(seed=0)
    assert env.step(np.array([0, 0, -1, -1, 1, 0.0]))[1:3] == (0.0, False)
    _, reward, terminated, _, info = env.step(np.array([0, 0, 0, 0, 0, 0.1]))
    assert terminated
    assert reward == pytest.approx(0.0)  # a uniform guess gains nothing
    env.reset(seed=0)
    _, reward, terminated, _, info = env.step(np.array([0, 0, -1, -1, 1, 1.0]))
    assert terminated and info["success"]
    assert reward == pytest.approx(np.log(3) - np.log(1 + 2 * np.exp(-10)))


@pytest.mark.parametrize("stop", [False, True])
def test_the_dict_form_of_a_prediction_is_the_flat_one(boxed, stop):
    flat = SaccadeClassifyEnv(boxed, glimpse_size=8, stop=stop)
    by_name = DictPrediction(SaccadeClassifyEnv(boxed, glimpse_size=8, stop=stop))
    flat.reset(seed=0)
    by_name.reset(seed=0)
    motion, logits = [0.25, -0.5], np.array([1.0, -5.0, 2.5], dtype=np.float32)
    end = [0.5] if stop else []
    action = {"action": np.array(motion + end, dtype=np.float32), "prediction": logits}
    assert by_name.action_space.contains(action)
    expected = flat.step(np.array([*motion, *(logits / 5), *end], dtype=np.float32))
    got = by_name.step(action)
    assert got[1:3] == expected[1:3]
    np.testing.assert_array_equal(got[0]["glimpse"], expected[0]["glimpse"])
    with pytest.raises(TypeError, match="asks for a prediction"):
        DictPrediction(gym.make("GlimpseWorld/Saccade-v0", images=boxed, glimpse_size=8))


def test_imposed_motions_are_carried_out_whatever_the_action(toy_images):
    def play(action_seed):
        env = SaccadeHomingVectorEnv(toy_images, num_envs=6, glimpse_size=8, imposed=3, max_amplitude=0.4)
        obs, _ = env.reset(seed=0)
        rng, seen = np.random.default_rng(action_seed), [obs]
        for _ in range(4):
            obs, reward, terminated, _, _ = env.step(rng.uniform(-1, 1, (6, 2)))
            seen.append(obs)
            if len(seen) <= 4:
                assert not reward.any() and not terminated.any()
        return seen

    one, other = play(0), play(1)
    for key in ("glimpse", "motion", "imposed"):
        for a, b in zip(one[:4], other[:4], strict=True):
            np.testing.assert_array_equal(a[key], b[key])
    assert (one[4]["motion"] != other[4]["motion"]).any()
    assert [float(obs["imposed"].max()) for obs in one] == [1, 1, 1, 0, 0]
    motions = np.array([obs["motion"] for obs in one[1:4]]).reshape(-1, 2)
    assert len(np.unique(motions, axis=0)) > 12  # of 18


def test_homing_succeeds_at_the_start_and_not_while_it_is_moved(toy_images):
    env = SaccadeHomingEnv(toy_images, glimpse_size=8, imposed=2, success_radius=0.11, max_amplitude=1.0)
    for seed in range(20):
        _, first = env.reset(seed=seed)
        for _ in range(2):
            *_, info = env.step(np.zeros(2))
            assert not info["success"]
        assert info["distance"] == pytest.approx(np.linalg.norm(info["position"] - first["position"]))
        way = first["position"] - info["position"]
        while np.abs(way).max() > 1.0:
            *_, info = env.step(np.clip(way, -1, 1))
            way = first["position"] - info["position"]
        if not info["success"]:
            _, reward, terminated, _, info = env.step(way + 0.1 * np.array([1, 0]) * np.sign(-first["position"]))
            assert terminated and reward == 0.95
            assert info["distance"] <= 0.11


def test_motions_since_the_start_lead_home_and_the_start_itself_is_not_observed(toy_images):
    """Dead reckoning from the observed motions is enough, and nothing else in the observation tells a pose."""
    env = RotationHomingVectorEnv(num_envs=16, imposed=3, **ROTATION)
    obs, _ = env.reset(seed=0)
    turned = Rotation.identity(16)
    for _ in range(3):
        obs, *_ = env.step(np.zeros((16, 3)))
        turned = turned * Rotation.from_quat(obs["motion"])
    assert set(obs) == {"glimpse", "motion", "imposed"}
    success = np.zeros(16, dtype=bool)
    for _ in range(6):
        home = turned.inv().as_rotvec() / (np.pi / 4)
        actions = home / np.maximum(np.abs(home).max(axis=1, keepdims=True), 1)
        obs, _, terminated, _, _ = env.step(np.where(success[:, None], 0, actions))
        turned = turned * Rotation.from_quat(np.where(obs["motion"].any(axis=1)[:, None], obs["motion"], [0, 0, 0, 1]))
        success |= terminated
        if success.all():
            break
    assert success.all()


def test_homing_refuses_what_is_no_task(toy_images):
    with pytest.raises(ValueError, match=r"imposed.* must be a whole number, at least 1"):
        SaccadeHomingEnv(toy_images, glimpse_size=8, imposed=0)
    with pytest.raises(ValueError, match="whole number"):
        SaccadeHomingEnv(toy_images, glimpse_size=8, imposed=2.5)
    with pytest.raises(ValueError, match="success radius"):
        SaccadeHomingEnv(toy_images, glimpse_size=8, success_radius=3.0)
    with pytest.raises(ValueError, match="reward"):
        SaccadeHomingEnv(toy_images, glimpse_size=8, reward="huge")


@pytest.mark.parametrize("name", ["SaccadeHoming", "RotationHoming"])
def test_homing_refuses_episodes_that_end_before_the_agent_acts(name):
    env_id = f"GlimpseWorld/{name}-v0"
    for imposed, steps in ((16, None), (20, None), (3, 3), (3, 2)):
        with pytest.raises(ValueError, match=f"above imposed, {imposed}, .* got {steps or 16}: raise it, or lower"):
            gym.make_vec(env_id, 2, imposed=imposed, max_episode_steps=steps)
    for imposed, steps in ((15, None), (20, 21), (20, -1)):
        gym.make_vec(env_id, 2, imposed=imposed, max_episode_steps=steps)


def test_pose_distance_is_scipys_geodesic():
    a, b = Rotation.random(200, random_state=0), Rotation.random(200, random_state=1)
    got = pose_distance("rotation", a.as_quat(), b.as_quat())
    np.testing.assert_allclose(got, np.degrees((a.inv() * b).magnitude()), atol=1e-9)
    tiny = Rotation.from_rotvec([[1e-7, 0, 0]])
    assert pose_distance("rotation", tiny.as_quat(), -np.array([[0, 0, 0, 1.0]]))[0] == pytest.approx(np.degrees(1e-7))


def test_reorientations_goals_lie_in_the_stated_range_by_scipys_geodesic():
    env = ObjectReorientVectorEnv(num_envs=64, goal_angle=(40.0, 70.0), **ROTATION)
    _, info = env.reset(seed=0)
    start, goal = Rotation.from_quat(info["orientation"]), Rotation.from_quat(env.task.state()["goal"])
    angles = np.degrees((start.inv() * goal).magnitude())
    assert angles.min() >= 40 - 1e-9 and angles.max() <= 70 + 1e-9
    assert angles.max() - angles.min() > 20
    axes = (start.inv() * goal).as_rotvec()
    assert (np.abs((axes / np.linalg.norm(axes, axis=1, keepdims=True)).mean(axis=0)) < 0.25).all()
    _, info = env.reset(seed=0, options={"goal_angle": np.linspace(20, 180, 64)})
    np.testing.assert_allclose(info["distance"], np.linspace(20, 180, 64))
    mask = np.arange(64) % 2 == 0
    before = info["distance"]
    _, info = env.reset(options={"reset_mask": mask, "goal_angle": np.arange(64.0) + 20})
    np.testing.assert_allclose(info["distance"], np.where(mask, np.arange(64) + 20, before))


def test_goals_within_the_papers_range_can_be_reached_by_turning_straight():
    env = ObjectReorientVectorEnv(num_envs=64, rotation="3diebench", max_angle=np.pi, **ROTATION)
    _, info = env.reset(seed=0)
    start, goal = Rotation.from_quat(info["orientation"]), Rotation.from_quat(env.task.state()["goal"])
    angles = np.degrees((start.inv() * goal).magnitude())
    assert angles.min() >= 30 - 1e-9 and angles.max() <= 120 + 1e-9
    np.testing.assert_allclose(info["distance"], angles)
    assert (np.abs(goal.as_euler("xyz")) <= np.pi / 2 + 1e-6).all()
    *_, info = env.step(env.task.oracle_actions(env.world))
    np.testing.assert_allclose(info["distance"], 0, atol=1e-4)
    goals = []
    for seed in range(0, 6400, 64):  # of one start and angle, goals lie all around
        env.reset(seed=seed, options={"goal_angle": 30.0})
        pose = env.world.pose
        goals.append((Rotation.from_quat(pose).inv() * Rotation.from_quat(env.task.state()["goal"])).as_rotvec())
    axes = np.concatenate(goals) / np.radians(30)
    assert (np.abs(axes.mean(axis=0)) < 0.15).all() and (axes.std(axis=0) > 0.4).all()
    with pytest.raises(ValueError, match=r"within what can be reached, got \(30, 150\)"):
        ObjectReorientEnv(rotation="3diebench", goal_angle=(30, 150), **ROTATION)


def test_reorientation_succeeds_at_fifteen_degrees_and_not_beyond():
    for short, success in ((15 - 1e-6, True), (15 + 1e-6, False)):
        env = ObjectReorientEnv(max_angle=np.pi, **ROTATION)
        env.reset(seed=3, options={"goal_angle": 90.0})
        start, goal = env.world.pose[0], env.task.state()["goal"][0]
        way = (Rotation.from_quat(start).inv() * Rotation.from_quat(goal)).as_rotvec()
        _, reward, terminated, _, info = env.step(way / np.pi * (90 - short) / 90)
        assert (terminated, info["success"], reward) == (success, success, 0.95 if success else -0.05)
        assert info["distance"] == pytest.approx(short, abs=1e-7)


def test_reorientations_goal_looks_as_the_object_will_when_it_is_matched():
    env = ObjectReorientEnv(max_angle=np.pi, lighting="fixed", members_per_family=2, size=24)
    obs, _ = env.reset(seed=1)
    assert (obs["goal"] != obs["glimpse"]).any()
    goal = obs["goal"]
    obs, _, terminated, *_ = env.step(env.task.oracle_actions(env.world)[0])
    assert terminated
    assert np.abs(obs["glimpse"].astype(int) - goal).mean() < 0.5
    with pytest.raises(ValueError, match='rotation must be "free" or "3diebench"'):
        ObjectReorientEnv(rotation="ood", **ROTATION)
    assert ObjectReorientEnv(variation="3diebench", **ROTATION).world.rotation == "free"
    with pytest.raises(ValueError, match="goal_angle must be a pair"):
        ObjectReorientEnv(goal_angle=(5, 60), **ROTATION)
    with pytest.raises(ValueError, match="goal_angle must be a pair"):
        ObjectReorientEnv(goal_angle=60, **ROTATION)


def test_reachs_goals_lie_in_the_stated_range_within_reach_and_in_all_directions(toy_images):
    env = SaccadeReachVectorEnv(toy_images, num_envs=400, glimpse_size=8, goal_distance=(0.3, 0.9))
    obs, info = env.reset(seed=0)
    goal = env.task.state()["goal"]
    distance = np.linalg.norm(goal - info["position"], axis=1)
    assert distance.min() >= 0.3 - 1e-9 and distance.max() <= 0.9 + 1e-9
    assert np.abs(goal).max() <= env.world.reach + 1e-9
    quadrants = np.unique(np.sign(goal - info["position"]), axis=0, return_counts=True)[1]
    assert len(quadrants) == 4 and quadrants.min() > 50
    seen = np.stack([env.world.view(info["index"][i : i + 1], goal[i : i + 1], np.zeros((1, 4)))[0] for i in range(20)])
    np.testing.assert_array_equal(obs["goal"][:20], seen)


def test_reachs_directions_are_uniform_and_the_furthest_goals_are_the_corners():
    task = Reach((0.2, 0.5), reach=0.8, option="goal_distance", tolerance=0.1, scale=1, reward="sparse", step_cost=0)
    uniform = np.random.default_rng(0).random((4000, 3))
    centre, corner = np.zeros((4000, 2)), np.full((4000, 2), 0.8)
    goals = task.goals_at(centre, np.full(4000, 0.5), uniform)
    angles = np.arctan2(goals[:, 1], goals[:, 0])
    assert np.histogram(angles, 8, (-np.pi, np.pi))[0] == pytest.approx(np.full(8, 500), abs=90)
    assert (task.goals_at(corner, np.full(4000, 0.5), uniform) <= 0.8).all()
    far = task.goals_at(centre[:4], np.full(4, task.furthest), uniform[:4])
    np.testing.assert_allclose(np.abs(far), 0.8, atol=1e-6)


def test_reach_refuses_goals_out_of_reach(toy_images):
    with pytest.raises(ValueError, match="within what can be reached"):
        SaccadeReachEnv(toy_images, glimpse_size=8, goal_distance=(0.3, 1.5))
    with pytest.raises(ValueError, match=r'"goal_distance"\] must be in \[0.1, 1.13137\]'):
        SaccadeReachEnv(toy_images, glimpse_size=8).reset(options={"goal_distance": 1.2})


def test_objects_are_classified_with_the_rotations_components_first():
    env = ObjectClassifyEnv(**ROTATION)
    classes = len(env.world.class_names)
    assert env.action_space.shape == (3 + classes,)
    _, info = env.reset(seed=0)
    action = np.zeros(3 + classes)
    action[3 + info["label"]] = 1.0
    obs, reward, _, _, info = env.step(action)
    assert info["success"]
    assert reward == pytest.approx(5 - np.log(np.exp(5) + classes - 1))
    np.testing.assert_array_equal(obs["motion"], [0, 0, 0, 1])
