"""Vector wrappers: parity with single environments, final observations, masks, and noise that repeats."""

import cv2
import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from scipy.spatial.transform import Rotation

import glimpseworld.envs  # noqa: F401 - registers the ids
from glimpseworld.envs.wrappers import FrameStack, Grayscale, MotionNoise, NormalizeGlimpse
from glimpseworld.world_model.views import normalize_views

SACCADE, ROTATION = "GlimpseWorld/Saccade-v0", "GlimpseWorld/ObjectRotation-v0"
STEPS = 4


@pytest.fixture(params=[SACCADE, ROTATION])
def env_id(request):
    return request.param


def kwargs_of(env_id, toy_images):
    if env_id == SACCADE:
        return {"images": toy_images, "glimpse_size": 8, "max_episode_steps": STEPS}
    return {"members_per_family": 1, "size": 8, "max_episode_steps": STEPS}


def make_vec(env_id, toy_images, num_envs=3, mode="NextStep"):
    kwargs = kwargs_of(env_id, toy_images)
    return gym.make_vec(env_id, num_envs, vectorization_mode="vector_entry_point", autoreset_mode=mode, **kwargs)


def change_single(env_id, toy_images, key, function, space):
    env = gym.make(env_id, **kwargs_of(env_id, toy_images))
    spaces = gym.spaces.Dict({**env.observation_space.spaces, key: space})
    return gym.wrappers.TransformObservation(env, lambda o: {**o, key: function(o[key])}, spaces)


def equal(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)


