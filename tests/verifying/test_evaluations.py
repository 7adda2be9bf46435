"""Whole corpora attested in one document: signed, verified from files, made again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import brier_score_loss, recall_score, roc_auc_score

from geometry_of_trust import errors
from geometry_of_trust.attesting import assemble as assembling
from geometry_of_trust.attesting.attest import attest
from geometry_of_trust.attesting.evaluations import Labelled, with_evaluation
from geometry_of_trust.cli import main
from geometry_of_trust.corpus.extracting import extract_corpus
from geometry_of_trust.corpus.options import CorpusOptions, RowOptions
from geometry_of_trust.documents.extraction_record_reading import read_record
from geometry_of_trust.documents.names_beside import record_path, rows_path
from geometry_of_trust.documents.strictjson import shortest_float32
from geometry_of_trust.documents.thresholds import Thresholds
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.formats.readings_file import open_readings
from geometry_of_trust.formats.row_table import RowTable, read_rows
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.hash_tree import leaf_hash, root_of
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.probing.options import TrainingOptions
from geometry_of_trust.probing.probes import read_probe_set
from geometry_of_trust.probing.training_files import train_files
from geometry_of_trust.showing import verdicts
from geometry_of_trust.showing.any_file import describe
from geometry_of_trust.signing import checks
from geometry_of_trust.signing.attestation import Attestation, write_attestation
from geometry_of_trust.verifying.reproduce import reproduce
from geometry_of_trust.verifying.verdict import Refused, Verdict
from geometry_of_trust.verifying.verify import verify
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
        (("layer_readings", 0, 31), 0.5, (6, "layer_readings[0][31]")),
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
    assert len(str(caught.value)) < 500  # whatever the corpus has


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


@pytest.mark.parametrize("texts", [False, True])
def test_readings_beside_the_document_are_made_again(
    evaluation: Evaluation, of_texts: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    texts: bool,
) -> None:  # fmt: skip
    """With their evaluation; of others the first row that differs is named, if they are there."""
    chosen = of_texts if texts else evaluation
    document, beside = tmp_path / "t.json", tmp_path / "t.readings.parquet"
    monkeypatch.setattr("geometry_of_trust.attesting.attest.MAX_READINGS", 71)
    signed = chosen.attest(readings=beside, label_columns=["wet", "long"], threshold=0.5)
    monkeypatch.undo()
    write_attestation(document, signed)
    inside = chosen.attest(label_columns=["wet", "long"], threshold=0.5)
    assert signed.bound().evaluation == inside.bound().evaluation
    assert chosen.verify(signed, readings=beside).line == "VERIFIED"
    again: dict[str, Any] = {
        "model": chosen.model, "corpus": chosen.corpus, "probes": chosen.probes,
        "row_options": replace(ROWS, position="all") if texts else ROWS,
    }  # fmt: skip
    table = pq.read_table(beside)
    raw = table["raw.1"].to_pylist()
    raw[11] = 0.5
    other = tmp_path / "other.parquet"
    pq.write_table(table.set_column(4, "raw.1", pa.array(raw, pa.float32())), other)
    probes = len(signed.bound().dimensions)
    with open_readings(other, 24, probes) as parts:
        root = root_of(leaf_hash(leaf) for part in parts for leaf in part.leaves(0)).hex()
    lie = replaced(signed.bound(), ("readings", "root"), root)
    (tmp_path / "lie.json").write_bytes(signed_anew(signed, binding=lie))
    with quick():
        assert reproduce(document, KEY.public, **again).line == "MATCH"
        if texts:
            return
        made = reproduce(tmp_path / "lie.json", KEY.public, readings=other, **again)
        assert made.line.startswith("MISMATCH at readings, row 11: raw of probe 1, 'long': ")
        unseen = reproduce(tmp_path / "lie.json", KEY.public, **again)
        assert unseen.line.startswith("MISMATCH at binding.readings.root: ")
        with pytest.raises(errors.DigestMismatch):
            reproduce(document, KEY.public, readings=other, **again)


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


# --- with labels ------------------------------------------------------------------------------


def bar_of(evaluation: Evaluation, **changes: Any) -> Path:
    """A bar for the first probe, in a file."""
    record = read_record(record_path(evaluation.activations))
    tree = {
        "format": "geometry-of-trust bar", "version": 1, "dimension": "wet", "layer": 2,
        "metric": "recall", "threshold": 0.5, "corpus": record.prompt_sha256, "minimum": 0.25,
    }  # fmt: skip
    path = evaluation.folder / "bar.json"
    path.write_text(json.dumps({k: v for k, v in (tree | changes).items() if v is not None}))
    return path


@pytest.fixture(scope="module")
def judged(evaluation: Evaluation) -> Attestation:
    return evaluation.attest(
        label_columns=["wet", "long"], threshold=0.5, bar=bar_of(evaluation)
    )  # fmt: skip


def test_figures_are_those_of_readings_and_labels(
    evaluation: Evaluation, judged: Attestation
) -> None:
    """As scikit-learn has them."""
    found = judged.bound().evaluation
    assert found is not None
    assert [probe.dimension for probe in found.probes] == ["wet", "long", "wet"]
    assert (found.groups, found.threshold, found.from_file) == (6, 0.5, False)
    rows = read_rows(rows_path(evaluation.activations))
    for i, probe in enumerate(found.probes):
        y = rows.label(probe.dimension)
        take = slice(i, 48, 2) if i < 2 else slice(0, 24)
        raw = np.array(judged.layer_readings[i // 2][take])
        p = np.array(judged.confidence[take if i < 2 else slice(48, 72)])
        assert probe.auroc.value == pytest.approx(roc_auc_score(y, raw), abs=1e-6)
        assert probe.brier.value == pytest.approx(brier_score_loss(y, p), abs=1e-6)
        assert (probe.positives, probe.negatives) == (int(y.sum()), 24 - int(y.sum()))
        at = probe.at_threshold
        assert at is not None
        called = p >= 0.5
        assert (at.true_positives, at.false_positives) == (
            int((called & (y == 1)).sum()), int((called & (y == 0)).sum()),
        )  # fmt: skip
        assert at.recall.value == pytest.approx(recall_score(y, called), abs=1e-6)
        assert at.accuracy.value == pytest.approx((called == y).mean(), abs=1e-6)
        for name in ("auroc", "recall_at_1_percent", "brier", "recall", "accuracy"):
            figure = probe.figure(name)
            assert figure is not None
            assert 0 <= figure.low <= figure.value <= figure.high <= 1
    digest = hashlib.sha256("".join(f"{x}\n" for x in rows.label("wet")).encode()).hexdigest()
    assert [(e.dimension, e.column) for e in found.labels] == [("wet", "wet"), ("long", "long")]
    assert found.labels[0].sha256 == digest


def test_an_evaluation_is_verified(evaluation: Evaluation, judged: Attestation) -> None:
    """All of it from all files; and the evaluation without the activations."""
    bar = evaluation.folder / "bar.json"
    whole = evaluation.verify(judged, bar=bar)
    assert whole.line == "VERIFIED"
    assert "GOT_EVALUATION_RECOMPUTED" in whole.properties
    assert "the bar was MET: recall of at least 0.25" in whole.steps[3].detail
    beside: dict[str, Any] = {
        "record": record_path(evaluation.activations), "rows": rows_path(evaluation.activations),
        "activations": None, "unembedding": None, "probes": (), "model": None,
    }  # fmt: skip
    small = evaluation.verify(judged, **beside)
    assert "the evaluation is that of the readings with these labels" in small.steps[4].detail
    assert "GOT_EVALUATION_RECOMPUTED" in small.properties
    assert "bar" in small.not_checked
    nothing = verify(judged.to_json(), KEY.public)
    assert {"row table", "bar", "evaluation"} <= {*nothing.not_checked}
    assert "GOT_EVALUATION_RECOMPUTED" not in nothing.properties
    shown = verdicts.verdict(whole)
    assert "auroc " in shown
    assert "at p = 0.5: recall " in shown
    assert "MET: recall of at least 0.25" in shown
    tree = json.loads(verdicts.verdict_json(whole))["attestation"]["evaluation"]
    assert tree["probes"][0]["auroc"]["value"] == str(tree["probes"][0]["auroc"]["value"])


def test_a_text_that_stands_in_two_groups_makes_them_one(
    evaluation: Evaluation, signed: Attestation
) -> None:
    """Groups are then numbered as they first appear: the figures are those of one name for both."""
    table = read_rows(rows_path(evaluation.activations))
    sets = [read_probe_set(path) for path in evaluation.probes]

    def figures(rows: RowTable) -> Any:
        made = with_evaluation(
            signed, Labelled(None, rows), sets, label_columns=["wet", "long"], threshold=0.5,
            bar=None,
        )  # fmt: skip
        return made.bound().evaluation

    tokens, group = list(table.tokens), list(table.group)
    tokens[5] = tokens[22]  # of London and Porto
    named = tuple("London" if name == "Porto" else name for name in group)
    assert figures(table).groups == 6
    joined = figures(replace(table, tokens=tuple(tokens)))
    assert joined.groups == 5
    assert joined == figures(replace(table, group=named))


def test_an_auditor_without_the_libraries(
    evaluation: Evaluation, judged: Attestation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readings are recomputed; of the evaluation it is said that nobody looked."""

    def missing(*arguments: object) -> None:
        raise errors.MissingExtra("geometry-of-trust[probes]", expected="it", found="it missing")

    monkeypatch.setattr("geometry_of_trust.verifying.file_contents.read_own_rows", missing)
    verdict = evaluation.verify(judged, bar=bar_of(evaluation))
    assert verdict.not_checked == ("evaluation",)
    assert verdict.steps[5].outcome == "passed"
    assert "GOT_EVALUATION_RECOMPUTED" not in verdict.properties


