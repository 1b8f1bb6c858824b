"""Stable-Baselines3 trains on the native vector environment, which gives it what its own would."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

import glimpseworld.envs  # noqa: F401 - registers the ids
from glimpseworld.agents.sb3 import GlimpseExtractor, GlimpseVecEnv
from glimpseworld.envs.environment import GlimpseEnv, GlimpseVectorEnv
from glimpseworld.envs.saccade import SaccadeWorld
from glimpseworld.envs.tasks.task import FreeViewing
from glimpseworld.envs.wrappers import FrameStack, NormalizeGlimpse

SACCADE = "GlimpseWorld/Saccade-v0"
STEPS = 5
POLICY = {"features_extractor_class": GlimpseExtractor, "features_extractor_kwargs": {"channels": (8, 8)}}


class Centre(FreeViewing):
    """Reward where the gaze is near the centre; an episode ends by itself where it is very near."""

    def score(self, rows, actions, world):
        distance = np.linalg.norm(world.pose[rows], axis=1)
        return -distance, distance < 0.35


def make_vec(toy_images, num_envs=3, mode="SameStep", **options):
    world = SaccadeWorld(toy_images, glimpse_size=8)
    options = {"num_envs": num_envs, "max_episode_steps": STEPS, "autoreset_mode": mode, **options}
    return GlimpseVectorEnv(world, Centre(), **options)


def make_single(toy_images):
    env = GlimpseEnv(SaccadeWorld(toy_images, glimpse_size=8), Centre())
    return gym.wrappers.TimeLimit(env, STEPS)


def equal(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def test_it_gives_what_sb3s_own_vectorisation_gives(toy_images):
    ours = GlimpseVecEnv(make_vec(toy_images), info_keys=("index", "step_index"))
    theirs = DummyVecEnv([lambda: make_single(toy_images)] * 3)
    assert ours.observation_space == theirs.observation_space and ours.action_space == theirs.action_space
    assert ours.seed(9) == theirs.seed(9)
    equal(ours.reset(), theirs.reset())
    equal(ours.reset_infos[1], theirs.reset_infos[1])
    rng = np.random.default_rng(0)
    ended = {True: 0, False: 0}
    for _ in range(40):
        actions = rng.uniform(-1, 1, (3, 2)).astype(np.float32)
        (obs, rewards, dones, infos), expected = ours.step(actions), theirs.step(actions)
        equal(obs, expected[0])
        np.testing.assert_array_equal(rewards, expected[1])
        assert rewards.dtype == expected[1].dtype
        np.testing.assert_array_equal(dones, expected[2])
        for row in range(3):
            assert infos[row]["index"] == expected[3][row]["index"]
            if not dones[row]:
                assert set(infos[row]) == {"index", "step_index"}
                continue
            equal(infos[row].pop("terminal_observation"), expected[3][row].pop("terminal_observation"))
            equal(infos[row], expected[3][row])
            equal(ours.reset_infos[row], theirs.reset_infos[row])
            ended[infos[row]["TimeLimit.truncated"]] += 1
    assert min(ended.values()) > 2  # both kinds of ending occurred


def test_only_the_time_limit_alone_is_bootstrapped(toy_images):
    """From the centre, standing still terminates at once; a limit of 1 then truncates in the same step."""
    world = SaccadeWorld(toy_images, glimpse_size=8, start="center")
    both = GlimpseVecEnv(GlimpseVectorEnv(world, Centre(), max_episode_steps=1, autoreset_mode="SameStep"))
    both.reset()
    *_, dones, infos = both.step(np.zeros((1, 2)))
    assert dones[0] and infos[0]["TimeLimit.truncated"] is False
    *_, dones, infos = both.step(np.ones((1, 2)))
    assert dones[0] and infos[0]["TimeLimit.truncated"] is True


@pytest.mark.parametrize("wrapper", [lambda e: e, lambda e: FrameStack(e, 2), NormalizeGlimpse])
def test_ppo_learns_from_what_the_environment_gives(toy_images, wrapper):
    envs = VecMonitor(GlimpseVecEnv(wrapper(make_vec(toy_images, 8))))
    model = PPO("MultiInputPolicy", envs, n_steps=16, batch_size=64, n_epochs=2, policy_kwargs=dict(POLICY), seed=0)
    before = [p.detach().clone() for p in model.policy.features_extractor.parameters()]
    model.learn(256)
    changed = [(a != b).any() for a, b in zip(before, model.policy.features_extractor.parameters(), strict=True)]
    assert all(changed)
    assert len(model.ep_info_buffer) > 10
    assert max(info["l"] for info in model.ep_info_buffer) == STEPS


def test_sac_stores_final_observations_and_timeouts(toy_images):
    envs = GlimpseVecEnv(make_vec(toy_images, 4))
    model = SAC(
        "MultiInputPolicy", envs, buffer_size=400, learning_starts=40, batch_size=16, policy_kwargs=dict(POLICY), seed=0
    )
    model.learn(200)
    buffer = model.replay_buffer
    size = buffer.pos
    assert size == 50 and buffer.timeouts[:size].any()
    assert not buffer.timeouts[:size][buffer.dones[:size] == 0].any()
    # A final observation has a motion, but at the border; the next episode's first one, in its place, never has.
    assert (buffer.next_observations["motion"][:size][buffer.dones[:size] == 1] != 0).any(axis=-1).mean() > 0.7
    before_resets = buffer.observations["motion"][1:size][buffer.dones[: size - 1] == 1]
    assert (before_resets == 0).all()


def test_the_registered_environment_trains_with_its_defaults():
    envs = gym.make_vec(SACCADE, 16, autoreset_mode="SameStep", split="validation")
    model = PPO("MultiInputPolicy", VecMonitor(GlimpseVecEnv(envs)), n_steps=16, n_epochs=1, policy_kwargs=dict(POLICY))
    model.learn(256)
    assert {info["l"] for info in model.ep_info_buffer} == {16}


def test_seeds_are_used_once_and_then_episodes_go_on(toy_images):
    env = GlimpseVecEnv(make_vec(toy_images))
    env.seed(4)
    first, following = env.reset(), env.reset()
    env.seed(4)
    equal(env.reset(), first)
    equal(env.reset(), following)


def test_attributes_methods_wrappers_and_pictures(toy_images):
    inner = make_vec(toy_images, render_mode="rgb_array")
    env = GlimpseVecEnv(FrameStack(inner, 2))
    env.reset()
    assert env.get_attr("max_episode_steps") == [STEPS] * 3
    assert env.get_attr("stack_size", indices=[0, 2]) == [2, 2]
    env.set_attr("max_episode_steps", 9)
    assert inner.max_episode_steps == 9
    with pytest.raises(ValueError, match="rows of a batch share"):
        env.set_attr("max_episode_steps", 2, indices=[1])
    assert not env.has_attr("speed")
    assert env.env_is_wrapped(FrameStack) == [True] * 3
    assert env.env_is_wrapped(NormalizeGlimpse, indices=1) == [False]
    assert env.env_is_wrapped(Monitor) == [False] * 3
    frames = env.get_images()
    np.testing.assert_array_equal(frames[2], inner.render()[2])
    assert env.render().shape[2] == 3
    equal(env.env_method("observation", indices=0)[0], inner.observation())
    assert GlimpseVecEnv(make_vec(toy_images)).get_images() == [None] * 3
    env.close()
    assert inner.closed


def test_statistics_of_gymnasium_are_handed_on(toy_images):
    world = SaccadeWorld(toy_images, glimpse_size=8)
    envs = GlimpseVectorEnv(world, num_envs=3, max_episode_steps=STEPS, autoreset_mode="SameStep")
    env = GlimpseVecEnv(gym.wrappers.vector.RecordEpisodeStatistics(envs))
    env.reset()
    lengths = []
    for _ in range(2 * STEPS):
        *_, infos = env.step(np.ones((3, 2)))
        lengths += [info["episode"]["l"] for info in infos if info]
    assert lengths == [STEPS] * 6


def test_nested_infos_are_dealt_to_their_rows(toy_images):
    options = {"num_envs": 3, "max_episode_steps": 1, "autoreset_mode": "SameStep"}
    env = GlimpseVecEnv(GlimpseVectorEnv(SaccadeWorld(toy_images, glimpse_size=8), **options))
    env.set_options({"variation": {"image_noise": np.array([1.0, 2.0, 3.0])}})
    env.reset()
    assert [info["variation"]["image_noise"] for info in env.reset_infos] == [1.0, 2.0, 3.0]
    *_, infos = env.step(np.zeros((3, 2)))
    assert [info["variation"]["image_noise"] for info in infos] == [1.0, 2.0, 3.0]
    assert infos[2]["variation"]["image_contrast"] == 1.0


def test_other_autoreset_modes_and_options_by_row_are_refused(toy_images):
    with pytest.raises(ValueError, match="SameStep"):
        GlimpseVecEnv(make_vec(toy_images, mode="NextStep"))
    env = GlimpseVecEnv(make_vec(toy_images))
    env.set_options([{"a": 1}, {}, {}])
    with pytest.raises(ValueError, match="one dict for all"):
        env.reset()
    env.set_options({"speed": 1})
    with pytest.raises(ValueError, match="unknown reset options"):
        env.reset()


def test_the_extractor_sees_images_in_every_layout():
    box = spaces.Dict(
        {
            "glimpse": spaces.Box(0, 255, (3, 8, 8), np.uint8),  # as Stable-Baselines3 transposes it
            "stack": spaces.Box(0, 255, (4, 8, 8, 3), np.uint8),
            "normal": spaces.Box(-2, 2, (8, 8, 3), np.float32),
            "motion": spaces.Box(-1, 1, (2,), np.float32),
        }
    )
    extractor = GlimpseExtractor(box, image_features=16)
    assert extractor.features_dim == 3 * 16 + 2
    entries = {key: torch.rand(5, *space.shape) for key, space in box.spaces.items()}
    features = extractor(entries)
    assert features.shape == (5, 50)
    # Columns of the image must stay columns: turning an image changes the features of a network that knows places.
    for key, axes in (("glimpse", (2, 3)), ("stack", (2, 3)), ("normal", (1, 2))):
        turned = extractor({**entries, key: entries[key].transpose(*axes)})
        assert not torch.allclose(turned, features)
    convolutions = extractor.parts["normal"]._channels_first(entries["normal"])
    torch.testing.assert_close(convolutions[:, 1, 2, 5], entries["normal"][:, 2, 5, 1])
