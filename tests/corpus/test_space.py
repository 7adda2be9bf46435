"""A full disk: seen before the run if it can be, and in the middle of it nothing is lost."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geometry_of_trust import errors
from geometry_of_trust.corpus import partial
from geometry_of_trust.corpus.corpus_run import CorpusExtraction
from geometry_of_trust.corpus.extracting import extract_corpus
from geometry_of_trust.corpus.partial import Partial, check_space, partial_path
from options import arguments_of
from tiny_models import HIDDEN, VOCABULARY, quick

TEXTS = [f"The river {'Seine ' * (n % 4)}flows through Paris {n}." for n in range(12)]
OUTPUTS = ("a.gotact", "u.gotue", "a.labels", "a.record.json", "a.rows.parquet")
LAYERS = [0, 2]
Usage = namedtuple("Usage", "total used free")

pytestmark = pytest.mark.usefixtures("quickly")


def run(model: Path, folder: Path, **options: Any) -> CorpusExtraction:
    return extract_corpus(
        model, TEXTS, LAYERS, **arguments_of(model_id="tiny", batch_size=2, **options),
        output_activations=folder / "a.gotact", output_unembedding=folder / "u.gotue",
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The outputs of a run that had room."""
    folder = tmp_path_factory.mktemp("whole")
    with quick():
        run(model, folder)
    return contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    assert not partial_path(folder / "a.gotact").exists()
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


def nothing_but_the_run(folder: Path) -> None:
    assert [path.name for path in folder.iterdir()] == ["a.gotact.partial"]


def failing(error: int, after: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, until it was called so often; then the system's error, every time."""
    calls = iter(range(after))

    def fails(*arguments: Any) -> Any:
        if next(calls, None) is None:
            raise OSError(error, os.strerror(error))
        return function(*arguments)

    return fails


# --- before -----------------------------------------------------------------------------------


def test_space_is_checked_before_the_run(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, bytes]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: Usage(10**9, 10**9 - 12345, 12345))
        patch.setattr("geometry_of_trust.extraction.running.load", None)  # it gets not so far
        with pytest.raises(errors.NoSpace) as caught:
            run(model, tmp_path)
    assert caught.value.where == str(partial_path(tmp_path / "a.gotact"))
    assert "12345" in str(caught.value.found)
    needed = re.search(r"\d+", str(caught.value.expected))
    assert needed is not None
    assert int(needed[0]) >= len(whole["a.gotact"]) + 4 * VOCABULARY * HIDDEN
    assert not (tmp_path / "a.gotact").exists()
    run(model, tmp_path)  # not a run that could go on: it begins anew, unasked
    assert contents(tmp_path) == whole


@pytest.mark.parametrize(("spare", "fits"), [(0, True), (-1, False)])
def test_the_needed_space_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, spare: int, fits: bool
) -> None:
    free = 5000 + partial._SPARE + spare
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(free, 0, free))
    if fits:
        check_space(tmp_path, 5000)
    else:
        with pytest.raises(errors.NoSpace):
            check_space(tmp_path, 5000)


def test_space_that_cannot_be_reserved(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, bytes]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", failing(errno.ENOSPC, 0, os.posix_fallocate))
        with pytest.raises(errors.Unwritable) as caught:
            run(model, tmp_path)
    assert os.strerror(errno.ENOSPC) in str(caught.value.found)
    run(model, tmp_path)
    assert contents(tmp_path) == whole


# --- in the middle ----------------------------------------------------------------------------

_BEFORE_ROWS = 1 + len(LAYERS)
"""Writes of the header and of the layer indices."""


@pytest.mark.parametrize("texts", [0, 1, 5, 11])
@pytest.mark.parametrize("commit", [0.0, 2.0], ids=["vouched for at once", "vouched for later"])
def test_a_disk_full_in_the_middle_loses_nothing(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: dict[str, bytes],
    *,
    texts: int,
    commit: float,
) -> None:
    monkeypatch.setattr(partial, "COMMIT_SECONDS", commit)
    with monkeypatch.context() as patch:
        after = _BEFORE_ROWS + texts * len(LAYERS)
        patch.setattr(os, "pwrite", failing(errno.ENOSPC, after, os.pwrite))
        with pytest.raises(errors.Unwritable) as caught:
            run(model, tmp_path)
    assert caught.value.where == str(partial_path(tmp_path / "a.gotact"))
    assert os.strerror(errno.ENOSPC) in str(caught.value.found)
    assert "--resume" in (caught.value.hint or "")
    nothing_but_the_run(tmp_path)
    with pytest.raises(errors.RunInProgress):
        run(model, tmp_path)
    resumed = run(model, tmp_path, resume=True)
    assert resumed.resumed_rows >= texts - 1, "all but a batch of two that was half written"
    assert contents(tmp_path) == whole


def test_a_journal_that_cannot_be_synced(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, bytes]
) -> None:
    monkeypatch.setattr(partial, "COMMIT_SECONDS", 0.0)
    calls = {"n": 0}
    real = partial.Journal.commit

    def commit(journal: partial.Journal) -> None:
        calls["n"] += 1
        if calls["n"] > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(journal)

    with monkeypatch.context() as patch:
        patch.setattr(partial.Journal, "commit", commit)
        with pytest.raises(errors.Unwritable):
            run(model, tmp_path)
    assert 2 <= run(model, tmp_path, resume=True).resumed_rows <= 4, "two batches"
    assert contents(tmp_path) == whole


def test_a_disk_full_at_the_end(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, bytes]
) -> None:
    """The unembedding does not fit any more; all rows are kept."""

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("geometry_of_trust.extraction.recording.stage_unembedding", full)
        with pytest.raises(errors.Unwritable):
            run(model, tmp_path)
    nothing_but_the_run(tmp_path)
    assert run(model, tmp_path, resume=True).resumed_rows == len(TEXTS)
    assert contents(tmp_path) == whole


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.Unwritable), Partial(tmp_path / "file" / "a.gotact"):
        pass
