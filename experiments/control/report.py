"""Tables and figures of the control benchmark, from its results (see `control`).

- `success.png`: success at the end by task and agent, with 95 % intervals; a tick marks success at any step.
- `distance.png`: the median distance to the goal after each motion, by task, with quartiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..report import markdown_table, new_figure, save_figure
from .controllers import CONTROLLERS
from .tasks import task_named

PANELS = 3
"""Panels in a row."""
_LEGEND_INCHES = 1.6
"""Width of a legend's column: the longest name of an agent, with its line."""


def control_tables(results: Mapping[str, Any]) -> str:
    """Return the tables of all tasks, aligned for a terminal and Markdown alike."""
    parts = [_task_table(name, found, results["reference"]) for name, found in results["tasks"].items()]
    return "\n\n".join([*parts, _legend(results)])


def _task_table(name: str, found: Mapping[str, Any], reference: str) -> str:
    agents = found["agents"]
    measured = {key for agent in agents.values() for key in agent["scores"]}
    further = [f"within_{limit:.3g}" for limit in task_named(name).within if f"within_{limit:.3g}" in measured]
    unit = "deg" if found["world"] == "rotation" else "units"
    titles = ["agent", "models", "success at the end"]
    titles += [f"{key.replace('_', ' ')} {unit}" for key in further]
    titles += ["ever", "steps", "return"]
    if "final_distance" in measured:
        titles.append(f"final {unit}")
    titles += ["ms", f"success minus {reference}'s"]
    rows = []
    for agent, own in agents.items():
        scores = own["scores"]
        row = [_name(agent), str(len(own["models"])) if own["models"] else "–", _cell(scores["success"], ".3f")]
        row += [_cell(scores.get(key), ".3f") for key in further]
        row += [_value(scores.get(key), form) for key, form in (("any", ".3f"), ("steps", ".1f"), ("return", ".2f"))]
        if "final_distance" in measured:
            row.append(_value(scores.get("final_distance"), ".1f" if unit == "deg" else ".3f"))
        row += [_value(scores["decision_ms"], ".2f"), _cell(own["difference"].get("success"), "+.3f")]
        rows.append(row)
    return f"{name}: {found['difficulty']}\n\n{markdown_table(titles, rows)}"


def _cell(score: Mapping[str, Any] | None, form: str) -> str:
    """Return the value, and in brackets its interval; a dash for what was not measured."""
    value = _value(score, form)
    if score is None or score["low"] is None:
        return value
    return f"{value} [{format(score['low'], form)}, {format(score['high'], form)}]"


def _value(score: Mapping[str, Any] | None, form: str) -> str:
    return "–" if score is None else format(score["value"], form)


def _name(agent: str) -> str:
    return f"{agent}*" if CONTROLLERS[agent].privileged else agent


def _legend(results: Mapping[str, Any]) -> str:
    acting = dict.fromkeys(agent for found in results["tasks"].values() for agent in found["agents"])
    return (
        f"{results['episodes']} {results['split']} episodes of a task, the same for every agent. "
        "[95 % interval]: over episodes for one model or none, else over models (t); "
        f"differences from {results['reference']} over paired episodes. "
        "Ever: success after some motion; steps: the agent's own until the first. Final: median distance. "
        "ms: of one decision. *: privileged, it knows more than is observed.\n\n"
        + "\n".join(f"- {_name(agent)}: {CONTROLLERS[agent].about}" for agent in acting)
    )


def results_rows(results: Mapping[str, Any]) -> Iterator[list[Any]]:
    """Yield a row of titles, then one for each task, agent, model (or "all") and measure: value, low, high."""
    yield ["task", "agent", "model", "measure", "value", "low", "high"]
    for task, found in results["tasks"].items():
        for agent, own in found["agents"].items():
            against = {f"{name}_minus_{results['reference']}": score for name, score in own["difference"].items()}
            members = {**own["by_model"], "all": own["scores"] | against}
            for model, scores in members.items():
                for name, score in scores.items():
                    yield [task, agent, model, name, score["value"], score["low"], score["high"]]


