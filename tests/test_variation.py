"""Factors of variation: when they are drawn, forced and told, what is refused, and what the sensor's do."""

import colorsys
import json

import gymnasium as gym
import numpy as np
import pytest
from batches import row_of
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from scipy.spatial.transform import Rotation

from glimpseworld.envs.draws import EpisodeDraws
from glimpseworld.envs.object_rotation import ObjectRotationEnv, ObjectRotationVectorEnv, ObjectRotationWorld
from glimpseworld.envs.rotations import bounded_rotations, unseen_rotations
from glimpseworld.envs.saccade import SaccadeEnv, SaccadeVectorEnv
from glimpseworld.envs.sensor import sense
from glimpseworld.envs.wrappers import FrameStack
from glimpseworld.experiments.view_sets import make_view_set

SMALL = {"members_per_family": 1, "size": 16}
FACTORS = ObjectRotationWorld(**SMALL).variation.names
EVERYTHING = {name: ("episode" if i % 2 else "step") for i, name in enumerate(FACTORS)}


def forced(env, seed=0, **values):
    return env.reset(seed=seed, options={"variation": values})[0]["glimpse"]


def same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        if isinstance(a[key], dict):
            same(a[key], b[key])
        else:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def test_a_forced_floor_hue_is_the_hue_of_the_floor():
    env = ObjectRotationEnv(**SMALL)
    for hue in (0.0, 1 / 3, 0.6):
        # The light's own hue is the floor's, so that it does not mix in another.
        corner = forced(env, floor_hue=hue, spot_hue=hue, object_scale=0.05)[-1, 0] / 255
        seen = colorsys.rgb_to_hsv(*corner)[0]
        assert abs((seen - hue + 0.5) % 1 - 0.5) < 0.01