def test_a_bar_that_is_not_met(evaluation: Evaluation) -> None:
    for changes, met in (
        ({"minimum": 1.0, "threshold": 1.0}, False),
        ({"metric": "brier", "threshold": None, "minimum": None, "maximum": 1.0}, True),
        ({"metric": "ece", "threshold": None, "minimum": None, "maximum": 0.0}, False),
        ({"metric": "precision", "threshold": 1.0, "minimum": 0.0}, False),  # none is called so
    ):
        bar = bar_of(evaluation, **changes)
        document = evaluation.attest(label_columns=["wet", "long"], bar=bar)
        found = document.bound().evaluation
        assert found is not None
        assert found.bar is not None
        assert found.bar.met is met, changes
        verdict = evaluation.verify(document, bar=bar)
        assert verdict.line == "VERIFIED"
        assert ("was MET" in verdict.steps[3].detail) is met
    bar.write_text(bar.read_text().replace("precision", "recall"))
    with pytest.raises(Refused) as caught:
        evaluation.verify(document, bar=bar)
    assert (caught.value.step, caught.value.where) == (5, str(bar))
    bar_of(evaluation)


def test_a_bar_for_labels(evaluation: Evaluation, tmp_path: Path) -> None:
    """Their digest is shown beforehand; labels that were chosen afterwards do not meet it."""
    rows = read_rows(rows_path(evaluation.activations))
    file = tmp_path / "wet.labels"
    file.write_text("".join(f"{x}\n" for x in rows.label("wet")))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    shown = [*describe(rows_path(evaluation.activations))]
    assert f"12 positive, sha256 {digest}: labels 'wet'" in shown
    assert [*describe(file)][1] == f"sha256 in a bar or an evaluation: {digest}"
    bar = bar_of(evaluation, labels=digest)
    alone = train_files(
        activations=evaluation.activations, unembedding=evaluation.unembedding,
        label_columns=["wet"], layer=2,
    )  # fmt: skip
    probes = [tmp_path / "alone.json"]
    write_file(probes[0], alone.probe_set.to_json())
    document = evaluation.attest(probes=probes, label_columns=["wet"], bar=bar)
    assert evaluation.verify(document, probes=probes, bar=bar).complete
    assert evaluation.attest(probes=probes, labels=file, bar=bar).bound().evaluation
    with pytest.raises(errors.Inconsistent) as caught:
        evaluation.attest(probes=probes, label_columns=["long"], bar=bar)
    assert caught.value.where == f"{bar}.labels"
    other = evaluation.attest(
        probes=probes, label_columns=["long"], bar=bar_of(evaluation, minimum=0.0)
    )
    bound = other.bound().evaluation
    assert bound is not None
    assert bound.bar is not None
    bar_of(evaluation, labels=digest, minimum=0.0)
    lie = replace(bound.bar, sha256=hashlib.sha256(bar.read_bytes()).hexdigest())
    forged = signed_anew(other, binding=replaced(other.bound(), ("evaluation", "bar"), lie))
    with pytest.raises(Refused) as refused:
        evaluation.verify(forged, probes=probes, bar=bar)
    assert (refused.value.step, refused.value.where) == (5, f"{bar}.labels")
    bar_of(evaluation)


