"""Every task id: the ecosystem's checkers, single equal to vector, options, bounds, and an oracle that solves it."""

import pickle

import gymnasium as gym
import numpy as np
import pytest
from batches import equal, row_of
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from glimpseworld.agents.oracles import OracleAgent
from glimpseworld.agents.rollout import Rollout
from glimpseworld.envs.imagery.image_set import ImageSet
from glimpseworld.envs.registration import ENV_IDS, TASK_IDS, WORLD_IDS

ROTATION = {"members_per_family": 2, "size": 16, "shadows": False}
STEPS = 7
FORCED = {
    "GlimpseWorld/SaccadeReach-v0": ("goal_distance", 0.5),
    "GlimpseWorld/ObjectReorient-v0": ("goal_angle", 90.0),
}
VARIANTS = {
    **{env_id: [{}] for env_id in TASK_IDS},
    "GlimpseWorld/SaccadeSearch-v0": [{}, {"cue": "glimpse", "reward": "dense"}],
    "GlimpseWorld/SaccadeClassify-v0": [{}, {"stop": True}],
    "GlimpseWorld/ObjectReorient-v0": [{"reward": "dense"}],
}
CASES = [(env_id, variant) for env_id, variants in VARIANTS.items() for variant in variants]


@pytest.fixture(scope="session")
def boxed_images(toy_images):
    """The toy images with a target of 8 x 8 pixels each, also at corners."""
    corner = np.array([(0, 0), (32, 32), (0, 32), (20, 4)] * 3)
    boxes = np.concatenate([corner, corner + 8], axis=1)
    return ImageSet(toy_images.images, toy_images.labels, toy_images.class_names, boxes=boxes)


@pytest.fixture(params=CASES, ids=lambda case: "-".join([case[0], *map(str, case[1].values())]))
def case(request, boxed_images):
    env_id, variant = request.param
    world = {"images": boxed_images, "glimpse_size": 8} if "Saccade" in env_id else ROTATION
    return env_id, {**world, **variant}


def make(case, **options):
    return gym.make(case[0], **{"max_episode_steps": STEPS, **case[1], **options})


def make_vec(case, num_envs=3, **options):
    return gym.make_vec(
        case[0],
        num_envs,
        vectorization_mode="vector_entry_point",
        **{"max_episode_steps": STEPS, **case[1], **options},
    )


def mixed_actions(vector, rng):
    """Random actions for most rows, the oracle's for some, so that episodes end apart."""
    actions = rng.uniform(-1.2, 1.2, vector.action_space.shape)
    solved = rng.random(vector.num_envs) < 0.3
    actions[solved] = vector.unwrapped.task.oracle_actions(vector.unwrapped.world)[solved]
    if vector.unwrapped.single_action_space.shape[0] == vector.unwrapped.world.action_space.shape[0] + 4:
        actions[:, -1] -= 0.8  # the stop of a toy classification, which would end most episodes at once
    return actions


def test_the_checkers_have_nothing_to_say(case):
    from stable_baselines3.common.env_checker import check_env as sb3_check_env

    check_env(make(case, render_mode="rgb_array").unwrapped)
    size = {"glimpse_size": 36} if "Saccade" in case[0] else {"size": 36}  # what SB3's own CNN needs
    if "Reach" in case[0]:
        size |= {"reach": 0.8}
    sb3_check_env(make(case, **size))


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_sub_envs_that_end_apart_equal_single_ones(case, mode):
    vector = make_vec(case, autoreset_mode=mode.value)
    singles = [make(case) for _ in range(3)]
    obs, info = vector.reset(seed=7)
    seen = [single.reset(seed=7 + i) for i, single in enumerate(singles)]
    ended = np.zeros(3, dtype=bool)
    rng = np.random.default_rng(0)
    for _ in range(18):
        assert vector.observation_space.contains(obs)
        for i, (single_obs, single_info) in enumerate(seen):
            equal({k: v[i] for k, v in obs.items()}, single_obs)
            equal(row_of(info, i), single_info)
        if mode == AutoresetMode.DISABLED and ended.any():
            obs, info = vector.reset(options={"reset_mask": ended})
            seen = [single.reset() if e else s for single, e, s in zip(singles, ended, seen, strict=True)]
            ended = np.zeros(3, dtype=bool)
            continue
        actions = mixed_actions(vector, rng)
        before = ended if mode == AutoresetMode.NEXT_STEP else np.zeros(3, dtype=bool)
        obs, reward, terminated, truncated, info = vector.step(actions)
        ended = terminated | truncated
        for i, single in enumerate(singles):
            if before[i]:
                seen[i] = single.reset()
                assert reward[i] == 0 and not ended[i]
                continue
            single_obs, *outcome, single_info = single.step(actions[i])
            assert outcome == [reward[i], terminated[i], truncated[i]]
            seen[i] = (single_obs, single_info)
            if mode == AutoresetMode.SAME_STEP and ended[i]:
                equal(info["final_obs"][i], single_obs)
                equal(row_of(info["final_info"], i), single_info)
                seen[i] = single.reset()
        if mode == AutoresetMode.SAME_STEP:
            ended = np.zeros(3, dtype=bool)