def test_contrast_and_noise_are_what_their_formulas_say():
    views = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(4, axis=0)
    none = np.zeros(4)

    def seeds():
        raise AssertionError("nothing is drawn without noise")

    seen = sense(views.copy(), np.array([1.0, 0.5, 0.0, 2.0]), none, seeds)
    np.testing.assert_array_equal(seen[0], views[0])
    assert seen[1].ravel()[[0, 127, 255]].tolist() == [64, 127, 191]  # 63.75, 127.25, 191.25
    assert set(seen[2].ravel().tolist()) == {128}
    assert seen[3].ravel()[[0, 63, 64, 100, 191, 192]].tolist() == [0, 0, 0, 72, 254, 255]  # 72.5 goes to the even one

    grey = np.full((3, 128, 128, 3), 128, np.uint8)
    noisy = sense(grey.copy(), np.ones(3), np.array([0.0, 5.0, 20.0]), lambda: np.array([0.1, 0.2, 0.3]))
    np.testing.assert_array_equal(noisy[0], grey[0])
    errors = noisy[1:].astype(float) - 128
    np.testing.assert_allclose(errors.mean(axis=(1, 2, 3)), 0, atol=0.3)
    np.testing.assert_allclose(errors.std(axis=(1, 2, 3)), [5, 20], rtol=0.02)
    within = (np.abs(errors[1]) < 20.5).mean()
    np.testing.assert_allclose(within, 0.695, atol=0.02)  # of a normal distribution, within 1.025 deviations
    assert abs(np.corrcoef(errors[0].ravel(), errors[1].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(errors[1][..., 0].ravel(), errors[1][..., 1].ravel())[0, 1]) < 0.03
    alone = sense(grey[:1].copy(), np.ones(1), np.array([20.0]), lambda: np.array([0.3]))
    np.testing.assert_array_equal(alone[0], noisy[2])


def test_fixed_episode_and_step(toy_images):
    options = {"floor_hue": {"value": 0.2}, "object_scale": "episode", "camera_distance": {"draw": "step", "low": 2.2}}
    rotation = ObjectRotationVectorEnv(num_envs=3, max_episode_steps=3, variation=options, lighting="fixed", **SMALL)
    _, info = rotation.reset(seed=0)
    told = [info["variation"]]
    for _ in range(7):
        told.append(rotation.step(np.zeros((3, 3)))[-1]["variation"])
    series = {name: np.array([values[name] for values in told]) for name in FACTORS}
    assert set(np.unique(series["floor_hue"])) == {0.2}
    assert set(np.unique(series["object_hue"])) == {0.0}
    for begin in (0, 4):  # two episodes of four views
        assert (series["object_scale"][begin : begin + 4] == series["object_scale"][begin]).all()
    assert len(np.unique(series["object_scale"])) == 6
    assert len(np.unique(series["camera_distance"])) == 24
    assert series["object_scale"].min() >= 0.5
    assert 2.2 <= series["camera_distance"].min() <= series["camera_distance"].max() <= 3.5


@pytest.mark.parametrize("name", ["saccade", "rotation"])
def test_noise_is_new_in_every_glimpse(name, toy_images):
    options = {"variation": {"image_noise": {"value": 10}}}
    if name == "saccade":
        env = SaccadeEnv(toy_images, glimpse_size=8, start="center", **options)
    else:
        env = ObjectRotationEnv(lighting="fixed", **options, **SMALL)
    views = [env.reset(seed=0)[0]["glimpse"]]
    views += [env.step(np.zeros(env.action_space.shape))[0]["glimpse"] for _ in range(2)]
    for a, b in ((0, 1), (1, 2), (0, 2)):
        difference = views[a].astype(float) - views[b]
        assert 8 < difference[(views[a] > 0) & (views[b] > 0)].std() < 18  # sqrt(2) * 10, less what is clipped


def test_draws_are_spread_over_their_range():
    variation = ObjectRotationWorld(variation={"camera_elevation": {"draw": "step", "low": 0.4, "high": 0.8}}, **SMALL)
    drawn = variation.variation.values_from(np.random.default_rng(0).random((4000, 12)))
    share = np.histogram(drawn["camera_elevation"], 4, (0.4, 0.8))[0] / 4000
    np.testing.assert_allclose(share, 0.25, atol=0.03)
    assert set(drawn["object_scale"]) == {1.0}


def make(name, toy_images, **options):
    if name == "saccade":
        wanted = {"image_contrast": "episode", "image_noise": "step"}
        return SaccadeEnv(toy_images, glimpse_size=8, variation=wanted, **options)
    return ObjectRotationEnv(variation=EVERYTHING, **SMALL, **options)


def make_vec(name, toy_images, **options):
    if name == "saccade":
        wanted = {"image_contrast": "episode", "image_noise": "step"}
        return SaccadeVectorEnv(toy_images, glimpse_size=8, variation=wanted, **options)
    return ObjectRotationVectorEnv(variation=EVERYTHING, **SMALL, **options)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("name", ["saccade", "rotation"])
def test_a_vector_row_equals_a_single_env_with_everything_drawn(name, mode, toy_images):
    vector = make_vec(name, toy_images, num_envs=3, max_episode_steps=3, autoreset_mode=mode)
    singles = [gym.wrappers.TimeLimit(make(name, toy_images), 3) for _ in range(3)]
    obs, info = vector.reset(seed=5)
    seen = [single.reset(seed=5 + i) for i, single in enumerate(singles)]
    ended = False
    rng = np.random.default_rng(0)
    for _ in range(9):
        for i in range(3):
            same(row_of(obs, i), seen[i][0])
            same(row_of(info["variation"], i), seen[i][1]["variation"])
        actions = rng.uniform(-1, 1, vector.action_space.shape)
        obs, *_, info = vector.step(actions)
        if ended and mode == AutoresetMode.NEXT_STEP:
            seen, ended = [single.reset() for single in singles], False
            continue
        steps = [single.step(action) for single, action in zip(singles, actions, strict=True)]
        seen, ended = [(step[0], step[-1]) for step in steps], steps[0][3]
        if ended and mode == AutoresetMode.SAME_STEP:
            for i in range(3):
                same(row_of(info["final_info"]["variation"], i), seen[i][1]["variation"])
            seen = [single.reset() for single in singles]


@pytest.mark.parametrize("name", ["saccade", "rotation"])
def test_forced_values_override_draws_and_end_with_the_episode(name, toy_images):
    envs = make_vec(name, toy_images, num_envs=3, max_episode_steps=2)
    free = make_vec(name, toy_images, num_envs=3, max_episode_steps=2)
    wanted = {"image_noise": 7.0, "image_contrast": np.array([0.5, 1.0, 1.5])}
    _, info = envs.reset(seed=1, options={"variation": wanted})
    _, other = free.reset(seed=1)
    actions = np.zeros(envs.action_space.shape)
    for step in range(7):
        holds = step < 3
        for factor, value in wanted.items():
            expected = np.broadcast_to(value, 3) if holds else other["variation"][factor]
            np.testing.assert_array_equal(info["variation"][factor], expected)
        for factor in set(envs.world.variation.names) - set(wanted):  # as if nothing had been forced
            np.testing.assert_array_equal(info["variation"][factor], other["variation"][factor])
        obs, *_, info = envs.step(actions)
        free_obs, *_, other = free.step(actions)
        assert (obs["glimpse"] == free_obs["glimpse"]).all() == (not holds or step == 2)


def test_forcing_with_a_reset_mask_leaves_the_others_as_they_were(toy_images):
    envs = make_vec("saccade", toy_images, num_envs=3, autoreset_mode="Disabled")
    _, before = envs.reset(seed=1, options={"variation": {"image_contrast": 0.25}})
    mask = np.array([False, True, False])
    _, info = envs.reset(options={"reset_mask": mask, "variation": {"image_noise": np.array([1.0, 2.0, 3.0])}})
    assert info["variation"]["image_contrast"][[0, 2]].tolist() == [0.25, 0.25]
    assert info["variation"]["image_contrast"][1] >= 0.5  # drawn
    assert info["variation"]["image_noise"].tolist() == [
        before["variation"]["image_noise"][0],
        2.0,
        before["variation"]["image_noise"][2],
    ]
    for mask_key in ("_image_contrast", "_image_noise"):
        np.testing.assert_array_equal(info["variation"][mask_key], mask)
    np.testing.assert_array_equal(info["_variation"], mask)


def test_info_is_the_callers_own(toy_images):
    envs = make_vec("saccade", toy_images, num_envs=2)
    _, info = envs.reset(seed=0)
    kept = info["variation"]["image_noise"].copy()
    envs.step(np.zeros((2, 2)))
    np.testing.assert_array_equal(info["variation"]["image_noise"], kept)
    info["variation"]["image_contrast"][:] = 9
    assert envs.info()["variation"]["image_contrast"].max() < 2


@pytest.mark.parametrize("name", ["saccade", "rotation"])
def test_state_holds_forced_and_drawn_values(name, toy_images):
    first, second = (make_vec(name, toy_images, num_envs=2, max_episode_steps=4) for _ in range(2))
    first.reset(seed=3, options={"variation": {"image_noise": 3.0, "image_contrast": [0.3, 0.6]}})
    actions = np.random.default_rng(0).uniform(-1, 1, (8, *first.action_space.shape))
    first.step(actions[0])
    second.reset(seed=9)
    second.set_state(first.state())
    same(row_of(second.info(), 1), row_of(first.info(), 1))
    for action in actions:
        one, other = first.step(action), second.step(action)
        np.testing.assert_array_equal(one[0]["glimpse"], other[0]["glimpse"])
        same(row_of(one[-1], 0), row_of(other[-1], 0))


def test_the_preset_is_the_papers_recipe():
    preset = ObjectRotationVectorEnv(num_envs=3, variation="3diebench", **SMALL)
    spelt = ObjectRotationVectorEnv(num_envs=3, lighting="step", rotation="3diebench", **SMALL)
    one, other = preset.reset(seed=0)[0], spelt.reset(seed=0)[0]
    for _ in range(4):
        np.testing.assert_array_equal(one["glimpse"], other["glimpse"])
        action = preset.action_space.sample()
        one, other = preset.step(action)[0], spelt.step(action)[0]
    assert preset.world.rotation == "3diebench"
    assert ObjectRotationWorld(variation="3diebench", rotation="ood", **SMALL).rotation == "ood"
    assert ObjectRotationWorld(**SMALL).rotation == "free"
    # A view as the light of the first draw makes it, by the paper's ranges.
    draws = EpisodeDraws(np.array([0], dtype=np.uint64), np.array([0])).uniform(3, 4)[0]
    told = preset.reset(seed=0)[1]["variation"]
    expected = draws * [1, np.pi / 4, 2 * np.pi, 1]
    assert [told[key][0] for key in ("floor_hue", "spot_theta", "spot_phi", "spot_hue")] == expected.tolist()


def test_what_variation_says_comes_before_lighting():
    world = ObjectRotationWorld(lighting="fixed", variation={"floor_hue": "step"}, **SMALL)
    assert [f.draw for f in world.variation.factors[:4]] == ["step", "fixed", "fixed", "fixed"]


def test_ood_orientations_are_those_that_3diebench_never_shows():
    uniform = np.random.default_rng(0).random((2000, 3))
    euler = Rotation.from_quat(unseen_rotations(uniform)).as_euler("xyz")
    assert (np.abs(euler[:, [0, 2]]) >= np.pi / 2 - 1e-9).all()
    np.testing.assert_allclose(np.histogram(np.abs(euler[:, 0]), 2, (np.pi / 2, np.pi))[0] / 2000, 0.5, atol=0.04)
    np.testing.assert_allclose(np.histogram(euler[:, 1], 4, (-np.pi / 2, np.pi / 2))[0] / 2000, 0.25, atol=0.04)
    # All three angles beyond pi/2 would be the training range again, angle for angle.
    beyond = Rotation.from_euler("xyz", np.pi / 2 + uniform * np.pi)
    mirrored = Rotation.from_quat(bounded_rotations(uniform * [1, -1, 1] + [0, 1, 0]))
    assert (beyond.inv() * mirrored).magnitude().max() < 1e-6


def test_ood_motions_stay_out_of_the_training_range():
    envs = ObjectRotationVectorEnv(num_envs=60, rotation="ood", max_angle=0.9, **SMALL)
    envs.reset(seed=0)
    rng = np.random.default_rng(0)
    stopped = full = 0
    for _ in range(6):
        actions = rng.uniform(-1, 1, (60, 3))
        obs, *_, info = envs.step(actions)
        matrices = Rotation.from_quat(info["orientation"]).as_matrix()
        assert matrices[:, [0, 2], [0, 2]].max() < 1e-6
        share = Rotation.from_quat(obs["motion"]).magnitude() / (0.9 * np.linalg.norm(actions, axis=1))
        stopped += (share < 0.99).sum()
        full += (share > 0.999).sum()
    assert stopped > 60
    assert full > 60


def test_view_sets_draw_what_is_drawn():
    world = ObjectRotationWorld(**SMALL)
    assert world.view_randomness == 4
    world = ObjectRotationWorld(variation={"object_scale": "episode"}, lighting="fixed", **SMALL)
    assert world.view_randomness == 6
    noisy = ObjectRotationWorld(variation={"image_noise": {"value": 5}}, **SMALL)
    assert noisy.view_randomness == 12
    views = make_view_set(noisy, np.arange(3), 4, np.random.default_rng(0)).views
    quiet = make_view_set(ObjectRotationWorld(**SMALL), np.arange(3), 4, np.random.default_rng(0)).views
    assert views.shape == quiet.shape
    # The corner of floor has one colour without noise, and the noise of two views differs.
    assert (quiet[0, 0, 0, 0] != views[0, 0, 0, 0]).any()
    pose, uniform = np.array([[0, 0, 0, 1.0]] * 2), np.full((2, 12), 0.5)
    one, other = noisy.view(np.zeros(2, int), pose, uniform)
    np.testing.assert_array_equal(one, other)
    uniform[1, 11] = 0.6
    one, other = noisy.view(np.zeros(2, int), pose, uniform)
    assert (one != other).mean() > 0.5


@pytest.mark.parametrize(
    ("variation", "message"),
    [
        ("sunset", r"one of \['3diebench'\]"),
        (3, "or a dict"),
        ({"colour": "step"}, "unknown factor of variation 'colour'.*floor_hue"),
        ({"floor_hue": "sometimes"}, r'variation\["floor_hue"\]: "draw" must be one of .*sometimes'),
        ({"floor_hue": 0.3}, "must be one of .* or a dict"),
        ({"floor_hue": {}}, '"draw" must be'),
        ({"floor_hue": {"value": 2}}, r'"value" must be in \[0, 1\] turns, got 2'),
        ({"floor_hue": {"value": "red"}}, "must be a number"),
        ({"floor_hue": {"value": float("nan")}}, r"must be in \[0, 1\]"),
        ({"object_scale": {"draw": "step", "low": 0.9, "high": 0.6}}, '"low" must not be above "high"'),
        ({"object_scale": {"draw": "step", "high": 1.5}}, r"must be in \[0.05, 1\]"),
        ({"object_scale": {"draw": "step", "value": 1}}, r"takes \['draw', 'high', 'low'\]"),
        ({"object_scale": {"draw": "fixed", "low": 0.5}}, r"takes \['draw', 'value'\]"),
    ],
)
def test_bad_specifications(variation, message):
    with pytest.raises(ValueError, match=message):
        ObjectRotationWorld(variation=variation, **SMALL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variation": {"floor_hue": 0.5}}, "unknown factor 'floor_hue'.*image_noise in"),
        ({"variation": {"image_noise": -1}}, r'\["image_noise"\] must be in \[0, 255\] grey levels, got -1'),
        ({"variation": {"image_noise": float("nan")}}, r"must be in \[0, 255\]"),
        ({"variation": {"image_noise": [1.0, 2.0]}}, r"a number or an array \(3,\)"),
        ({"variation": {"image_noise": "loud"}}, "a number or an array"),
        ({"variation": {"image_noise": [[1.0], [2.0, 3.0]]}}, "a number or an array"),
        ({"variation": 4}, "must be a dict"),
        ({"lights": {}}, "unknown reset options"),
    ],
)
def test_bad_options_are_refused_and_change_nothing(options, message, toy_images):
    envs, twin = (make_vec("saccade", toy_images, num_envs=3) for _ in range(2))
    envs.reset(seed=0), twin.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        envs.reset(seed=8, options=options)
    action = np.full((3, 2), 0.5)
    np.testing.assert_array_equal(envs.step(action)[0]["glimpse"], twin.step(action)[0]["glimpse"])
    np.testing.assert_array_equal(envs.reset()[0]["glimpse"], twin.reset()[0]["glimpse"])
    single = make("saccade", toy_images)
    if options != {"variation": {"image_noise": [1.0, 2.0]}}:
        with pytest.raises(ValueError, match=message.replace(r"\(3,", r"\(1,")):
            single.reset(options=options)
    single.reset(options={"variation": {"image_noise": 2}})


