"""What several runs say together: means over seeds, intervals, paired differences, and the tables that show them.

Which interval: with the three seeds that two cores afford, a percentile bootstrap over seeds is the range from the
lowest to the highest, since either extreme comes up in more than 2.5 % of the 27 resamples; for normal values it covers
the true mean in 75 % of cases, not in 95 % (84 % for five seeds, 90 % for ten). The t-interval covers 95 % at any
number of seeds, so it is the one in tables and figures; `results.json` has both. Both speak of training seeds on one
fixed set of held-out things. Where there is one seed there is no interval over seeds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..intervals import bootstrap_interval, interval
from ..report import markdown_table

COLUMNS = (
    ("relative_r2", "relative R2"),
    ("individual_r2", "indiv. R2"),
    ("top1_z", "top-1 z"),
    ("top1_z_agg_3", "z_agg 3"),
    ("top1_z_agg_5", "z_agg 5"),
    ("top1_z_mean_5", "mean of 5 z"),
    ("predictor_mrr", "MRR"),
    ("predictor_hit_at_1", "Hit@1"),
    ("predictor_hit_at_5", "Hit@5"),
    ("motion_rank", "motion rank"),
    ("view_return_4", "return 4"),
    ("view_return_4_last_view", "last view"),
    ("view_return_4_no_motions", "no motions"),
    ("recall_4", "recall 4"),
    ("recall_4_other_path", "other path"),
)
"""Measures in tables, as `evaluate` names them, and their titles."""

Pooled = dict[str, Any]
"""`mean`, `low`, `high` (t-interval), `bootstrap_low`, `bootstrap_high`, `seeds` (their number); ends None for one."""


def require_alike(results: Sequence[Mapping[str, Any]]) -> None:
    """Check that results were measured alike: split, effort, sizes, evaluation seed, orientations and fixations.

    Raises:
        ValueError: if they were not.
    """
    keys = ("split", "effort", "sizes", "seed", "rotation", "fixations")
    conditions = {json.dumps([r.get(key) for key in keys], sort_keys=True) for r in results}
    if len(conditions) > 1:
        raise ValueError(
            f"these runs were not evaluated alike: {' and '.join(sorted(conditions))}; evaluate them with equal "
            "--split, --effort and --seed first"
        )


def pool(values: Sequence[float]) -> Pooled:
    """Return the mean of one or more values with both intervals."""
    if len(values) == 1:
        ends = dict.fromkeys(("low", "high", "bootstrap_low", "bootstrap_high"))
        return {"mean": float(values[0]), **ends, "seeds": 1}
    mean, low, high = interval(values)
    bootstrap_low, bootstrap_high = bootstrap_interval(values)
    ends = {"low": low, "high": high, "bootstrap_low": bootstrap_low, "bootstrap_high": bootstrap_high}
    return {"mean": mean, **ends, "seeds": len(values)}


def cell(pooled: Pooled | None, *, signed: bool = False) -> str:
    """Return the mean and, in brackets, the t-interval; a dash for what was not measured."""
    if pooled is None:
        return "–"
    form = "{:+.2f}" if signed else "{:.2f}"
    mean = form.format(pooled["mean"])
    if pooled["low"] is None:
        return mean
    between = " to " if signed else "-"
    return f"{mean} ({form.format(pooled['low'])}{between}{form.format(pooled['high'])})"


def flat_scores(measures: Mapping[str, Any]) -> dict[str, float]:
    """Return plain numbers: the value of each measure, and its `median_error` as `<measure>_median_error`."""
    flat: dict[str, float] = {}
    for name, scores in measures.items():
        if not isinstance(scores, Mapping):
            flat[name] = scores
            continue
        flat[name] = scores["value"]
        if "median_error" in scores:
            flat[f"{name}_median_error"] = scores["median_error"]
    return flat


def pool_scores(members: Sequence[Mapping[str, float]]) -> dict[str, Pooled]:
    """Pool each score that all members have."""
    shared = [name for name in members[0] if all(name in member for member in members)]
    return {name: pool([member[name] for member in members]) for name in shared}


def seconds_to_reach(curve: Sequence[Sequence[float]], score: float) -> float | None:
    """Return where a curve of (core-seconds, score) first reaches `score`, by straight lines; None if it never does."""
    before: Sequence[float] | None = None
    for seconds, value in curve:
        if value >= score:
            if before is None:
                return seconds
            share = (score - before[1]) / (value - before[1])
            return before[0] + share * (seconds - before[0])
        before = (seconds, value)
    return None


def aggregate(runs: Sequence[Mapping[str, Any]], reference: str | None = None) -> dict[str, Any]:
    """Pool finished runs by arm, and compare each arm with one of its world: `reference`, or else the first.

    Args:
        runs: In the order of the grid; each has `arm`, `seed`, `world`, `trained`, `untrained`, `controls` (as
            `evaluate` gives them), `budget` (or None) and `curve` of (core-seconds, R2) pairs.
        reference: The arm that those of its world are compared with, once a run of it is finished.

    Returns:
        Arm -> `world`; `seeds`; `trained`, `untrained`, `controls` and `budget`, measure -> pooled; `reference`, the
        arm it is compared with; `difference`, measure -> pooled differences between runs of equal seeds;
        `core_seconds_to_reference`, the core-seconds until the mean of its curves reaches where that of the reference
        ends, None if it does not; and `reference_needs`, the core-seconds in which the reference's reaches where its
        own ends, as a share of its own.
    """
    arms: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        arms.setdefault(run["arm"], []).append(run)
    curves = {name: np.mean([run["curve"] for run in members], axis=0).tolist() for name, members in arms.items()}
    compared_with: dict[str, str] = {}
    if reference in arms:
        compared_with[arms[reference][0]["world"]] = reference
    found: dict[str, Any] = {}
    for name, members in arms.items():
        world = members[0]["world"]
        other = compared_with.setdefault(world, name)
        curve, other_curve = curves[name], curves[other]
        sooner = seconds_to_reach(other_curve, curve[-1][1])
        found[name] = {
            "world": world,
            "seeds": [run["seed"] for run in members],
            **{who: pool_scores([flat_scores(run[who]) for run in members]) for who in ("trained", "untrained")},
            "controls": pool_scores([flat_scores(run["controls"]) for run in members]),
            "budget": pool_scores([run["budget"] or {} for run in members]),
            "reference": other,
            "difference": {} if name == other else _differences(members, arms[other]),
            "core_seconds_to_reference": seconds_to_reach(curve, other_curve[-1][1]),
            "reference_needs": None if sooner is None else sooner / curve[-1][0],
        }
    return found


def _differences(members: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> dict[str, Pooled]:
    """Pool the differences of trained models between runs of equal seeds; empty if no seed is shared."""
    scores = {run["seed"]: flat_scores(run["trained"]) for run in others}
    pairs = [(flat_scores(run["trained"]), scores[run["seed"]]) for run in members if run["seed"] in scores]
    differences = [{key: own[key] - other[key] for key in own if key in other} for own, other in pairs]
    return pool_scores(differences) if differences else {}


def measured_columns(
    columns: Sequence[tuple[str, str]], measured: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str]]:
    """Return the columns, (measure, title), that some of `measured` has."""
    return [column for column in columns if any(column[0] in measures for measures in measured)]


def comparison_tables(arms: Mapping[str, Any]) -> str:
    """Return what `aggregate` found as Markdown: measures that some arm has, differences, budgets."""
    columns = [COLUMNS[0], ("relative_r2_median_error", "median error"), *COLUMNS[1:]]
    columns = measured_columns(columns, [arm["trained"] for arm in arms.values()])
    titles = [title for _, title in columns]
    measures, differences, budgets = [], [], []
    for name, arm in arms.items():
        seeds = str(len(arm["seeds"]))
        measures.append([name, seeds, *(cell(arm["trained"].get(key)) for key, _ in columns)])
        if name == arm["reference"]:
            measures.append([f"{name}, untrained", seeds, *(cell(arm["untrained"].get(key)) for key, _ in columns)])
        else:
            shared = next((str(pooled["seeds"]) for pooled in arm["difference"].values()), "0")
            cells = [cell(arm["difference"].get(key), signed=True) for key, _ in columns]
            differences.append([f"{name} - {arm['reference']}", shared, *cells])
        budgets.append([name, *_budget_cells(arm)])
    parts = [markdown_table(["arm", "seeds", *titles], measures)]
    if differences:
        parts.append("Differences (95 %), between runs of equal seeds:")
        parts.append(markdown_table(["difference", "seeds", *titles], differences))
    spent = [
        "arm",
        "updates",
        "core-seconds",
        "online views",
        "target views",
        "core-seconds to the reference's final R2",
        "share of them in which the reference reaches its final R2",
    ]
    references = ", ".join(dict.fromkeys(arm["reference"] for arm in arms.values()))
    parts += [f"What the arms cost, as means over seeds; reference: {references}", markdown_table(spent, budgets)]
    return "\n\n".join(parts)


def _budget_cells(arm: Mapping[str, Any]) -> list[str]:
    keys = ("steps", "core_seconds", "online_views", "target_views")
    cells = [f"{arm['budget'][key]['mean']:,.0f}" if key in arm["budget"] else "–" for key in keys]
    reached, needs = arm["core_seconds_to_reference"], arm["reference_needs"]
    cells.append("not reached" if reached is None else f"{reached:,.0f}")
    return [*cells, "not reached" if needs is None else f"{needs:.2f}"]
