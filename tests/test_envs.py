"""The single and the vector environment: equality, autoreset, seeding, the ecosystem's checkers and wrappers."""

import pickle
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from batches import equal, row_of
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from glimpseworld.envs.object_rotation import ObjectRotationEnv, ObjectRotationVectorEnv
from glimpseworld.envs.registration import WORLD_IDS
from glimpseworld.envs.saccade import SaccadeEnv, SaccadeVectorEnv
from glimpseworld.envs.wrappers import FrameStack

ROTATION = {"members_per_family": 2, "size": 24}
STEPS = 5


def kwargs_of(env_id, toy_images):
    return {"images": toy_images, "glimpse_size": 8} if "Saccade" in env_id else dict(ROTATION)


@pytest.fixture(params=WORLD_IDS)
def env_id(request):
    return request.param


def make(env_id, toy_images, **options):
    return gym.make(env_id, max_episode_steps=STEPS, **kwargs_of(env_id, toy_images), **options)


def make_vec(env_id, toy_images, num_envs=3, mode="vector_entry_point", **options):
    return gym.make_vec(
        env_id, num_envs, vectorization_mode=mode, max_episode_steps=STEPS, **kwargs_of(env_id, toy_images), **options
    )


def test_gymnasium_and_sb3_checkers_have_nothing_to_say(env_id, toy_images):
    from stable_baselines3.common.env_checker import check_env as sb3_check_env

    check_env(make(env_id, toy_images, render_mode="rgb_array").unwrapped)
    # Stable-Baselines3's own CNN needs 36 pixels, and its checker says so of smaller views; the pages mention it.
    size = {"glimpse_size": 36} if "Saccade" in env_id else {"size": 36}
    sb3_check_env(gym.make(env_id, **{**kwargs_of(env_id, toy_images), **size}))


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_vector_sub_env_equals_single_env_bit_for_bit(env_id, toy_images, mode):
    """30 steps of 5-step episodes: six episodes a row, in each autoreset mode."""
    vector = make_vec(env_id, toy_images, autoreset_mode=mode.value)
    singles = [make(env_id, toy_images) for _ in range(3)]
    obs, info = vector.reset(seed=7)
    seen = [single.reset(seed=7 + i) for i, single in enumerate(singles)]
    ended = [False] * 3
    rng = np.random.default_rng(0)
    for _ in range(30):
        for i, (single_obs, single_info) in enumerate(seen):
            equal({k: v[i] for k, v in obs.items()}, single_obs)
            equal({k: v for k, v in row_of(info, i).items() if not k.startswith("final_")}, single_info)
        actions = rng.uniform(-1.2, 1.2, vector.action_space.shape)
        if mode == AutoresetMode.DISABLED and any(ended):
            obs, info = vector.reset(options={"reset_mask": np.array(ended)})
            seen = [single.reset() if e else s for single, e, s in zip(singles, ended, seen, strict=True)]
            info = {k: np.stack([s[1][k] for s in seen]) for k in seen[0][1]}
            ended = [False] * 3
            continue
        obs, reward, terminated, truncated, info = vector.step(actions)
        for i, single in enumerate(singles):
            if mode == AutoresetMode.NEXT_STEP and ended[i]:
                seen[i], ended[i] = single.reset(), False
                assert reward[i] == 0 and not terminated[i] and not truncated[i]
                continue
            single_obs, single_reward, single_terminated, single_truncated, single_info = single.step(actions[i])
            assert (reward[i], terminated[i], truncated[i]) == (single_reward, single_terminated, single_truncated)
            seen[i], ended[i] = (single_obs, single_info), single_terminated or single_truncated
            if mode == AutoresetMode.SAME_STEP and ended[i]:
                equal(info["final_obs"][i], single_obs)
                equal(row_of(info["final_info"], i), single_info)
                assert info["_final_obs"][i]
                seen[i], ended[i] = single.reset(), False


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_gymnasiums_own_vectorisation_gives_the_same_stream(env_id, toy_images, mode):
    ours, theirs = make_vec(env_id, toy_images), make_vec(env_id, toy_images, mode=mode)
    first, second = ours.reset(seed=3)[0], theirs.reset(seed=3)[0]
    rng = np.random.default_rng(1)
    for _ in range(2 * STEPS + 3):
        equal(first, second)
        actions = rng.uniform(-1, 1, ours.action_space.shape).astype(np.float32)
        first, second = ours.step(actions)[0], theirs.step(actions)[0]
    theirs.close()