@pytest.mark.parametrize(
    ("path", "value", "refused"),
    [
        (("probes", 0, "auroc", "value"), 0.5, (5, "binding.evaluation.probes[0]")),
        (("probes", 2, "ece", "high"), 0.75, (5, "binding.evaluation.probes[2]")),
        (("groups",), 7, (5, "binding.evaluation.groups")),
        (("threshold",), 0.75, (5, "bar.json.threshold")),
        (("labels", 1, "sha256"), "ab" * 32, (5, "labels 'long'")),
        (("labels", 1, "column"), "wet", (5, "labels 'long'")),
        (("labels", 1, "column"), "x" * 257, (2, "column")),
        (("bar", "sha256"), "ab" * 32, (5, "bar.json")),
        (("bar", "minimum"), 0.375, (5, "bar.json")),
        (("bar", "met"), False, (4, "evaluation.bar.met")),
        (("bar", "maximum"), 0.5, (4, "evaluation.bar")),
        (("bar", "probe"), 3, (4, "evaluation.bar.probe")),
        (("bar", "probe"), 1, (5, "bar.json")),
        (("threshold",), None, (4, "probes[0].at_threshold")),
        (("probes", 1, "at_threshold"), None, (4, "probes[1].at_threshold")),
        (("probes", 1, "at_threshold", "true_positives"), 25, (4, "probes[1].at_threshold")),
        (("probes", 1, "at_threshold", "false_positives"), 25, (4, "probes[1].at_threshold")),
        (("probes", 1, "at_threshold", "precision"), None, (4, "at_threshold.precision")),
        (("probes", 1, "dimension"), "wet", (4, "evaluation.probes")),
        (("probes", 1, "positives"), 11, (4, "probes[1]")),
        (("groups",), 1, (4, "evaluation.groups")),
        (("groups",), 25, (4, "evaluation.groups")),
        (("labels",), (), (4, "evaluation.labels")),
        (("labels", 0, "column"), None, (4, "evaluation.labels")),
    ],
)
def test_a_lie_of_an_evaluation_is_refused(
    evaluation: Evaluation,
    judged: Attestation,
    path: tuple[str | int, ...],
    value: object,
    refused: tuple[int, str],
) -> None:
    binding = replaced(judged.bound(), ("evaluation", *path), value)
    with pytest.raises(Refused) as caught:
        evaluation.verify(signed_anew(judged, binding=binding), bar=bar_of(evaluation))
    assert caught.value.step == refused[0]
    assert refused[1] in str(caught.value.where)


