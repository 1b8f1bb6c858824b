"""Whether a view was seen before, and what a likeness says of the distance, by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from glimpseworld.agents.loop_closure import SimilarityCurve, best_threshold, recognise_return, roc_auc


def context(angles, held):
    """Views embedded on the unit circle at angles (B, capacity), in degrees."""
    turned = torch.deg2rad(torch.tensor(angles, dtype=torch.float32))
    target = torch.stack([turned.cos(), turned.sin()], dim=-1)
    return SimpleNamespace(
        target=target,
        held=torch.tensor(held),
        num_envs=len(held),
        capacity=target.shape[1],
        device=torch.device("cpu"),
    )


def test_a_return_names_the_slot_that_was_seen_again():
    seen = context([[0, 60, 120, 5], [0, 60, 120, 180], [0, 90, 0, 77], [0, 3, 99, 99]], [4, 4, 3, 2])
    found = recognise_return(seen, np.cos(np.deg2rad(10)))
    assert found.seen.tolist() == [True, False, True, False]
    assert found.slot.tolist() == [0, 1, 0, -1]  # of the last row only the view before, which does not count
    np.testing.assert_allclose(found.similarity.numpy(), np.cos(np.deg2rad([5, 120, 0, 180])), atol=1e-6)
    assert recognise_return(seen, 0.9, skip=0).slot.tolist() == [0, 2, 0, 0]
    with pytest.raises(ValueError, match="skip"):
        recognise_return(seen, 0.9, skip=-1)


def test_the_area_under_the_roc_curve_counts_pairs():
    assert roc_auc(np.array([3.0, 2.0]), np.array([1.0, 2.0])) == pytest.approx((1 + 1 + 1 + 0.5) / 4)
    assert roc_auc(np.array([1.0]), np.array([2.0, 3.0])) == 0
    with pytest.raises(ValueError, match="0 same and 1 different"):
        roc_auc(np.array([]), np.array([1.0]))


def test_the_best_threshold_splits_what_can_be_split():
    assert best_threshold(np.array([0.9, 0.8, 0.3]), np.array([0.1, 0.2, 0.5, 0.4])) == 0.8
    assert best_threshold(np.array([0.9, 0.8]), np.array([0.1])) == 0.8


def test_a_curve_is_the_mean_and_spread_of_its_bins():
    far = np.array([0.0, 0.2, 1.0, 1.2])
    curve = SimilarityCurve.fit(far, np.array([1.0, 0.8, 0.3, 0.1]), bins=2)
    for found, expected in ((curve.distances, (0.1, 1.1)), (curve.means, (0.9, 0.2)), (curve.stds, (0.1, 0.1))):
        assert found == pytest.approx(expected)
    found = curve.log_likelihood(torch.tensor([0.9]), torch.tensor([[0.0, 0.1, 0.6, 5.0]], dtype=torch.float64))
    means = np.array([0.9, 0.9, 0.55, 0.2])  # constant beyond the ends, halfway between
    np.testing.assert_allclose(found[0].numpy(), -0.5 * ((0.9 - means) / 0.1) ** 2 - np.log(0.1), atol=1e-6)


def test_pairs_that_never_moved_share_one_bin():
    curve = SimilarityCurve.fit(np.array([0.0, 0, 0, 0, 1, 1]), np.array([1.0, 1, 1, 1, 0.2, 0.4]), bins=3)
    assert curve.distances == (0.0, 1.0) and curve.stds == pytest.approx((1e-3, 0.1))
    assert SimilarityCurve((0.0,), (0.5,), (0.1,)).log_likelihood(torch.ones(1), torch.ones(1, 2)).shape == (1, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SimilarityCurve((1.0, 0.0), (0.1, 0.2), (0.1, 0.1)), "rising"),
        (lambda: SimilarityCurve((0.0, 1.0), (0.1, 0.2), (0.1, 0.0)), "std above 0"),
        (lambda: SimilarityCurve.fit(np.zeros(3), np.zeros(3), bins=2), "at least 2 pairs"),
    ],
)
def test_what_is_no_curve_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
