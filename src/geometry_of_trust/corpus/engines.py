"""Who runs the batches: this process, or workers on several machines."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.extraction.capture import Batch
from geometry_of_trust.extraction.running import Runner, use_threads


class Job(NamedTuple):
    """One batch: its number, the indices of its texts, and what is run."""

    number: int
    unit: tuple[int, ...]
    batch: Batch


Result = tuple[Job, NDArray[np.float32]]
"""A job with its rows, (layers, rows, d)."""


class Engine(Protocol):
    """Runs jobs; their results may come in any order."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """The results of the jobs."""
        ...


class LocalEngine:
    """This process: a batch a thread where each computes with one, else one after the other."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """The results, in the order of the jobs."""
        runners = self._runner.side_by_side()
        if len(runners) == 1:
            for job in jobs:
                yield job, self._runner.states(job.batch)
            return
        free = SimpleQueue[Runner]()
        for runner in runners:
            free.put(runner)

        def states(job: Job) -> NDArray[np.float32]:
            runner = free.get()
            try:
                return runner.states(job.batch)
            finally:
                free.put(runner)

        waiting: deque[_Waiting] = deque()
        with ThreadPoolExecutor(len(runners), initializer=use_threads, initargs=(1,)) as pool:
            try:
                for job in jobs:
                    waiting.append((job, pool.submit(states, job)))
                    if len(waiting) > len(runners):
                        yield _first(waiting)
                while waiting:
                    yield _first(waiting)
            finally:
                for _, later in waiting:
                    later.cancel()


_Waiting = tuple[Job, Future[NDArray[np.float32]]]


def _first(waiting: deque[_Waiting]) -> Result:
    job, states = waiting.popleft()
    return job, states.result()
