"""The losses of the baselines take the values that theory gives them."""

import math

import pytest
import torch

from glimpseworld.world_model.matching import (
    info_nce,
    mean_squared_error,
    paired_covariance,
    paired_variance,
    trajectory_term,
)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("batch", [2, 7])
def test_info_nce_of_identical_pairs_is_the_log_of_the_candidates(batch, temperature):
    same = torch.ones(batch, 3, 4)
    assert info_nce(same, same, temperature).item() == pytest.approx(math.log(2 * batch - 1), abs=1e-5)


def test_info_nce_of_orthogonal_pairs_by_hand():
    """Two pairs: the partner at cosine 1, the two others at cosine 0."""
    a = torch.tensor([[[3.0, 0.0]], [[0.0, 0.5]]])
    expected = -math.log(math.exp(2) / (math.exp(2) + 2))
    assert info_nce(a, 7 * a, 0.5).item() == pytest.approx(expected, abs=1e-6)


def test_info_nce_is_the_mean_over_slots_that_do_not_mix():
    a, b = draw(6, 3, 5), draw(6, 3, 5, seed=1)
    alone = [info_nce(a[:, [p]], b[:, [p]], 0.2) for p in range(3)]
    torch.testing.assert_close(info_nce(a, b, 0.2), torch.stack(alone).mean())
    torch.testing.assert_close(info_nce(b, a, 0.2), info_nce(a, b, 0.2))


def test_info_nce_prefers_the_partner():
    a = draw(16, 1, 8)
    assert info_nce(a, a, 0.1) < info_nce(a, draw(16, 1, 8, seed=1), 0.1) < info_nce(a, a.roll(1, 0), 0.1)


def test_mean_squared_error_by_hand():
    a = torch.tensor([[0.0, 2.0]])
    assert mean_squared_error(a, a).item() == 0
    assert mean_squared_error(a, torch.tensor([[1.0, 5.0]])).item() == 5


def test_variance_is_0_when_every_std_is_at_least_1_and_1_when_collapsed():
    wide, narrow = 5 * draw(64, 2, 3), torch.zeros(64, 2, 3)
    assert paired_variance(wide, wide).item() == 0
    assert paired_variance(narrow, narrow).item() == pytest.approx(1, abs=0.02)
    assert paired_variance(wide, narrow).item() == pytest.approx(0.5, abs=0.01)


def test_covariance_is_0_for_uncorrelated_dimensions_and_adds_both_sides():
    square = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    line = square[:, [0, 0]]
    assert paired_covariance(square, square).item() == pytest.approx(0, abs=1e-6)
    # The covariance of two equal columns is 4/3, twice off the diagonal, over 2 dimensions.
    assert paired_covariance(line, square).item() == pytest.approx((4 / 3) ** 2, rel=1e-5)
    assert paired_covariance(line, line).item() == pytest.approx(2 * (4 / 3) ** 2, rel=1e-5)


def test_trajectory_term_is_0_straight_on_1_at_a_right_angle_and_2_for_turning_back():
    def of(*points):
        return trajectory_term(torch.tensor([points])).item()

    assert of((0.0, 0.0), (1.0, 2.0), (3.0, 6.0), (3.5, 7.0)) == pytest.approx(0, abs=1e-6)
    assert of((0.0, 0.0), (1.0, 0.0), (1.0, 5.0)) == pytest.approx(1, abs=1e-6)
    assert of((0.0, 0.0), (1.0, 0.0), (0.0, 0.0)) == pytest.approx(2, abs=1e-6)
    with pytest.raises(ValueError, match="at least 3"):
        trajectory_term(torch.zeros(1, 2, 2))
