"""What episodes of control say: shares, means and medians with 95 % intervals, pooled over models, and differences.

A score is a dict: `value`; `low` and `high`, the ends of its interval, None where there is none; `over`, what the
interval is over: "episodes" (Wilson's for shares, else a percentile bootstrap) for one model or none, and "models" (the
t-interval over the models' values) for several. Of several models the value is the mean of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..intervals import bootstrap_interval, interval, share
from .episodes import Episodes
from .tasks import ControlTask

Score = dict[str, Any]

RESAMPLES = 2_000


def scores_of(task: ControlTask, episodes: Episodes) -> dict[str, Score]:
    """Return the scores of one agent, with one model or none.

    `success` at the end, the headline; `any`, success after some motion; `within_D`, at most D from the goal at the
    end, for the task's further distances; `steps`, the agent's own motions until the first success, of the episodes
    that have one, absent if none has; `return`; `final_distance`, the median, where there is one; `decision_ms`.
    """
    success = episodes.success
    ever = np.asarray(success.any(axis=1))
    scores = {"success": _share(success[:, -1]), "any": _share(ever)}
    if episodes.distance is not None:
        final = episodes.distance[:, -1]
        scores |= {f"within_{limit:.3g}": _share(np.asarray(final <= limit)) for limit in task.within}
        scores["final_distance"] = _score(final, np.median)
    if ever.any():
        scores["steps"] = _score(success[ever].argmax(axis=1) + 1.0 - task.imposed, np.mean)
    scores["return"] = _score(episodes.reward.sum(axis=1), np.mean)
    scores["decision_ms"] = {"value": episodes.decision_ms, "low": None, "high": None, "over": "episodes"}
    return scores


def pooled(members: Sequence[Mapping[str, Score]]) -> dict[str, Score]:
    """Return the scores of one agent over its models; those that not all of them have are left out."""
    if len(members) == 1:
        return dict(members[0])
    shared = [name for name in members[0] if all(name in member for member in members)]
    found = {}
    for name in shared:
        mean, low, high = interval([member[name]["value"] for member in members])
        found[name] = {"value": mean, "low": low, "high": high, "over": "models"}
    return found


def differences(own: Sequence[Episodes], reference: Sequence[Episodes]) -> dict[str, Score]:
    """Return how much better an agent is than a reference agent in the same episodes, at success and at return.

    Of several models, an episode counts with the mean over them; the interval is a bootstrap over episodes, which are
    paired. `over_models` adds the t-interval over the agent's models, where there are several: paired if the reference
    has as many, else against the reference's mean.

    Raises:
        ValueError: if the episodes are not the same.
    """
    require_paired([*own, *reference])
    found = {}
    for name, measure in (("success", _final_success), ("return", _return)):
        ours = np.array([measure(episodes) for episodes in own])  # (models, N)
        theirs = np.array([measure(episodes) for episodes in reference])
        each = ours.mean(axis=0) - theirs.mean(axis=0)
        low, high = bootstrap_interval(each.tolist(), resamples=RESAMPLES)
        score: Score = {"value": float(each.mean()), "low": low, "high": high, "over": "episodes"}
        if len(ours) > 1:
            of_model = theirs.mean(axis=1) if len(theirs) == len(ours) else theirs.mean()
            _, *ends = interval((ours.mean(axis=1) - of_model).tolist())
            score["over_models"] = ends
        found[name] = score
    return found


def require_paired(episodes: Sequence[Episodes]) -> None:
    """Check that these are the same episodes.

    Raises:
        ValueError: if they are not.
    """
    if len({one.fingerprint for one in episodes}) > 1:
        raise ValueError(
            "these cells were not played on the same episodes, as when code or data changed in between: "
            "choose another --out, or remove the folder's cells"
        )


def distance_curve(episodes: Sequence[Episodes]) -> dict[str, list[float]] | None:
    """Return the quartiles of the distance to the goal after each motion, over episodes and models: T + 1 each."""
    found = [one.distance for one in episodes if one.distance is not None]
    if not found:
        return None
    low, median, high = np.percentile(np.concatenate(found), [25, 50, 75], axis=0)
    return {"low": low.tolist(), "median": median.tolist(), "high": high.tolist()}


def _final_success(episodes: Episodes) -> np.ndarray:
    return episodes.success[:, -1].astype(float)


def _return(episodes: Episodes) -> np.ndarray:
    return episodes.reward.sum(axis=1)


def _share(flags: np.ndarray) -> Score:
    return {**share(flags), "over": "episodes"}


def _score(values: np.ndarray, statistic: Callable[..., Any]) -> Score:
    """Return a mean or median with its percentile bootstrap over the values; the draws are the same in every call."""
    low, high = bootstrap_interval(values, statistic=statistic, resamples=RESAMPLES)
    return {"value": float(statistic(values)), "low": low, "high": high, "over": "episodes"}
