"""The benchmark compares like with like: its reference cuts the same glimpses, and its table tells what it measured."""

import json

import numpy as np
import pytest

from glimpseworld.envs.shapes.meshes import Mesh
from glimpseworld.experiments import bench, timing
from glimpseworld.experiments.bench import BenchConfig, bench_table, gathers, saccade_env
from glimpseworld.experiments.timing import Row, compare
from glimpseworld.experiments.tiny_renderer import write_obj


def test_the_bare_gather_cuts_the_environments_own_glimpses():
    env, other = (saccade_env(5, side=20, channels=3, glimpse_size=8, count=7) for _ in range(2))
    gather = bench.bare_gather(other)
    for glimpses, _ in gathers(env, 40):
        np.testing.assert_array_equal(gather().reshape(glimpses.shape), glimpses)


def test_a_ratio_is_of_rates(monkeypatch):
    """On a clock that work itself advances: ours takes 2 ms a call, the reference 6."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    def work(seconds):
        now[0] += seconds

    ours, reference, ratio = compare(lambda: work(0.002), lambda: work(0.006), 0.5)
    assert (ours, reference, ratio) == pytest.approx((500, 1000 / 6, 3.0))


@pytest.mark.parametrize(
    ("row", "met"),
    [
        (Row("a", "s", 0.7, ours=0.5, measured=0.5, at_most=True), True),
        (Row("a", "s", 0.7, ours=0.8, measured=0.8, at_most=True), False),
        (Row("a", "views/s", 2.0, ours=9e4, reference=3e4, measured=3.0), True),
        (Row("a", "views/s", 2.0, ours=3e4, reference=3e4, measured=1.0), False),
        (Row("a", "views/s", 2.0, ours=3e4), None),
    ],
)
def test_the_table_tells_whether_a_bar_is_met(row, met):
    assert row.met is met
    line = bench_table({"machine": {"cores": 2}, "rows": [row]}).splitlines()[-1]
    assert {True: " met", False: "MISSED", None: "not measured"}[met] in line


def test_a_peer_that_is_not_installed_is_named_and_the_rest_goes_on(monkeypatch):
    monkeypatch.setattr(bench, "_PEERS", ("no_such_peer",))
    assert bench.lacking_peer("no_such_peer") == "no_such_peer is not installed (pip install '.[bench]')"
    monkeypatch.setattr(bench, "lacking_peer", lambda name: f"{name} is not installed")
    row = bench.ap_gym_row(0.01)
    assert row.met is None
    assert row.ours is not None and row.ours > 0
    assert "ap_gym is not installed" in bench_table({"machine": bench.machine(), "rows": [row]})


def test_an_obj_file_holds_the_mesh(tmp_path):
    import trimesh

    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3]], np.int32)
    write_obj(Mesh(vertices, faces, np.zeros((2, 3), np.uint8)), tmp_path / "mesh.obj")
    loaded = trimesh.load(tmp_path / "mesh.obj", process=False)
    np.testing.assert_allclose(loaded.triangles, vertices[faces])


def test_the_command_prints_json(monkeypatch, capsys):
    rows = [Row("a", "s", 0.7, ours=0.5, measured=0.5, at_most=True)]
    monkeypatch.setattr(bench, "bench_envs", lambda config: {"machine": {"cores": 2}, "rows": rows})
    bench.main(["envs", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["rows"][0]["met"] is True


def test_a_time_of_nothing_is_refused():
    with pytest.raises(ValueError, match="seconds must be positive"):
        bench.bench_envs(BenchConfig("envs", seconds=0.0))
