"""Means, intervals and paired differences over seeds, worked out by hand."""

import re

import numpy as np
import pytest

from glimpseworld.experiments.compare.aggregate import (
    aggregate,
    cell,
    comparison_tables,
    pool,
    seconds_to_reach,
)
from glimpseworld.experiments.intervals import bootstrap_interval, interval
from glimpseworld.experiments.report import markdown_table


def test_the_interval_by_hand():
    # Mean 2, standard error 1 / sqrt(3), t(0.975, 2) = 4.3027.
    assert interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-3)


def test_a_bootstrap_over_three_seeds_is_their_range_and_covers_too_little():
    """Three of the lowest come up in 1 of 27 resamples, which is more than 2.5 %; so it misses when all three are on
    one side of the mean, in 2 of 8 cases. The t-interval keeps what it promises."""
    assert bootstrap_interval([1.0, 2.0, 4.0]) == (1.0, 4.0)
    low, high = bootstrap_interval(list(range(20)))
    assert 0 < low < 9.5 < high < 19
    values = np.random.default_rng(0).normal(size=(4000, 3))
    assert np.mean((values.min(axis=1) < 0) & (values.max(axis=1) > 0)) == pytest.approx(0.75, abs=0.03)
    covered = [low < 0 < high for _, low, high in map(interval, values[:1000])]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.03)


def test_cells():
    assert cell(None) == "–"
    assert cell(pool([0.5])) == "0.50"
    assert cell(pool([1.0, 1.0])) == "1.00 (1.00-1.00)"
    assert cell(pool([-1.0, -1.0]), signed=True) == "-1.00 (-1.00 to -1.00)"


def test_where_a_curve_reaches_a_score():
    curve = [(10.0, 0.2), (20.0, 0.1), (30.0, 0.5)]
    assert seconds_to_reach(curve, 0.3) == pytest.approx(25.0)
    assert seconds_to_reach(curve, 0.2) == 10.0
    assert seconds_to_reach(curve, 0.6) is None


def run(arm, seed, r2, *, world="rotation"):
    return {
        "arm": arm,
        "seed": seed,
        "world": world,
        "trained": {"relative_r2": {"value": r2, "median_error": 100 * r2}, "rankme": 3.0},
        "untrained": {"relative_r2": {"value": -1.0}},
        "controls": {},
        "budget": {"steps": 10, "core_seconds": 40.0},
        "curve": [(20.0, 0.0), (40.0, r2)],
    }


def test_arms_are_compared_with_the_first_of_their_world_by_equal_seeds():
    runs = [run("a", 0, 0.2), run("a", 1, 0.6), run("b", 0, 0.4), run("b", 1, 0.7), run("b", 2, 0.0)]
    arms = aggregate([*runs, run("c", 0, 0.9, world="saccade"), run("d", 5, 0.9)])
    assert arms["a"]["trained"]["relative_r2"]["mean"] == pytest.approx(0.4)
    assert arms["a"]["trained"]["relative_r2_median_error"]["mean"] == pytest.approx(40.0)
    assert arms["a"]["difference"] == {} and arms["a"]["reference"] == "a"
    difference = arms["b"]["difference"]["relative_r2"]  # 0.2 and 0.1; t(0.975, 1) = 12.706, standard error 0.05
    assert (difference["mean"], difference["seeds"]) == (pytest.approx(0.15), 2)
    assert difference["low"] == pytest.approx(0.15 - 12.706 * 0.05, abs=1e-3)
    assert arms["c"]["reference"] == "c"
    assert arms["d"]["difference"] == {}
    assert arms["a"]["core_seconds_to_reference"] == pytest.approx(40.0)  # its own end
    assert arms["b"]["core_seconds_to_reference"] is None  # the mean of 0.4, 0.7 and 0.0 is below 0.4
    assert arms["d"]["core_seconds_to_reference"] == pytest.approx(20 + 20 * 0.4 / 0.9)
    assert arms["a"]["reference_needs"] == pytest.approx(1.0)
    assert arms["b"]["reference_needs"] == pytest.approx((20 + 20 * (1.1 / 3) / 0.4) / 40)
    assert arms["d"]["reference_needs"] is None


def test_another_arm_may_be_the_reference_of_its_world():
    runs = [run("a", 0, 0.2), run("b", 0, 0.4), run("c", 0, 0.9, world="saccade"), run("d", 0, 0.3)]
    arms = aggregate(runs, "b")
    assert {name: arm["reference"] for name, arm in arms.items()} == {"a": "b", "b": "b", "c": "c", "d": "b"}
    assert arms["d"]["difference"]["relative_r2"]["mean"] == pytest.approx(-0.1)
    assert arms["a"]["core_seconds_to_reference"] is None
    assert arms["a"]["reference_needs"] == pytest.approx((20 + 20 * 0.5) / 40)  # b is at half of its end half-way
    assert "| d - b |" in re.sub(" +", " ", comparison_tables(arms))
    assert aggregate(runs, "pending")["d"]["reference"] == "a"


def test_tables_show_what_there_is():
    text = re.sub(" +", " ", comparison_tables(aggregate([run("a", 0, 0.2), run("b", 0, 0.5)])))
    assert "| a | 1 | 0.20 | 20.00 |\n" in text  # and no column of what nobody has
    assert "| a, untrained | 1 | -1.00 | – |\n" in text
    assert "| b - a | 1 | +0.30 | +30.00 |" in text
    assert "| b | 10 | 40 | – | – | 28 | not reached |" in text
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1
    assert "Difference" not in comparison_tables(aggregate([run("a", 0, 0.2)]))


def test_tables_line_up():
    text = markdown_table(["agent", "x"], [["a", "1.25"], ["longer", "2"]])
    assert text.splitlines() == ["| agent  | x    |", "|--------|------|", "| a      | 1.25 |", "| longer | 2    |"]