def test_the_saccade_world_has_no_presets(toy_images):
    with pytest.raises(ValueError, match="no presets"):
        SaccadeEnv(toy_images, glimpse_size=8, variation="3diebench")


@pytest.mark.parametrize("name", ["saccade", "rotation"])
def test_gymnasium_has_nothing_to_say(name, toy_images):
    check_env(make(name, toy_images), skip_render_check=True)


def test_gymnasiums_own_vectorisation_gives_the_same_info():
    options = {**SMALL, "variation": json.loads(json.dumps({"object_hue": "step"}))}
    theirs = gym.make_vec("GlimpseWorld/ObjectRotation-v0", 2, vectorization_mode="sync", **options)
    ours = gym.make_vec("GlimpseWorld/ObjectRotation-v0", 2, vectorization_mode="vector_entry_point", **options)
    first, second = theirs.reset(seed=0)[1]["variation"], ours.reset(seed=0)[1]["variation"]
    same(first, second)


def test_wrappers_pass_the_variation_on(toy_images):
    stacked = FrameStack(make_vec("saccade", toy_images, num_envs=2, max_episode_steps=2), 3)
    _, info = stacked.reset(seed=0, options={"variation": {"image_noise": 2.5}})
    assert info["variation"]["image_noise"].tolist() == [2.5, 2.5]
    info = [stacked.step(np.zeros((2, 2)))[-1] for _ in range(3)][-1]
    assert 2.5 not in info["variation"]["image_noise"]
