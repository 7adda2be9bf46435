"""Batches that run in this process: one after the other, or one a thread, with the same bytes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geometry_of_trust import errors
from geometry_of_trust.corpus import memory
from geometry_of_trust.corpus.engines import Job, LocalEngine
from geometry_of_trust.extraction import capture, loading, running
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.extraction.page_release import FilePages
from geometry_of_trust.extraction.request import Request
from geometry_of_trust.extraction.running import Runner
from tiny_models import TinyModel, stored_as

pytestmark = pytest.mark.usefixtures("quickly")

TEXTS = [[(5 * n + 3 * i) % 300 for i in range(2 + n % 9)] for n in range(24)]


@pytest.fixture
def three_threads(quickly: None) -> None:
    """The fixture before puts back what there was."""
    torch.set_num_threads(3)


def loaded(model: Path, to: Path, **options: Any) -> Runner:
    chosen: dict[str, Any] = {"device": "cpu", "reproducible": True} | options
    request = Request.of(model, (0, 3), to / "a", to / "u", ExtractionOptions(**chosen))
    with loading.silence():
        opened = running.open_model(request, lambda text: None)
        batch = capture.Batch.of_text(TEXTS[0])
        return running.start(opened, batch, lambda text: None, once=False)[0]


def jobs() -> Iterator[Job]:
    for n, text in enumerate(TEXTS):
        yield Job(n, (n,), capture.Batch.of_text(text))


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "falcon", "mistral"])
@pytest.mark.usefixtures("three_threads")
def test_side_by_side_gives_the_bytes_of_one(
    name: str, tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = loaded(tiny_model(name), tmp_path)
    alone = [runner.states(job.batch) for job in jobs()]
    workers = set()
    states = Runner.states

    def watched(self: Runner, batch: capture.Batch) -> Any:
        workers.add((threading.get_ident(), id(self.loaded.model)))
        assert torch.get_num_threads() == 1
        return states(self, batch)

    monkeypatch.setattr(Runner, "states", watched)
    results = list(LocalEngine(runner).run(jobs()))
    assert [job.number for job, _ in results] == list(range(len(TEXTS)))
    for (_, found), expected in zip(results, alone, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert len({model for _, model in workers}) > 1
    assert threading.get_ident() not in {thread for thread, _ in workers}
    assert torch.get_num_threads() == 3
    assert runner.unproved == set()


@pytest.mark.usefixtures("three_threads")
def test_weights_are_there_once(tiny_model: TinyModel, tmp_path: Path) -> None:
    runner = loaded(tiny_model("llama"), tmp_path)
    runners = runner.side_by_side()
    assert len(runners) == 3
    assert runners[0] is runner
    for parameters in zip(*(r.loaded.model.parameters() for r in runners), strict=True):
        assert len(set(map(id, parameters))) == 1
    for modules in zip(*(r.loaded.model.modules() for r in runners), strict=True):
        assert len(set(map(id, modules))) == 3


@pytest.mark.parametrize("why", ["one thread", "the fast path", "weights that are converted"])
@pytest.mark.usefixtures("three_threads")
def test_when_one_runs_after_the_other(
    why: str, tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {}
    if why == "one thread":
        torch.set_num_threads(1)
    elif why == "the fast path":
        options = {"reproducible": False}
    else:  # in files of float32, computed with as bfloat16, and none counts as small
        monkeypatch.setattr("geometry_of_trust.extraction.weights._SMALL", 0)
        options = {"dtype": "bfloat16"}
    runner = loaded(tiny_model("llama"), tmp_path, **options)
    assert runner.side_by_side() == [runner]
    here = threading.get_ident()
    states = Runner.states

    def watched(self: Runner, batch: capture.Batch) -> Any:
        assert threading.get_ident() == here
        return states(self, batch)

    monkeypatch.setattr(Runner, "states", watched)
    results = list(LocalEngine(runner).run(jobs()))
    assert [job.number for job, _ in results] == list(range(len(TEXTS)))


@pytest.mark.parametrize("mode", ["reproducible", "fast"])
def test_a_corpus_converts_weights_once_and_gives_back_their_pages(
    mode: str, tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geometry_of_trust.extraction.weights._SMALL", 16)
    options: dict[str, Any] = {"dtype": "bfloat16", "reproducible": mode == "reproducible"}
    runner = loaded(tiny_model("llama"), tmp_path, **options)
    before = runner.states(capture.Batch.of_text(TEXTS[8]))
    held = {p.data_ptr() for p in runner.blocks.parameters() if p.dtype == torch.float32}
    released = set()
    monkeypatch.setattr(FilePages, "release", lambda self, x: released.add(x.data_ptr()))
    memory.widen(runner)
    assert runner.loaded.weights.settled(runner.blocks)
    computed = torch.float32 if options["reproducible"] else torch.bfloat16
    assert {p.dtype for p in runner.blocks.parameters()} == {computed}
    assert released
    assert released <= held
    after = runner.states(capture.Batch.of_text(TEXTS[8]))
    np.testing.assert_array_equal(after, before)


@pytest.mark.usefixtures("three_threads")
def test_weights_are_converted_once_where_memory_allows(
    tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GPT-2's matrices are no linear layers, which take weights as they are held."""
    monkeypatch.setattr("geometry_of_trust.extraction.weights._SMALL", 0)
    model = stored_as(tiny_model("gpt2"), tmp_path / "model", torch.bfloat16)
    runner = loaded(model, tmp_path)
    before = runner.states(capture.Batch.of_text(TEXTS[8]))
    monkeypatch.setattr(memory, "available_memory", lambda: 0)
    memory.widen(runner)
    assert runner.side_by_side() == [runner]
    monkeypatch.setattr(memory, "available_memory", lambda: 2**40)
    memory.widen(runner)
    assert len(runner.side_by_side()) == 3
    for _, states in LocalEngine(runner).run([Job(8, (8,), capture.Batch.of_text(TEXTS[8]))]):
        np.testing.assert_array_equal(states, before)


@pytest.mark.usefixtures("three_threads")
def test_an_error_of_one_ends_all(tiny_model: TinyModel, tmp_path: Path) -> None:
    """It is raised in its place, after the results before it."""
    runner = loaded(tiny_model("llama"), tmp_path)
    broken = [*jobs()]
    broken[5] = Job(5, (5,), capture.Batch.of_text([10**6]))
    results = iter(LocalEngine(runner).run(broken))
    assert [next(results)[0].number for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(errors.ModelFailed):
        next(results)
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_whoever_stops_early_waits_for_no_more(tiny_model: TinyModel, tmp_path: Path) -> None:
    taken = []

    def counted() -> Iterator[Job]:
        for job in jobs():
            taken.append(job.number)
            yield job

    results = LocalEngine(loaded(tiny_model("llama"), tmp_path)).run(counted())
    assert next(iter(results))[0].number == 0
    results.close()  # type: ignore[attr-defined] # a generator
    assert len(taken) < 8
