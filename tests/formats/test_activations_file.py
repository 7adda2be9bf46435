"""An activations file and what lies beside it: opened once, digested as parsed."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geometry_of_trust import errors
from geometry_of_trust.documents.extraction_record import (
    Corpus,
    Record,
    Token,
    WrittenFile,
)
from geometry_of_trust.documents.names_beside import record_path, rows_path
from geometry_of_trust.files import FileBytes
from geometry_of_trust.formats.activations_file import open_activations
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.gotact import read_activations, write_activations
from geometry_of_trust.formats.row_writer import RowWriter, TextRows

VALUES = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
DIGEST = "0" * 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.gotact"
    write_activations(path, Activations("m", "Fp32", (1, 4), range(3), VALUES))
    return path


def record_of(path: Path, corpus: Corpus | None = None) -> Record:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Record(
        tool_version="1", model="m", model_id="m", revision=None, commit=None, model_class="M",
        blocks_path="b", blocks_total=5, blocks_loaded=5, whole_because=None,
        unembedding_path="u", tied=False, bias=False, layers=(1, 4), dtype="float32",
        precision="Fp32", reproducible=True, quantization=None, corpus=corpus, checks=(),
        device="cpu", attention="eager", quantization_library=None,
        unproved=(),
        libraries=dict.fromkeys(
            ("python", "torch", "transformers", "tokenizers", "safetensors", "numpy"), "1"
        ),
        activations=WrittenFile("a.gotact", digest), unembedding=WrittenFile("u.gotue", DIGEST),
        prompt_sha256=DIGEST,
        tokens=() if corpus is not None else (Token(1, "x", (0, 1), special=False),) * 3,
    )  # fmt: skip


def put_rows(path: Path) -> str:
    text = TextRows(
        text=0, group=None, token_index=range(3), token_id=[1, 2, 3], token=["a", "b", "c"],
        span=[None] * 3, special=[False] * 3,
    )  # fmt: skip
    with rows_path(path).open("wb") as handle, RowWriter(handle) as writer:
        writer.add(text)
    return writer.digest.hexdigest()


def put_record(path: Path, record: Record) -> None:
    record_path(path).write_bytes(record.to_json())


def test_alone(path: Path) -> None:
    opened = open_activations(path)
    assert opened.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert opened.activations.source == str(path)
    assert np.array_equal(opened.activations.values, VALUES)
    assert opened.record is None
    assert opened.own_record(DIGEST) is None
    assert opened.rows is None


def test_what_lies_beside_is_read_once(path: Path) -> None:
    record = record_of(path)
    put_record(path, record)
    opened = open_activations(path)
    assert opened.record == record
    record_path(path).unlink()
    assert opened.own_record(DIGEST) == record


@pytest.mark.parametrize("member", ["activations", "unembedding"])
def test_a_record_of_others_is_not_its_own(member: str, path: Path) -> None:
    changes: dict[str, Any] = {member: WrittenFile("x", "1" * 64)}
    other = dataclasses.replace(record_of(path), **changes)
    put_record(path, other)
    opened = open_activations(path)
    assert opened.record == other
    with pytest.raises(errors.RecordMismatch) as refused:
        opened.own_record(DIGEST)
    assert refused.value.where == str(record_path(path))
    assert refused.value.found == "1" * 64


def test_a_broken_record_matters_when_it_is_asked_for(path: Path) -> None:
    record_path(path).write_text("{")
    opened = open_activations(path)
    assert opened.rows is None
    with pytest.raises(errors.BadJson):
        opened.own_record(DIGEST)


def corpus_of(digest: str) -> Corpus:
    return Corpus(
        texts=1, rows=3, position="all", skip_special_tokens=False, add_generation_prompt=False,
        chat_template_sha256=None, rows_sha256=digest,
    )  # fmt: skip


def test_a_link_to_nothing_is_not_taken_for_nothing(path: Path) -> None:
    record_path(path).symlink_to(record_path(path).name)
    with pytest.raises(errors.Unreadable):
        _ = open_activations(path).record
    record_path(path).unlink()
    rows_path(path).symlink_to("nothing")
    with pytest.raises(errors.Unreadable):
        _ = open_activations(path).rows


@pytest.mark.parametrize("recorded", [True, False])
def test_the_row_table_of_the_run(recorded: bool, path: Path) -> None:
    digest = put_rows(path)
    if recorded:
        put_record(path, record_of(path, corpus_of(digest)))
    opened = open_activations(path)
    assert opened.rows is not None
    assert opened.rows.digest() == digest
    rows_path(path).unlink()
    assert opened.rows is not None


def test_the_row_table_of_another_run(path: Path) -> None:
    put_rows(path)
    put_record(path, record_of(path, corpus_of("2" * 64)))
    with pytest.raises(errors.RecordMismatch) as refused:
        assert open_activations(path).rows
    assert refused.value.where == str(rows_path(path))


def test_a_row_table_beside_a_single_text_is_left_from_others(path: Path) -> None:
    put_rows(path)
    put_record(path, record_of(path))
    assert open_activations(path).rows is None


def test_bytes_that_were_taken_before_are_those_that_are_parsed(path: Path) -> None:
    taken = FileBytes(path)
    path.write_bytes(b"something else")
    opened = open_activations(taken)
    assert opened.file is taken
    assert np.array_equal(opened.activations.values, VALUES)
    assert opened.sha256 == taken.sha256
    with pytest.raises(errors.BadMagic):
        read_activations(path)


def test_another_file_under_the_name_changes_nothing(path: Path) -> None:
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    opened = open_activations(path)
    path.with_suffix(".other").write_bytes(b"x" * 1000)
    path.with_suffix(".other").replace(path)
    assert opened.sha256 == expected
    assert np.array_equal(opened.activations.layer(4), VALUES[1])