def test_an_episodes_content_does_not_depend_on_earlier_actions(env_id, toy_images):
    def second_episode(action_seed):
        env = make(env_id, toy_images)
        env.reset(seed=11)
        rng = np.random.default_rng(action_seed)
        for _ in range(rng.integers(1, STEPS)):
            env.step(rng.uniform(-1, 1, env.action_space.shape))
        obs, info = env.reset()
        step = env.step(np.full(env.action_space.shape, 0.3))
        return obs, info, step[0]

    one, other = second_episode(0), second_episode(5)
    for a, b in zip(one, other, strict=True):
        equal(a, b)


def test_seeds_and_episodes_differ_and_repeat(env_id, toy_images):
    env = make(env_id, toy_images)
    first = [env.reset(seed=1)[0]["glimpse"]] + [env.reset()[0]["glimpse"] for _ in range(5)]
    again = [env.reset(seed=1)[0]["glimpse"]] + [env.reset()[0]["glimpse"] for _ in range(5)]
    np.testing.assert_array_equal(first, again)
    assert len({g.tobytes() for g in first}) > 1
    unseeded = {make(env_id, toy_images).reset()[0]["glimpse"].tobytes() for _ in range(6)}
    assert len(unseeded) > 1


def test_step_index_marks_rows_that_are_no_transition(env_id, toy_images):
    vector = make_vec(env_id, toy_images)
    _, info = vector.reset(seed=0)
    assert (info["step_index"] == 0).all()
    for t in range(1, 2 * (STEPS + 1)):
        obs, *_, info = vector.step(vector.action_space.sample())
        assert (info["step_index"] == t % (STEPS + 1)).all()
        if t % (STEPS + 1) == 0:
            assert (obs["motion"] == 0).all()


def test_masked_reset_touches_only_its_rows(env_id, toy_images):
    vector = make_vec(env_id, toy_images, autoreset_mode="Disabled")
    before, _ = vector.reset(seed=0)
    before, *_ = vector.step(vector.action_space.sample())
    after, info = vector.reset(seed=50, options={"reset_mask": np.array([False, True, False])})
    for key in before:
        np.testing.assert_array_equal(after[key][[0, 2]], before[key][[0, 2]])
    assert info["_index"].tolist() == [False, True, False]
    equal({k: v[1] for k, v in after.items()}, make(env_id, toy_images).reset(seed=51)[0])


def test_arrays_handed_out_are_never_written_again(env_id, toy_images):
    vector = make_vec(env_id, toy_images, autoreset_mode="SameStep")
    obs, info = vector.reset(seed=0)
    kept = [(obs, {k: v.copy() for k, v in obs.items()}, info["index"], info["index"].copy())]
    for _ in range(STEPS + 2):
        obs, *_, info = vector.step(vector.action_space.sample())
        kept.append((obs, {k: v.copy() for k, v in obs.items()}, info["index"], info["index"].copy()))
    for obs, copy, index, index_copy in kept:
        equal(obs, copy)
        np.testing.assert_array_equal(index, index_copy)


def test_state_restores_the_future(env_id, toy_images):
    vector = make_vec(env_id, toy_images).unwrapped
    vector.reset(seed=2)
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (12, *vector.action_space.shape))
    for action in actions[:4]:
        vector.step(action)
    state = vector.state()
    future = [vector.step(action) for action in actions[4:]]
    other = make_vec(env_id, toy_images).unwrapped
    other.set_state(state)
    for action, expected in zip(actions[4:], future, strict=True):
        got = other.step(action)
        equal(got[0], expected[0])
        equal(got[4], expected[4])
        np.testing.assert_array_equal(got[3], expected[3])
    with pytest.raises(ValueError, match="of shape"):
        make_vec(env_id, toy_images, num_envs=2).unwrapped.set_state(state)


