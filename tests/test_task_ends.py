"""Episodes that end by success, and those that end by time alone, so that what counts is where they end."""

import numpy as np
import pytest

from glimpseworld.envs.imagery.image_set import ImageSet
from glimpseworld.envs.tasks.homing import RotationHomingVectorEnv, SaccadeHomingEnv
from glimpseworld.envs.tasks.matching import ObjectReorientEnv, SaccadeReachEnv, SaccadeReachVectorEnv
from glimpseworld.envs.tasks.search import SaccadeSearchEnv

ROTATION = {"members_per_family": 2, "size": 16, "shadows": False}


@pytest.fixture
def boxed(toy_images):
    """One image of 40 x 40 with its target at columns 10-19 and rows 30-35."""
    return ImageSet(toy_images.images[3:4], np.array([2]), ("a", "b", "c"), boxes=np.array([[10, 30, 20, 36]]))


def made(kind, boxed, **options):
    if kind == "reorient":
        return ObjectReorientEnv(**ROTATION, goal_angle=(30, 40), **options)
    if kind == "homing":
        return SaccadeHomingEnv(boxed, glimpse_size=8, imposed=1, max_amplitude=0.5, **options)
    env = SaccadeReachEnv if kind == "reach" else SaccadeSearchEnv
    return env(boxed, glimpse_size=8, start="center", max_amplitude=2.0, **options)


@pytest.mark.parametrize("kind", ["reorient", "reach", "search", "homing"])
def test_by_time_success_is_of_the_present_pose_and_never_ends_the_episode(kind, boxed):
    """Reach the goal as the oracle does, leave it, and come back: rewarded on it, twice, and never terminated."""
    env = made(kind, boxed, ends="time")
    _, info = env.reset(seed=0)
    assert not info["success"]
    if kind == "homing":
        env.step(np.zeros(2))
    seen = []
    for away in (False, True, False, False):
        actions = env.task.oracle_actions(env.world)[0]
        _, reward, terminated, _, info = env.step(np.array([1.0, -1.0, 1.0][: len(actions)]) if away else actions)
        seen.append((bool(info["success"]), reward))
        assert not terminated
    on, off = (True, pytest.approx(0.95)), (False, pytest.approx(-0.05))
    assert seen == [on, off, on, on]


def test_imposed_motions_are_no_success_however_the_episode_ends():
    envs = RotationHomingVectorEnv(num_envs=8, **ROTATION, imposed=2, success_angle=179.0, ends="time")
    envs.reset(seed=0)
    found = [envs.step(np.zeros((8, 3))) for _ in range(3)]
    assert [info["success"].any() for *_, info in found] == [False, False, True]
    assert not any(terminated.any() for _, _, terminated, _, _ in found)


def test_until_the_first_success_both_ends_are_the_same_bit_for_bit(toy_images):
    both = [
        SaccadeReachVectorEnv(toy_images, num_envs=16, glimpse_size=8, reward="dense", ends=ends)
        for ends in ("success", "time")
    ]
    seen = [envs.reset(seed=5) for envs in both]
    rng = np.random.default_rng(0)
    running, ended = np.ones(16, dtype=bool), 0
    for _ in range(12):
        actions = rng.uniform(-1, 1, (16, 2))
        (first, rewards, terminated, _, info), (other, others, never, _, told) = (e.step(actions) for e in both)
        assert not never.any()
        for key in first:
            assert (first[key][running] == other[key][running]).all()
        assert (rewards[running] == others[running]).all()
        for key in ("distance", "success", "position"):
            assert (info[key][running] == told[key][running]).all()
        ended += int(terminated[running].sum())
        running &= ~terminated
    assert seen[0][1]["distance"].tolist() == seen[1][1]["distance"].tolist()
    assert 0 < ended < 16


def test_another_end_is_refused(toy_images):
    with pytest.raises(ValueError, match=r"ends must be one of .*'whim'"):
        SaccadeReachEnv(toy_images, glimpse_size=8, ends="whim")