def test_rows_that_a_probe_was_trained_on(evaluation: Evaluation, judged: Attestation) -> None:
    """By the activations, a row table of the same content or the texts; a lie of it is refused."""
    found = judged.bound().evaluation
    assert found is not None
    assert [probe.trained_on for probe in found.probes] == [True] * 3
    assert "ON ROWS OR TEXTS TRAINED ON" in evaluation.verify(judged).steps[3].detail
    assert "TRAINED ON THESE ROWS OR TEXTS" in verdicts.attestation(judged)
    tree = json.loads(evaluation.probes[1].read_bytes())
    path = evaluation.folder / "elsewhere.json"
    probes = [evaluation.probes[0], path]
    record = read_record(record_path(evaluation.activations))
    assert tree["training"]["texts_sha256"] == record.prompt_sha256
    for member, known in (
        ("activations_sha256", True), ("rows_digest", True), ("texts_sha256", False),
    ):  # fmt: skip
        tree["training"][member] = "ab" * 32
        path.write_text(json.dumps(tree))
        document = evaluation.attest(probes=probes, label_columns=["wet", "long"])
        made = document.bound().evaluation
        assert made is not None
        assert [probe.trained_on for probe in made.probes] == [True, True, known]
        assert evaluation.verify(document, probes=probes).line == "VERIFIED"
        lie = replaced(document.bound(), ("evaluation", "probes", 2, "trained_on"), not known)
        with pytest.raises(Refused) as caught:
            evaluation.verify(signed_anew(document, binding=lie), probes=probes)
        assert (caught.value.step, caught.value.where) == (
            5, "--probes, trained_on of probe 2, 'wet'",
        )  # fmt: skip
    path.unlink()


