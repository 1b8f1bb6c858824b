"""Saliency, inhibition of return, and the agents that act by them."""

import numpy as np
import pytest

from glimpseworld.agents.rollout import Rollout
from glimpseworld.agents.scripted import RandomAgent, SaliencyAgent
from glimpseworld.envs.fixation import PriorityMap, spectral_residual
from glimpseworld.envs.saccade import SaccadeVectorEnv


def test_spectral_residual_finds_the_odd_one_out():
    rng = np.random.default_rng(0)
    image = rng.integers(100, 110, (96, 96, 3)).astype(np.uint8)
    image[60:76, 20:36] = 250
    row, column = np.unravel_index(spectral_residual(image).argmax(), (96, 96))
    assert 54 <= row <= 82
    assert 14 <= column <= 42
    assert (spectral_residual(np.full((96, 96, 3), 40, dtype=np.uint8)) == 255).all()


def test_inhibition_is_a_disc_around_each_fixation():
    priority = PriorityMap(1, cells=10, radius=0.45)
    row = np.array([0])
    priority.begin(row, None)
    priority.fixate(row, np.array([[0.5, -0.3]]))  # x = 0.5: column 7; y = -0.3: row 3
    free = priority.priority(row)[0] > 0
    assert not free[3, 7]
    # Cell centres 0.2 apart: two to each side lie 0.4 away, inside; the diagonal two lie 0.57 away, outside.
    assert not free[3, 5]
    assert not free[1, 7]
    assert free[1, 5]
    assert free[3, 4]
    assert free[7, 3]


def test_fixations_follow_saliency_and_avoid_the_inhibited():
    priority = PriorityMap(2, cells=4, radius=0.1)
    rows = np.arange(2)
    saliency = np.zeros((2, 8, 8), dtype=np.uint8)
    saliency[0, 0:2, 6:8] = 10  # cell row 0, column 3: x = 0.75, y = -0.75
    saliency[0, 4:6, 0:2] = 10  # cell row 2, column 0: x = -0.75, y = 0.25
    saliency[1] = 1
    priority.begin(rows, saliency)
    drawn = np.array([priority.sample(rows, np.array([u, u])) for u in np.linspace(0, 0.999, 64)])
    assert {tuple(p) for p in drawn[:, 0]} == {(0.75, -0.75), (-0.75, 0.25)}
    assert len({tuple(p) for p in drawn[:, 1]}) == 16
    priority.fixate(np.array([0]), np.array([[0.75, -0.75]]))
    assert {tuple(priority.sample(rows, np.array([u, u]))[0]) for u in (0, 0.5, 0.99)} == {(-0.75, 0.25)}
    priority.begin(np.array([0]), saliency[:1])
    assert len({tuple(priority.sample(rows, np.array([u, u]))[0]) for u in (0, 0.99)}) == 2


def test_inhibition_works_with_saliency_off_and_lifts_when_all_is_inhibited():
    priority = PriorityMap(1, cells=2, radius=0.1)
    row = np.array([0])
    priority.begin(row, None)
    visited = set()
    for _ in range(4):
        place = priority.sample(row, np.array([0.3]))
        visited.add(tuple(place[0]))
        priority.fixate(row, place)
    assert len(visited) == 4
    assert (priority.priority(row) == 1).all()


def test_reach_leaves_out_what_lies_beyond():
    priority = PriorityMap(1, cells=10, radius=0.1)
    row = np.array([0])
    priority.begin(row, None)
    places = np.array([priority.sample(row, np.array([u]), reach=0.35)[0] for u in np.linspace(0, 0.999, 200)])
    assert np.abs(places).max() == pytest.approx(0.3)
    assert len(np.unique(places, axis=0)) == 16


@pytest.mark.parametrize("bad", [np.zeros((1, 4, 4)), -np.ones((1, 4, 4)), np.full((1, 4, 4), np.nan)])
def test_bad_saliency_maps(bad):
    with pytest.raises(ValueError, match="saliency map"):
        PriorityMap(1, cells=4, radius=0.1).begin(np.array([0]), bad)
    with pytest.raises(ValueError, match="does not divide"):
        PriorityMap(1, cells=3, radius=0.1).begin(np.array([0]), np.ones((1, 4, 4)))


def saliency_rollout(toy_images, seed=0):
    envs = SaccadeVectorEnv(toy_images, num_envs=4, glimpse_size=8, max_episode_steps=5, max_amplitude=2.0)
    agent = SaliencyAgent(
        PriorityMap(4, cells=20, radius=0.3),
        None,
        reach=envs.world.reach,
        max_amplitude=envs.world.max_amplitude,
        rng=np.random.default_rng(seed),
    )
    return Rollout(envs, agent, seed)


def test_the_saliency_agent_never_returns_within_an_episode(toy_images):
    rollout = saliency_rollout(toy_images)
    paths = [[] for _ in range(4)]
    for _ in range(25):
        step = rollout.step()
        for b in range(4):
            if step.first[b]:
                paths[b] = []
            place = step.info["position"][b]
            if paths[b]:
                assert np.linalg.norm(np.array(paths[b]) - place, axis=1).min() > 0.2
            paths[b].append(place)


def test_rollouts_mark_first_rows_and_restore(toy_images):
    rollout = saliency_rollout(toy_images)
    steps = [rollout.step() for _ in range(8)]
    assert [bool(s.first[0]) for s in steps] == [True] + [False] * 5 + [True, False]
    state, rng_state = rollout.state(), rollout.agent._rng.bit_generator.state
    future = [rollout.step() for _ in range(9)]
    other = saliency_rollout(toy_images, seed=5)
    other.set_state(state)
    other.agent._rng.bit_generator.state = rng_state
    for expected in future:
        got = other.step()
        np.testing.assert_array_equal(got.glimpse, expected.glimpse)
        np.testing.assert_array_equal(got.motion, expected.motion)
        np.testing.assert_array_equal(got.first, expected.first)


def test_random_actions_fill_the_space(toy_images):
    actions = np.stack([RandomAgent(50, 3, np.random.default_rng(s)).act({}, {}) for s in range(20)])
    assert actions.shape == (20, 50, 3)
    assert np.abs(actions).max() <= 1
    np.testing.assert_allclose(np.histogram(actions, 4, (-1, 1))[0] / actions.size, 0.25, atol=0.03)


def test_a_rollout_refuses_other_autoreset_modes(toy_images):
    envs = SaccadeVectorEnv(toy_images, num_envs=2, glimpse_size=8, autoreset_mode="SameStep")
    with pytest.raises(ValueError, match="NextStep"):
        Rollout(envs, RandomAgent(2, 2, np.random.default_rng(0)), 0)