def control_figures(results: Mapping[str, Any], out: Path) -> None:
    """Draw the figures of `results` into `out`; what there is nothing for is left out."""
    _draw_success(results, out / "success.png")
    if any(own["curve"] for found in results["tasks"].values() for own in found["agents"].values()):
        _draw_distance(results, out / "distance.png")


def _colors() -> dict[str, Any]:
    """Return the colour of each agent, alike in all figures and whoever else takes part."""
    from matplotlib import colormaps

    found = [colormaps[name].colors for name in ("tab20", "tab20b")]  # pyright: ignore[reportAttributeAccessIssue]
    palette = [*found[0][::2], *found[0][1::2], *found[1]]  # the ten that differ most first
    return {name: palette[i % len(palette)] for i, name in enumerate(CONTROLLERS)}


def _panels(count: int, height: float) -> tuple[Any, list[Any]]:
    columns = 2 if count == 4 else min(count, PANELS)
    rows = -(-count // columns)
    figure = new_figure(max(4.2 * columns, 6.0), height * rows + 0.6)
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for ax in axes[count:]:
        ax.set_visible(False)
    return figure, axes


def _draw_success(results: Mapping[str, Any], path: Path) -> None:
    tasks, colors = results["tasks"], _colors()
    most = max(len(found["agents"]) for found in tasks.values())
    figure, axes = _panels(len(tasks), 1.0 + 0.3 * most)
    for ax, (name, found) in zip(axes, tasks.items(), strict=False):
        agents = list(found["agents"])
        for place, agent in enumerate(agents):
            scores = found["agents"][agent]["scores"]
            score, ever = scores["success"], scores["any"]["value"]
            ax.barh(place, score["value"], color=colors[agent], height=0.72)
            spread = [[max(0, score["value"] - score["low"])], [max(0, score["high"] - score["value"])]]
            ax.errorbar(score["value"], place, xerr=spread, color="black", lw=1, capsize=2)
            ax.plot([ever, ever], [place - 0.36, place + 0.36], color="black", lw=1.6)
            ax.text(1.02, place, f"{score['value']:.2f}", va="center", fontsize=8, transform=ax.get_yaxis_transform())
        ax.set_yticks(range(len(agents)), [_name(agent) for agent in agents], fontsize=8)
        ax.set_ylim(most - 0.5, -0.5)  # bars are as thick in every panel
        ax.set_xlim(0, 1)
        ax.grid(axis="x", alpha=0.25)
        ax.set_title(name, fontsize=10)
    figure.suptitle("Success at the end (bar, 95 % interval) and at any step (tick)", fontsize=11)
    save_figure(figure, path)


def _draw_distance(results: Mapping[str, Any], path: Path) -> None:
    colors = _colors()
    tasks = {n: f for n, f in results["tasks"].items() if any(own["curve"] for own in f["agents"].values())}
    figure, axes = _panels(len(tasks), 2.7)
    for ax, (name, found) in zip(axes, tasks.items(), strict=False):
        for agent, own in found["agents"].items():
            if own["curve"] is None:
                continue
            steps = range(len(own["curve"]["median"]))
            ax.plot(steps, own["curve"]["median"], color=colors[agent], marker="o", markersize=3, label=_name(agent))
            ax.fill_between(steps, own["curve"]["low"], own["curve"]["high"], color=colors[agent], alpha=0.12, lw=0)
        imposed = task_named(name).imposed
        if imposed:
            ax.axvspan(0, imposed, color="black", alpha=0.06, lw=0)
        ax.set_ylim(bottom=0)
        ax.set_title(name, fontsize=10)
        ax.set_ylabel(f"distance, {task_named(name).unit}", fontsize=8)
        ax.grid(alpha=0.25)
        ax.set_xlabel("motions", fontsize=8)
    figure.suptitle("Distance to the goal: median and quartiles (grey: imposed motions)", fontsize=11)
    handles = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    columns = max(1, int(figure.get_figwidth() / _LEGEND_INCHES))
    figure.legend(handles=list(handles.values()), loc="outside lower center", ncols=columns, frameon=False, fontsize=8)
    save_figure(figure, path)