def test_an_evaluation_without_a_threshold(evaluation: Evaluation) -> None:
    document = evaluation.attest(
        label_columns=["wet", "long"],
        bar=bar_of(evaluation, metric="auroc", threshold=None, minimum=0.5),
    )
    assert evaluation.verify(document, bar=bar_of(evaluation, metric="auroc", threshold=None,
                                                  minimum=0.5)).complete  # fmt: skip
    for path, value, where in (
        (("bar", "metric"), "recall", "evaluation.bar.metric"),
        (("bar", "minimum"), None, "evaluation.bar"),
        (("probes", 0, "positives"), 24, "evaluation.probes[0]"),
    ):
        binding = replaced(document.bound(), ("evaluation", *path), value)
        if path[-1] == "positives":
            binding = replaced(binding, ("evaluation", "probes", 0, "negatives"), 0)
        with pytest.raises(Refused) as caught:
            verify(signed_anew(document, binding=binding), KEY.public)
        assert caught.value.step == 4
        assert str(caught.value.where).endswith(where)
    bar_of(evaluation)


def test_an_evaluation_is_of_every_row_of_a_corpus(
    evaluation: Evaluation, judged: Attestation
) -> None:
    evaluated = judged.bound().evaluation
    assert evaluated is not None
    last = evaluation.attest(position="last")
    for binding, where in (
        (replace(last.bound(), evaluation=evaluated), "evaluation.positions"),
        (replace(judged.bound(), corpus=None), "evaluation.from_file"),
        (replace(judged.bound(), corpus=None, evaluation=replace(evaluated, from_file=True)),
         "evaluation.bar"),
    ):  # fmt: skip
        signed = last if binding.corpus is None and where.endswith("positions") else judged
        with pytest.raises(Refused) as caught:
            evaluation.verify(signed_anew(signed, binding=binding))
        assert (caught.value.step, str(caught.value.where)[-len(where) :]) == (4, where)


def test_labels_from_a_file_of_their_own(evaluation: Evaluation, tmp_path: Path) -> None:
    y = read_rows(rows_path(evaluation.activations)).label("wet")
    text, table = tmp_path / "a.labels", tmp_path / "a.csv"
    text.write_text("".join(f"{x}\n" for x in y))
    table.write_text("long,soaked\n" + "".join(f"{1 - x},{x}\n" for x in y))
    one = {"probes": evaluation.probes[1:]}
    for options in ({"labels": text}, {"labels": table, "label_columns": ["soaked"]}):
        document = evaluation.attest(**one, **options)
        found = document.bound().evaluation
        assert found is not None
        assert found.from_file
        assert found.labels[0].sha256 == hashlib.sha256(text.read_bytes()).hexdigest()
        labels = options["labels"]
        assert evaluation.verify(document, **one, labels=labels).line == "VERIFIED"
        assert "labels" in evaluation.verify(document, **one).not_checked
    assert "'wet' against LABELS OF ANOTHER NAME, 'soaked'" in verdicts.attestation(document)
    path = evaluation.folder / "file.json"
    write_attestation(path, document)
    chosen: dict[str, Any] = {
        "model": evaluation.model, "corpus": evaluation.corpus, "row_options": ROWS, **one,
    }  # fmt: skip
    missing = reproduce(path, KEY.public, **chosen)
    assert missing.outcome == "UNVERIFIABLE"
    assert "--labels" in missing.line
    with quick():
        assert reproduce(path, KEY.public, labels=table, **chosen).line == "MATCH"
        table.write_text("soaked\n" + "".join(f"{1 - x}\n" for x in y))
        other = reproduce(path, KEY.public, labels=table, **chosen)
    assert other.line.startswith("MISMATCH at evaluation: labels 'wet': ")
    with pytest.raises(Refused) as caught:
        evaluation.verify(document, **one, labels=table)
    assert caught.value.step == 5
    with pytest.raises(Refused) as caught:
        evaluation.verify(evaluation.attest(), labels=text)
    assert (caught.value.step, caught.value.where) == (5, str(text))
    with pytest.raises(Refused) as caught:
        evaluation.verify(evaluation.attest(), bar=bar_of(evaluation))
    assert caught.value.step == 5


