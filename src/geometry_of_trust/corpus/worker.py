"""What a worker of a cluster is: a process that holds the model and runs what it is sent."""

from __future__ import annotations

import pickle
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.corpus import checking, memory
from geometry_of_trust.corpus.engines import Job
from geometry_of_trust.errors import GotError, WorkerDiffers
from geometry_of_trust.extraction import running
from geometry_of_trust.extraction.quiet import running_model
from geometry_of_trust.extraction.request import Request
from geometry_of_trust.extraction.running import Runner
from geometry_of_trust.version import __version__


@dataclass(frozen=True)
class Task:
    """What a worker needs to know to be as good as this process.

    Attributes:
        blocks, whole_because, left_out: how much of the model to load, as of `running.load`.
        sample: the tokens of a text.
        states: what this process computed for it: float32, shape (layers, tokens, d).
        version: of this package.
    """

    request: Request
    blocks: int
    whole_because: str | None
    left_out: tuple[str, ...]
    threads: int
    sample: tuple[int, ...]
    states: NDArray[np.float32]
    version: str = __version__

    def open(self) -> Runner:
        """The model, loaded, with proof that it does what that of the other process does.

        Raises:
            WorkerDiffers: it does not.
            ExtractionRefused, BadOption, MissingExtra: as `running.open_model`, `running.load`.
        """
        if self.version != __version__:
            raise WorkerDiffers("worker", expected=f"version {self.version}", found=__version__)
        running.use_threads(self.threads)
        opened = running.open_model(self.request, lambda text: None)
        runner = running.load(
            opened,
            self.blocks,
            whole_because=self.whole_because,
            left_out=self.left_out,
            once=False,
        )
        memory.widen(runner)
        check = checking.elsewhere(runner, self.sample, self.states)
        if not check.passed:
            raise WorkerDiffers(
                "worker",
                expected=f"a difference of at most {check.bound:g} of the largest value",
                found=f"{check.largest:g}",
                hint="Is it the same model on all machines?",
            )
        return runner


@dataclass(frozen=True)
class Outcome:
    """What a worker says of a batch.

    Attributes:
        job: the batch. error: why it has no states, or None.
        unproved: as of `Runner`.
    """

    job: Job
    unproved: tuple[str, ...]
    error: GotError | None


class WorkedRow(TypedDict):
    """What Ray brings back of a batch.

    Attributes:
        outcome: an `Outcome`, pickled. states: float32, shape (1, layers, rows, d).
    """

    outcome: list[bytes]
    states: NDArray[np.float32]


class Worker:
    """An actor of Ray Data. It does not raise, since Ray would wrap and print what it raises."""

    def __init__(self, task: Task) -> None:
        self._runner: Runner | GotError
        try:
            with running_model():
                self._runner = task.open()
        except GotError as error:
            where = f"{error.where}, on {platform.node()}"
            self._runner = type(error)(
                where, expected=error.expected, found=error.found, hint=error.hint
            )

    def __call__(self, row: Mapping[str, NDArray[np.object_]]) -> WorkedRow:
        """A row with a batch becomes a row with its states, (1, layers, rows, d)."""
        job: Job = pickle.loads(row["job"][0])  # noqa: S301
        states, unproved = np.empty((0, 0, 0), np.float32), set[str]()
        error = self._runner if isinstance(self._runner, GotError) else None
        if not isinstance(self._runner, GotError):
            unproved = self._runner.unproved
            try:
                states = self._runner.states(job.batch)
            except GotError as refused:
                error = refused
        outcome = Outcome(job, tuple(sorted(unproved)), error)
        return {"outcome": [pickle.dumps(outcome)], "states": states[None]}