def test_state_restores_the_future(case):
    vector, other = make_vec(case).unwrapped, make_vec(case).unwrapped
    vector.reset(seed=2)
    rng = np.random.default_rng(0)
    for _ in range(3):
        vector.step(mixed_actions(vector, rng))
    other.set_state(vector.state())
    copy = pickle.loads(pickle.dumps(vector))
    for _ in range(9):
        actions = mixed_actions(vector, rng)
        expected = vector.step(actions)
        for env in (other, copy):
            got = env.step(actions)
            equal(got[0], expected[0])
            equal(got[4], expected[4])
            np.testing.assert_array_equal(got[1:4], expected[1:4])


def test_the_oracle_solves_every_episode(case):
    """32 rows for long enough that each ends an episode; a success must end it, where there is a goal."""
    vector = make_vec(case, num_envs=32, max_episode_steps=12)
    core = vector.unwrapped
    rollout = Rollout(core, OracleAgent(lambda: core.task.oracle_actions(core.world)), seed=0)
    ended, solved = 0, 0
    for _ in range(14):
        step = rollout.step()
        done = step.terminated | step.truncated
        ended += done.sum()
        solved += (step.info["success"] & done).sum()
        if "Classify" not in case[0]:
            np.testing.assert_array_equal(step.info["success"], step.terminated)
    assert ended >= 32
    assert solved == ended


def bounds(case, core):
    """The bounds that the pages state."""
    if "Classify" not in case[0]:
        dense = case[1].get("reward") == "dense"
        return (-1.05, 0.95) if dense else (-0.05, 0.95)
    others, scale = len(core.world.class_names) - 1, 5.0
    low, high = -np.log1p(others * np.exp(2 * scale)) - 0.01, -np.log1p(others * np.exp(-2 * scale))
    return (low + np.log(others + 1), high + np.log(others + 1)) if case[1].get("stop") else (low, high)


def test_rewards_stay_within_the_bounds_of_the_page(case):
    vector = make_vec(case, num_envs=8)
    low, high = bounds(case, vector.unwrapped)
    vector.reset(seed=1)
    rng, rewards = np.random.default_rng(1), []
    for _ in range(30):
        _, reward, *_, info = vector.step(np.sign(mixed_actions(vector, rng)))
        rewards += reward[info["step_index"] > 0].tolist()
    assert np.min(rewards) >= low - 1e-9
    assert np.max(rewards) <= high + 1e-9
    assert np.ptp(rewards) > 0


def test_wrong_options_are_an_error_that_changes_nothing(case):
    name, value = FORCED.get(case[0], (None, None))
    vector, untouched = make_vec(case), make_vec(case)
    first = [env.reset(seed=3) for env in (vector, untouched)]
    equal(first[0][0], first[1][0])
    with pytest.raises(ValueError, match=rf"unknown reset options \['speed'\].*{name or 'variation'}"):
        vector.reset(seed=9, options={"speed": 1})
    if name is not None:
        values = ((1000, "must be in"), (-1, "must be in"), (np.nan, "must be in"), ([1, 2], "shape"))
        for wrong, message in (*values, ("far", "must be a number"), ({}, "must be a number")):
            with pytest.raises(ValueError, match=message):
                vector.reset(seed=9, options={name: wrong})
            with pytest.raises(ValueError, match=name):
                make(case).reset(seed=9, options={name: wrong})
        forced = vector.reset(seed=3, options={name: value})[1]["distance"]
        np.testing.assert_allclose(forced, value, rtol=1e-6)
        untouched.reset(seed=3)
    actions = np.zeros(vector.action_space.shape)
    np.testing.assert_array_equal(vector.step(actions)[4]["index"], untouched.step(actions)[4]["index"])
    equal(vector.reset()[0], untouched.reset()[0])


def test_frames_show_the_task(case):
    kwargs = {**case[1], "glimpse_size": 10} if "Saccade" in case[0] else case[1]
    env, vector = make((case[0], kwargs), render_mode="rgb_array"), make_vec((case[0], kwargs), render_mode="rgb_array")
    env.reset(seed=1)
    vector.reset(seed=0)
    np.testing.assert_array_equal(vector.render()[1], env.render())
    first = env.render()
    env.step(np.full(env.action_space.shape, 0.5))
    second = env.render()
    assert first.shape == second.shape
    core = env.unwrapped
    plain = core.world.frame(0, *core.simulator._history[0])
    np.testing.assert_array_equal(second[:, : plain.shape[1]], plain)
    assert second[:, plain.shape[1] :].std() > 0


def test_pages_have_every_section_and_name_their_commands(case):
    kind = type(make(case).unwrapped)
    sections = ("Description", "Observation space", "Action space", "Rewards", "Starting state", "Episode end", "Info")
    for section in (*sections, "Arguments", "Baselines", "Version history"):
        assert f"## {section}\n" in kind.__doc__
    assert f"glimpseworld rollout --env {case[0]} --agent random" in kind.__doc__
    assert "page holds" in type(make_vec(case).unwrapped).__doc__


def test_every_id_is_either_a_world_or_a_task():
    assert set(ENV_IDS) == {*WORLD_IDS, *TASK_IDS}
    assert len(ENV_IDS) == 9
