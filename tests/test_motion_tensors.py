"""Motions as tensors: equal to those as arrays, and right within a window."""

import numpy as np
import pytest
import torch

from glimpseworld.world_model import motion, motion_tensors
from glimpseworld.world_model.motion_tensors import motions_ahead, motions_to_last

KINDS = {"translation": 2, "rotation": 4, "rotation-colour": 6}
M, K = 4, 2


def draw(kind, *shape, seed=0):
    """Motions (*shape, A) float64; quaternions of unit norm and w >= 0."""
    drawn = np.random.default_rng(seed).normal(size=(*shape, KINDS[kind]))
    return motion.compose(kind, motion.identity(kind, drawn.shape), drawn)


def window(kind):
    """Poses (5, M + K, A), with the motions between the M and from the last of them to the K."""
    poses = draw(kind, 5, M + K)
    between = motion.relative(kind, poses[:, : M - 1], poses[:, 1:M])
    return poses, between, motion.relative(kind, poses[:, M - 1, None], poses[:, M:])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["compose", "relative"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-6)])
def test_tensors_and_arrays_agree(kind, name, dtype, tolerance):
    a, b = draw(kind, 40).astype(dtype), draw(kind, 3, 1, seed=1).astype(dtype)
    expected = getattr(motion, name)(kind, a, b)
    found = getattr(motion_tensors, name)(kind, *torch.broadcast_tensors(*map(torch.from_numpy, (a, b))))
    assert found.numpy().dtype == expected.dtype
    np.testing.assert_allclose(found.numpy(), expected, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_motions_ahead_lead_from_each_view_to_each_target(kind):
    poses, between, ahead = window(kind)
    found = motions_ahead(kind, torch.from_numpy(between), torch.from_numpy(ahead)).numpy()
    for m in range(M):
        np.testing.assert_allclose(found[:, m], motion.relative(kind, poses[:, m, None], poses[:, M:]), atol=1e-12)
    np.testing.assert_allclose(found[:, M - 2], motion.compose(kind, between[:, -1:], ahead), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_motions_to_the_last_view(kind):
    poses, between, _ = window(kind)
    for last in range(M):
        found = motions_to_last(kind, torch.from_numpy(between[:, :last])).numpy()
        np.testing.assert_allclose(found, motion.relative(kind, poses[:, :last], poses[:, last, None]), atol=1e-12)


def test_quarter_turns_to_the_last_view_by_hand():
    half = 0.5**0.5
    quarter, nothing, half_turn = [0.0, 0.0, half, half], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]
    between = torch.tensor([[quarter, quarter, [0.0, 0.0, -half, half]]])
    found = motions_to_last("rotation", between)
    torch.testing.assert_close(found, torch.tensor([[quarter, nothing, [0.0, 0.0, -half, half]]]), atol=1e-6, rtol=0)
    assert motions_to_last("rotation", between[:, :2])[0, 0].abs().tolist() == pytest.approx(half_turn, abs=1e-6)
