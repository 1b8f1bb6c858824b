"""Threads: every job is done once, whatever their number, and errors are not lost."""

import multiprocessing
import threading

import numpy as np
import pytest

from glimpseworld.envs import threads
from glimpseworld.envs.rendering.renderer import Renderer
from glimpseworld.envs.threads import auto_threads, limit_threads, run, share_out


@pytest.mark.parametrize("number", [1, 3, 20])
def test_every_job_is_done_once(number):
    done = []
    run([lambda i=i: done.append(i) for i in range(10)], number)
    assert sorted(done) == list(range(10))
    run([], number)


def test_jobs_run_side_by_side():
    """Each waits for the other, so that neither would end alone."""
    meeting = threading.Barrier(2, timeout=10)
    run([meeting.wait, meeting.wait], 2)


@pytest.mark.parametrize("bad", [0, 1])
def test_a_jobs_error_is_raised_after_the_others_have_ended(bad):
    meeting, done = threading.Barrier(2, timeout=10), []

    def job(number):
        meeting.wait()
        if number == bad:
            raise ValueError(f"job {number}")
        done.append(number)

    with pytest.raises(ValueError, match=f"job {bad}"):
        run([lambda: job(0), lambda: job(1)], 2)
    assert done == [1 - bad]


def test_rows_are_shared_out_in_order_and_only_if_there_are_many(monkeypatch):
    monkeypatch.setattr(threads, "auto_threads", lambda: 3)
    monkeypatch.setattr(threads, "_BYTES_A_JOB", 16)
    calls = []

    def double(results, numbers):
        calls.append(len(results))
        results[:] = 2 * numbers

    for count, shares in ((0, [0]), (1, [1]), (5, [2, 3]), (10, [2, 2, 2, 2, 2])):
        calls.clear()
        results = np.zeros(count, np.int64)
        share_out(double, results, np.arange(count))
        assert results.tolist() == list(range(0, 2 * count, 2))
        assert sorted(calls) == shares


def test_one_of_several_processes_takes_its_share(monkeypatch):
    monkeypatch.setattr(threads, "_processors", lambda: 32)
    assert Renderer(8).threads == auto_threads() == 8
    limit_threads(3)
    try:
        assert Renderer(8).threads == auto_threads() == 3
        limit_threads(99)
        assert auto_threads() == 8
        with pytest.raises(ValueError, match="at least 1 thread"):
            limit_threads(0)
    finally:
        limit_threads(None)
    assert auto_threads() == 8
    monkeypatch.setattr(threads, "_processors", lambda: 2)
    assert auto_threads() == 2


def _run_in_child():
    test_jobs_run_side_by_side()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this platform does not fork")
def test_a_forked_child_has_threads_of_its_own():
    test_jobs_run_side_by_side()
    child = multiprocessing.get_context("fork").Process(target=_run_in_child)
    child.start()
    child.join(timeout=15)
    stuck = child.is_alive()
    child.kill()
    assert not stuck
    assert child.exitcode == 0