def test_an_evaluation_is_made_again_from_the_model(
    evaluation: Evaluation, judged: Attestation, tmp_path: Path
) -> None:
    write_attestation(tmp_path / "t.json", judged)
    with quick():
        again = reproduce(
            tmp_path / "t.json", KEY.public, model=evaluation.model, corpus=evaluation.corpus,
            row_options=ROWS, probes=evaluation.probes,
        )  # fmt: skip
    assert again.line == "MATCH"
    assert "when the bar was written down" in again.not_checked


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"position": "last", "label_columns": ["wet"]}, errors.BadOption),
        ({"threshold": 0.5}, errors.BadOption),
        ({"bar": "bar.json"}, errors.BadOption),
        ({"label_columns": ["wet", "long"], "threshold": 1.5}, errors.BadOption),
        ({"label_columns": ["wet", "long"], "threshold": 0.25, "bar": {}}, errors.BadOption),
        ({"label_columns": ["wet"]}, errors.MissingMember),
        ({"label_columns": ["wet", "long"], "bar": {"layer": 3}}, errors.Inconsistent),
        ({"label_columns": ["wet", "long"], "bar": {"corpus": "ab" * 32}}, errors.Inconsistent),
        ({"label_columns": ["wet", "long"], "bar": {"maximum": 0.5}}, errors.Inconsistent),
        ({"label_columns": ["wet", "long"], "bar": {"threshold": None}}, errors.Inconsistent),
        ({"label_columns": ["wet", "long"], "bar": {"metric": "ece"}}, errors.Inconsistent),
        ({"label_columns": ["wet", "long"], "bar": {"metric": "f1"}}, errors.WrongType),
        ({"label_columns": ["wet", "long"], "bar": {"version": 2}}, errors.WrongType),
    ],
)
def test_what_does_not_fit_is_refused(
    evaluation: Evaluation, options: dict[str, Any], error: type[errors.GotError]
) -> None:
    if isinstance(options.get("bar"), dict):
        options = options | {"bar": bar_of(evaluation, **options["bar"])}
    with pytest.raises(error):
        evaluation.attest(**options)
    bar_of(evaluation)


