"""Batches run by workers on several machines: Ray Data, with actors that hold the model.

Which worker runs which batch, what happens if one dies, and how rows get to and fro, is Ray's.
Here batches become Ray's rows, and its rows results.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import pickle
import socket
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import pyarrow as pa

from geometry_of_trust.corpus import checking
from geometry_of_trust.corpus.engines import Job, Result
from geometry_of_trust.corpus.worker import Outcome, Task, Worker
from geometry_of_trust.errors import (
    BadOption,
    NoCluster,
    WorkerLost,
)
from geometry_of_trust.extraction.quiet import unwarned
from geometry_of_trust.extraction.running import Runner
from geometry_of_trust.extras import optional

WINDOW_BYTES = 2**27
"""Batches that Ray holds at a time, as bytes. After so many the workers load the model anew."""

RETRIES = 3
"""How often a batch is run again whose worker died; it may be the batch that kills."""

CONNECT_SECONDS = 10.0
"""How long a cluster may take to answer."""


@dataclass(frozen=True)
class Share:
    """How many workers there are, and what of its machine each of them has."""

    workers: int
    cpus: int
    gpus: int


class RayEngine:
    """Workers of a cluster; results come as they are ready."""

    def __init__(self, runner: Runner, share: Share) -> None:
        self._runner, self._share = runner, share

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """The results of the jobs.

        Raises:
            WorkerLost, WorkerDiffers.
            ExtractionRefused, NonFinite: as `Runner.states`, and as a worker opens the model.
        """
        for blocks, sample in _windows(jobs):
            for row in self._rows(blocks, self._task(sample)):
                outcome: Outcome = pickle.loads(row["outcome"])  # noqa: S301
                if outcome.error is not None:
                    raise outcome.error
                self._runner.unproved.update(outcome.unproved)
                yield outcome.job, row["states"]
            gc.collect()  # Ray's datasets are cycles; the collector counts objects, not bytes

    def _task(self, sample: tuple[int, ...]) -> Task:
        request = self._runner.opened.request
        if os.path.exists(request.model):  # workers start in folders of their own
            named = replace(request.options, model_id=request.model_id)
            request = replace(request, model=os.path.abspath(request.model), options=named)
        return Task(
            request,
            self._runner.loaded.blocks,
            self._runner.whole_because,
            self._runner.left_out,
            self._share.cpus,
            sample,
            checking.alone(self._runner, sample),
        )

    def _rows(self, blocks: list[pa.Table], task: Task) -> Iterator[dict[str, Any]]:
        """What the workers make of the blocks."""
        ray = ray_data()
        pool = ray.data.ActorPoolStrategy(size=min(self._share.workers, len(blocks)))
        with unwarned():  # Ray 2.60 warns of arguments that have no other name yet
            rows = ray.data.from_blocks(blocks).map_batches(
                Worker,
                fn_constructor_args=(task,),
                batch_size=1,
                batch_format="numpy",
                compute=pool,
                num_cpus=self._share.cpus,
                num_gpus=self._share.gpus,
                max_restarts=-1,  # however many machines go,
                max_task_retries=RETRIES,  # unless it is always the same batch
            )
        try:
            yield from rows.iter_rows()
        except (ray.exceptions.RayError, OSError) as error:
            raise WorkerLost(
                "ray",
                expected=f"workers that live, or a batch that {RETRIES + 1} of them survive",
                found=_brief(error),
                hint="Is there enough memory? Go on with --resume.",
            ) from None


def _windows(jobs: Iterable[Job]) -> Iterator[tuple[list[pa.Table], tuple[int, ...]]]:
    """Jobs as Ray's blocks, one in each, some at a time; and a text of the first of them."""
    blocks: list[pa.Table] = []
    size = 0
    sample: tuple[int, ...] = ()
    for job in jobs:
        data = pickle.dumps(job)
        sample = sample or tuple(job.batch.texts[0][: checking.TOKENS])
        blocks.append(pa.table({"job": [data]}))
        size += len(data)
        if size >= WINDOW_BYTES:
            yield blocks, sample
            blocks, size, sample = [], 0, ()
    if blocks:
        yield blocks, sample


def _brief(error: BaseException) -> str:
    """Class, first and last line of an error: Ray's have tracebacks in between."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    said = lines[0] if len(lines) == 1 else f"{lines[0]} … {lines[-1]}"
    return f"{type(error).__name__}: {said}"


def ray_data() -> ModuleType:
    """The library, with `ray.data`, quiet.

    Raises:
        MissingExtra.
    """
    # Read when Ray is imported or started. Those of its errors that concern us are raised.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    with optional(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray  # noqa: PLC0415 - heavy
        import ray.data  # noqa: PLC0415 - heavy

        context = ray.data.DataContext.get_current()
    logging.getLogger("ray.data").setLevel(logging.CRITICAL + 1)
    context.enable_progress_bars = False
    module: ModuleType = ray
    return module


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """A cluster, until the `with` ends: the one of this process if it has one, else the one at
    an address, else one of its own on this machine.

    Raises:
        MissingExtra, NoCluster, BadOption: as `_check_address`.
    """
    ray = ray_data()
    with contextlib.redirect_stdout(sys.stderr):  # where Ray says that a worker died
        if ray.is_initialized():
            yield
            return
        _check_address(address)
        try:
            with _unheard():
                _connect(address)
        except Exception as error:  # Ray raises that class itself, too
            if address is None:
                raise NoCluster(
                    "--engine ray",
                    expected="a Ray cluster of its own on this machine",
                    found=_brief(error),
                    hint="Ray keeps sockets below RAY_TMPDIR, else TMPDIR: absolute and short?",
                ) from None
            raise NoCluster(
                "--ray-address", expected="a running Ray cluster", found=_brief(error)
            ) from None
        try:
            yield
        finally:
            ray.shutdown()


def _connect(address: str | None) -> None:
    """Connect this process, or start a cluster of its own for it."""
    options: dict[str, Any] = {} if address else {"include_dashboard": False}
    ray: Any = ray_data()
    ray.init(
        address=address or "local", log_to_driver=False, logging_level=logging.CRITICAL, **options
    )


def _check_address(address: str | None) -> None:
    """Refuse at once what Ray would try to reach for a minute.

    Raises:
        BadOption: not an address that Ray Data goes with.
        NoCluster: nothing listens there.
    """
    if address is None or address in ("auto", "local"):
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not (port.isascii() and port.isdigit()):
        raise BadOption(
            "--ray-address",
            expected="auto, or host:port of a cluster that this machine is part of",
            found=address,
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise NoCluster(
            "--ray-address", expected=f"a Ray cluster at {address}", found=_brief(error)
        ) from None


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Nothing on stderr: Ray's native code tells there how it was told to tell nothing."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def shared(workers: int | None, device: str) -> Share:
    """A cluster's machines, shared out evenly.

    Args:
        workers: how many; None: one a machine.
        device: as asked for; on "cpu" no GPU is reserved.

    Raises:
        NoCluster: not a processor for each.
    """
    ray = ray_data()
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    machines = [machine for machine in machines if machine.get("CPU")]
    cpus = int(min((machine["CPU"] for machine in machines), default=0))
    gpus = 0 if device == "cpu" else int(min((m.get("GPU", 0) for m in machines), default=0))
    wanted = workers or max(1, len(machines))
    each = -(-wanted // max(1, len(machines)))
    if each > cpus:
        raise NoCluster(
            "--workers", expected=f"at most {cpus} a machine, of {len(machines)}", found=wanted
        )
    return Share(wanted, cpus // each, gpus // each)
