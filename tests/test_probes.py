"""Probes find what is there, find nothing in noise, and give collapsed features no credit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from glimpseworld.world_model.probes import (
    feature_std,
    linear_probe,
    quaternion_angle,
    r2_score,
    rankme,
    regression_probe,
    retrieval,
)


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def test_linear_probe_separates_blobs_and_guesses_on_noise(generator: np.random.Generator) -> None:
    labels, test_labels = np.arange(300) % 3, np.arange(2000) % 3
    # Far from the origin and of uneven scale, which standardising must undo.
    corners, scale = np.eye(3, 5), np.array([1e3, 1e-3, 1, 1, 1])

    def blobs(y: np.ndarray) -> np.ndarray:
        return (50 + corners[y] + generator.normal(0, 0.05, (len(y), 5))) * scale

    found = linear_probe(blobs(labels), labels, blobs(test_labels), test_labels, num_classes=3)
    assert found.accuracy == 1.0
    assert found.correct.all()
    noise, test_noise = generator.normal(size=(300, 5)), generator.normal(size=(2000, 5))
    found = linear_probe(noise, labels, test_noise, test_labels, num_classes=3)
    assert abs(found.accuracy - 1 / 3) < 0.06
    assert found.accuracy == found.correct.mean()


def test_linear_probe_reaches_the_minimum_of_its_loss(generator: np.random.Generator) -> None:
    labels = generator.integers(0, 4, 500)
    x = generator.normal(size=(500, 8)) + labels[:, None] * generator.normal(size=8)
    short, long = (linear_probe(x, labels, x, labels, num_classes=4, epochs=e).correct for e in (100, 1000))
    assert (short == long).mean() > 0.99


def test_linear_probe_cancels_what_two_features_share(generator: np.random.Generator) -> None:
    def shared(y: np.ndarray) -> np.ndarray:  # only the difference of the features tells the class
        noise = generator.normal(0, 2, len(y))
        return np.stack([noise + y, noise], axis=1)

    labels = np.arange(400) % 2
    assert linear_probe(shared(labels), labels, shared(labels), labels, num_classes=2).accuracy > 0.97


def test_linear_regression_finds_a_linear_relation(generator: np.random.Generator) -> None:
    x = generator.normal(3, [1, 10, 0.1, 1, 0], (600, 5))
    y = x @ generator.normal(size=(5, 2)) * [1, 100] + [5, -7]
    found = regression_probe(x[:400], y[:400], x[400:], y[400:], hidden=None)
    assert found.r2 > 0.9999
    assert found.prediction.dtype == np.float32
    np.testing.assert_allclose(found.prediction, y[400:], atol=0.01 * np.abs(y).max())
    # Noise as strong as the signal: half of the variance can be explained.
    noisy = y + generator.normal(size=y.shape) * y.std(axis=0)
    assert abs(regression_probe(x[:400], noisy[:400], x[400:], noisy[400:], hidden=None).r2 - 0.5) < 0.1


def rotation_pairs(count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two orientations as matrices side by side, and the relative quaternion, which no linear map of them gives."""
    euler = generator.uniform(-1, 1, (2, count, 3))
    a, b = (Rotation.from_euler("xyz", angles) for angles in euler)
    quaternion = (a.inv() * b).as_quat()
    features = np.concatenate([r.as_matrix().reshape(-1, 9) for r in (a, b)], axis=1)
    return features, np.where(quaternion[:, 3:] < 0, -quaternion, quaternion)


def test_the_mlp_finds_a_rotation_that_a_linear_probe_misses(generator: np.random.Generator) -> None:
    x, y = rotation_pairs(4000, generator)
    test_x, test_y = rotation_pairs(500, generator)
    mlp = regression_probe(x, y, test_x, test_y, hidden=128, epochs=15)
    line = regression_probe(x, y, test_x, test_y, hidden=None)
    assert mlp.r2 > 0.97
    assert np.median(quaternion_angle(mlp.prediction, test_y)) < 8
    assert line.r2 < mlp.r2 - 0.05


@pytest.mark.parametrize("hidden", [None, 16])
def test_noise_predicts_nothing(hidden: int | None, generator: np.random.Generator) -> None:
    x, y = generator.normal(size=(6000, 8)), generator.normal(size=(6000, 3))
    assert -0.1 < regression_probe(x[:4000], y[:4000], x[4000:], y[4000:], hidden=hidden, epochs=5).r2 < 0.02


def test_fewer_samples_than_a_batch_are_enough(generator: np.random.Generator) -> None:
    x = generator.normal(size=(60, 2))
    assert regression_probe(x, x, x, x, hidden=64, epochs=150).r2 > 0.95


def test_the_seed_alone_decides(generator: np.random.Generator) -> None:
    x, y = rotation_pairs(600, generator)

    def fit(seed: int) -> np.ndarray:
        return regression_probe(x, y, x[:20], y[:20], hidden=32, epochs=2, seed=seed).prediction

    before = torch.random.get_rng_state()
    first = fit(3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    np.testing.assert_array_equal(fit(3), first)
    assert not np.allclose(fit(4), first)


def test_r2_by_hand() -> None:
    truth = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]])
    assert r2_score(truth, truth) == 1.0
    assert r2_score(np.tile(truth.mean(axis=0), (3, 1)), truth) == 0.0
    # First output: error 1 of 8. Second: error 9 of 6. Average of 1 - 1/8 and 1 - 9/6.
    assert r2_score(np.array([[0.0, 1.0], [1.0, 1.0], [4.0, 1.0]]), truth) == pytest.approx((7 / 8 - 1 / 2) / 2)
    still = np.array([[1.0], [1.0]])
    assert r2_score(still, still) == 1.0
    assert r2_score(still + 0.5, still) == 0.0


