"""Runs of a grid side by side: their threads, what they print, and one that fails, is killed, or loses its parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from glimpseworld.envs import threads
from glimpseworld.envs.threads import auto_threads
from glimpseworld.experiments.compare import execution
from glimpseworld.experiments.compare.execution import attempt, carry_out, share_of_threads, threads_of_a_job
from glimpseworld.experiments.compare.grid_runs import GridRun
from glimpseworld.experiments.config import presets
from glimpseworld.experiments.interrupt import held_back

TOGETHER = 120.0
"""Seconds in which runs side by side have to have met."""


def grid_run(out, arm, seed=0):
    return GridRun(arm, seed, presets()["quick"][1], out / "runs" / f"{arm}-seed{seed}", "test", "brief")


def work(run):
    """What the name of the arm says."""
    run.folder.mkdir(parents=True, exist_ok=True)
    print(f"{run.arm} has {torch.get_num_threads()} threads, and draws with {auto_threads()}", flush=True)
    (run.folder / "pid").write_text(str(os.getpid()))
    if run.arm == "fails":
        raise ValueError("as it should")
    if run.arm == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if run.arm.startswith("meets"):  # its like, which has to be there at the same time
        until = time.monotonic() + TOGETHER
        while len(list(run.folder.parent.glob("meets*/pid"))) < 2:
            assert time.monotonic() < until, "no other run beside this one"
            time.sleep(0.02)


def test_runs_go_on_side_by_side_and_one_that_fails_or_dies_is_recorded(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(execution, "threads_of_a_job", lambda jobs: 3 - jobs)
    runs = [grid_run(tmp_path, arm) for arm in ("meets-a", "meets-b", "fails", "dies", "last")]
    runs[4].folder.mkdir(parents=True)
    runs[4].failure.write_text("of another time")
    calls = []
    carry_out(runs, {run.arm: 60.0 for run in runs}, lambda: calls.append(1), jobs=2, work=work)
    assert len(calls) == 5
    pids = {(run.folder / "pid").read_text() for run in runs}
    assert len(pids) == 5 and str(os.getpid()) not in pids
    assert [run.failure.is_file() for run in runs] == [False, False, True, True, False]
    assert runs[2].failure.read_text().startswith("ValueError: as it should\n\nTraceback")
    assert runs[3].failure.read_text().startswith("its process was ended by signal 9; if memory ran out")
    printed = capsys.readouterr()
    assert "[1/5] meets-a, seed 0; about 2 min left" in printed.out
    assert "fails, seed 0 failed: ValueError: as it should" in printed.err
    assert "dies, seed 0 failed: its process was ended" in printed.err
    assert "last has 1 threads, and draws with 1\n" in (tmp_path / "logs" / "last-seed0.log").read_text()


def test_one_at_a_time_is_done_here(tmp_path, capsys):
    runs = [grid_run(tmp_path, arm) for arm in ("fails", "fine")]
    carry_out(runs, {"fails": 1.0, "fine": 1.0}, lambda: None, work=work)
    assert (runs[1].folder / "pid").read_text() == str(os.getpid())
    assert [run.failure.is_file() for run in runs] == [True, False]
    assert not (tmp_path / "logs").exists()


def test_what_failed_once_and_then_succeeds_has_not_failed(tmp_path):
    run = grid_run(tmp_path, "fine")
    assert not attempt(run, lambda run: work(grid_run(tmp_path, "fails")))
    assert run.failure.is_file()
    assert attempt(run, work)
    assert not run.failure.is_file()


@pytest.mark.parametrize(("own", "jobs", "expected"), [(8, 1, 8), (8, 3, 2), (2, 2, 1), (2, 5, 1)])
def test_each_has_its_share_of_the_threads(own, jobs, expected, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: own)
    assert threads_of_a_job(jobs) == expected


@pytest.mark.parametrize(("jobs", "expected"), [(1, (4, 8)), (2, (2, 2))])
def test_a_share_of_the_threads_is_given_back(jobs, expected, monkeypatch):
    monkeypatch.setattr(threads, "_processors", lambda: 32)

    def fail_within():
        with share_of_threads(jobs):
            assert (torch.get_num_threads(), auto_threads()) == expected
            raise KeyError

    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with pytest.raises(KeyError):
            fail_within()
        assert (torch.get_num_threads(), auto_threads()) == (4, 8)
    finally:
        torch.set_num_threads(before)


def sleep(run):
    run.folder.mkdir(parents=True)
    (run.folder / "pid").write_text(str(os.getpid()))
    time.sleep(600)


def train(run):
    """End an update when asked, and save it."""
    with held_back() as asked:
        run.folder.mkdir(parents=True)
        (run.folder / "pid").write_text(str(os.getpid()))
        while not asked():
            time.sleep(0.02)
        time.sleep(0.3)
        (run.folder / "saved").touch()


PARENT = """
import signal
from pathlib import Path
from test_execution import carry_out, grid_run, sleep, train
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    runs = [grid_run(Path({out!r}), arm) for arm in ("one", "two")]
    carry_out(runs, dict(one=1.0, two=1.0), print, jobs=2, work={work})
"""


def parent_of(out, work):
    """Return a process that carries two runs out, and the pids of those, when they have begun."""
    (out / "parent.py").write_text(PARENT.format(out=str(out), work=work))
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    parent = subprocess.Popen(
        [sys.executable, out / "parent.py"], env={**os.environ, "PYTHONPATH": path}, start_new_session=True
    )
    until = time.monotonic() + TOGETHER
    while len(files := list(out.glob("runs/*/pid"))) < 2 or not all(file.read_text() for file in files):
        assert time.monotonic() < until
        time.sleep(0.05)
    return parent, [int(file.read_text()) for file in files]


def alive(pid):
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_runs_end_with_the_process_that_started_them_even_if_it_is_killed(tmp_path):
    parent, pids = parent_of(tmp_path, "sleep")
    assert all(map(alive, pids))
    parent.kill()
    parent.wait()
    until = time.monotonic() + TOGETHER
    while any(map(alive, pids)):
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs groups of processes")
def test_ctrl_c_which_a_terminal_sends_to_all_lets_every_run_save_its_last_update(tmp_path):
    parent, pids = parent_of(tmp_path, "train")
    os.killpg(parent.pid, signal.SIGINT)
    parent.wait(TOGETHER)
    assert len(list(tmp_path.glob("runs/*/saved"))) == 2
    assert not any(map(alive, pids))
