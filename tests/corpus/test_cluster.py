"""Workers of a Ray cluster: the same bytes as this process alone, also when workers die."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from geometry_of_trust import errors
from geometry_of_trust.cli import main
from geometry_of_trust.corpus import cluster
from geometry_of_trust.corpus.engines import Job
from geometry_of_trust.corpus.extracting import extract_corpus
from geometry_of_trust.corpus.options import Listener
from geometry_of_trust.corpus.partial import partial_path
from geometry_of_trust.corpus.worker import Outcome, Task, Worker
from geometry_of_trust.extraction import running
from geometry_of_trust.extraction.capture import Batch
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.extraction.request import Request
from options import arguments_of
from tiny_models import FAMILIES, build, quick

TEXTS = [f"The river {'Seine ' * (n % 7)}flows through Paris {n}." for n in range(60)]
STORE = 80 * 2**20

pytestmark = pytest.mark.usefixtures("quickly")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two machines, each with one processor: both are processes on this one."""
    cluster.ray_data()
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch, short_folder() as folder:
        warnings.simplefilter("ignore")  # Ray's own
        from ray.cluster_utils import Cluster

        # Not as `temp_dir`: `Cluster` notes its address in Ray's default folder whatever that is,
        # and only a machine that has run Ray before has one.
        patch.setenv("RAY_TMPDIR", folder)
        machines: Any = Cluster()
        machines.add_node(num_cpus=1, object_store_memory=STORE, include_dashboard=False)
        machines.add_node(num_cpus=1, object_store_memory=STORE)
        yield machines.address
        machines.shutdown()


def short_folder() -> tempfile.TemporaryDirectory[str]:
    """One whose name leaves room for those of sockets, which have 107 bytes at most."""
    return tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True)


def run(model: Path, to: Path, **options: Any) -> dict[str, bytes]:
    """The outputs of a run."""
    chosen: dict[str, Any] = {"device": "cpu", "position": "all", "batch_size": 1} | options
    extract_corpus(
        model, TEXTS, [0, 2], output_activations=to / "a.gotact",
        output_unembedding=to / "u.gotue", **arguments_of(model_id="tiny", **chosen),
    )  # fmt: skip
    return {path.name: path.read_bytes() for path in to.iterdir()}