def test_quaternion_angle_agrees_with_scipy(generator: np.random.Generator) -> None:
    a, b = Rotation.random(300, generator), Rotation.random(300, generator)
    signs = generator.choice([-1.0, 1.0], (300, 1))
    stretched = a.as_quat() * signs * generator.uniform(0.01, 100, (300, 1))
    np.testing.assert_allclose(quaternion_angle(stretched, b.as_quat()), np.degrees((a.inv() * b).magnitude()))
    np.testing.assert_allclose(quaternion_angle(-a.as_quat(), a.as_quat()), 0, atol=1e-6)
    tiny = a * Rotation.from_rotvec([np.radians(1e-6), 0, 0])
    np.testing.assert_allclose(quaternion_angle(tiny.as_quat(), a.as_quat()), 1e-6, rtol=1e-3)
    with pytest.raises(ValueError, match="not zero"):
        quaternion_angle(np.zeros((1, 4)), a.as_quat()[:1])


def test_retrieval_by_hand() -> None:
    angles = np.radians([0, 10, 20, 30, 40, 50, 60])
    candidates = np.stack([np.stack([np.cos(angles), np.sin(angles)], axis=1)] * 3)
    candidates[1] *= 5  # cosine does not see lengths
    prediction = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    found = retrieval(prediction, candidates, np.array([0, 2, 0]))
    np.testing.assert_allclose(found.rank, [1, 3, 7])
    np.testing.assert_allclose(found.reciprocal_rank, [1, 1 / 3, 1 / 7])
    np.testing.assert_allclose(found.hit_at_1, [1, 0, 0])
    np.testing.assert_allclose(found.hit_at_5, [1, 1, 0])


def test_collapsed_embeddings_retrieve_at_chance(generator: np.random.Generator) -> None:
    one = generator.normal(size=64).astype(np.float32)
    candidates = np.tile(one, (6, 10, 1))
    found = retrieval(candidates[:, 0] + 1, candidates, np.arange(6))
    np.testing.assert_allclose(found.reciprocal_rank, sum(1 / r for r in range(1, 11)) / 10)
    np.testing.assert_allclose(found.hit_at_1, 0.1)
    np.testing.assert_allclose(found.hit_at_5, 0.5)
    np.testing.assert_allclose(found.rank, 5.5)


def test_ties_share_the_ranks_they_span() -> None:
    # One is closer, then three alike, the true one among them: ranks 2, 3 and 4; two are further.
    candidates = np.array([[[1, 0], [1, 1], [1, 1], [1, 1], [0, 1], [-1, 0]]], np.float32)
    found = retrieval(np.array([[1.0, 0.0]]), candidates, np.array([2]))
    assert found.reciprocal_rank[0] == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 3)
    assert (found.hit_at_1[0], found.hit_at_5[0], found.rank[0]) == (0, 1, 3)


def test_rounding_breaks_no_tie(generator: np.random.Generator) -> None:
    alike = generator.normal(size=16) * generator.uniform(0.1, 10, (20, 30, 1))
    found = retrieval(generator.normal(size=(20, 16)), alike, np.zeros(20, int))
    np.testing.assert_allclose(found.rank, 15.5)


def test_zero_embeddings_retrieve_at_chance() -> None:
    found = retrieval(np.zeros((2, 3)), np.zeros((2, 4, 3)), np.array([0, 3]))
    np.testing.assert_allclose(found.rank, 2.5)


def test_rankme_counts_dimensions(generator: np.random.Generator) -> None:
    assert rankme(np.tile(np.eye(6), (4, 1))) == pytest.approx(6)
    assert rankme(np.outer(generator.normal(size=50), generator.normal(size=8))) == pytest.approx(1)
    # Singular values 3 and 1: the entropy of (3/4, 1/4).
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert rankme(np.diag([3.0, 1.0, 0.0])) == pytest.approx(np.exp(entropy))
    assert rankme(np.zeros((5, 3))) == 0.0


def test_feature_std_by_hand() -> None:
    assert feature_std(np.array([[0.0, 5.0], [2.0, 5.0]])) == 0.5
    assert feature_std(np.full((10, 4), 3.0)) == 0.0


def test_disagreeing_shapes_are_refused() -> None:
    x, labels, y = np.zeros((4, 3)), np.zeros(4, int), np.zeros((4, 2))
    with pytest.raises(ValueError, match=r"labels must be in \[0, 2\), got 0 to 5"):
        linear_probe(x, labels, x, np.array([0, 1, 5, 0]), num_classes=2)
    with pytest.raises(ValueError, match="each sample needs one label"):
        linear_probe(x, labels[:3], x, labels, num_classes=2)
    with pytest.raises(ValueError, match=r"features must be \(N, D\)"):
        regression_probe(x, y, x[:, :2], y, hidden=None)
    with pytest.raises(ValueError, match="training and test samples"):
        regression_probe(x, y, x[:0], y[:0], hidden=None)
    with pytest.raises(ValueError, match="prediction and truth"):
        r2_score(y, x)
    with pytest.raises(ValueError, match=r"\(N, D\), \(N, V, D\), \(N,\)"):
        retrieval(np.zeros((2, 3)), np.zeros((2, 5, 4)), np.zeros(2, int))
    with pytest.raises(ValueError, match=r"all in \[0, 5\)"):
        retrieval(np.zeros((1, 3)), np.zeros((1, 5, 3)), np.array([5]))