def test_pickled_env_goes_on_alike(env_id, toy_images):
    env = make(env_id, toy_images)
    env.reset(seed=4)
    copy = pickle.loads(pickle.dumps(env))
    action = np.full(env.action_space.shape, -0.4)
    equal(env.step(action)[0], copy.step(action)[0])


def test_wrappers_of_gymnasium_work(env_id, toy_images, tmp_path):
    env = make(env_id, toy_images, render_mode="rgb_array")
    env = gym.wrappers.RecordEpisodeStatistics(env)
    env = gym.wrappers.RecordVideo(env, str(tmp_path / "videos"), disable_logger=True)
    env = gym.wrappers.FrameStackObservation(env, 3)
    obs, _ = env.reset(seed=0)
    assert obs["glimpse"].shape[0] == 3
    done = False
    while not done:
        obs, _, terminated, truncated, info = env.step(env.action_space.sample())
        done = terminated or truncated
    assert info["episode"]["l"] == STEPS
    env.close()
    assert list(tmp_path.glob("videos/*.mp4"))


def test_vector_wrappers_of_gymnasium_work(env_id, toy_images):
    vector = gym.wrappers.vector.RecordEpisodeStatistics(make_vec(env_id, toy_images))
    vector.reset(seed=0)
    lengths = []
    for _ in range(2 * STEPS + 2):
        *_, info = vector.step(vector.action_space.sample())
        lengths += info["episode"]["l"][info["_episode"]].tolist() if "episode" in info else []
    assert lengths == [STEPS] * 6


def test_frames_show_every_sub_env(env_id, toy_images):
    vector = make_vec(env_id, toy_images, render_mode="rgb_array")
    vector.reset(seed=0)
    vector.step(vector.action_space.sample())
    frames = vector.render()
    assert len(frames) == 3
    assert all(f.dtype == np.uint8 and f.ndim == 3 and f.shape == frames[0].shape for f in frames)
    single = make(env_id, toy_images, render_mode="rgb_array")
    single.reset(seed=1)
    vector.reset(seed=0)
    np.testing.assert_array_equal(vector.render()[1], single.render())


def test_human_mode_needs_no_settings_without_a_display(env_id, toy_images, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    env = make(env_id, toy_images, render_mode="human")
    env.reset(seed=0)
    env.step(env.action_space.sample())
    env.close()
    vector = make_vec(env_id, toy_images, render_mode="human")
    vector.reset(seed=0)
    vector.close()


def test_bad_input_says_what_was_expected(env_id, toy_images):
    env = make(env_id, toy_images).unwrapped
    with pytest.raises(gym.error.ResetNeeded):
        env.step(env.action_space.sample())
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"expected an action of shape \(\d,\), got \(7,\)"):
        env.step(np.zeros(7))
    with pytest.raises(ValueError, match="unknown reset options"):
        env.reset(options={"speed": 1})
    vector = make_vec(env_id, toy_images)
    vector.reset(seed=0)
    bad = vector.action_space.sample()
    bad[2, 1] = np.nan
    with pytest.raises(ValueError, match="sub-environment 2 is not finite"):
        vector.step(bad)
    with pytest.raises(ValueError, match="expected actions of shape"):
        vector.step(bad[:2])
    with pytest.raises(ValueError, match="reset_mask"):
        vector.reset(options={"reset_mask": np.ones(2, dtype=bool)})
    vector.step(vector.action_space.sample())  # still usable
    with pytest.raises(ValueError, match="render_mode"):
        make_vec(env_id, toy_images, render_mode="ascii")
    with pytest.raises(ValueError, match="autoreset_mode"):
        make_vec(env_id, toy_images, autoreset_mode="Sometimes")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Saccade", {"subpixel": "False"}, "subpixel must be True or False, got 'False'"),
        ("Saccade", {"subpixel": 0}, "subpixel must be True or False, got 0"),
        ("Saccade", {"max_amplitude": "far"}, "max_amplitude in image units must be a finite number .*, got 'far'"),
        ("Saccade", {"reach": [1]}, r"reach in image units must be a finite number .*, got \[1\]"),
        ("Saccade", {"padding": 2.5}, "padding.* must be a whole number, at least 0 and at most 255, got 2.5"),
        ("Saccade", {"images": 3}, "images must be a name or a path, got 3"),
        ("ObjectRotation", {"shadows": "no"}, "shadows must be True or False, got 'no'"),
        ("ObjectRotation", {"members_per_family": 2.0}, "members_per_family must be a whole number, .*, got 2.0"),
        ("ObjectRotation", {"max_angle": True}, "max_angle in radians must be a finite number .*, got True"),
        ("ObjectRotation", {"objects": None}, "objects must be a name or a path, got None"),
        ("StoredViews", {"source": 3}, "source must be a name or a path, got 3"),
        ("SaccadeClassify", {"stop": "False"}, "stop must be True or False, got 'False'"),
        ("SaccadeClassify", {"logit_scale": None}, "logit_scale must be a finite number .*, got None"),
        ("SaccadeClassify", {"motion_cost": "0"}, "motion_cost must be a finite number .*, got '0'"),
        ("SaccadeHoming", {"success_radius": "near"}, "success radius must be a finite number .*, got 'near'"),
        ("SaccadeSearch", {"step_cost": True}, "step_cost must be a finite number .*, got True"),
        ("SaccadeReach", {"goal_distance": {"low": 0.2}}, "goal_distance must be a pair .*, got {'low': 0.2}"),
    ],
)
def test_options_of_a_wrong_type_say_what_was_expected(name, options, message):
    for make_any in (gym.make, gym.make_vec):
        with pytest.raises(ValueError, match=message):
            make_any(f"GlimpseWorld/{name}-v0", **options)


