"""Motions as tensors: equal to those as arrays, and right within a window."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

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
    found = getattr(motion_tensors, name)(kind, *map(torch.from_numpy, (a, b)))
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


@pytest.mark.parametrize("kind", KINDS)
def test_identity_and_inverse_agree_with_arrays(kind):
    a = draw(kind, 40)
    tensor = torch.from_numpy(a)
    np.testing.assert_allclose(motion_tensors.inverse(kind, tensor).numpy(), motion.inverse(kind, a), atol=1e-12)
    np.testing.assert_array_equal(motion_tensors.identity_like(kind, tensor).numpy(), motion.identity(kind, a.shape))


def test_rotation_vectors_are_those_of_scipy():
    vectors = np.random.default_rng(2).uniform(-2.5, 2.5, (200, 3))
    vectors[0], vectors[1] = 0, (1e-9, 0, 0)
    vectors = vectors[np.linalg.norm(vectors, axis=1) < np.pi]
    quaternions = motion_tensors.rotation_from_vector(torch.from_numpy(vectors))
    expected = Rotation.from_rotvec(vectors).as_quat()
    np.testing.assert_allclose(quaternions.numpy(), expected * np.sign(expected[:, 3:]), atol=1e-12)
    np.testing.assert_allclose(motion_tensors.rotation_vector(quaternions).numpy(), vectors, atol=1e-7)
    np.testing.assert_allclose(motion_tensors.rotation_vector(-quaternions).numpy(), vectors, atol=1e-7)
    sizes = motion_tensors.size_of("rotation", quaternions).numpy()
    np.testing.assert_allclose(sizes, np.linalg.norm(vectors, axis=1), atol=1e-7)


def test_a_rotation_by_more_than_half_a_turn_is_that_the_other_way():
    turns = torch.tensor([[0.0, 0.0, 1.5 * torch.pi], [-1.25 * torch.pi, 0.0, 0.0]])
    other_way = torch.tensor([[0.0, 0.0, -0.5 * torch.pi], [0.75 * torch.pi, 0.0, 0.0]])
    found = motion_tensors.rotation_from_vector(turns)
    assert (found[:, 3] > 0).all()
    torch.testing.assert_close(found, motion_tensors.rotation_from_vector(other_way))


def test_the_size_of_a_translation_leaves_zoom_out():
    assert motion_tensors.size_of("translation", torch.tensor([[3.0, -4.0, 9.0]])).tolist() == [5.0]
