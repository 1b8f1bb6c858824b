"""Objectives of plans: worked values, sums, goals that are set later, and goals that do not fit."""

import math

import pytest
import torch

from glimpseworld.agents.class_reader import ClassReader
from glimpseworld.agents.plan_objectives import ClassConfidence, Disagreement, MotionCost, ReachEmbedding, dropped
from glimpseworld.agents.planner import Futures
from glimpseworld.world_model.motion_tensors import rotation_from_vector


def futures(predictions, ahead=None, rows=(0,)):
    predictions = torch.tensor(predictions, dtype=torch.float32)
    n, k, h = predictions.shape[:3]
    ahead = torch.zeros(n, k, h, 2) if ahead is None else ahead
    here = torch.zeros(n, ahead.shape[-1])
    return Futures(
        torch.tensor(rows), torch.ones(n, 1, 4), ahead[:, :0, 0], here, torch.zeros(n, k, h, 2), ahead, predictions
    )


TWO_STEPS = [[[[2.0, 0.0], [0.0, 3.0]], [[0.0, 1.0], [-1.0, 0.0]]]]  # (1, 2 candidates, 2 steps, P = 2)


def test_a_goal_is_reached_at_the_end_or_at_any_step():
    goals = torch.tensor([[0.0, 1.0], [5.0, 0.0]])
    assert ReachEmbedding(goals).score(futures(TWO_STEPS, rows=[1])).tolist() == [[0, -1]]
    assert ReachEmbedding(goals, when="any").score(futures(TWO_STEPS, rows=[1])).tolist() == [[1, 0]]
    assert ReachEmbedding(goals).score(futures(TWO_STEPS, rows=[0])).tolist() == [[1, 0]]
    assert ReachEmbedding(goals, when="all").score(futures(TWO_STEPS, rows=[1])).tolist() == [[0.5, -0.5]]
    later = ReachEmbedding(when="any").with_goals(goals)
    assert later.when == "any" and later.score(futures(TWO_STEPS, rows=[1])).tolist() == [[1, 0]]


def test_confidence_is_a_probe_s_log_probability_or_minus_its_entropy():
    reader = ClassReader(torch.eye(2), torch.zeros(2))
    one = futures([[[[math.log(3), 0.0]], [[0.0, 0.0]]]])  # probabilities 3/4 and 1/4; 1/2 and 1/2
    first = ClassConfidence(reader, label=0).score(one)
    torch.testing.assert_close(first, torch.tensor([[math.log(0.75), math.log(0.5)]]))
    entropy = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    torch.testing.assert_close(ClassConfidence(reader).score(one), torch.tensor([[-entropy, -math.log(2)]]))
    doubled = ClassConfidence(reader, label=1, embed=lambda x: 2 * x).score(one)
    torch.testing.assert_close(doubled[0, 0], torch.tensor(math.log(0.1)))
    best = ClassConfidence(reader, label=0, when="any").score(futures([[[[math.log(3), 0.0], [0.0, 0.0]]]]))
    assert best.item() == pytest.approx(math.log(0.75))


def test_the_cost_of_motion_is_the_length_of_the_way():
    ahead = torch.tensor([[[[3.0, 4.0], [0.0, -1.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    assert MotionCost("translation").score(futures(TWO_STEPS, ahead)).tolist() == [[-6, 0]]
    turns = rotation_from_vector(torch.tensor([[[[0.3, 0.0, 0.0], [0.0, -0.5, 0.0]]] * 2]))
    torch.testing.assert_close(MotionCost("rotation").score(futures(TWO_STEPS, turns)), torch.full((1, 2), -0.8))


def test_disagreement_is_one_minus_the_squared_mean_direction():
    seen = []

    def east(z, motions, ahead):
        seen.append(ahead)
        return torch.tensor([2.0, 0.0]).expand(*ahead.shape[:2], 2)

    def north(z, motions, ahead):  # agrees where x > 1
        return torch.where(ahead[..., :1] > 1, torch.tensor([1.0, 0.0]), torch.tensor([0.0, 7.0]))

    ahead = torch.tensor([[[[0.8, 0.0], [0.8, 0.0]], [[0.1, 0.0], [0.1, 0.0]]]])
    score = Disagreement((east, north), "translation").score(futures(TWO_STEPS, ahead))
    torch.testing.assert_close(score, torch.tensor([[0.25, 0.5]]))  # the second step of the first is at 1.6: agreed
    torch.testing.assert_close(seen[0][0, :, 0], torch.tensor([0.8, 1.6, 0.1, 0.2]))
    assert Disagreement((east, east), "translation").score(futures(TWO_STEPS, ahead)).abs().max() < 1e-6


def test_dropped_versions_are_each_blind_to_their_own_entries_for_all_rows_alike():
    members = dropped(lambda z, motions, ahead: z, 40, 0.25, torch.Generator().manual_seed(0))
    found = [member(torch.ones(2, 3, 8), torch.zeros(2, 2, 2), torch.zeros(2, 5, 2)) for member in members]
    for each in found:
        assert (each == each[:1, :1]).all()
        torch.testing.assert_close(each[each > 0], torch.full_like(each[each > 0], 4 / 3))
    kept = torch.stack([each[0, 0] > 0 for each in found]).float()
    assert kept.mean() == pytest.approx(0.75, abs=0.06) and kept.mean(dim=0).std() < 0.2
    again = dropped(lambda z, motions, ahead: z, 40, 0.25, torch.Generator().manual_seed(0))[7]
    assert torch.equal(again(torch.ones(2, 3, 8), torch.zeros(2, 2, 2), torch.zeros(2, 5, 2)), found[7])


def test_objectives_add_up_and_pass_goals_on():
    ahead = torch.tensor([[[[3.0, 4.0], [0.0, -1.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    total = ReachEmbedding() + 0.5 * (MotionCost("translation") + 0.2 * MotionCost("translation"))
    goals = torch.tensor([[0.0, 1.0]])
    torch.testing.assert_close(total.with_goals(goals).score(futures(TWO_STEPS, ahead)), torch.tensor([[1 - 3.6, 0.0]]))

    class Constant:
        def score(self, futures):
            return torch.full((1, 2), 10.0)

    total = MotionCost("translation") + Constant()
    assert total.with_goals(goals).score(futures(TWO_STEPS, ahead)).tolist() == [[4, 10]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ReachEmbedding(torch.zeros(3)), r"goals must be \(B, P\).*got \(3,\)"),
        (lambda: ReachEmbedding(), "no goal is set"),
        (lambda: ReachEmbedding(torch.zeros(2, 5)), r"goals are \(2, 5\), and predictions .* with 2 numbers each"),
        (lambda: ReachEmbedding(torch.zeros(1, 2)), r"goals are \(1, 2\), and predictions .* at least 2 sub-env"),
        (lambda: ClassConfidence(ClassReader(torch.zeros(3, 2), torch.zeros(3)), label=3), "one of 3 classes"),
        (lambda: ClassConfidence(ClassReader(torch.zeros(3, 4), torch.zeros(3))), "reads 4 numbers, got embeddings"),
        (lambda: Disagreement((torch.add,), "translation"), "at least 2 members, got 1"),
    ],
)
def test_what_does_not_fit_is_refused_naming_both_sides(make, message):
    with pytest.raises(ValueError, match=message):
        make().score(futures(TWO_STEPS, rows=[1]))
