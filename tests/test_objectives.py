import json
import math
from dataclasses import asdict

import pytest
import torch

from glimpseworld.world_model.objectives import (
    Objective,
    TargetStatistics,
    contrast_term,
    cosine_loss,
    covariance_term,
    standardize,
    variance_term,
)


def rows(*values):
    return torch.tensor(values, dtype=torch.float32)


@pytest.mark.parametrize(
    ("prediction", "target", "expected"),
    [((2.0, 0.0), (5.0, 0.0), 0.0), ((1.0, 0.0), (0.0, 3.0), 1.0), ((1.0, 1.0), (-2.0, -2.0), 2.0)],
)
def test_cosine_loss_is_0_parallel_1_orthogonal_2_opposite(prediction, target, expected):
    assert cosine_loss(rows(prediction), rows(target)).item() == pytest.approx(expected, abs=1e-6)


def test_cosine_loss_averages_over_all_leading_axes():
    prediction = rows((1, 0), (1, 0), (1, 0), (1, 0)).view(2, 2, 2)
    target = rows((1, 0), (0, 1), (3, 4), (-1, 0)).view(2, 2, 2)
    assert cosine_loss(prediction, target).item() == pytest.approx((0 + 1 + 0.4 + 2) / 4)


def test_standardize_by_hand_and_a_constant_dimension_becomes_zero():
    z = standardize(rows((1, 7), (3, 7), (5, 7), (7, 7)))
    step = 2 / 5**0.5  # the values are 4 ± 1, 4 ± 3, their variance 5
    torch.testing.assert_close(z, rows((-1.5 * step, 0), (-0.5 * step, 0), (0.5 * step, 0), (1.5 * step, 0)))


