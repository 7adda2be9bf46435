"""Whole corpora attested in one document: signed, verified from files, made again."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from geometry_of_trust import errors
from geometry_of_trust.attesting.attest import attest
from geometry_of_trust.cli import main
from geometry_of_trust.corpus.extracting import extract_corpus
from geometry_of_trust.corpus.options import CorpusOptions, RowOptions
from geometry_of_trust.documents.extraction_record_reading import read_record
from geometry_of_trust.documents.names_beside import record_path, rows_path
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.probing.training_files import train_files
from geometry_of_trust.showing import verdicts
from geometry_of_trust.signing import checks
from geometry_of_trust.signing.attestation import Attestation, write_attestation
from geometry_of_trust.verifying.reproduce import reproduce
from geometry_of_trust.verifying.verify import Refused, Verdict, verify
from pipeline import KEY, TIMESTAMP, replaced, signed_anew
from tiny_models import FAMILIES, build, quick

TOWNS = ("Paris", "London", "Lyon", "Ghent", "Turin", "Porto")
ROWS = RowOptions(label_columns=("wet", "long"), group_column="of")


@dataclass(frozen=True)
class Evaluation:
    """A corpus of 24 short texts, its activations, and two probe sets: of two probes, and one."""

    folder: Path
    model: Path
    corpus: Path
    activations: Path
    unembedding: Path
    probes: tuple[Path, Path]

    def attest(self, **options: Any) -> Attestation:
        chosen: dict[str, Any] = {
            "activations": self.activations, "unembedding": self.unembedding,
            "probes": self.probes, "key": KEY, "timestamp": TIMESTAMP, "position": "every",
        }  # fmt: skip
        return attest(**(chosen | options))

    def verify(self, document: Attestation | bytes, **options: Any) -> Verdict:
        data = document.to_json() if isinstance(document, Attestation) else document
        chosen: dict[str, Any] = {
            "activations": self.activations, "unembedding": self.unembedding,
            "probes": self.probes, "model": self.model,
        }  # fmt: skip
        return verify(data, KEY.public, **(chosen | options))


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    folder = tmp_path_factory.mktemp("evaluation")
    corpus = folder / "c.jsonl"
    lines = [
        {"text": f"{town} is {what}", "wet": int("wet" in what), "long": n % 2, "of": town}
        for town in TOWNS
        for n, what in enumerate(("wet", "dry", "very wet today", "so dry"))
    ]
    corpus.write_text("\n".join(map(json.dumps, lines)))
    activations, unembedding = folder / "a.gotact", folder / "u.gotue"
    probes = folder / "two.json", folder / "one.json"
    with quick():
        model = build(FAMILIES["llama"], folder / "model")
        extract_corpus(
            model, corpus, [1, 2], output_activations=activations, output_unembedding=unembedding,
            corpus_options=CorpusOptions(**vars(ROWS)), options=ExtractionOptions(model_id="tiny"),
        )  # fmt: skip
        for path, columns, layer in zip(probes, (("wet", "long"), ("wet",)), (2, 1), strict=True):
            trained = train_files(
                activations=activations, unembedding=unembedding, label_columns=columns, layer=layer
            )
            write_file(path, trained.probe_set.to_json())
    return Evaluation(folder, model, corpus, activations, unembedding, probes)


@pytest.fixture(scope="module")
def signed(evaluation: Evaluation) -> Attestation:
    return evaluation.attest()


def test_every_row_is_read_as_it_would_be_alone(
    evaluation: Evaluation, signed: Attestation
) -> None:
    assert [len(row) for row in signed.layer_readings] == [48, 24]
    for n in (0, 7, 23):
        alone = evaluation.attest(position=str(n))
        assert signed.layer_readings[0][2 * n : 2 * n + 2] == alone.layer_readings[0]
        assert signed.layer_readings[1][n] == alone.layer_readings[1][0]
        assert signed.confidence[2 * n : 2 * n + 2] == alone.confidence[:2]
        assert signed.coverage_flags[48 + n] == alone.coverage_flags[2]
    entry = verdicts.readings(signed)[15]
    assert (entry.dimension, entry.position_index, entry.layer) == ("long", 7, 2)
    assert "position every (7): 'long'" in entry.line()
    assert verdicts.readings(signed)[48 + 5].position_index == 5


def test_what_is_far_outside_is_said_of_each_reading(evaluation: Evaluation) -> None:
    """As it is of a row alone; and rows that the probes were not trained on need --anyway."""
    tree = json.loads(evaluation.probes[1].read_bytes())
    scores = tree["training"]["fitted"]["scores"][0]
    scores["low"] = scores["high"] = evaluation.attest().layer_readings[1][7]
    narrow = evaluation.folder / "narrow.json"
    narrow.write_text(json.dumps(tree))
    every = evaluation.attest(probes=[narrow]).bound().probe_sets[0].outside
    for n in (6, 7):
        alone = evaluation.attest(probes=[narrow], position=str(n)).bound().probe_sets[0].outside
        assert (every[n],) == (alone or (False,))
    assert every.count(False) < 24
    tree["training"]["tokens"]["position"] = "first"
    narrow.write_text(json.dumps(tree))
    with pytest.raises(errors.OtherTokens):
        evaluation.attest(probes=[narrow])
    elsewhere = evaluation.attest(probes=[narrow], anyway=True)
    assert elsewhere.bound().probe_sets[0].other_tokens
    entry = verdicts.readings(elsewhere)[6]
    assert entry.outside is elsewhere.bound().probe_sets[0].outside[6]
    assert evaluation.verify(elsewhere, probes=[narrow]).complete
    narrow.unlink()


def test_the_corpus_is_bound(evaluation: Evaluation, signed: Attestation) -> None:
    record, binding = read_record(record_path(evaluation.activations)), signed.bound()
    assert record.corpus is not None
    assert binding.corpus is not None
    assert binding.corpus.texts == 24
    assert binding.corpus.texts_sha256 == record.prompt_sha256
    assert binding.corpus.rows_sha256 == record.corpus.rows_sha256
    assert [entry.position for entry in binding.probe_sets] == ["every", "every"]
    assert len(signed.to_json()) < 20_000
    assert evaluation.attest(position="last").bound().corpus is None


def test_it_is_verified_from_the_files(evaluation: Evaluation, signed: Attestation) -> None:
    verdict = evaluation.verify(signed, rows=rows_path(evaluation.activations))
    assert verdict.line == "VERIFIED"
    assert "72 readings from 2 probe sets" in verdicts.verdict(verdict)


@pytest.mark.parametrize(
    ("path", "value", "refused"),
    [
        (("layer_readings", 0, 31), 0.5, (6, "layer_readings")),
        (("binding", "corpus", "texts"), 25, (5, "corpus")),
        (("binding", "corpus", "texts_sha256"), "ab" * 32, (5, "corpus")),
        (("binding", "corpus"), None, (5, "corpus")),
        (("binding", "extraction_record"), None, (4, "binding.corpus")),
        (("binding", "probe_sets", 0, "dimensions"), ("wet",), (4, "dimensions")),
        (("binding", "probe_sets", 0, "verdicts"), ("INSUFFICIENT",), (4, "verdicts")),
        (("binding", "probe_sets", 0, "position"), "mean", (4, "dimensions")),
        (("binding", "probe_sets", 0, "position_index"), 3, (4, "position_index")),
    ],
)
def test_a_lie_is_refused(
    evaluation: Evaluation,
    signed: Attestation,
    path: tuple[str | int, ...],
    value: object,
    refused: tuple[int, str],
) -> None:
    lie = replaced(signed, path, value)
    name = str(path[0])
    with pytest.raises(Refused) as caught:
        evaluation.verify(signed_anew(signed, **{name: getattr(lie, name)}))
    assert caught.value.step == refused[0]
    assert refused[1] in str(caught.value.where)


def test_a_corpus_is_bound_of_a_reading_of_every_row_alone(evaluation: Evaluation) -> None:
    one, corpus = evaluation.attest(position="last"), evaluation.attest().bound().corpus
    with pytest.raises(Refused) as caught:
        evaluation.verify(signed_anew(one, binding=replace(one.bound(), corpus=corpus)))
    assert (caught.value.step, str(caught.value.where)[-14:]) == (4, "binding.corpus")


def test_it_is_made_again_from_the_model(evaluation: Evaluation, signed: Attestation) -> None:
    document = evaluation.folder / "t.json"
    write_attestation(document, signed)
    chosen: dict[str, Any] = {"model": evaluation.model, "probes": evaluation.probes}
    with quick():
        again = reproduce(
            document, KEY.public, corpus=evaluation.corpus, row_options=ROWS, **chosen
        )
        assert again.line == "MATCH"
        fewer = replace(ROWS, limit=23)
        other = reproduce(
            document, KEY.public, corpus=evaluation.corpus, row_options=fewer,
            record=record_path(evaluation.activations), rows=rows_path(evaluation.activations),
            **chosen,
        )  # fmt: skip
    assert other.line == "MISMATCH at tokens: text 23 has no rows, and has some as signed"


def test_more_readings_than_can_be_signed_are_refused_before_the_long_arithmetic(
    evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_arithmetic(*arguments: object, **options: object) -> None:
        raise AssertionError("the Gram matrix was asked for")

    monkeypatch.setattr("geometry_of_trust.attesting.attest.MAX_READINGS", 71)
    monkeypatch.setattr(Geometry, "from_unembedding", no_arithmetic)
    with pytest.raises(errors.LimitExceeded) as caught:
        evaluation.attest()
    assert caught.value.where == "--position every"
    assert checks.MAX_READINGS == 65536


def test_the_commands(evaluation: Evaluation, capsys: pytest.CaptureFixture[str]) -> None:
    folder = evaluation.folder
    assert main(["keygen", "--output", str(folder / "k")]) == 0
    files = [
        "--activations", str(evaluation.activations), "--unembedding", str(evaluation.unembedding),
        "--probes", *map(str, evaluation.probes),
    ]  # fmt: skip
    document = str(folder / "command.json")
    command = ["attest", *files, "--key", str(folder / "k"), "--output", document]
    assert main([*command, "--position", "every"]) == 0
    shown = capsys.readouterr().out
    assert "texts" in shown
    assert "position every (23): 'wet'" in shown
    assert (
        main(["verify", "--attestation", document, "--pubkey", f"{folder / 'k'}.pub", *files]) == 0
    )
    assert main([*command, "--position", "all"]) == 2
