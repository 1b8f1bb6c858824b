"""Reference agents: a fixed scan path, and greedy steps by the true renderer, by worked values."""

import numpy as np
import pytest
import torch
from torch import nn

from glimpseworld.agents.motor import Motor
from glimpseworld.agents.reference import GreedyRendererAgent, RasterAgent, raster_actions


class Direction(nn.Module):
    """A stand-in for a world model: the embedding of a view is the mean of two of its channels, made a unit vector."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def encode_target(self, views):
        return nn.functional.normalize(views.mean(dim=(3, 4))[..., :2] + 1e-6, dim=-1)

    def as_target(self, z):
        return z


def views_of(places):
    """Views (..., 4, 4, 3) uint8 whose first two channels are places in [-1, 1]."""
    levels = np.concatenate([places, np.zeros((*places.shape[:-1], 1))], axis=-1) * 100 + 128
    return np.tile(levels[..., None, None, :].round().astype(np.uint8), (4, 4, 1))


def test_a_raster_visits_the_whole_grid_from_every_start():
    """3 columns within reach 0.6, 1 image unit a saccade: two saccades to the corner, then 9 places 0.6 apart."""
    actions = raster_actions(3, 0.6, 1.0)
    assert len(actions) == 2 + 8
    for start in ([0.6, 0.6], [-0.1, 0.3]):
        place, seen = np.array(start), []
        for action in actions:
            place = np.clip(place + action, -0.6, 0.6)
            seen.append(place.round(9).tolist())
        assert seen[1:] == [
            *([-0.6, -0.6], [0.0, -0.6], [0.6, -0.6]),
            *([0.6, 0.0], [0.0, 0.0], [-0.6, 0.0]),
            *([-0.6, 0.6], [0.0, 0.6], [0.6, 0.6]),
        ]
    assert np.abs(raster_actions(2, 1.0, 0.5)).max() <= 1


def test_a_raster_goes_by_the_step_of_each_row_and_begins_again():
    agent = RasterAgent(np.array([[1.0, 0.0], [0.0, -0.5]]))
    found = agent.act({}, {"step_index": np.array([0, 1, 2, 5])})
    assert found.tolist() == [[1, 0], [0, -0.5], [1, 0], [0, -0.5]]


def test_a_raster_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"\(T, A\) actions"):
        RasterAgent(np.array([2.0, 0.0]))
    with pytest.raises(ValueError, match="at least 2 columns"):
        raster_actions(1, 0.6, 1.0)


def greedy(render, candidates=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return GreedyRendererAgent(
        Direction(), Motor("translation", (1.0, 1.0)), render, candidates=candidates, generator=generator
    )


def test_greedy_takes_the_candidate_whose_view_is_most_like_the_goal():
    offered = []

    def render(actions):
        offered.append(actions)
        return views_of(actions)

    goals = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    chosen = greedy(render).act({"goal": views_of(goals)}, {})
    (candidates,) = offered
    assert candidates.shape == (3, 16, 2)
    for row in range(3):
        seen = direction(views_of(candidates[row]))
        likeness = seen @ direction(views_of(goals[row]))
        assert chosen[row].tolist() == candidates[row][likeness.argmax()].tolist()


def direction(views):
    """What `Direction` makes of views whose pixels are all alike: normalised as in training, (x / 255 - 0.5) / 0.25."""
    levels = (views[..., 0, 0, :2] / 255 - 0.5) / 0.25
    return levels / np.linalg.norm(levels, axis=-1, keepdims=True)


def test_greedy_stays_where_nothing_else_is_more_like_the_goal():
    """All other views point away from the goal."""

    def render(actions):
        moved = np.abs(actions).max(axis=-1, keepdims=True) > 0
        return views_of(np.where(moved, [-1.0, -1.0], [1.0, 1.0]))

    chosen = greedy(render).act({"goal": views_of(np.array([[1.0, 1.0], [1.0, 1.0]]))}, {})
    assert chosen.tolist() == [[0, 0], [0, 0]]


def test_greedy_is_the_same_by_seed_and_needs_two_candidates():
    goal = {"goal": views_of(np.array([[0.3, -0.9]]))}
    assert (greedy(views_of, seed=3).act(goal, {}) == greedy(views_of, seed=3).act(goal, {})).all()
    with pytest.raises(ValueError, match="at least 2"):
        greedy(views_of, candidates=1)