def test_standardize_pools_batch_and_target_axes():
    x = torch.randn(6, 5, 3, generator=torch.Generator().manual_seed(0)) * 4 + 2
    z = standardize(x)
    assert z.shape == x.shape
    torch.testing.assert_close(z.mean((0, 1)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.square().mean((0, 1)), torch.ones(3), atol=1e-4, rtol=0)


def test_variance_term_by_hand():
    # Two rows d apart have variance d^2 / 2: std sqrt(0.125), and sqrt(8), which the hinge lets pass.
    z = rows((0.0, 0.0), (0.5, 4.0))
    assert variance_term(z, eps=0.0).item() == pytest.approx((1 - 0.125**0.5 + 0) / 2)
    assert variance_term(rows((0.0,), (2.0,))).item() == 0
    assert variance_term(rows((3.0,), (3.0,))).item() == pytest.approx(0.99)  # 1 - sqrt(1e-4)


def test_variance_term_has_a_finite_gradient_at_collapse():
    z = torch.ones(4, 3, requires_grad=True)
    variance_term(z).backward()
    assert torch.isfinite(z.grad).all()


def test_covariance_term_by_hand():
    z = rows((1, 2), (-1, -2))  # covariance matrix [[2, 4], [4, 8]]
    assert covariance_term(z).item() == pytest.approx((4**2 + 4**2) / 2)
    assert covariance_term(rows((1, 1), (1, -1), (-1, 1), (-1, -1)) + 5).item() == 0


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_objective_weighs_its_terms_and_reports_them_unweighted():
    prediction, target = rows((1, 0), (1, 0))[:, None], rows((0, 1), (1, 0))[:, None]
    z = rows((1, 2), (-1, -2))[:, None]
    paper, paper_terms = Objective.paper()(prediction, target, z)
    assert paper.item() == pytest.approx(0.5)
    assert set(paper_terms) == {"cosine"}
    loss, terms = Objective(variance=0.5, covariance=0.25)(prediction, target, z / 4)
    expected = 0.5 + 0.5 * variance_term(z / 4) + 0.25 * 16 / 4**4
    assert loss.item() == pytest.approx(expected.item())
    assert terms["covariance"].item() == pytest.approx(16 / 4**4)
    assert set(terms) == {"cosine", "variance", "covariance"}


def test_loss_is_zero_for_the_right_prediction_of_spread_uncorrelated_embeddings():
    z = 2 * rows((1, 1), (1, -1), (-1, 1), (-1, -1))[:, None]
    loss, _ = Objective.plus()(3 * z, z, z)
    assert loss.item() == pytest.approx(0, abs=1e-6)


def test_losses_are_float32_under_autocast():
    z = torch.randn(8, 2, 4, generator=torch.Generator().manual_seed(0))
    objective = Objective.plus()
    expected, _ = objective(z, z.flip(0), z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, terms = objective(z, z.flip(0), z)
    assert all(term.dtype == torch.float32 for term in terms.values())
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)


def test_objective_goes_through_json_and_rejects_negative_weights():
    assert Objective(**json.loads(json.dumps(asdict(Objective.plus())))) == Objective.plus()
    with pytest.raises(ValueError, match="variance is a weight"):
        Objective(variance=-1)


def test_target_statistics_average_evenly_at_first_then_by_rate():
    statistics = TargetStatistics(1, standardized=True, rate=0.25)
    batches = [rows((0,), (2,)), rows((2,), (6,)), rows((5,), (5,)), rows((1,), (3,)), rows((7,), (11,))]
    for batch in batches:
        statistics.observe(batch)
    mean, std, norm = (1 + 4 + 5 + 2) / 4, (1 + 2 + 0.001 + 1) / 4, (1 + 4 + 5 + 2) / 4
    torch.testing.assert_close(statistics.mean, rows(mean * 0.75 + 9 * 0.25))
    torch.testing.assert_close(statistics.std, rows(std * 0.75 + 2 * 0.25), atol=1e-5, rtol=0)
    assert statistics.norm.item() == pytest.approx(norm * 0.75 + 9 * 0.25)


def test_as_token_undoes_as_target_whatever_the_norm_of_the_prediction():
    statistics = TargetStatistics(2, standardized=True)
    statistics.observe(rows((1, 10), (3, 30)))  # mean (2, 20), std (1, 10)
    embedding = rows((3, 30), (1, 30))  # standardised (±1, 1): norm sqrt(2), that of a typical target
    torch.testing.assert_close(statistics.as_target(embedding), rows((1, 1), (-1, 1)), atol=1e-5, rtol=0)
    tokens = statistics.as_token(7 * statistics.as_target(embedding))
    torch.testing.assert_close(tokens, embedding, atol=1e-4, rtol=0)


def test_as_token_without_standardisation_has_the_mean_norm_of_targets():
    statistics = TargetStatistics(2, standardized=False)
    statistics.observe(rows((3, 4), (0, 15)))
    torch.testing.assert_close(statistics.as_token(rows((0.6, 0.8))), rows((6, 8)))
    torch.testing.assert_close(statistics.as_target(rows((3, 4))), rows((3, 4)))


def test_contrast_of_targets_that_are_alike_is_the_log_of_their_number():
    torch.manual_seed(0)
    target = torch.randn(1, 1, 6).expand(4, 3, 6)
    assert contrast_term(torch.randn(4, 3, 6), target, 0.1).item() == pytest.approx(math.log(12), abs=1e-5)


def test_contrast_is_small_for_the_true_targets_and_large_for_those_of_a_neighbour():
    targets = 3 * torch.eye(12).reshape(4, 3, 12)
    assert contrast_term(targets, 5 * targets, 0.1).item() == pytest.approx(math.log(1 + 11 * math.exp(-10)), abs=1e-6)
    swapped = targets[:, [1, 0, 2]]  # within the same window: two of three predictions are of the wrong motion
    expected = math.log(1 + 11 * math.exp(-10)) + 10 * 2 / 3
    assert contrast_term(swapped, targets, 0.1).item() == pytest.approx(expected, abs=1e-4)


def test_contrast_is_weighed_and_told():
    torch.manual_seed(0)
    prediction, target, z = torch.randn(4, 3, 6), torch.randn(4, 3, 6), torch.randn(4, 2, 6)
    plain, _ = Objective()(prediction, target, z)
    loss, terms = Objective(contrast=0.5, temperature=0.2)(prediction, target, z)
    assert loss.item() == pytest.approx(plain.item() + 0.5 * contrast_term(prediction, target, 0.2).item())
    assert terms["contrast"].item() == pytest.approx(contrast_term(prediction, target, 0.2).item())
    with pytest.raises(ValueError, match="temperature must be above 0"):
        Objective(temperature=0.0)
