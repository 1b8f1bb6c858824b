"""World x Task: a task's goal, reward and termination, with sub-environments that end at different times."""

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from glimpseworld.envs.environment import GlimpseEnv, GlimpseVectorEnv
from glimpseworld.envs.saccade import SaccadeWorld
from glimpseworld.envs.tasks.task import Task


class ReachTheRight(Task):
    """Ends once the gaze is further right than a threshold drawn with the episode; the reward is the x position."""

    def bind(self, num_envs, world):
        self.threshold = np.zeros((num_envs, 1))

    def observation_spaces(self, world):
        return {"threshold": spaces.Box(-1, 1, (1,), np.float64)}

    def begin(self, rows, draws, world, options):
        self.threshold[rows] = 0.7 * draws.uniform(9, 1)

    def score(self, rows, actions, world):
        x = world.pose[rows][:, 0]
        return x.copy(), x > self.threshold[rows][:, 0]

    def observe(self, rows):
        return {"threshold": self.threshold[rows].copy()}

    def state(self):
        return {"threshold": self.threshold}


def world(toy_images):
    return SaccadeWorld(toy_images, glimpse_size=8, max_amplitude=0.6)


def same(batch, row, single):
    assert batch.keys() == single.keys()
    for key in single:
        np.testing.assert_array_equal(batch[key][row], single[key], err_msg=key)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_sub_envs_that_end_apart_equal_single_ones(toy_images, mode):
    count = 5
    vector = GlimpseVectorEnv(world(toy_images), ReachTheRight(), num_envs=count, autoreset_mode=mode)
    singles = [GlimpseEnv(world(toy_images), ReachTheRight()) for _ in range(count)]
    obs, _ = vector.reset(seed=1)
    latest = [single.reset(seed=1 + i)[0] for i, single in enumerate(singles)]
    ended = np.zeros(count, dtype=bool)
    rng = np.random.default_rng(0)
    apart, endings = 0, 0
    for _ in range(60):
        for row in range(count):
            same(obs, row, latest[row])
        apart += ended.any() and not ended.all()
        if mode == AutoresetMode.DISABLED and ended.any():
            obs, _ = vector.reset(options={"reset_mask": ended})
            for row in np.flatnonzero(ended):
                latest[row] = singles[row].reset()[0]
            for row in range(count):
                same(obs, row, latest[row])
        before = ended if mode == AutoresetMode.NEXT_STEP else np.zeros(count, dtype=bool)
        actions = rng.uniform(-1, 1, (count, 2))
        obs, rewards, terminated, truncated, info = vector.step(actions)
        assert not truncated.any()
        ended = terminated.copy()
        endings += int(ended.sum())
        for row, single in enumerate(singles):
            if before[row]:
                latest[row] = single.reset()[0]
                assert rewards[row] == 0 and not terminated[row]
                continue
            latest[row], reward, single_terminated, *_ = single.step(actions[row])
            assert (rewards[row], terminated[row]) == (reward, single_terminated)
            if mode == AutoresetMode.SAME_STEP and single_terminated:
                same({k: v[None] for k, v in info["final_obs"][row].items()}, 0, latest[row])
                latest[row] = single.reset()[0]
    assert apart > 10
    assert endings > 20


def test_a_tasks_state_is_restored(toy_images):
    first = GlimpseVectorEnv(world(toy_images), ReachTheRight(), num_envs=3)
    first.reset(seed=4)
    actions = np.random.default_rng(0).uniform(-1, 1, (30, 3, 2))
    for action in actions[:10]:
        first.step(action)
    state = first.state()
    other = GlimpseVectorEnv(world(toy_images), ReachTheRight(), num_envs=3)
    other.reset(seed=99)
    other.set_state(state)
    for action in actions[10:]:
        expected, got = first.step(action), other.step(action)
        for key in expected[0]:
            np.testing.assert_array_equal(got[0][key], expected[0][key])
        np.testing.assert_array_equal(got[1], expected[1])
        np.testing.assert_array_equal(got[2], expected[2])