@pytest.fixture(scope="module")
def local(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    with quick():
        return run(model, tmp_path_factory.mktemp("local"))


def workers() -> list[psutil.Process]:
    """The processes of this test's cluster that hold the model."""
    own = psutil.Process().children(recursive=True)
    return [one for one in own if "".join(one.cmdline()[:1]).startswith("ray::MapWorker")]


def at(rows: int, what: Callable[[], None]) -> Listener:
    """Do something once, when so many rows are done and others are not."""
    done_it: list[int] = []

    def advance(done: int, total: int) -> None:
        if rows <= done < total and not done_it:
            done_it.append(done)
            what()

    return Listener(advance=advance)


def test_two_workers_give_the_same_bytes(
    address: str, model: Path, local: dict[str, bytes], tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    seen: list[int] = []

    def look() -> None:
        end = time.monotonic() + 10  # by then the second one has begun too
        while len(workers()) < 2 and time.monotonic() < end:
            time.sleep(0.02)
        seen.append(len(workers()))

    rays = run(model, tmp_path, engine="ray", ray_address=address, listener=at(40, look))
    assert rays == local
    assert seen == [2]  # one a machine
    assert capfd.readouterr() == ("", "")


@pytest.mark.heavy
def test_workers_killed_in_the_middle(
    address: str, model: Path, local: dict[str, bytes], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    killed: list[int] = []

    def kill() -> None:
        for worker in workers():
            worker.kill()
            killed.append(worker.pid)

    monkeypatch.chdir(model.parent)  # workers are in folders of their own
    rays = run(
        Path(model.name), tmp_path, engine="ray", ray_address=address, workers=2,
        listener=at(200, kill),
    )  # fmt: skip
    assert rays["a.gotact"] == local["a.gotact"]
    assert killed


def test_a_machine_without_the_model(
    address: str, model: Path, local: dict[str, bytes], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    good = cluster.RayEngine._task

    def nowhere(engine: Any, sample: tuple[int, ...]) -> Task:
        task = good(engine, sample)
        return replace(task, request=replace(task.request, model=str(tmp_path / "nowhere")))

    monkeypatch.setattr(cluster.RayEngine, "_task", nowhere)
    out = tmp_path / "out"
    with pytest.raises(errors.UnknownModel) as caught:
        run(model, out, engine="ray", ray_address=address, workers=1)
    assert caught.value.where.startswith(str(tmp_path / "nowhere"))
    assert caught.value.__cause__ is None
    monkeypatch.undo()
    assert run(model, out, resume=True) == local  # by another engine


class Deadly:
    """A worker that no batch survives."""

    def __init__(self, task: Task) -> None:
        del task

    def __call__(self, row: Any) -> Any:
        os._exit(1)


def test_a_batch_that_kills_each_worker(
    address: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "Worker", Deadly)
    monkeypatch.setattr(cluster, "RETRIES", 1)
    with pytest.raises(errors.WorkerLost):
        run(model, tmp_path, engine="ray", ray_address=address, workers=1)
    assert partial_path(tmp_path / "a.gotact").exists()


def test_more_workers_than_processors(address: str, model: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.NoCluster) as caught:
        run(model, tmp_path, engine="ray", ray_address=address, workers=3)
    assert (caught.value.where, caught.value.found) == ("--workers", "3")


@pytest.fixture
def task(model: Path) -> Task:
    """What a worker is given, made by this process."""
    options = ExtractionOptions(model_id="tiny", device="cpu")
    request = Request(str(model), (0, 2), Path("a"), Path("b"), options)
    opened = running.open_model(request, lambda text: None)
    runner = running.load(opened, 3, once=False)
    sample = (0, 5, 6, 7)
    return Task(request, 3, None, (), 1, sample, runner.states(Batch.of_text(sample)))


def outcome_of(worker: Worker, job: Job) -> tuple[Outcome, Any]:
    row = worker({"job": np.array([pickle.dumps(job)], object)})
    outcome: Outcome = pickle.loads(row["outcome"][0])  # noqa: S301
    return outcome, row["states"][0]


JOB = Job(4, (7,), Batch([[0, 5, 6, 7]], [[3]]))


def test_a_worker(task: Task) -> None:
    outcome, states = outcome_of(Worker(replace(task, threads=2)), JOB)
    assert torch.get_num_threads() == 2
    assert outcome == Outcome(JOB, (), None)
    assert states.tobytes() == task.states[:, 3:].tobytes()


def other_model(task: Task, folder: Path) -> Task:
    build(FAMILIES["llama"], folder)
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][0, 0] += 0.001
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return replace(task, request=replace(task.request, model=str(folder)))


@pytest.mark.parametrize("reproducible", [True, False])
def test_a_worker_that_differs(reproducible: bool, task: Task, tmp_path: Path) -> None:
    options = replace(task.request.options, reproducible=reproducible)
    task = replace(task, request=replace(task.request, options=options))
    for other in (
        replace(task, version="0"),
        other_model(task, tmp_path),
        replace(task, states=task.states + np.float32(0.1)),
    ):
        outcome, _ = outcome_of(Worker(other), JOB)
        assert isinstance(outcome.error, errors.WorkerDiffers)
    nearly = replace(task, states=task.states * np.float32(1 + 2**-22))
    outcome, _ = outcome_of(Worker(nearly), JOB)
    assert (outcome.error is None) is not reproducible


def test_what_a_worker_refuses_arrives(task: Task, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(task.request.model, folder)
    worker = Worker(replace(task, request=replace(task.request, model=str(folder))))
    model = worker._runner.loaded.model  # type: ignore[union-attr]
    next(model.model.layers[1].parameters()).data.fill_(float("nan"))
    outcome, _ = outcome_of(worker, Job(0, (7,), replace(JOB.batch, names=["text 8"])))
    assert isinstance(outcome.error, errors.NonFinite)
    assert outcome.error.where == "layer 2, text 8, position 3"


def test_errors_can_be_copied() -> None:
    for error in (
        errors.UnknownModel("m", expected="a", found="b", hint="c"),
        errors.Interrupted("m"),
    ):
        for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301
            assert type(again) is type(error)
            assert vars(again) == vars(error)


def test_batches_go_to_ray_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [JOB._replace(number=n, batch=Batch([[n, 1, 2]], [[2]])) for n in range(7)]
    monkeypatch.setattr(cluster, "WINDOW_BYTES", 2 * len(pickle.dumps(jobs[0])))
    windows = list(cluster._windows(iter(jobs)))
    assert [len(blocks) for blocks, _ in windows] == [2, 2, 2, 1]
    assert [sample for _, sample in windows] == [(n, 1, 2) for n in (0, 2, 4, 6)]
    rows = [row["job"] for blocks, _ in windows for table in blocks for row in table.to_pylist()]
    assert [pickle.loads(row) for row in rows] == jobs  # noqa: S301


def test_machines_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def node(alive: bool = True, **resources: float) -> dict[str, Any]:
        return {"Alive": alive, "Resources": resources}

    nodes = [node(CPU=8, GPU=4), node(CPU=6, GPU=2), node(alive=False, CPU=1), node(memory=1)]
    monkeypatch.setattr(cluster.ray_data(), "nodes", lambda: nodes)
    assert cluster.shared(None, "auto") == cluster.Share(2, 6, 2)
    assert cluster.shared(3, "auto") == cluster.Share(3, 3, 1)
    assert cluster.shared(8, "cpu") == cluster.Share(8, 1, 0)
    for none in ([], [node(GPU=1)]):
        monkeypatch.setattr(cluster.ray_data(), "nodes", none.copy)
        with pytest.raises(errors.NoCluster):
            cluster.shared(None, "auto")


@pytest.mark.parametrize(
    ("options", "where", "error"),
    [
        ({"workers": 2}, "--workers", errors.BadOption),
        ({"ray_address": "auto"}, "--ray-address", errors.BadOption),
        ({"engine": "ray", "workers": 0}, "--workers", errors.BadOption),
        ({"engine": "slurm"}, "--engine", errors.BadOption),
        ({"engine": "ray", "ray_address": "ray://h:1"}, "--ray-address", errors.BadOption),
        ({"engine": "ray", "ray_address": "h"}, "--ray-address", errors.BadOption),
        ({"engine": "ray", "ray_address": "127.0.0.1:1"}, "--ray-address", errors.NoCluster),
        ({"engine": "ray", "ray_address": "127.0.0.1:99999"}, "--ray-address", errors.NoCluster),
    ],
)
def test_refused(
    options: dict[str, Any], where: str, error: type[errors.GotError], model: Path, tmp_path: Path
) -> None:
    with pytest.raises(error) as caught:
        run(model, tmp_path, **options)
    assert caught.value.where == where


def test_a_cluster_of_its_own_that_does_not_start(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("long" * 20)  # longer than the names of sockets may be
    folder.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    with pytest.raises(errors.NoCluster) as caught:
        run(model, tmp_path, engine="ray")
    assert caught.value.where == "--engine ray"
    assert caught.value.hint


def test_an_error_of_no_class_of_its_own(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def times_out(address: str | None) -> None:
        del address
        raise Exception("timed out during startup")  # noqa: TRY002 - as Ray does

    monkeypatch.setattr(cluster, "_connect", times_out)
    with pytest.raises(errors.NoCluster):
        run(model, tmp_path, engine="ray")


def test_fast_on_several_machines_is_warned_of(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.txt").write_text("x")
    command = [
        "extract", "--model", str(model), "--input-file", str(tmp_path / "c.txt"), "--layers", "1",
        "--output-activations", str(tmp_path / "a.gotact"), "--engine", "ray",
        "--ray-address", "127.0.0.1:1",
    ]  # fmt: skip
    said = {}
    for more in ([], ["--fast"], ["--dtype", "bfloat16"]):
        assert main([*command, *more]) == 1
        said[" ".join(more)] = "warning" in capsys.readouterr().err
    assert said == {"": False, "--fast": True, "--dtype bfloat16": True}
