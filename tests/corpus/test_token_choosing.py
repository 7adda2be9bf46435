"""Tokens that are chosen, in a whole run: their states, rows, labels, record and what is signed."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chat_templates import chosen, covered, tokenizer_of
from geometry_of_trust import errors
from geometry_of_trust.attesting.attest import attest
from geometry_of_trust.cli import main
from geometry_of_trust.corpus.corpus_run import CorpusExtraction
from geometry_of_trust.corpus.entries import Entry, read_corpus
from geometry_of_trust.corpus.extracting import extract_corpus
from geometry_of_trust.corpus.options import RowOptions
from geometry_of_trust.documents.extraction_record_reading import read_record
from geometry_of_trust.formats.labels import read_labels
from geometry_of_trust.formats.row_table import read_own_rows, read_rows
from geometry_of_trust.formats.row_writer import NONE
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.probing.training_files import train_files
from geometry_of_trust.signing.attestation import write_attestation
from geometry_of_trust.signing.checks import sign
from geometry_of_trust.signing.keys import SecretKey
from geometry_of_trust.verifying.reproduce import reproduce
from geometry_of_trust.verifying.verdict import Refused
from geometry_of_trust.verifying.verify import verify
from options import arguments_of
from tiny_models import TinyModel

pytestmark = pytest.mark.usefixtures("quickly")
KEY = SecretKey.from_seed(bytes(range(32)))


def model_of(name: str, tiny: Path, folder: Path) -> Path:
    """A tiny model with the tokenizer of a family."""
    shutil.copytree(tiny, folder / "model")
    for path in (folder / "model").glob("*token*"):
        path.unlink()
    tokenizer_of(name).save_pretrained(folder / "model")
    return folder / "model"


def run(model: Path, to: Path, corpus: Path, **options: Any) -> CorpusExtraction:
    return extract_corpus(
        model, corpus, [0, 2], output_activations=to / "a.gotact",
        output_unembedding=to / "u.gotue", **arguments_of(**({"model_id": "tiny"} | options)),
    )  # fmt: skip


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    rows = []
    for n, (country, city) in enumerate([("Italy", "Rome"), ("France", "Lyon")] * 3):
        messages = [{"role": "user", "content": f"{country} {n}?"},
                    {"role": "assistant", "content": f"{city}."}]  # fmt: skip
        rows.append({"messages": messages, "true": int(city == "Rome"), "of": country + str(n % 3)})
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_answers_alone(
    chats: Path, tiny_model: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_of("llama-3", tiny_model("llama"), tmp_path)
    with pytest.raises(errors.BadOption) as refused:
        run(model, tmp_path, chats, tokens="assistant")
    assert refused.value.where == "--date"
    dated = {"date": "2026-02-01", "label_columns": ("true",)}
    every = run(model, tmp_path / "all", chats, position="all", **dated)
    whole = read_rows(every.rows_path)
    assert (whole.turn, whole.role) == (None, None)
    done = run(model, tmp_path, chats, tokens="assistant", position="all", **dated)
    table = read_rows(done.rows_path)
    assert "".join(filter(None, table.token)) == "".join(
        f"{city}.<|eot_id|>" for city in ("Rome", "Lyon") * 3
    )
    assert table.role == ("assistant",) * len(table)
    assert table.turn is not None
    assert set(table.turn.tolist()) == {1}
    assert done.record.corpus is not None
    assert table.digest() == done.record.corpus.rows_sha256
    for rows, of_all in zip(table.text_rows(), whole.text_rows(), strict=True):
        same = of_all.start + table.token_index[rows]
        np.testing.assert_array_equal(
            done.activations.values[:, rows], every.activations.values[:, same]
        )
    assert read_labels(done.labels_path).tolist() == table.label("true").tolist()
    assert read_record(done.record_path) == done.record
    said = json.loads(done.record_path.read_bytes())["corpus"]
    assert (said["tokens"], said["date"]) == ("assistant", "2026-02-01")
    assert not {"tokens"} & set(json.loads(every.record_path.read_bytes())["corpus"])
    capsys.readouterr()
    assert main(["show", str(done.rows_path)]) == 0
    assert ", message 2 assistant" in capsys.readouterr().out
    assert main(["show", str(done.record_path)]) == 0
    shown = capsys.readouterr().out
    assert "all of assistant of each text" in shown
    assert "2026-02-01" in shown


def test_answers_from_the_model_to_the_auditor(
    chats: Path, tiny_model: TinyModel, tmp_path: Path
) -> None:
    model = model_of("llama-3", tiny_model("llama"), tmp_path)
    dated = {"date": "2026-02-01", "label_columns": ("true",)}
    done = run(model, tmp_path, chats, tokens="assistant", position="all", **dated)
    trained = train_files(
        activations=done.activations_path, labels=done.labels_path, layer=2,
        unembedding=done.unembedding_path,
    )  # fmt: skip
    write_file(tmp_path / "p.json", trained.probe_set.to_json())
    document = attest(
        activations=done.activations_path, probes=[tmp_path / "p.json"], key=KEY,
        unembedding=done.unembedding_path, timestamp=1,
    )  # fmt: skip
    write_attestation(tmp_path / "s.json", document)
    bound = document.bound().extraction_record
    assert bound is not None
    assert (bound.tokens, bound.date) == ("assistant", "2026-02-01")
    verified = verify(
        tmp_path / "s.json", KEY.public, activations=done.activations_path, rows=done.rows_path,
        probes=[tmp_path / "p.json"], unembedding=done.unembedding_path,
    )  # fmt: skip
    assert verified.attestation == document
    auditor: dict[str, Any] = {"model": model, "corpus": chats, "probes": [tmp_path / "p.json"]}
    rest = RowOptions(position="all", label_columns=("true",))
    again = reproduce(tmp_path / "s.json", KEY.public, row_options=rest, **auditor)
    assert again.line == "MATCH"
    wrong: Any
    for wrong in ({"tokens": "user"}, {"date": "2026-02-02"}):
        other = RowOptions(position="all", label_columns=("true",), **wrong)
        with pytest.raises(errors.BadOption):
            reproduce(tmp_path / "s.json", KEY.public, row_options=other, **auditor)
    for lie in ({"tokens": "user"}, {"date": "2026-02-02"}, {"tokens": "nobody"}, {"date": "x"}):
        lied: Any = dataclasses.replace(bound, **lie)  # type: ignore[arg-type]
        binding = dataclasses.replace(document.bound(), extraction_record=lied)
        made = dataclasses.replace(document, binding=binding, probe_commitment=binding.digest)
        write_attestation(tmp_path / "lie.json", sign(made, KEY))
        with pytest.raises(Refused) as refuted:
            verify(tmp_path / "lie.json", KEY.public, record=done.record_path)
        assert refuted.value.cause.where.endswith(", " + next(iter(lie)))
        found = reproduce(tmp_path / "lie.json", KEY.public, row_options=rest, **auditor)
        known = not {"nobody", "x"} & set(lie.values())
        assert found.outcome == ("MISMATCH" if known else "UNVERIFIABLE")


def test_today_is_said_of_a_fast_run(
    chats: Path, tiny_model: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_of("llama-3", tiny_model("llama"), tmp_path)
    command = ["extract", "--model", str(model), "--input-file", str(chats), "--layers", "0",
               "--fast", "--tokens", "user", "--output-activations", str(tmp_path / "a.gotact"),
               "--output-unembedding", str(tmp_path / "u.gotue")]  # fmt: skip
    assert main(command) == 0
    assert "today's date into 6 of 6 texts" in capsys.readouterr().err
    assert main([*command, "--date", "2026-02-01"]) == 0
    assert capsys.readouterr().err == ""
    command[command.index("user")] = "system"
    assert main([*command, "--date", "2026-02-01"]) == 1  # the template's own words are nobody's
    assert capsys.readouterr().err.count("\n") <= 2


def test_stretches_of_characters_with_labels_of_their_own(
    tiny_model: TinyModel, tmp_path: Path
) -> None:
    text = "Rome is in Italy, Lyon too; naïve."
    at = {word: [text.index(word), text.index(word) + len(word)] for word in ("Rome", "Lyon")}
    spans = [{"start": at["Lyon"][0], "end": at["Lyon"][1], "wrong": 1}, at["Rome"]]
    rows = [{"text": text, "chars": spans, "wrong": 0, "other": 1}]
    path = tmp_path / "c.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    model, columns = tiny_model("llama"), ("wrong", "other")
    done = run(model, tmp_path, path, tokens="chars", position="all", label_columns=columns)
    table = read_rows(done.rows_path)
    assert "".join(filter(None, table.token)).replace(" ", "") == "RomeLyon"
    first = table.start < at["Lyon"][0]
    assert table.label("wrong").tolist() == np.where(first, 0, 1).tolist()
    assert table.label("other").tolist() == [1] * len(table)
    assert read_labels(done.labels_path).tolist() == table.label("wrong").tolist()
    assert table.turn is not None
    assert (table.turn == NONE).all()
    assert table.role == (None,) * len(table)
    assert read_own_rows(done.rows_path, done.record) is not None
    # As a cell of CSV, and with the labels in the stretches alone.
    csv = tmp_path / "c.csv"
    own = [{"start": a, "end": b, "wrong": int(word == "Lyon")} for word, (a, b) in at.items()]
    csv.write_text('where,text\n"{}","{}"\n'.format(json.dumps(own).replace('"', '""'), text))
    same = run(model, tmp_path / "csv", csv, tokens="chars", chars_column="where", position="all",
               label_columns=("wrong",))  # fmt: skip
    assert read_rows(same.rows_path).label("wrong").tolist() == table.label("wrong").tolist()
    assert same.activations.values.tobytes() == done.activations.values.tobytes()
    with pytest.raises(errors.BadLabel):  # a mean of both
        run(model, tmp_path / "m", path, tokens="chars", position="mean", label_columns=columns)


def _entries(path: Path, row: dict[str, Any]) -> list[Entry]:
    path.write_text(json.dumps({"text": "The river"} | row))
    columns = RowOptions(tokens="chars", label_columns=("wrong",)).columns
    return list(read_corpus(path, columns=columns))


@pytest.mark.parametrize(("row", "kind"), [
    ({"chars": "x"}, errors.BadJson),
    ({"chars": 3}, errors.BadCorpus),
    ({"chars": [[3, 3]]}, errors.BadCorpus),
    ({"chars": [[-1, 2]]}, errors.BadCorpus),
    ({"chars": [[0, True]]}, errors.BadCorpus),
    ({"chars": [{"start": 0}]}, errors.BadCorpus),
    ({}, errors.MissingColumn),
    ({"chars": [{"start": 0, "end": 2, "wrong": 2}]}, errors.BadLabel),
    ({"chars": [{"start": 0, "end": 2}]}, errors.BadLabel),
])  # fmt: skip
def test_stretches_that_are_none(
    row: dict[str, Any], kind: type[errors.GotError], tmp_path: Path
) -> None:
    with pytest.raises(kind) as caught:
        _entries(tmp_path / "c.jsonl", row)
    assert f"{tmp_path / 'c.jsonl'}, line 1" in caught.value.where
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("spans", "kind"), [
    ([[0, 99]], errors.TokensMissing),
    ([], errors.TokensMissing),
    ([{"start": 0, "end": 3, "wrong": 0}, {"start": 2, "end": 4, "wrong": 1}], errors.BadLabel),
])  # fmt: skip
def test_stretches_that_choose_nothing_or_twice(
    spans: Any, kind: type[errors.GotError], tmp_path: Path
) -> None:
    (entry,) = _entries(tmp_path / "c.jsonl", {"chars": spans, "wrong": 0})
    with pytest.raises(kind) as caught:
        chosen("smollm-2", "chars", entry)
    assert caught.value.where.startswith(entry.where)


@pytest.mark.parametrize(("tokens", "expected"), [
    ("after:Q: ", "a? A: b; Q: c? A: d."),
    ("between/b/d", "; Q: c? A: "),
    ("between|Q: |?", "ac"),
    ("between|A: |?", None),  # the last one is not closed
    ("after:R:", None),
    ("after:d.", None),
    ("between|use|r", None),  # nothing stands between, though one token has both
])  # fmt: skip
def test_what_stands_around_them(tokens: str, expected: str | None) -> None:
    asked = "Q: a? A: b; Q: c? A: d." if "use" not in tokens else "user"
    if expected is None:
        with pytest.raises(errors.TokensMissing):
            chosen("smollm-2", tokens, asked)
        return
    text, found, spans = chosen("smollm-2", tokens, asked)
    assert "".join(text[c] for c in sorted(covered(spans, found))) == expected


def test_one_text(
    tiny_model: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_of("smollm-2", tiny_model("llama"), tmp_path)
    command = ["extract", "--model", str(model), "--input", "Q: a? A: b", "--layers", "0",
               "--output-activations", str(tmp_path / "a.gotact"),
               "--output-unembedding", str(tmp_path / "u.gotue")]  # fmt: skip
    assert main([*command, "--tokens", "after:A:"]) == 0
    assert read_rows(tmp_path / "a.rows.parquet").token == (" ", "b")
    capsys.readouterr()
    for tokens in ("assistant", "chars", "last"):
        assert main([*command, "--tokens", tokens]) == 2
        assert "--tokens" in capsys.readouterr().err


def test_texts_are_no_chats() -> None:
    with pytest.raises(errors.TokensMissing) as caught:
        chosen("smollm-2", "user", "user: a")
    assert caught.value.found == "a text"
    messages = ({"role": "user", "content": "a"},)
    with pytest.raises(errors.TokensMissing) as caught:
        chosen("smollm-2", "chars", Entry(None, messages, {}, None, "row 1", ((0, 1, {}),)))
    assert caught.value.found == "a chat"


def test_other_tokens_do_not_go_on_with_a_run(
    chats: Path, tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose rows may be as many and at the same places."""
    model = model_of("smollm-2", tiny_model("llama"), tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("geometry_of_trust.corpus.corpus_run._finish", _stopped)
        with pytest.raises(errors.Interrupted):
            run(model, tmp_path, chats, tokens="last-assistant")
    with pytest.raises(errors.ResumeMismatch) as caught:
        run(model, tmp_path, chats, tokens="assistant", resume=True)
    assert caught.value.expected == "tokens: last-assistant"
    assert run(model, tmp_path, chats, tokens="last-assistant", resume=True).resumed_rows == 6


def _stopped(*_: object) -> None:
    raise KeyboardInterrupt
