"""Several threads for work that holds no interpreter lock: one pool a process, shared by whoever draws views."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache, partial
from itertools import pairwise

import numpy as np

MAX_AUTO_THREADS = 8
_BYTES_A_JOB = 1 << 18
"""Of results: for less a thread is not worth waking, and a busy one should not hold up more."""

_pools: dict[int, ThreadPoolExecutor] = {}
"""By process: a forked child inherits the object but not the threads."""

_most = MAX_AUTO_THREADS
"""What `limit_threads` has said."""


def auto_threads() -> int:
    """Return how many threads to use if none are named: one for each processor that this process may run on, at most 8,
    and at most what `limit_threads` says."""
    return min(_processors(), _most)


def limit_threads(most: int | None) -> None:
    """Use at most so many threads in this process where none are named, as one of several that share a machine does.

    Renderers keep the number that they were made with.

    Args:
        most: At least 1; None, or more than 8, for the usual 8.

    Raises:
        ValueError: if `most` is below 1.
    """
    global _most
    if most is not None and most < 1:
        raise ValueError(f"most must be at least 1 thread, or None, got {most}")
    _most = MAX_AUTO_THREADS if most is None else min(most, MAX_AUTO_THREADS)


@cache
def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(jobs: Iterable[Callable[[], object]], threads: int) -> None:
    """Call every job once, up to `threads` of them at a time; the caller's thread takes its part.

    The first error of a job is raised, after all threads have stopped.
    """
    jobs = list(jobs)
    waiting = iter(jobs)

    def work() -> None:
        for job in waiting:
            job()

    helpers = [_pool(threads - 1).submit(work) for _ in range(min(threads, len(jobs)) - 1)]
    try:
        work()
    finally:
        begun = [helper for helper in helpers if not helper.cancel()]
        wait(begun)
    for helper in begun:
        helper.result()


def share_out(work: Callable[..., object], results: np.ndarray, *rows: np.ndarray) -> None:
    """Call `work(results, *rows)` on runs of their rows that cover all, in several threads if there is much to do."""
    count = len(results)
    jobs = max(1, min(results.nbytes // _BYTES_A_JOB, count)) if auto_threads() > 1 else 1
    edges = [count * job // jobs for job in range(jobs + 1)]
    arrays = (results, *rows)
    run([partial(work, *(a[i:j] for a in arrays)) for i, j in pairwise(edges)], auto_threads())


def _pool(workers: int) -> ThreadPoolExecutor:
    """Return this process's pool of at least so many threads."""
    pool = _pools.get(os.getpid())
    if pool is None or pool._max_workers < workers:
        pool = _pools[os.getpid()] = ThreadPoolExecutor(max(workers, MAX_AUTO_THREADS), thread_name_prefix="views")
    return pool
