"""The runs of a grid brought to their end, one after another or several at a time, each in a process of its own."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from ...envs.threads import limit_threads
from ..allocator import keep_freed_memory
from ..report import duration, failure_text
from .grid_runs import GridRun, steps_taken

Work = Callable[[GridRun], None]
"""Brings a run to its end from wherever it is, or raises whatever keeps it from that."""

_FAILED = 3
"""Exit code of a job whose run failed and is recorded; Python's own code 1 may come before anything is."""


def carry_out(
    runs: list[GridRun],
    rehearsed: Mapping[str, float],
    after: Callable[[], None],
    *,
    work: Work,
    jobs: int = 1,
) -> None:
    """Bring each run to its end, with a line for each, and call `after` after each.

    A run that fails is recorded in its folder, and the others go on. The time left is that of the rehearsals, scaled by
    how far those of the runs behind were off.

    Args:
        runs: What to do, in this order.
        rehearsed: Seconds of a run of each arm, if `jobs` work side by side.
        after: Called after each run, in this process.
        work: What is done with a run; with several jobs, a function that another process can import.
        jobs: Runs at a time. With more than one, each is a process that has its share of the threads and writes
            what it prints to logs/ARM-seedS.log beside the folder of the runs; all end with this one.
    """
    clock = _Clock(rehearsed, jobs)
    if jobs == 1:
        for number, run in enumerate(runs):
            _announce(runs, number, clock, runs[number:])
            clock.begin(run)
            clock.end(run, finished=attempt(run, work))
            gc.collect()  # the run's views and models, before the next asks for as much
            after()
        return
    _side_by_side(runs, clock, after, jobs, work)


def threads_of_a_job(jobs: int) -> int:
    """Return how many of torch's threads here each of `jobs` has, at least 1."""
    return max(1, torch.get_num_threads() // jobs)


@contextmanager
def share_of_threads(jobs: int) -> Iterator[None]:
    """Give torch, and whoever begins to draw views within, what each of `jobs` has of this process's threads."""
    before = torch.get_num_threads()
    if jobs > 1:
        use_threads(threads_of_a_job(jobs))
    try:
        yield
    finally:
        torch.set_num_threads(before)
        limit_threads(None)


def use_threads(threads: int) -> None:
    """Let torch, and whoever begins to draw views from now on, use at most so many threads each."""
    torch.set_num_threads(threads)
    limit_threads(threads)


def attempt(run: GridRun, work: Work) -> bool:
    """Do `work` on the run and return whether it succeeded; if not, say why in its folder."""
    run.failure.unlink(missing_ok=True)
    try:
        work(run)
    except Exception as error:  # whatever it is, it is this run's; the others are worth having
        _record(run, failure_text(error))
        return False
    return True


def seconds_left(run: GridRun, rehearsed: Mapping[str, float]) -> float:
    """Return about how many seconds the run still takes, by the rehearsal of its arm."""
    return rehearsed[run.arm] * (1 - min(0.9, steps_taken(run) / run.config.learner.total_steps))


def _side_by_side(runs: list[GridRun], clock: _Clock, after: Callable[[], None], jobs: int, work: Work) -> None:
    """Carry out `runs`, `jobs` of them at a time."""
    context = multiprocessing.get_context("spawn")  # a fork would inherit locks of torch's threads
    threads, number = threads_of_a_job(jobs), 0
    working: dict[int, tuple[GridRun, BaseProcess]] = {}  # by sentinel
    try:
        while number < len(runs) or working:
            while number < len(runs) and len(working) < jobs:
                run = runs[number]
                _announce(runs, number, clock, [*runs[number:], *(other for other, _ in working.values())])
                clock.begin(run)
                process = context.Process(target=_job, args=(run, work, threads), daemon=True)
                process.start()
                working[process.sentinel] = run, process
                number += 1
            for sentinel in wait(list(working)):
                assert isinstance(sentinel, int)
                run, process = working.pop(sentinel)
                process.join()
                if process.exitcode == _FAILED:
                    _tell(run)
                elif process.exitcode:
                    _record(run, _death(process.exitcode))
                clock.end(run, finished=process.exitcode == 0)
                after()
    finally:
        for _, process in working.values():
            process.terminate()
        for _, process in working.values():
            process.join()  # what trains saves its last update first


def _job(run: GridRun, work: Work, threads: int) -> None:
    """Be the process of one run; exits with `_FAILED` if it fails."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    log = _log(run)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    use_threads(threads)
    keep_freed_memory()
    sys.exit(0 if attempt(run, work) else _FAILED)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)  # killed: the run goes on from its last checkpoint


def _log(run: GridRun) -> Path:
    return run.folder.parent.parent / "logs" / f"{run.folder.name}.log"


def _announce(runs: list[GridRun], number: int, clock: _Clock, left: list[GridRun]) -> None:
    run = runs[number]
    print(f"[{number + 1}/{len(runs)}] {run.arm}, seed {run.seed}; {duration(clock.left(left))} left", flush=True)


def _record(run: GridRun, why: str) -> None:
    run.folder.mkdir(parents=True, exist_ok=True)
    run.failure.write_text(why)
    _tell(run)


def _tell(run: GridRun) -> None:
    message = run.failure.read_text().splitlines()[0]
    print(f"{run.arm}, seed {run.seed} failed: {message}", file=sys.stderr, flush=True)


def _death(exitcode: int) -> str:
    if exitcode < 0:
        return f"its process was ended by signal {-exitcode}; if memory ran out (signal 9), use fewer --jobs"
    return f"its process ended with exit code {exitcode}"


class _Clock:
    """How long what is left will take, by the rehearsals and by how far they were off so far."""

    def __init__(self, rehearsed: Mapping[str, float], jobs: int) -> None:
        self.rehearsed, self.jobs = rehearsed, jobs
        self._spent = self._expected = 0.0
        self._begun: dict[Path, tuple[float, float]] = {}

    def begin(self, run: GridRun) -> None:
        self._begun[run.folder] = time.monotonic(), seconds_left(run, self.rehearsed)

    def end(self, run: GridRun, *, finished: bool) -> None:
        began, planned = self._begun.pop(run.folder)
        if finished:
            self._spent, self._expected = self._spent + time.monotonic() - began, self._expected + planned

    def left(self, runs: list[GridRun]) -> float:
        """Return about how many seconds `runs` still take together."""
        planned = sum(seconds_left(run, self.rehearsed) for run in runs)
        return planned * (self._spent / self._expected if self._expected else 1.0) / self.jobs
