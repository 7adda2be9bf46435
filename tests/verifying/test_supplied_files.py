"""Step 5: files that lie beside each other, or elsewhere, and what the last line says of them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from geometry_of_trust import errors
from geometry_of_trust.cli import main
from geometry_of_trust.documents.extraction_record import Corpus, Record, Token, WrittenFile
from geometry_of_trust.formats.row_writer import RowWriter, TextRows
from geometry_of_trust.signing.attestation import write_attestation
from geometry_of_trust.signing.checks import sign
from geometry_of_trust.verifying.verdict import Refused, Verdict
from geometry_of_trust.verifying.verify import verify
from pipeline import KEY, LAYERS, Files, P, build, replaced, signed_anew

TOKENS = (Token(1, "x", (0, 1), special=False),) * P


def record_of(files: Files, corpus: Corpus | None = None) -> Record:
    """What was run to make the activations, as if it had been."""
    written = [
        WrittenFile(path.name, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in (files.activations, files.unembedding)
    ]
    libraries = ("python", "torch", "transformers", "tokenizers", "safetensors", "numpy")
    return Record(
        tool_version="1", model="tiny", model_id="tiny", revision=None, commit=None,
        model_class="M", blocks_path="b", blocks_total=5, blocks_loaded=5, whole_because=None,
        unembedding_path="u", tied=False, bias=False, layers=LAYERS, dtype="float32",
        precision="Fp32", reproducible=True, quantization=None, corpus=corpus, checks=(),
        device="cpu", attention="eager", quantization_library=None,
        unproved=(), libraries=dict.fromkeys(libraries, "1"), activations=written[0],
        unembedding=written[1], prompt_sha256="0" * 64, tokens=() if corpus else TOKENS,
    )  # fmt: skip


def rows_of(path: Path, first: str = "a") -> str:
    """Write the row table of one text; the digest of its content."""
    text = TextRows(
        text=0, group=None, token_index=range(P), token_id=[1] * P,
        token=[first, *["a"] * (P - 1)], span=[None] * P, special=[False] * P,
    )  # fmt: skip
    with path.open("wb") as handle, RowWriter(handle) as writer:
        writer.add(text)
    return writer.digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class Case:
    """A document that binds a record, and the files, of which the record lies elsewhere."""

    files: Files
    document: Path
    record: Path
    rows: Path

    def verify(self, *supplied: str) -> Verdict:
        """With these of the files."""
        there = {
            "activations": self.files.activations, "unembedding": self.files.unembedding,
            "probes": self.files.probes, "record": self.record, "rows": self.rows,
        }  # fmt: skip
        return verify(self.document, KEY.public, **{name: there[name] for name in supplied})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], Case]:
    folder = tmp_path_factory.mktemp("supplied")
    files = build(folder)
    digest = rows_of(folder / "elsewhere.parquet")
    rows_of(folder / "other.parquet", "b")

    def made(corpus: bool) -> Case:
        said = Corpus(1, P, "all", False, False, None, digest) if corpus else None
        beside = folder / "a.record.json"
        beside.write_bytes(record_of(files, said).to_json())
        document = folder / f"t{corpus}.json"
        write_attestation(document, files.attest())
        record = beside.rename(folder / f"elsewhere{corpus}.json")
        return Case(files, document, record, folder / "elsewhere.parquet")

    return made


@pytest.fixture(scope="module")
def text(make: Callable[[bool], Case]) -> Case:
    return make(False)


@pytest.fixture(scope="module")
def corpus(make: Callable[[bool], Case]) -> Case:
    return make(True)


ALL = ("activations", "unembedding", "probes")


@pytest.mark.parametrize(
    ("supplied", "line"),
    [
        ((), "VERIFIED, SIGNATURE AND BINDING ONLY: not checked: activations, unembedding, probes, "
             "extraction record, readings"),
        (("record",), "VERIFIED, SIGNATURE, BINDING AND FILES SUPPLIED ONLY: not checked: "
                      "activations, unembedding, probes, readings"),
        (("probes",), "VERIFIED, SIGNATURE, BINDING AND FILES SUPPLIED ONLY: not checked: "
                      "activations, unembedding, extraction record, readings"),
        (ALL, "VERIFIED, SIGNATURE, BINDING, FILES AND READINGS: not checked: extraction record"),
        ((*ALL, "record"), "VERIFIED"),
    ],
)  # fmt: skip
def test_the_last_line_says_what_was_checked(
    text: Case, supplied: tuple[str, ...], line: str
) -> None:
    verdict = text.verify(*supplied)
    assert verdict.line == line
    assert verdict.complete == (line == "VERIFIED")


def test_members_that_nobody_can_recompute_leave_the_readings_checked(text: Case) -> None:
    data = signed_anew(text.files.attest(), model_hash="a" * 64)
    verdict = verify(
        data, KEY.public, activations=text.files.activations, unembedding=text.files.unembedding,
        probes=text.files.probes,
    )  # fmt: skip
    assert verdict.line.partition(": ")[0] == "VERIFIED, SIGNATURE, BINDING, FILES AND READINGS"
    assert verdict.not_checked == ("model_hash",)


def test_a_row_table_is_held_against_the_record(corpus: Case) -> None:
    verdict = corpus.verify(*ALL, "record", "rows")
    assert verdict.complete
    assert "row table" in verdict.steps[4].detail
    assert corpus.verify("record", "rows").not_checked == (*ALL, "readings")


def test_what_a_document_without_binding_says_nothing_of_is_not_checked(corpus: Case) -> None:
    legacy = signed_anew(corpus.files.attest(), binding=None, probe_commitment=None)
    verdict = verify(
        legacy, KEY.public, record=corpus.record, rows=corpus.rows, allow_legacy=True
    )  # fmt: skip
    assert verdict.not_checked == (
        "binding", "activations", "unembedding", "probes", "extraction record", "row table",
        "readings",
    )  # fmt: skip
    with pytest.raises(Refused) as caught:
        verify(legacy, KEY.public, rows=corpus.rows, allow_legacy=True)
    assert (caught.value.step, type(caught.value.cause)) == (5, errors.BadOption)
    assert caught.value.where == "--rows"


def test_there_are_as_many_probe_sets_as_are_bound(text: Case) -> None:
    for probes in (text.files.probes[:1], (*text.files.probes, text.files.probes[0])):
        with pytest.raises(Refused) as caught:
            verify(text.document, KEY.public, probes=probes)
        assert (caught.value.step, type(caught.value.cause)) == (5, errors.DigestMismatch)
        assert caught.value.where == "--probes"


def refused(case: Case, cause: type[errors.GotError], **supplied: Path) -> Refused:
    with pytest.raises(Refused) as caught:
        verify(case.document, KEY.public, **supplied)  # type: ignore[arg-type]
    assert (caught.value.step, type(caught.value.cause)) == (5, cause)
    return caught.value


def test_files_elsewhere_that_are_not_those_signed(text: Case, corpus: Case) -> None:
    refused(text, errors.DigestMismatch, record=corpus.record)
    refused(text, errors.RecordMismatch, record=text.record, rows=text.rows)  # it is of one text
    refused(corpus, errors.RecordMismatch, record=corpus.record,
            rows=corpus.rows.with_name("other.parquet"))  # fmt: skip
    refused(corpus, errors.BadRowTable, record=corpus.record, rows=corpus.record)
    # There is nothing to hold it against.
    assert refused(corpus, errors.BadOption, rows=corpus.rows).where == "--rows"
    refused(corpus, errors.Unreadable, record=corpus.record.with_name("none"))
    refused(corpus, errors.Unreadable, activations=Path())
    unrecorded = text.document.with_name("u.json")
    write_attestation(unrecorded, text.files.attest())  # no record lies beside the activations
    refused(dataclasses.replace(text, document=unrecorded), errors.DigestMismatch,
            record=text.record)  # fmt: skip


def test_on_the_command_line(
    corpus: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key.pub").write_bytes(KEY.public.raw)
    code = main([
        "verify", "--attestation", str(corpus.document), "--pubkey", str(tmp_path / "key.pub"),
        "--record", str(corpus.record), "--rows", str(corpus.rows),
    ])  # fmt: skip
    assert code == 0
    assert "extraction record (without its environment), row table" in capsys.readouterr().out


# --- names that are bound (step 2) ------------------------------------------------------------


@pytest.mark.parametrize("path", [("tool",), ("probe_sets", 0, "dimensions")])
def test_names_that_are_bound_have_at_most_256_bytes(
    text: Case, path: tuple[str | int, ...]
) -> None:
    attestation = text.files.attest()
    for name, fits in (("é" * 128, True), ("é" * 129, False)):
        value = name if path == ("tool",) else (name,)
        binding = replaced(attestation.bound(), path, value)
        lie = signed_anew(attestation, binding=binding)
        if fits:
            assert verify(lie, KEY.public).steps[3].outcome == "passed"
            continue
        with pytest.raises(Refused) as caught:
            verify(lie, KEY.public)
        assert (caught.value.step, type(caught.value.cause)) == (2, errors.LimitExceeded)
        with pytest.raises(errors.LimitExceeded):
            sign(dataclasses.replace(attestation, binding=binding), KEY)