WRAPPERS = {
    "gray": (Grayscale, lambda x: cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[..., None]),
    "normal": (NormalizeGlimpse, lambda x: normalize_views(x).movedim(0, -1).numpy()),
}


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize("name", WRAPPERS)
def test_glimpse_wrappers_equal_gymnasiums_transform_of_single_envs(env_id, toy_images, mode, name):
    wrapper, function = WRAPPERS[name]
    ours = wrapper(make_vec(env_id, toy_images, mode=mode))
    theirs = gym.vector.SyncVectorEnv(
        [lambda: change_single(env_id, toy_images, "glimpse", function, ours.single_observation_space["glimpse"])] * 3,
        autoreset_mode=AutoresetMode(mode),
    )
    assert ours.observation_space == theirs.observation_space
    first, second = ours.reset(seed=3)[0], theirs.reset(seed=3)[0]
    finals = 0
    for _ in range(2 * STEPS + 4):
        equal(first, second)
        assert ours.observation_space.contains(first)
        actions = ours.action_space.sample()
        first, *_, info = ours.step(actions)
        second, *_, expected = theirs.step(actions)
        for row in np.flatnonzero(expected.get("_final_obs", [])):
            equal(info["final_obs"][row], expected["final_obs"][row])
            finals += 1
    assert finals == (0 if mode == "NextStep" else 3 * (2 * STEPS + 4) // STEPS)


def test_gray_is_the_documented_sum_and_takes_scales_and_stacks(toy_images):
    env = make_vec(SACCADE, toy_images)
    glimpse = env.reset(seed=0)[0]["glimpse"].astype(float)
    by_hand = np.rint(glimpse @ [0.299, 0.587, 0.114])
    gray = Grayscale(env).reset(seed=0)[0]["glimpse"]
    assert gray.dtype == np.uint8 and gray.shape == (3, 8, 8, 1)
    assert np.abs(gray[..., 0] - by_hand).max() <= 1
    stacked = Grayscale(FrameStack(env, 2)).reset(seed=0)[0]["glimpse"]
    np.testing.assert_array_equal(stacked, np.stack([gray, gray], axis=1))


def test_normalisation_a_channel(toy_images):
    env = make_vec(SACCADE, toy_images)
    glimpse = env.reset(seed=0)[0]["glimpse"]
    normal = NormalizeGlimpse(env, mean=(0.1, 0.2, 0.3), std=(1.0, 0.5, 0.25))
    expected = (glimpse / 255 - np.array([0.1, 0.2, 0.3])) / [1.0, 0.5, 0.25]
    found = normal.reset(seed=0)[0]["glimpse"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(normal.single_observation_space["glimpse"].high[0, 0], [0.9, 1.6, 2.8], rtol=1e-6)


def observed(env, steps, seed=5):
    """Step with fixed actions; return what was seen, (steps + 1) observations and infos."""
    rng = np.random.default_rng(0)
    seen = [env.reset(seed=seed)]
    for _ in range(steps):
        # The same for every row, so that rows can be compared across batch sizes.
        action = np.tile(rng.uniform(-1, 1, env.single_action_space.shape), (env.num_envs, 1))
        observation, *_, info = env.step(action)
        seen.append((observation, info))
    return seen


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_noise_repeats_and_is_alike_whatever_the_number_of_rows(env_id, toy_images, mode):
    three = observed(MotionNoise(make_vec(env_id, toy_images, 3, mode), 0.1), 10)
    again = observed(MotionNoise(make_vec(env_id, toy_images, 3, mode), 0.1), 10)
    one = observed(MotionNoise(make_vec(env_id, toy_images, 1, mode), 0.1), 10, seed=7)
    clean = observed(make_vec(env_id, toy_images, 3, mode), 10)
    differing = 0
    for (a, info), (b, _), (c, c_info), (d, _) in zip(three, again, one, clean, strict=True):
        equal(a, b)
        equal({k: v[2] for k, v in a.items()}, {k: v[0] for k, v in c.items()})
        np.testing.assert_array_equal(a["glimpse"], d["glimpse"])
        fresh = info["step_index"] == 0
        assert (a["motion"][fresh] == 0).all()
        differing += (a["motion"] != d["motion"]).any(axis=1).sum()
        for row in np.flatnonzero(info.get("_final_obs", [])):
            final = info["final_obs"][row]
            assert (final["motion"] != 0).any() and final["motion"].shape == a["motion"].shape[1:]
        if c_info.get("_final_obs", [False])[0]:
            equal(info["final_obs"][2], c_info["final_obs"][0])
    assert differing > 10


def test_final_observations_carry_the_noise_of_their_own_episode_and_step(env_id, toy_images):
    """The same episode, seen in mode NextStep, ends with the same noisy motion."""
    same = observed(MotionNoise(make_vec(env_id, toy_images, mode="SameStep"), 0.1), STEPS)
    following = observed(MotionNoise(make_vec(env_id, toy_images), 0.1), STEPS)
    for row in range(3):
        equal(same[-1][1]["final_obs"][row], {k: v[row] for k, v in following[-1][0].items()})


def test_a_masked_reset_leaves_the_noise_of_other_rows_alone(env_id, toy_images):
    env = MotionNoise(make_vec(env_id, toy_images, mode="Disabled"), 0.1)
    before, _ = observed(env, 2)[-1]
    after, _ = env.reset(options={"reset_mask": np.array([False, True, False])})
    np.testing.assert_array_equal(after["motion"][[0, 2]], before["motion"][[0, 2]])
    assert (after["motion"][1] == 0).all()


def test_noise_has_the_stated_size_in_image_units(toy_images):
    noisy, clean = MotionNoise(make_vec(SACCADE, toy_images, 2000), (0.1, 0.02)), make_vec(SACCADE, toy_images, 2000)
    error = observed(noisy, 1)[-1][0]["motion"] - observed(clean, 1)[-1][0]["motion"]
    np.testing.assert_allclose(error.mean(axis=0), 0, atol=0.01)
    np.testing.assert_allclose(error.std(axis=0), [0.1, 0.02], rtol=0.08)
    assert abs(np.corrcoef(error.T)[0, 1]) < 0.08


def test_noise_of_rotations_is_a_small_rotation_of_the_stated_size(toy_images):
    noisy = MotionNoise(make_vec(ROTATION, toy_images, 400), 0.1)
    found, expected = observed(noisy, 1)[-1][0]["motion"], observed(make_vec(ROTATION, toy_images, 400), 1)[-1][0]
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert (found[:, 3] >= 0).all()
    error = (Rotation.from_quat(expected["motion"]).inv() * Rotation.from_quat(found)).as_rotvec()
    np.testing.assert_allclose(error.std(axis=0), 0.1, rtol=0.15)


def test_wrappers_say_what_they_cannot_do(toy_images):
    env = make_vec(SACCADE, toy_images)
    for make, message in (
        (lambda: MotionNoise(env, -1.0), "std must be"),
        (lambda: MotionNoise(env, (0.1, 0.1, 0.1)), "one number or 2"),
        (lambda: MotionNoise(FrameStack(env, 2), 0.1), "inside the wrapper that stacks"),
        (lambda: Grayscale(env, ("picture",)), "no entry 'picture'"),
        (lambda: Grayscale(Grayscale(env)), "1 channels"),
        (lambda: Grayscale(env, ("motion",)), "uint8"),
        (lambda: NormalizeGlimpse(env, std=0.0), "above 0"),
        (lambda: NormalizeGlimpse(env, mean=(0.5, 0.5)), "one number or 3"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_episode_statistics_and_masks_hold_through_every_wrapper(env_id, toy_images, mode):
    env = make_vec(env_id, toy_images, mode=mode)
    env = NormalizeGlimpse(FrameStack(Grayscale(MotionNoise(env, 0.1)), 2))
    env = gym.wrappers.vector.RecordEpisodeStatistics(env)
    assert all(isinstance(space, gym.spaces.Box) for space in env.single_observation_space.spaces.values())
    lengths = []
    for observation, info in observed(env, 2 * STEPS + 2):
        assert env.observation_space.contains(observation)
        for key in ("index", "label", "step_index"):
            assert info[f"_{key}"].all() and info[key].shape == (3,)
        lengths += info["episode"]["l"][info["_episode"]].tolist() if "episode" in info else []
        for row in np.flatnonzero(info.get("_final_obs", [])):
            assert env.single_observation_space.contains(info["final_obs"][row])
    assert lengths == [STEPS] * 6
