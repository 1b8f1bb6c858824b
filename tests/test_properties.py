"""Properties that every environment keeps whatever is done in it: Hypothesis draws seeds, options and actions."""

from functools import cache

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import glimpseworld.envs as envs
from glimpseworld.envs.imagery.image_set import ImageSet
from glimpseworld.envs.shapes.objects import load_objects

STEPS = 6
EXAMPLES = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

EYES = (
    {},
    {"subpixel": True},
    {"fovea": "multiscale", "scales": [1, 2]},
    {"fovea": "logpolar"},
    {"fovea": "blurred"},
    {"zoom": [0.5, 2.0]},
    {"reach": 1.0, "padding": 99},
    {"oculomotor": {"gain": 0.8, "gain_std": 0.2, "scatter": 0.1, "scatter_slope": 0.2}, "motion_signal": "commanded"},
    {"variation": {"image_contrast": "step", "image_noise": "episode"}},
)
HANDS = (
    {},
    {"rotation": "3diebench"},
    {"rotation": "ood", "motion_signal": "commanded"},
    {"variation": "3diebench"},
    {"variation": {"object_scale": "step", "object_hue": "episode", "camera_elevation": "episode"}},
    {"lighting": "episode", "shadows": False, "max_angle": 3.0},
)


@cache
def toy_images():
    rng = np.random.default_rng(0)
    boxes = np.array([[4 + i, 9, 14 + i, 22] for i in range(9)])
    pixels = rng.integers(0, 256, (9, 40, 40, 3), dtype=np.uint8)
    return ImageSet(pixels, np.arange(9) % 3, ("a", "b", "c"), boxes=boxes)


@cache
def vector_env(env_id, option):
    if "Saccade" in env_id:
        kwargs = {"images": toy_images(), "glimpse_size": 8, **EYES[option % len(EYES)]}
    else:
        load_objects("families", "train", members_per_family=1)
        kwargs = {"members_per_family": 1, "size": 12, **HANDS[option % len(HANDS)]}
    if "Reorient" in env_id:
        kwargs["rotation"] = "free"
    modes = ("NextStep", "SameStep")
    return gym.make_vec(env_id, 3, max_episode_steps=STEPS, autoreset_mode=modes[option % 2], **kwargs)


def flat(info):
    """Return an info with nested dicts opened, and without what is told of ended episodes."""
    opened = {}
    for key, value in info.items():
        if isinstance(value, dict):
            opened |= {f"{key}.{inner}": each for inner, each in flat(value).items()}
        elif key not in ("final_obs", "_final_obs", "_final_info"):
            opened[key] = value
    return opened


def play(env, seed, actions):
    observation, info = env.reset(seed=seed)
    told = [(observation, np.zeros(3), np.zeros(3, bool), np.zeros(3, bool), info)]
    return told + [env.step(action) for action in actions]


def actions_of(env, data):
    """Draw actions, some of them beyond the space, where they are clipped."""
    count = data.draw(st.integers(1, 2 * STEPS))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    scale = data.draw(st.sampled_from([0.0, 0.1, 1.0, 3.0]))
    return scale * rng.uniform(-1, 1, (count, *env.action_space.shape))


@pytest.mark.parametrize("env_id", envs.ENV_IDS)
@given(data=st.data(), seed=st.integers(0, 2**63 - 4), option=st.integers(0, 53))
@EXAMPLES
def test_every_environment_keeps_its_word(env_id, data, seed, option):
    env = vector_env(env_id, option)
    actions = actions_of(env, data)
    first = play(env, seed, actions)
    for observation, rewards, _, _, info in first:
        assert env.observation_space.contains(observation)
        assert np.isfinite(rewards).all()
        if "position" in info:
            assert (np.abs(info["position"]) <= 1 + 1e-9).all()
        if "orientation" in info:
            np.testing.assert_allclose(np.linalg.norm(info["orientation"], axis=1), 1, atol=1e-9)
            assert (info["orientation"][:, 3] >= 0).all()
        assert ((info["step_index"] >= 0) & (info["step_index"] <= STEPS)).all()
        assert not observation["motion"][info["step_index"] == 0].any()
    again = play(env, seed, actions)
    for (observation, rewards, *ends, info), (same, *same_rest, same_info) in zip(first, again, strict=True):
        for key, value in observation.items():
            np.testing.assert_array_equal(value, same[key])
        np.testing.assert_array_equal([rewards, *ends], same_rest)
        opened, same_opened = flat(info), flat(same_info)
        assert opened.keys() == same_opened.keys()
        for key, value in opened.items():
            np.testing.assert_array_equal(value, same_opened[key], err_msg=key)


@pytest.mark.parametrize("env_id", envs.ENV_IDS)
@given(
    seed=st.integers(0, 2**31),
    option=st.integers(0, 53),
    row=st.integers(0, 2),
    bad=st.sampled_from([np.nan, np.inf]),
)
@EXAMPLES
def test_an_action_that_is_not_finite_names_its_row_and_changes_nothing(env_id, seed, option, row, bad):
    env = vector_env(env_id, option)
    env.reset(seed=seed)
    before = env.unwrapped.state()
    action = np.zeros(env.action_space.shape)
    action[row, -1] = bad
    with pytest.raises(ValueError, match=f"sub-environment {row} is not finite"):
        env.step(action)
    for key, value in env.unwrapped.state().items():
        np.testing.assert_array_equal(value, before[key], err_msg=key)
    env.step(np.zeros(env.action_space.shape))


@pytest.mark.parametrize("env_id", envs.ENV_IDS)
@given(seed=st.integers(0, 2**31), option=st.integers(0, 53), scale=st.floats(0, 3))
@EXAMPLES
def test_an_episode_does_not_depend_on_what_was_done_before(env_id, seed, option, scale):
    """Two histories of actions, then the same number of resets: the next episodes begin alike."""
    env = vector_env(env_id, option)
    rng = np.random.default_rng(seed)
    begun = []
    for amplitude in (0.0, scale):
        env.reset(seed=seed)
        for _ in range(3):
            env.step(amplitude * rng.uniform(-1, 1, env.action_space.shape))
        env.unwrapped.simulator.episodes[:] = 5  # whatever ended before
        observation, _ = env.reset()
        begun.append({key: value.copy() for key, value in observation.items()})
    for key, value in begun[0].items():
        np.testing.assert_array_equal(value, begun[1][key], err_msg=key)
