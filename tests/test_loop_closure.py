"""Whether a view was seen before, by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from glimpseworld.agents.loop_closure import recognise_return, roc_auc


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