def test_stepping_an_ended_row_in_disabled_mode_is_an_error(env_id, toy_images):
    vector = make_vec(env_id, toy_images, autoreset_mode="Disabled")
    vector.reset(seed=0)
    for _ in range(STEPS):
        vector.step(vector.action_space.sample())
    with pytest.raises(ValueError, match="have ended"):
        vector.step(vector.action_space.sample())


def test_clipping_is_as_documented(env_id, toy_images):
    one, two = make(env_id, toy_images), make(env_id, toy_images)
    one.reset(seed=0)
    two.reset(seed=0)
    shape = one.action_space.shape
    equal(one.unwrapped.step(np.full(shape, 5.0))[0], two.unwrapped.step(np.ones(shape))[0])


def test_importing_the_envs_loads_nothing_heavy():
    heavy = ("torch", "cv2", "pygame", "scipy", "matplotlib", "embreex", "stable_baselines3")
    script = f"import sys, glimpseworld.envs; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_worlds_never_import_torch():
    script = (
        "import sys, glimpseworld.envs.saccade, glimpseworld.envs.object_rotation, glimpseworld.envs.display; "
        "print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_classes_are_their_own_documentation_page():
    for kind in (SaccadeEnv, ObjectRotationEnv):
        for section in ("Description", "Observation space", "Action space", "Rewards", "Starting state", "Episode end"):
            assert f"## {section}" in (kind.__doc__ or "")
    for kind in (SaccadeVectorEnv, ObjectRotationVectorEnv):
        assert "page holds" in (kind.__doc__ or "")


def test_seeds_may_be_numpys_and_must_be_whole_and_not_negative(env_id, toy_images):
    vector = make_vec(env_id, toy_images)
    expected = vector.reset(seed=5)[0]
    equal(vector.reset(seed=np.int64(5))[0], expected)
    equal(vector.reset(seed=np.arange(5, 8))[0], expected)
    for seed, message in ((1.5, "whole number"), (-1, "negative"), ([1, -2, 3], "negative"), ([1, 2], "one seed for")):
        with pytest.raises(ValueError, match=message):
            vector.reset(seed=seed)


def test_after_a_masked_reset_untouched_rows_keep_their_step_index(env_id, toy_images):
    vector = make_vec(env_id, toy_images, autoreset_mode="Disabled")
    vector.reset(seed=0)
    vector.step(vector.action_space.sample())
    _, info = vector.reset(options={"reset_mask": np.array([True, False, False])})
    assert info["step_index"].tolist() == [0, 1, 1]


def test_minus_one_is_no_time_limit(env_id, toy_images):
    vector = gym.make_vec(env_id, 2, max_episode_steps=-1, **kwargs_of(env_id, toy_images))
    vector.reset(seed=0)
    assert not any(vector.step(vector.action_space.sample())[3].any() for _ in range(40))


@pytest.mark.parametrize("mode", ["vector_entry_point", "sync"])
def test_no_number_of_steps_is_that_of_the_id_single_and_batched(env_id, toy_images, mode):
    options = {**kwargs_of(env_id, toy_images), "max_episode_steps": None}
    single = gym.make(env_id, **options)
    single.reset(seed=0)
    ends = [single.step(single.action_space.sample())[3] for _ in range(16)]
    vector = gym.make_vec(env_id, 2, vectorization_mode=mode, **options)
    vector.reset(seed=0)
    assert [vector.step(vector.action_space.sample())[3].all() for _ in range(16)] == ends == [False] * 15 + [True]


@pytest.mark.parametrize("steps", [0, 2.5, "9", True])
def test_a_number_of_steps_must_be_whole_and_above_0(env_id, toy_images, steps):
    with pytest.raises(ValueError, match=r"max_episode_steps, unless -1 .* whole number, at least 1, got "):
        gym.make_vec(env_id, 2, **kwargs_of(env_id, toy_images), max_episode_steps=steps)


def test_vector_video(env_id, toy_images, tmp_path):
    vector = make_vec(env_id, toy_images, render_mode="rgb_array")
    vector = gym.wrappers.vector.RecordVideo(vector, str(tmp_path / "films"), episode_trigger=lambda n: n == 0)
    vector.reset(seed=0)
    for _ in range(STEPS + 2):
        vector.step(vector.action_space.sample())
    vector.close()
    assert list(tmp_path.glob("films/*.mp4"))


def test_spawned_workers_give_the_same_stream():
    kwargs = {"members_per_family": 2, "size": 16}
    env_id = "GlimpseWorld/ObjectRotation-v0"
    ours = gym.make_vec(env_id, 2, **kwargs)
    theirs = gym.make_vec(env_id, 2, vectorization_mode="async", vector_kwargs={"context": "spawn"}, **kwargs)
    equal(ours.reset(seed=1)[0], theirs.reset(seed=1)[0])
    theirs.close()


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_stacked_frames_equal_gymnasiums_of_single_envs(env_id, toy_images, mode):
    ours = FrameStack(make_vec(env_id, toy_images, autoreset_mode=mode), 3)
    theirs = gym.vector.SyncVectorEnv(
        [lambda: gym.wrappers.FrameStackObservation(make(env_id, toy_images), 3)] * 3,
        autoreset_mode=AutoresetMode(mode),
    )
    first, second = ours.reset(seed=3)[0], theirs.reset(seed=3)[0]
    rng = np.random.default_rng(1)
    for _ in range(2 * STEPS + 4):
        equal(first, second)
        assert ours.observation_space.contains(first)
        actions = rng.uniform(-1, 1, ours.action_space.shape).astype(np.float32)
        first, *_, our_info = ours.step(actions)
        second, *_, their_info = theirs.step(actions)
        for row in np.flatnonzero(their_info.get("_final_obs", [])):
            equal(our_info["final_obs"][row], their_info["final_obs"][row])


def test_stacked_frames_after_a_masked_reset(env_id, toy_images):
    stacked = FrameStack(make_vec(env_id, toy_images, autoreset_mode="Disabled"), 2)
    start, _ = stacked.reset(seed=0)
    before, *_ = stacked.step(stacked.action_space.sample())
    after, _ = stacked.reset(options={"reset_mask": np.array([False, True, False])})
    for key in before:
        np.testing.assert_array_equal(after[key][[0, 2]], before[key][[0, 2]])
        np.testing.assert_array_equal(after[key][1, 0], after[key][1, 1])
    with pytest.raises(ValueError, match="stack_size"):
        FrameStack(make_vec(env_id, toy_images), 0)
    assert start["motion"].shape[1] == 2
