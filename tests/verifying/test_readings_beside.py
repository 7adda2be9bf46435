"""Readings that are too many for a document: in a file beside it, whose rows are under one root."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geometry_of_trust import errors
from geometry_of_trust.attesting import assemble as assembling
from geometry_of_trust.attesting.row_files import prove_row
from geometry_of_trust.cli import main
from geometry_of_trust.documents.row_proofs import read_row_proof
from geometry_of_trust.evidence.attested import make_evidence
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.gotact import write_activations
from geometry_of_trust.formats.readings_file import ReadingRows, ReadingsWriter, open_readings
from geometry_of_trust.hash_tree import leaf_hash, root_of
from geometry_of_trust.showing import verdicts
from geometry_of_trust.signing.attestation import Attestation, read_attestation, write_attestation
from geometry_of_trust.verifying.history import verify_history
from geometry_of_trust.verifying.verdict import Refused, Verdict
from geometry_of_trust.verifying.verify import verify
from pipeline import KEY, LAYERS, TIMESTAMP, D, Files, build, replaced, signed_anew

KINDS = ("raw", "probability", "flagged", "outside")


@dataclass(frozen=True)
class Beside:
    """30 rows of two probes; the limit is put below that."""

    files: Files
    labels: Path
    whole: Attestation
    document: Path
    readings: Path

    @property
    def signed(self) -> Attestation:
        return read_attestation(self.document)

    def attest(self, **options: Any) -> Attestation:
        chosen: dict[str, Any] = {
            "position": "every", "labels": self.labels, "label_columns": ["warm", "tall"],
            "threshold": 0.5,
        }  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("geometry_of_trust.attesting.attest.MAX_READINGS", 59)
            return self.files.attest(**(chosen | options))

    def verify(self, document: Path | bytes | None = None, **options: Any) -> Verdict:
        chosen: dict[str, Any] = {
            "activations": self.files.activations, "unembedding": self.files.unembedding,
            "probes": self.files.probes, "labels": self.labels, "readings": self.readings,
        }  # fmt: skip
        return verify(document or self.document, KEY.public, **(chosen | options))


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Beside:
    folder = tmp_path_factory.mktemp("beside")
    files, labels, document = build(folder), folder / "l.csv", folder / "a.json"
    values = files.labels.read_text().split()
    labels.write_text("warm,tall\n" + "".join(f"{value},{value}\n" for value in values))
    whole = files.attest(
        position="every", labels=labels, label_columns=["warm", "tall"], threshold=0.5
    )
    made = Beside(files, labels, whole, document, folder / "a.readings.parquet")
    write_attestation(document, made.attest(readings=made.readings))
    return made


def columns(path: Path) -> dict[str, list[Any]]:
    return pq.read_table(path).to_pydict()  # type: ignore[no-any-return]


def leaves(table: dict[str, list[Any]], probes: int) -> list[bytes]:
    """By hand, as docs/evaluations.md has them."""
    formats = dict(zip(KINDS, ("<f", "<f", "B", "B"), strict=True))
    return [
        struct.pack("<Q", row)
        + b"".join(
            struct.pack(formats[kind], table[f"{kind}.{probe}"][row])
            for kind in KINDS
            for probe in range(probes)
        )
        for row in range(len(table["raw.0"]))
    ]


def rewritten(source: Path, to: Path, changes: dict[str, tuple[int, Any]], **options: Any) -> Path:
    """The same table with some cells changed, as another program would write it."""
    table = pq.read_table(source)
    for name, (row, value) in changes.items():
        column = table[name].to_pylist()
        column[row] = value
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.field(name), pa.array(column, table.field(name).type))
    pq.write_table(table, to, **options)
    return to


def refused(beside: Beside, document: Path | bytes | None = None, **options: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        beside.verify(document, **options)
    return caught.value


def test_they_are_those_that_would_be_in_the_document(beside: Beside) -> None:
    table, whole, signed = columns(beside.readings), beside.whole, beside.signed
    assert list(table) == [f"{kind}.{probe}" for probe in (0, 1) for kind in KINDS]
    for probe in (0, 1):
        part = slice(30 * probe, 30 * probe + 30)
        assert table[f"raw.{probe}"] == list(whole.layer_readings[probe])
        assert table[f"probability.{probe}"] == list(whole.confidence[part])
        assert table[f"flagged.{probe}"] == list(whole.coverage_flags[part])
        outside = whole.bound().probe_sets[probe].outside or (False,) * 30
        assert table[f"outside.{probe}"] == list(outside)
    assert signed.layer_readings == ((), ())
    assert (signed.confidence, signed.coverage_flags, signed.divergence_flag) == ((), (), False)
    bound = signed.bound().readings
    assert bound is not None
    assert bound.root == root_of(map(leaf_hash, leaves(table, 2))).hex()
    assert (bound.rows, bound.flagged) == (30, sum(whole.coverage_flags))
    assert signed.bound().evaluation == whole.bound().evaluation


@pytest.mark.parametrize("part", [1, 7])
def test_parts_and_files_do_not_matter(
    beside: Beside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    """Nor who wrote the Parquet, in what groups and how packed: what rows say is what is signed."""
    monkeypatch.setattr(assembling, "PART_ROWS", part)
    again = beside.attest(readings=tmp_path / "r.parquet")
    assert again == beside.signed
    assert (tmp_path / "r.parquet").read_bytes() == beside.readings.read_bytes()
    monkeypatch.setattr("geometry_of_trust.formats.readings_file._GROUP_VALUES", 6 * part)
    assert beside.attest(readings=tmp_path / "r.parquet") == again
    assert pq.ParquetFile(tmp_path / "r.parquet").num_row_groups > 1
    assert beside.verify(readings=tmp_path / "r.parquet").line == "VERIFIED"
    options = {"compression": "gzip", "row_group_size": part}
    other = rewritten(beside.readings, tmp_path / "o.parquet", {}, **options)
    assert beside.verify(readings=other).line == "VERIFIED"


def test_all_of_it_is_verified_and_shown(beside: Beside) -> None:
    verdict = beside.verify()
    assert verdict.line == "VERIFIED"
    assert "GOT_EVALUATION_RECOMPUTED" in verdict.properties
    assert "all rows of readings are those under the signed root" in verdict.steps[4].detail
    shown = verdicts.verdict(verdict)
    assert "30 rows of 2 probes, in a file of their own" in shown
    tree = json.loads(verdicts.verdict_json(verdict))
    assert tree["attestation"]["readings_beside"]["rows"] == 30
    assert (tree["attestation"]["readings"], tree["row"]) == ([], None)


def test_the_file_beside_the_document_is_found(beside: Beside, tmp_path: Path) -> None:
    alone = verify(beside.document, KEY.public)
    assert alone.line.startswith("VERIFIED, SIGNATURE, BINDING AND FILES SUPPLIED ONLY: ")
    assert "readings file" not in alone.not_checked
    assert verify(beside.document, KEY.public, alone=True).steps[4].outcome == "not run"
    data = beside.document.read_bytes()
    without = beside.verify(data, readings=None)
    assert without.not_checked == ("readings file", "evaluation")
    assert "GOT_EVALUATION_RECOMPUTED" not in without.properties
    assert without.steps[5].outcome == "passed"  # from activations to the root
    labelled = verify(data, KEY.public, labels=beside.labels, readings=beside.readings)
    assert "GOT_EVALUATION_RECOMPUTED" in labelled.properties
    envelope = tmp_path / "e.json"
    envelope.write_bytes(make_evidence(beside.signed, KEY))
    assert beside.verify(envelope).line == "VERIFIED"


def test_a_history_of_them(beside: Beside, tmp_path: Path) -> None:
    """Documents alone; the readings of each are not looked at."""
    second = beside.attest(
        readings=tmp_path / "2.readings.parquet", previous=beside.document, timestamp=TIMESTAMP + 1
    )
    write_attestation(tmp_path / "2.json", second)
    (tmp_path / "2.readings.parquet").write_bytes(b"PAR1")
    history = verify_history([beside.document, tmp_path / "2.json"], KEY.public)
    assert history.line.startswith("VERIFIED HISTORY of 2 documents")


def test_files_that_are_not_those_signed(beside: Beside, tmp_path: Path) -> None:
    path, data = tmp_path / "r.parquet", beside.readings.read_bytes()
    table = pq.read_table(beside.readings)
    for cell, value in (("raw.1", 0.5), ("probability.0", 0.5), ("flagged.0", None)):
        flagged = columns(beside.readings)["flagged.0"][29]
        changed = {cell: (29, not flagged if value is None else value)}
        found = refused(beside, readings=rewritten(beside.readings, path, changed))
        assert (found.step, type(found.cause), found.where) == (5, errors.DigestMismatch, str(path))
    for cell, number in (
        ("raw.1", np.nan), ("raw.1", np.inf), ("raw.1", -0.0), ("probability.1", np.nan),
        ("probability.1", 1.5),
    ):  # fmt: skip
        found = refused(beside, readings=rewritten(beside.readings, path, {cell: (29, number)}))
        assert (type(found.cause), found.where) == (errors.BadReadings, f"{path}, row 29")
    pq.write_table(table.set_column(4, "raw.1", table["raw.1"].cast(pa.float64())), path)
    found = refused(beside, readings=path)
    assert (found.where, found.found) == (f"{path}, column 4", "raw.1 (double)")
    order = table.take(pa.array([1, 0, *range(2, 30)]))
    for made, cause in (
        (order, errors.DigestMismatch),
        (table.slice(0, 29), errors.BadReadings),
        (pa.concat_tables([table, table.slice(0, 1)]), errors.BadReadings),
        (table.drop_columns(["outside.1"]), errors.BadReadings),
        (table.rename_columns([*table.column_names[:-1], "outside.2"]), errors.BadReadings),
        (
            table.set_column(0, "raw.0", pa.array([None, *table["raw.0"].to_pylist()[1:]],
                                                  pa.float32())),
            errors.BadReadings,
        ),
    ):  # fmt: skip
        pq.write_table(made, path)
        found = refused(beside, readings=path)
        assert (found.step, type(found.cause)) == (5, cause), made.schema
    for cut in (data[:-1], data[: len(data) // 2], b"PAR1", b""):
        path.write_bytes(cut)
        found = refused(beside, readings=path)
        assert (found.step, type(found.cause)) == (5, errors.BadReadings)
        assert "\n" not in str(found.line)
    whole = beside.whole.to_json()
    found = refused(beside, whole)
    assert (found.step, type(found.cause)) == (5, errors.ContentMismatch)


@pytest.mark.parametrize(
    ("path", "value", "step", "where"),
    [
        (("binding", "readings", "root"), "ab" * 32, 5, "a.readings.parquet"),
        (("binding", "readings", "flagged"), 3, 5, "a.readings.parquet, flagged"),
        (("binding", "readings", "outside"), 3, 5, "a.readings.parquet, outside"),
        (("binding", "readings", "flagged"), 61, 4, "binding.readings.flagged"),
        (("binding", "readings", "outside"), 61, 4, "binding.readings.outside"),
        (("binding", "readings", "rows"), 29, 4, "binding.readings.rows"),
        (("binding", "readings"), None, 4, "binding.probe_sets[0].dimensions"),
        (("binding", "probe_sets", 0, "outside"), (True,), 4, "binding.probe_sets[0].outside"),
        (("binding", "probe_sets", 0, "position"), "mean", 4, "binding.evaluation.positions"),
        (("binding", "evaluation", "groups"), 7, 5, "binding.evaluation.groups"),
        (("layer_readings", 1), (0.5,), 4, "binding.probe_sets[1].dimensions"),
    ],
)
def test_a_lie_is_refused(
    beside: Beside, path: tuple[str | int, ...], value: object, step: int, where: str
) -> None:
    lie = replaced(beside.signed, path, value)
    changes = {str(path[0]): getattr(lie, str(path[0]))}
    if path[0] == "layer_readings":
        changes |= {"confidence": (0.5,), "coverage_flags": (True,), "divergence_flag": True}
    found = refused(beside, signed_anew(beside.signed, **changes))
    assert found.step == step
    assert str(found.where).endswith(where)


def test_rows_or_every_row_without_an_evaluation(beside: Beside) -> None:
    """What 4.19 says of an evaluation holds of the readings alone, too."""
    bound = replace(beside.signed.bound(), evaluation=None)
    one = bound.probe_sets[0]
    for sets in (
        (replace(one, position="last", position_index=29), bound.probe_sets[1]),
        (replace(one, aggregate="mean"), bound.probe_sets[1]),
        (replace(one, aggregate="mean"), replace(bound.probe_sets[1], aggregate="mean")),
    ):
        found = refused(beside, signed_anew(beside.signed, binding=replace(bound, probe_sets=sets)))
        assert (found.step, str(found.where)[-21:]) == (4, "binding.readings.rows")


def root_signed(beside: Beside, path: Path, changes: dict[str, tuple[int, Any]]) -> bytes:
    """A document whose signer changed readings and signs the root that fits."""
    rewritten(beside.readings, path, changes)
    root = root_of(map(leaf_hash, leaves(columns(path), 2))).hex()
    binding = replaced(replace(beside.signed.bound(), evaluation=None), ("readings", "root"), root)
    return signed_anew(beside.signed, binding=binding)


def test_readings_that_do_not_follow_from_the_files(beside: Beside, tmp_path: Path) -> None:
    """The first row that differs is named; without the file it is said that the root does."""
    path = tmp_path / "r.parquet"
    lie = root_signed(beside, path, {"raw.1": (7, 0.5), "raw.0": (8, 0.5)})
    found = refused(beside, lie, readings=path, labels=None)
    assert (found.step, found.found) == (6, "0.5")
    assert found.where == "readings, row 7: raw of probe 1, 'tall'"
    found = refused(beside, lie, readings=None, labels=None)
    assert (found.step, found.where) == (6, "binding.readings.root")


def test_one_row_alone(beside: Beside, tmp_path: Path) -> None:
    """With its path, and nothing of the others; the verdict says so."""
    table, document = columns(beside.readings), tmp_path / "a.json"
    shutil.copy(beside.document, document)
    for row in (0, 17, 29):
        proof = prove_row(beside.signed, beside.readings, row)
        assert proof.leaf == leaves(table, 2)[row]
        (tmp_path / f"a.row-{row}.proof").write_bytes(proof.to_json())
        assert read_row_proof(tmp_path / f"a.row-{row}.proof") == proof
        verdict = verify(document, KEY.public, row=row)
        assert verdict.line == (
            f"VERIFIED, SIGNATURE, BINDING AND ROW {row} OF 30 ONLY: not checked: activations, "
            "unembedding, probes, readings file, labels, evaluation, readings"
        )
        assert "the other 29 were not looked at" in verdict.steps[4].detail
        assert "GOT_READINGS_RECOMPUTED" not in verdict.properties
        raw = table["raw.1"][row]
        tree = json.loads(verdicts.verdict_json(verdict))["row"]
        assert [(x["dimension"], x["layer"], x["position_index"]) for x in tree] == [
            ("warm", 1, row), ("tall", 4, row),
        ]  # fmt: skip
        assert tree[1]["raw"] == pytest.approx(raw)
        assert f"position every ({row}): 'tall'" in verdicts.verdict(verdict)
    both = beside.verify(row=17, proof=tmp_path / "a.row-17.proof")
    assert both.line == "VERIFIED"
    assert "row 17 of 30 is under the signed root" in both.steps[4].detail
    some = beside.verify(row=17, proof=tmp_path / "a.row-17.proof", readings=None, probes=())
    assert some.line.startswith("VERIFIED, SIGNATURE, BINDING AND FILES SUPPLIED ONLY: ")


def test_show_prints_both_files(
    beside: Beside, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p").write_bytes(prove_row(beside.signed, beside.readings, 17).to_json())
    assert main(["show", str(tmp_path / "p")]) == 0
    assert capsys.readouterr().out.startswith("proof of row 17, NOT VERIFIED by show")
    assert main(["show", str(beside.readings)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("readings: 30 rows of 2 probes, ")
    assert (shown[1][:11], shown[-1]) == ("row 0: raw ", "and 18 more rows")


def test_a_row_that_is_not_there_or_not_that(beside: Beside, tmp_path: Path) -> None:
    path = tmp_path / "p"
    tree = json.loads(prove_row(beside.signed, beside.readings, 7).to_json())
    path.write_text(json.dumps(tree))
    options: dict[str, Any] = {"row": 7, "proof": path}
    data = beside.document.read_bytes()
    assert verify(data, KEY.public, **options).row is not None
    for change, value, cause in (
        (("readings", 0, "raw"), 0.5, errors.DigestMismatch),
        (("readings", 1, "probability"), 0.5, errors.DigestMismatch),
        (("readings", 1, "flagged"), not tree["readings"][1]["flagged"], errors.DigestMismatch),
        (("readings", 1, "outside"), True, errors.DigestMismatch),
        (("readings", 1, "dimension"), "warm", errors.ContentMismatch),
        (("readings",), tree["readings"][:1], errors.ContentMismatch),
        (("row",), 6, errors.ContentMismatch),
        (("path", 2), "ab" * 32, errors.DigestMismatch),
        (("path",), tree["path"][:-1], errors.DigestMismatch),
        (("path",), [*tree["path"], "ab" * 32], errors.DigestMismatch),
        (("version",), 2, errors.WrongType),
        (("format",), "proof", errors.WrongType),
        (("readings", 0, "probability"), 1.5, errors.WrongType),
        (("more",), 1, errors.UnknownMember),
    ):
        lie = json.loads(json.dumps(tree))
        node = lie
        for name in change[:-1]:
            node = node[name]
        node[change[-1]] = value
        path.write_text(json.dumps(lie))
        with pytest.raises(Refused) as caught:
            verify(data, KEY.public, **options)
        assert (caught.value.step, type(caught.value.cause)) == (5, cause), change
    lie = tree | {"row": 6}  # where it is not
    path.write_text(json.dumps(lie))
    with pytest.raises(Refused):
        verify(data, KEY.public, row=6, proof=path)
    for row in (-1, 30):
        with pytest.raises(Refused) as caught:
            verify(data, KEY.public, row=row, proof=path)
        assert (caught.value.step, caught.value.exit_code) == (5, 2)
        with pytest.raises(errors.BadOption):
            prove_row(beside.signed, beside.readings, row)
    with pytest.raises(Refused) as caught:
        verify(beside.whole.to_json(), KEY.public, **options)
    assert (caught.value.step, caught.value.where) == (5, "--row")
    with pytest.raises(Refused) as caught:
        verify(beside.document, KEY.public, row=3)
    assert "got-cli prove" in caught.value.hint
    for one in ({"row": 7}, {"proof": path}):
        with pytest.raises(errors.BadOption):
            verify(data, KEY.public, **one)
    with pytest.raises(errors.ContentMismatch):
        prove_row(beside.whole, beside.readings, 7)
    other = rewritten(beside.readings, tmp_path / "o.parquet", {"raw.0": (3, 0.5)})
    with pytest.raises(errors.DigestMismatch):
        prove_row(beside.signed, other, 7)


def test_without_the_library_it_is_said_that_nobody_looked(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*arguments: object) -> None:
        raise errors.MissingExtra("geometry-of-trust[probes]", expected="it", found="it missing")

    monkeypatch.setattr("geometry_of_trust.attesting.row_files.open_readings", missing)
    monkeypatch.setattr("geometry_of_trust.attesting.evaluations.open_readings", missing)
    verdict = verify(beside.document, KEY.public)
    assert "readings file" in verdict.not_checked
    assert "needs geometry-of-trust[probes]" in verdict.steps[4].detail


def test_nothing_is_left_of_an_attestation_that_fails(
    beside: Beside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise errors.LimitExceeded("attestation")

    monkeypatch.setattr("geometry_of_trust.attesting.attest.sign", fail)
    with pytest.raises(errors.LimitExceeded):
        beside.attest(readings=tmp_path / "r.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "most"), [("MAX_FILE_ROWS", 29), ("MAX_FILE_PROBES", 1), ("MAX_FILE_READINGS", 59)]
)
def test_what_a_file_may_hold(
    beside: Beside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, most: int
) -> None:
    monkeypatch.setattr(f"geometry_of_trust.attesting.attest.{name}", most)
    with pytest.raises(errors.LimitExceeded):
        beside.attest(readings=tmp_path / "r.parquet")
    monkeypatch.setattr(f"geometry_of_trust.attesting.attest.{name}", most + 1)
    beside.attest(readings=tmp_path / "r.parquet")


def test_a_file_of_many_probes_is_read_again(tmp_path: Path) -> None:
    """1,024 probes have 4,096 columns; all are alike, which packs well."""
    path, zeros = tmp_path / "r.parquet", np.zeros((10, 1024), np.float32)
    with path.open("wb") as handle, ReadingsWriter(handle, 10, 1024) as writer:
        writer.add(ReadingRows(zeros, zeros, zeros > 0, zeros > 0))
    with open_readings(path, 10, 1024) as parts:
        assert sum(len(part) for part in parts) == 10


# --- at the command line, beyond the limit itself ---------------------------------------------


def test_the_commands(beside: Beside, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """32,769 rows of two probes are 65,538 readings."""
    rows, big = 32_769, tmp_path / "b.gotact"
    values = np.random.default_rng(3).normal(size=(len(LAYERS), rows, D)).astype(np.float32)
    write_activations(big, Activations("tiny", "Fp32", LAYERS, range(rows), values))
    document, key = tmp_path / "d.json", tmp_path / "k"
    files: Sequence[str] = (
        "--activations", str(big), "--unembedding", str(beside.files.unembedding),
        "--probes", *map(str, beside.files.probes),
    )  # fmt: skip
    check = ["verify", "--attestation", str(document), "--pubkey", f"{key}.pub"]

    def last(*line: str, code: int = 0) -> str:
        assert main(list(line)) == code
        return capsys.readouterr().out.rstrip().splitlines()[-1]

    last("keygen", "--output", str(key))
    attesting = ("attest", *files, "--key", str(key), "--output", str(document))
    assert last(*attesting, "--position", "every") == f"wrote {tmp_path / 'd.readings.parquet'}"
    assert document.stat().st_size < 4000
    assert last(*check).startswith("VERIFIED, SIGNATURE, BINDING AND FILES SUPPLIED ONLY: ")
    assert last("prove", str(document), "--row", "32768").endswith("d.row-32768.proof")
    (tmp_path / "d.readings.parquet").rename(tmp_path / "elsewhere.parquet")
    assert last(*check, "--row", "32768").startswith(
        "VERIFIED, SIGNATURE, BINDING AND ROW 32768 OF 32769 ONLY: not checked: "
    )
    assert "row 32769" not in last(*check, "--row", "32769", code=2)
    assert main(["show", str(document)]) == 0
    assert "32769 rows of 2 probes" in capsys.readouterr().out
    readings = (tmp_path / "d.readings.parquet", tmp_path / "elsewhere.parquet")
    shutil.copy(readings[1], readings[0])
    namesake = [*attesting[:-1], str(tmp_path / "d.2")]  # its readings would have the same name
    assert main([*namesake, "--position", "every"]) == 1
    assert "and no d.2" in capsys.readouterr().err
    assert readings[0].read_bytes() == readings[1].read_bytes()
    readings[0].write_text("something else")
    assert main([*attesting, "--position", "every"]) == 1  # replaces no other kind of file
    assert "d.readings.parquet" in capsys.readouterr().err
