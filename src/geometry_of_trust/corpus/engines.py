"""Who runs the batches: this process, or workers on several machines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.extraction.capture import Batch
from geometry_of_trust.extraction.running import Runner


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
    """This process, one batch after the other."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """The results, in the order of the jobs."""
        for job in jobs:
            yield job, self._runner.states(job.batch)