def test_the_commands_of_an_evaluation(
    evaluation: Evaluation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, document = str(tmp_path / "k"), str(tmp_path / "t.json")
    assert main(["keygen", "--output", key]) == 0
    bar = str(bar_of(evaluation))
    files = [
        "--activations", str(evaluation.activations), "--unembedding", str(evaluation.unembedding),
        "--probes", *map(str, evaluation.probes),
    ]  # fmt: skip
    assert main([
        "attest", *files, "--key", key, "--output", document, "--position", "every",
        "--label-column", "wet", "long", "--threshold", "0.5", "--bar", bar,
    ]) == 0  # fmt: skip
    assert "MET: recall of at least 0.25" in capsys.readouterr().out
    model = ["--model", str(evaluation.model), "--bar", bar]
    assert (
        main(["verify", "--attestation", document, "--pubkey", f"{key}.pub", *files, *model]) == 0
    )
    assert capsys.readouterr().out.splitlines()[-1] == "VERIFIED"


# --- texts, read by an aggregate --------------------------------------------------------------


@pytest.fixture(scope="module")
def of_texts(evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """The same texts with a row for each token, and two probe sets trained with aggregates."""
    folder = tmp_path_factory.mktemp("texts")
    activations, unembedding = folder / "a.gotact", folder / "u.gotue"
    every = CorpusOptions(**{**vars(ROWS), "position": "all"})
    with quick():
        extract_corpus(
            evaluation.model, evaluation.corpus, [1, 2], output_activations=activations,
            output_unembedding=unembedding, corpus_options=every,
            options=ExtractionOptions(model_id="tiny"),
        )  # fmt: skip
        probes = folder / "mean.json", folder / "rolling.json"
        for path, name in zip(probes, ("mean", "max-of-rolling-means:2"), strict=True):
            trained = train_files(
                activations=activations, unembedding=unembedding, label_columns=["wet", "long"],
                layer=2, options=TrainingOptions(aggregate=name),
            )  # fmt: skip
            write_file(path, trained.probe_set.to_json())
    return Evaluation(folder, evaluation.model, evaluation.corpus, activations, unembedding, probes)


@pytest.mark.parametrize("part", [4096, 7])
def test_every_text_is_read_as_it_would_be_alone(
    of_texts: Evaluation, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setattr(assembling, "PART_ROWS", part)
    signed = of_texts.attest(label_columns=["wet", "long"], threshold=0.5)
    assert [len(row) for row in signed.layer_readings] == [48, 48]
    assert [x.aggregate for x in signed.bound().probe_sets] == ["mean", "max-of-rolling-means:2"]
    for n in (0, 11, 23):
        alone = of_texts.attest(position=None, text=n)
        for mine, whole in zip(alone.layer_readings, signed.layer_readings, strict=True):
            assert whole[2 * n : 2 * n + 2] == mine
        assert signed.confidence[48 + 2 * n : 50 + 2 * n] == alone.confidence[2:]
    found = signed.bound().evaluation
    assert found is not None
    assert found.groups == 6
    assert (found.probes[0].positives, found.probes[0].negatives) == (12, 12)
    y = read_rows(rows_path(of_texts.activations))
    first = [rows.start for rows in y.text_rows()]
    auroc = roc_auc_score(y.label("wet")[first], signed.layer_readings[1][::2])
    assert found.probes[2].auroc.value == pytest.approx(auroc, abs=1e-6)


def test_texts_are_verified_and_made_again(of_texts: Evaluation, tmp_path: Path) -> None:
    signed = of_texts.attest(label_columns=["wet", "long"], threshold=0.5)
    verdict = of_texts.verify(signed)
    assert verdict.line == "VERIFIED"
    assert "mean of text 11" in verdicts.readings(signed)[23].line()
    write_attestation(tmp_path / "t.json", signed)
    with quick():
        again = reproduce(
            tmp_path / "t.json", KEY.public, model=of_texts.model, corpus=of_texts.corpus,
            row_options=replace(ROWS, position="all"), probes=of_texts.probes,
        )  # fmt: skip
    assert again.line == "MATCH"
    rows = rows_path(of_texts.activations)
    rows.rename(tmp_path / "elsewhere.parquet")
    try:
        missing = of_texts.verify(signed)
        assert "row table" in missing.not_checked
        assert missing.steps[5].outcome == "not run"
        moved = of_texts.verify(signed, rows=tmp_path / "elsewhere.parquet")
        assert moved.line == "VERIFIED"
        with pytest.raises(errors.GotError):
            of_texts.attest()
    finally:
        (tmp_path / "elsewhere.parquet").rename(rows)


@pytest.mark.parametrize(
    ("path", "value", "refused"),
    [
        (("layer_readings", 1, 31), 0.5, (5, "evaluation.probes[3].")),
        (("binding", "probe_sets", 0, "aggregate"), "max", (6, "layer_readings")),
        (("binding", "probe_sets", 0, "aggregate"), "median", (4, "aggregate")),
        (("binding", "probe_sets", 0, "aggregate"), None, (4, "evaluation.probe_sets")),
        (("binding", "probe_sets", 0, "rows"), (0, 3), (4, "evaluation.probe_sets")),
        (("binding", "corpus", "texts"), 23, (4, "evaluation.probes[0]")),
    ],
)
def test_a_lie_of_texts_is_refused(
    of_texts: Evaluation, path: tuple[str | int, ...], value: object, refused: tuple[int, str]
) -> None:
    signed = of_texts.attest(label_columns=["wet", "long"], threshold=0.5)
    lie = replaced(signed, path, value)
    name = str(path[0])
    with pytest.raises(Refused) as caught:
        of_texts.verify(signed_anew(signed, **{name: getattr(lie, name)}))
    assert (caught.value.step, refused[1] in str(caught.value.where)) == (refused[0], True)


def test_rows_and_texts_are_not_evaluated_together(
    evaluation: Evaluation, of_texts: Evaluation
) -> None:
    both = of_texts.probes[0], evaluation.probes[0]
    assert of_texts.attest(probes=both, anyway=True).bound().evaluation is None
    with pytest.raises(errors.BadOption):
        of_texts.attest(probes=both, anyway=True, label_columns=["wet", "long"])


# --- thresholds of a probe's own --------------------------------------------------------------


def with_own(evaluation: Evaluation, judged: Attestation) -> tuple[Path, Thresholds]:
    """The first probe set with thresholds that four readings of its first probe are above."""
    plain = read_probe_set(evaluation.probes[0])
    assert plain.training is not None
    own = Thresholds(True, 120, sorted(judged.layer_readings[0][0::2])[-5])
    cards = tuple(replace(card, thresholds=own) for card in plain.training.cards)
    path = evaluation.folder / "own.json"
    path.write_bytes(replace(plain, training=replace(plain.training, cards=cards)).to_json())
    return path, own


def test_a_probes_own_threshold_is_bound_and_used(
    evaluation: Evaluation, judged: Attestation, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the raw reading, which does not saturate; unless another one is asked for."""
    mine, own = with_own(evaluation, judged)
    signed = evaluation.attest(probes=[mine], label_columns=["wet", "long"])
    assert signed.layer_readings[0] == judged.layer_readings[0]
    assert signed.bound().probe_sets[0].thresholds == (own, own)
    found = signed.bound().evaluation
    assert found is not None
    assert found.threshold is None
    at = found.probes[0].at_threshold
    assert at is not None
    assert at.true_positives + at.false_positives == 4
    whole = evaluation.verify(signed, probes=[mine])
    assert whole.line == "VERIFIED"
    told = "above its threshold for 1 % false positives on 120 independent benign texts"
    shown = verdicts.verdict(whole)
    assert f", {told}, " in shown
    assert f", not {told}, " in shown
    assert f"{told}: recall " in shown
    # Without the files: the evaluation follows from readings, labels and bound thresholds.
    small = evaluation.verify(
        signed, record=record_path(evaluation.activations), rows=rows_path(evaluation.activations),
        activations=None, unembedding=None, probes=(), model=None,
    )  # fmt: skip
    assert "GOT_EVALUATION_RECOMPUTED" in small.properties
    asked = evaluation.attest(probes=[mine], label_columns=["wet", "long"], threshold=0.5)
    before, after = judged.bound().evaluation, asked.bound().evaluation
    assert before is not None
    assert after is not None
    assert after.probes == before.probes[:2]
    lies: list[tuple[tuple[Thresholds, ...], int, str]] = [
        ((own,), 4, ""), ((), 4, ""), ((own, replace(own, groups=121)), 5, "thresholds[1].groups"),
        ((replace(own, one_percent=9.0), own), 5, "thresholds[0].one_percent"),
    ]  # fmt: skip
    for bound, step, place in lies:
        binding = signed.bound()
        changed = replace(binding.probe_sets[0], thresholds=bound)
        with pytest.raises(Refused) as caught:
            evaluation.verify(
                signed_anew(signed, binding=replace(binding, probe_sets=(changed,))), probes=[mine]
            )
        assert caught.value.step == step
        assert str(caught.value.where).endswith(place)
    files = ["--activations", evaluation.activations, "--unembedding", evaluation.unembedding]
    assert main(["read", *map(str, files), "--probes", str(mine), "--text", "3"]) == 0
    assert f"logit above {shortest_float32(own.one_percent)}" in capsys.readouterr().out


def test_a_bar_may_be_for_the_probes_own_threshold(
    evaluation: Evaluation, judged: Attestation
) -> None:
    """And then for no other one."""
    mine, _ = with_own(evaluation, judged)
    bar = bar_of(evaluation, threshold=None, metric="precision", minimum=0.25)
    barred = evaluation.attest(probes=[mine], label_columns=["wet", "long"], bar=bar)
    assert evaluation.verify(barred, probes=[mine], bar=bar).line == "VERIFIED"
    with pytest.raises(errors.BadOption):
        evaluation.attest(probes=[mine], label_columns=["wet", "long"], bar=bar, threshold=0.5)
    bar_of(evaluation, threshold=0.5, metric="precision", minimum=0.25)
    with pytest.raises(Refused) as caught:
        evaluation.verify(barred, probes=[mine], bar=bar)
    assert str(caught.value.where).endswith("bar.json.threshold")
    bar_of(evaluation)


def test_other_tokens_and_rows_trained_on_are_seen(evaluation: Evaluation, tmp_path: Path) -> None:
    """Of files that a training is held against, by their records and rows."""
    other = tmp_path / "first.gotact"
    with quick():
        extract_corpus(
            evaluation.model, evaluation.corpus, [1, 2], output_activations=other,
            output_unembedding=tmp_path / "u.gotue", options=ExtractionOptions(model_id="other"),
            corpus_options=CorpusOptions(**vars(replace(ROWS, position="first"))),
        )  # fmt: skip
    chosen: dict[str, Any] = {
        "activations": evaluation.activations, "unembedding": evaluation.unembedding,
        "label_columns": ["wet"], "layer": 1,
    }  # fmt: skip
    for files in ({"ood": [other]}, {"benign": other}):
        with pytest.raises(errors.OtherTokens):
            train_files(**chosen, **files)
    trained = train_files(**chosen, ood=[evaluation.activations]).training.cards[0]
    (same,) = trained.elsewhere
    assert same.repeated == same.positives + same.negatives == 24
