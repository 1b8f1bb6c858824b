"""Pooling seeds: groups by settings."""

import pytest

from glimpseworld.experiments.compare.aggregate import COLUMNS
from glimpseworld.experiments.summary import load_results, summary_table
from glimpseworld.world_model.checkpoint import CheckpointError


def result(seed, windows, value):
    scores = {key: {"value": value} for key, _ in COLUMNS}
    config = {"seed": seed, "world": "rotation", "model": {"method": "seq-jepa"}, "replay": {"windows": windows}}
    return {"config": config, "trained": scores, "untrained": scores, "split": "test", "sizes": {}, "seed": 0}


def test_seeds_are_pooled_and_settings_set_apart():
    table = summary_table([result(0, "hindsight", 0.5), result(1, "hindsight", 0.7), result(0, "adjacent", 0.1)])
    rows = [line.split("|")[1:4] for line in table.splitlines()[2:]]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["seq-jepa, rotation", "2", "0.60 (-0.67-1.87)"],
        ["untrained", "2", "0.60 (-0.67-1.87)"],
        ["replay.windows adjacent", "1", "0.10"],
        ["untrained", "1", "0.10"],
    ]


def test_what_a_method_does_not_predict_is_left_blank():
    invariant = result(0, "hindsight", 0.5)
    invariant["trained"] = {k: v for k, v in invariant["trained"].items() if k.startswith("top1")}
    row = summary_table([invariant]).splitlines()[2].split("|")[3:-1]
    found = dict(zip([key for key, _ in COLUMNS], [cell.strip() for cell in row], strict=True))
    assert found["top1_z"] == "0.50"
    assert found["predictor_mrr"] == "–"


def test_a_run_without_results_is_named_and_what_is_no_run(tmp_path):
    with pytest.raises(CheckpointError, match="is no run"):
        load_results(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="run `glimpseworld evaluate"):
        load_results(tmp_path)


@pytest.mark.parametrize("content", ["[]", "{}", '{"config": {}, "trained": 3, "untrained": {}}'])
def test_a_file_of_something_else_is_named(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"results\.json is not what `glimpseworld evaluate` writes"):
        load_results(tmp_path)


def test_what_was_not_measured_alike_is_not_pooled():
    one, other = result(0, "hindsight", 0.5), result(1, "hindsight", 0.7)
    with pytest.raises(ValueError, match="not evaluated alike"):
        summary_table([one, {**other, "split": "validation"}])
    with pytest.raises(ValueError, match="equal settings and seed 0"):
        summary_table([one, one])
