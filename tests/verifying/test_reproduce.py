"""From model and text back to the attestation: what matches, what differs and by how much."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from geometry_of_trust import errors
from geometry_of_trust.arithmetic import ARITHMETIC
from geometry_of_trust.attesting.attest import attest
from geometry_of_trust.cli import main
from geometry_of_trust.corpus.extracting import extract_corpus
from geometry_of_trust.corpus.options import CorpusOptions, RowOptions
from geometry_of_trust.documents.extraction_record_reading import read_record
from geometry_of_trust.documents.names_beside import record_path, rows_path
from geometry_of_trust.evidence.attested import make_evidence
from geometry_of_trust.extraction import deterministic_operations
from geometry_of_trust.extraction.one_text import extract
from geometry_of_trust.extraction.options import ExtractionOptions, LoadingOptions
from geometry_of_trust.formats.gotact import read_activations, write_activations
from geometry_of_trust.geometry.checkpoints import make_checkpoint, write_checkpoint
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.probing.training_files import train_files
from geometry_of_trust.showing import verdicts
from geometry_of_trust.signing.attestation import read_attestation, write_attestation
from geometry_of_trust.signing.binding import Binding, BoundGeometry
from geometry_of_trust.signing.checks import sign
from geometry_of_trust.signing.reference_members import CausalScore
from geometry_of_trust.signing.signed_bytes import InnerProductTag
from geometry_of_trust.terminal import quoted
from geometry_of_trust.verifying.reproduce import reproduce
from geometry_of_trust.verifying.verdict import Refused
from geometry_of_trust.verifying.verify import verify
from gguf_files import write_gguf
from pipeline import KEY, OTHER_KEY, TIMESTAMP, replaced, signed_anew
from quantised_models import fp8
from signed_cases import Case, copied, make, other_weights
from signed_documents import payload_of
from tiny_models import FAMILIES, TEXT, Family, adapter_of, build, gemma3n, quick

pytestmark = pytest.mark.usefixtures("quickly")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    with quick():
        return make(tmp_path_factory.mktemp("reproduction"))


# --- match ------------------------------------------------------------------------------------


def test_model_and_text_give_the_attestation_byte_for_byte(case: Case) -> None:
    result = case.reproduce()
    assert result.line == "MATCH"
    with pytest.raises(TypeError):
        bool(result)
    assert all(link.equal for link in result.links)
    assert [link.name for link in result.links] == [
        "attestation", "probe set 0", "model", "unembedding", "activations", "extraction record",
        "geometry", "readings", "document",
    ]  # fmt: skip


def test_probes_of_unknown_training(case: Case, tmp_path: Path) -> None:
    """That they are is signed, so that nobody need say it again."""
    copy = copied(case, tmp_path)
    tree = json.loads(copy.probes.read_bytes())
    del tree["training"]
    copy.probes.write_text(json.dumps(tree))
    copy.sign(unknown_training=True)
    assert copy.reproduce().line == "MATCH"


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "bfloat16"},
        {"dtype": "float16"},
        {"layout": "per-position"},
        {"quantization": "int8"},
    ],
    ids=str,
)
def test_whatever_it_was_extracted_with(tmp_path: Path, options: dict[str, Any]) -> None:
    assert make(tmp_path, **options).reproduce().line == "MATCH"


def test_a_model_that_comes_quantised(tmp_path: Path) -> None:
    """Its tag is that of our own integers, and it must not be rounded to those."""
    short, plain = fp8(build(FAMILIES["llama"], tmp_path / "model"), tmp_path)
    write_gguf(tmp_path / "tiny.gguf", "Q8_0")
    for name, model in (("a", short), ("b", tmp_path / "tiny.gguf")):
        (tmp_path / name).mkdir()
        own = make(tmp_path / name, model)
        signed = read_attestation(own.document)
        assert signed.precision == "Int8"
        record = signed.bound().extraction_record
        assert record is not None
        assert record.stored == ("fp8" if model == short else "gguf")
        assert own.reproduce().line == "MATCH"
    first = Case(tmp_path / "a", short)
    record_file = record_path(first.activations)
    said = record_file.read_text()
    record_file.write_text(said.replace(',\n    "stored": "fp8"', ""))
    first.sign()  # as if our run had rounded them: what cannot be repeated is no wrong option
    assert first.reproduce().line.startswith("UNVERIFIABLE: cannot extract: quantization")
    record_file.write_text(said)
    first.sign()
    other = Case(tmp_path / "a", plain).reproduce()
    assert other.line.startswith("MISMATCH at activations: precision Fp32, Int8 signed")


def test_a_model_with_an_adapter(case: Case, tmp_path: Path) -> None:
    """The auditor names it; without it, or with another, it says that this is what differs."""
    adapters = [adapter_of(case.model, tmp_path / f"{seed}", seed) for seed in range(2)]
    own = make(tmp_path, case.model, adapter=str(adapters[0]))
    given = [LoadingOptions(adapter=str(path)) for path in adapters]
    assert own.reproduce(options=given[0]).line == "MATCH"
    record = read_record(record_path(own.activations))
    assert record.adapter is not None
    assert record.adapter.sha256 in verdicts.attestation(read_attestation(own.document))
    without = own.reproduce()
    assert without.outcome == "UNVERIFIABLE"
    assert "--adapter" in without.line
    other = own.reproduce(options=given[1])
    assert other.line.startswith("MISMATCH at adapter: signed ")
    beside = case.reproduce(options=given[0])
    assert beside.line.startswith("MISMATCH at adapter: signed None")


def test_a_row_of_a_corpus(case: Case, tmp_path: Path) -> None:
    corpus = tmp_path / "c.jsonl"
    texts = [f"The river {name} flows" for name in ("Seine", "Thames", "Rhine", "Po")]
    rows = [{"text": text, "long": n % 2, "of": n // 2} for n, text in enumerate(texts)]
    corpus.write_text("\n".join(map(json.dumps, rows)))
    rows_given = CorpusOptions(label_columns=("long",), group_column="of", position="4")
    own = Case(tmp_path, case.model)
    extract_corpus(
        case.model, corpus, [1, 2], output_activations=own.activations, corpus_options=rows_given,
        output_unembedding=tmp_path / "u.gotue", options=ExtractionOptions(model_id="tiny"),
    )  # fmt: skip
    labels = tmp_path / "a.labels"
    trained = train_files(
        activations=own.activations, labels=labels, unembedding=tmp_path / "u.gotue", layer=1
    )
    write_file(own.probes, trained.probe_set.to_json())
    own.sign(position="2")
    signed = RowOptions(label_columns=("long",), group_column="of", position="4")
    chosen: dict[str, Any] = {"text": None, "corpus": corpus, "row_options": signed}
    assert own.reproduce(**chosen).line == "MATCH"
    other = own.reproduce(**(chosen | {"row_options": dataclasses.replace(signed, position="2")}))
    assert other.line.startswith("MISMATCH at activations: ")
    other = own.reproduce(**(chosen | {"row_options": dataclasses.replace(signed, limit=3)}))
    assert "--limit" in other.line
    chosen["row_options"] = dataclasses.replace(signed, group_column=None)
    other = own.reproduce(**chosen)
    assert other.line.startswith("MISMATCH at extraction record: the activations are equal")
    assert "labels, groups" in other.line
    located = own.reproduce(**chosen, activations=own.activations)
    assert located.line == "MISMATCH at row table, row 0, column 'group': signed '0', found None"
    beside = {"record": record_path(own.activations), "rows": rows_path(own.activations)}
    corpus.write_text(corpus.read_text().replace('Po flows", "long": 1', 'Po flows", "long": 0'))
    labelled = chosen | {"row_options": signed}
    found = own.reproduce(**labelled, **beside)
    assert found.line == "MISMATCH at row table, row 3, column 'label.long': signed 1, found 0"
    corpus.write_text("\n".join(map(json.dumps, rows)))
    labelled["row_options"] = dataclasses.replace(signed, label_columns=("of",))
    found = own.reproduce(**labelled, **beside)
    assert found.line == "MISMATCH at row table, column 'label.long': signed one, found none"
    corpus.write_text(corpus.read_text().replace("Thames flows", "Thames flows on 2026-11-26"))
    named = own.reproduce(**(chosen | {"row_options": signed}), **beside)
    assert named.line.startswith("MISMATCH at tokens: token ")
    assert " of text 1: " in named.line
    assert "the text holds a date ('2026-11-26', signed none)" in named.line
    corpus.write_text(corpus.read_text().replace(" on 2026-11-26", ""))
    record_path(own.activations).rename(tmp_path / "elsewhere")
    record_path(own.activations).symlink_to("nothing")
    with pytest.raises(errors.Unreadable):
        own.reproduce(**chosen, activations=own.activations)
    (tmp_path / "elsewhere").replace(record_path(own.activations))
    for given, source in ((None, None), (TEXT, corpus)):
        with pytest.raises(errors.BadOption):
            own.reproduce(text=given, corpus=source)
    command = [
        "reproduce", "--attestation", str(own.document), "--pubkey", str(tmp_path / "k.pub"),
        "--model", str(case.model), "--input-file", str(corpus), "--probes", str(own.probes),
        "--label-column", "long", "--group-column", "of", "--position", "4",
    ]  # fmt: skip
    (tmp_path / "k.pub").write_bytes(KEY.public.raw)
    assert main(command) == 0


@pytest.mark.parametrize("position", ["first", "mean", "3"])
def test_whatever_position_was_read(case: Case, tmp_path: Path, position: str) -> None:
    moved = Case(tmp_path, case.model)
    for path in case.folder.glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    moved.sign(position=position, corpus_version="c", anyway=position == "mean")
    assert moved.reproduce().line == "MATCH"


def test_tokens_chosen_of_one_text(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--input` with `--position` is a corpus of one, here as in extract."""
    own = Case(tmp_path, case.model)
    own.probes.write_bytes(case.probes.read_bytes())
    (tmp_path / "u.gotue").write_bytes((case.folder / "u.gotue").read_bytes())
    (tmp_path / "k.pub").write_bytes(KEY.public.raw)
    chosen = ["--model", str(case.model), "--input", TEXT, "--position", "mean"]
    assert main([
        "extract", *chosen, "--layers", "1", "2", "--model-id", "tiny", "--device", "cpu",
        "--output-activations", str(own.activations),
        "--output-unembedding", str(tmp_path / "u.gotue"),
    ]) == 0  # fmt: skip
    own.sign(anyway=True)
    command = [
        "reproduce", "--attestation", str(own.document), "--pubkey", str(tmp_path / "k.pub"),
        *chosen, "--probes", str(own.probes),
    ]  # fmt: skip
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "MATCH"
    for more in (["--limit", "1"], ["--label-column", "x"], ["--add-generation-prompt"]):
        assert main([*command, *more]) == 2
    assert main([*command, "--input-file", "x.txt"]) == 2
    with pytest.raises(errors.BadOption):
        own.reproduce(row_options=RowOptions(position="mean", limit=1))
    assert own.reproduce(row_options=RowOptions(position="mean")).line == "MATCH"


def test_a_result_is_written_of_a_match_alone(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of evidence in the place of the attestation, too."""
    bundle, svr = tmp_path / "t.bundle", tmp_path / "t.svr"
    bundle.write_bytes(make_evidence(read_attestation(case.document), KEY, bundle=True))
    (tmp_path / "k.pub").write_bytes(KEY.public.raw)
    assert main(["keygen", "--output", str(tmp_path / "auditor")]) == 0
    command = [
        "reproduce", "--attestation", str(bundle), "--pubkey", str(tmp_path / "k.pub"),
        "--model", str(case.model), "--probes", str(case.probes), "--device", "cpu",
        "--svr", str(svr), "--svr-key", str(tmp_path / "auditor"), "--input",
    ]  # fmt: skip
    assert main([*command, "Another text."]) == 1
    assert not svr.exists()
    assert main([*command, TEXT]) == 0
    assert "GOT_REPRODUCED" in capsys.readouterr().err
    statement = json.loads(payload_of(svr.read_bytes()))
    properties = ["GOT_SIGNATURE", "GOT_BINDING", "GOT_REPRODUCED", "GOT_MODEL_IDENTITY"]
    assert statement["predicate"]["properties"] == properties
    own = hashlib.sha256(case.document.read_bytes()).hexdigest()
    assert statement["subject"][0]["digest"]["sha256"] == own
    model = json.loads(payload_of(bundle.read_bytes()))["subject"][-1]
    root = read_attestation(case.document).model_hash
    assert model == {"name": "model tiny", "digest": {"sha256": root}}
    assert "GOT_MODEL_IDENTITY" not in verify(bundle, KEY.public).properties
    assert "GOT_MODEL_IDENTITY" in verify(bundle, KEY.public, model=case.model).properties


def test_nothing_is_left_in_the_temporary_folder(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    case.reproduce()
    assert list(tmp_path.iterdir()) == []


# --- mismatch ---------------------------------------------------------------------------------


def test_another_text(case: Case) -> None:
    result = case.reproduce(text="Another text.")
    assert result.outcome == "MISMATCH"
    assert result.links[-1].name == "activations"
    assert "another text or tokenizer" in result.detail


def test_the_first_token_that_differs_is_named(case: Case) -> None:
    """With the signer's record, before the states are compared; and that a text holds a date."""
    record = record_path(case.activations)
    signed = [token.text for token in read_record(record).tokens]
    changed = TEXT.replace("Seine", "Thames")
    result = case.reproduce(text=changed, record=record)
    place = next(link for link in result.links if link.name == "tokens").detail
    number = int(place.split()[1])
    assert place.startswith(f"token {number} of the text: ")
    assert f"signed {quoted(signed[number])} (id " in place
    assert TEXT.startswith("".join(signed[1:number]))
    assert result.line == f"MISMATCH at tokens: {place}"
    assert "date" not in result.line
    beside = case.reproduce(text=changed, activations=case.activations)
    assert beside.line == result.line
    longer = case.reproduce(text=f"{TEXT} On 26 Nov 2026.", record=record)
    assert f"token {len(signed)} of the text: " in longer.line
    assert f"signed none, after {len(signed)}; the text holds a date" in longer.line
    with pytest.raises(errors.BadOption):
        case.reproduce(rows=record)
    other = case.folder / "other.record.json"
    other.write_text(record.read_text().replace('"total": ', '"total": 1'))
    with pytest.raises(errors.DigestMismatch):
        case.reproduce(record=other)
    other.unlink()


def test_a_difference_is_located(case: Case, tmp_path: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.layers.1.mlp.down_proj.weight"][0, 0] += 1

    model = other_weights(case, tmp_path / "m", change)
    result = case.reproduce(model=model)
    assert result.outcome == "MISMATCH"
    assert "units in the last place" in result.detail
    located = case.reproduce(model=model, activations=case.activations)
    assert [(link.name, link.equal) for link in located.links[-2:]] == [
        ("tokens", True), ("activations", False),
    ]  # fmt: skip
    activations = read_activations(case.activations)
    again = extract(
        model, TEXT, [1, 2], options=ExtractionOptions(model_id="tiny", reproducible=True),
        output_activations=tmp_path / "a.gotact", output_unembedding=tmp_path / "u.gotue",
    )  # fmt: skip
    layer, position, index = np.argwhere(activations.values != again.activations.values)[0]
    assert (
        f"layer {activations.layers[layer]}, position {position}, index {index}" in located.detail
    )
    differing = np.count_nonzero(activations.values != again.activations.values)
    assert f"{differing} values differ" in located.detail


def test_another_unembedding(case: Case, tmp_path: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors["lm_head.weight"][0, 0] += 1

    result = case.reproduce(model=other_weights(case, tmp_path / "m", change))
    assert result.outcome == "MISMATCH"
    assert result.links[-1].name == "unembedding"


def test_one_weight_of_one_block(case: Case, tmp_path: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.layers.2.mlp.down_proj.weight"][0, 0] += 0.001

    result = case.reproduce(
        model=other_weights(case, tmp_path / "m", change), activations=case.activations
    )
    assert result.outcome == "MISMATCH"
    assert result.links[-1].name == "activations"
    assert result.detail.startswith("activations: layer 2, ")


def test_a_weight_that_is_not_used_makes_another_model(case: Case, tmp_path: Path) -> None:
    """Blocks after the deepest layer are not read, and are what was signed all the same."""

    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.layers.3.mlp.down_proj.weight"] += 1

    result = case.reproduce(model=other_weights(case, tmp_path / "m", change))
    assert result.line.startswith("MISMATCH at model: what was measured is equal")
    assert [link.name for link in result.links if not link.equal] == ["model"]
    located = case.reproduce(model=tmp_path / "m", activations=case.activations)
    assert located.line.endswith("but its weights are others: model.safetensors")


def test_other_files_with_the_same_tensors(case: Case, tmp_path: Path) -> None:
    folder = other_weights(case, tmp_path / "m", lambda tensors: None)
    (folder / "generation_config.json").write_text("{}")
    result = case.reproduce(model=folder, activations=case.activations)
    assert result.outcome == "UNVERIFIABLE"
    assert "of the same tensors" in result.line
    assert "generation_config.json" in result.line
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    pickled = case.reproduce(model=folder)
    assert pickled.outcome == "UNVERIFIABLE"
    assert "pickled ones are not read" in pickled.line


def test_another_probe_set(case: Case, tmp_path: Path) -> None:
    swapped = tmp_path / "p.json"
    swapped.write_bytes(case.probes.read_bytes().replace(b"unnamed", b"honesty"))
    result = case.reproduce(probes=[swapped])
    assert result.outcome == "MISMATCH"
    assert result.links[-1].name == "probe set 0"


def test_signed_readings_that_are_not_so(case: Case, tmp_path: Path) -> None:
    attestation = read_attestation(case.document)
    first = np.float32(attestation.layer_readings[0][0])
    near = float(np.nextafter(first, np.float32(np.inf)))
    lie = sign(dataclasses.replace(attestation, layer_readings=((near,),)), KEY)
    write_attestation(tmp_path / "t.json", lie)
    result = reproduce(
        tmp_path / "t.json", KEY.public, model=case.model, text=TEXT, probes=[case.probes]
    )
    assert result.outcome == "MISMATCH"
    assert result.links[-1].name == "layer_readings"
    assert "by up to 1 unit in the last place" in result.detail


def test_the_signer_s_activations_must_be_those_signed(case: Case, tmp_path: Path) -> None:
    activations = read_activations(case.activations)
    other = dataclasses.replace(activations, values=np.array(activations.values) + np.float32(1))
    write_activations(tmp_path / "a.gotact", other)
    with pytest.raises(errors.DigestMismatch):
        case.reproduce(activations=tmp_path / "a.gotact")


def forged(case: Case, to: Path, binding: Binding | None = None, **members: Any) -> Case:
    """The case with a document that its signer made up: members, or another binding."""
    signed = read_attestation(case.document)
    binding = binding or signed.bound()
    lie = dataclasses.replace(signed, binding=binding, probe_commitment=binding.digest, **members)
    for path in (case.activations, case.probes, record_path(case.activations)):
        (to / path.name).write_bytes(path.read_bytes())
    write_attestation(to / "t.json", sign(lie, KEY))
    return Case(to, case.model)


def bound(case: Case, *path: str | int, to: object) -> Binding:
    """The binding of the case with one member changed."""
    changed: Binding = replaced(read_attestation(case.document).bound(), path, to)
    return changed


def test_a_lie_is_named_where_it_stands(case: Case, tmp_path: Path) -> None:
    signed = read_attestation(case.document)
    (word,) = signed.bound().probe_sets[0].verdicts
    other = "SUFFICIENT" if word == "INSUFFICIENT" else "INSUFFICIENT"
    verdict = bound(case, "probe_sets", 0, "verdicts", to=(other,))
    dimension = bound(case, "probe_sets", 0, "dimensions", to=("honesty",))
    lies: list[tuple[Binding | None, dict[str, Any], str]] = [
        (None, {"confidence": (0.25,)}, "confidence[0]: signed 0.25, found "),
        (verdict, {}, "binding.probe_sets[0].verdicts[0]: signed "),
        (dimension, {}, "binding.probe_sets[0].dimensions[0]: signed honesty, found "),
    ]
    for binding, members, where in lies:
        result = forged(case, tmp_path, binding, **members).reproduce(activations=case.activations)
        assert result.outcome == "MISMATCH"
        assert result.detail.startswith(where)
    assert signed.confidence != (0.25,)


def test_more_readings_than_the_probes_give(case: Case, tmp_path: Path) -> None:
    attestation = read_attestation(case.document)
    (raw,), (p,), (flag,) = (
        attestation.layer_readings[0],
        attestation.confidence,
        attestation.coverage_flags,
    )
    entry = attestation.bound().probe_sets[0]
    twice = dataclasses.replace(entry, dimensions=entry.dimensions * 2, verdicts=entry.verdicts * 2)
    more = forged(
        case, tmp_path, bound(case, "probe_sets", 0, to=twice), layer_readings=((raw, raw),),
        confidence=(p, p), coverage_flags=(flag, flag),
    )  # fmt: skip
    result = more.reproduce()
    assert result.line == "MISMATCH at layer_readings[0]: 2 entries signed, 1 found"
    other = more.reproduce(text=TEXT.replace("Seine", "Thames", 1))
    assert other.outcome == "MISMATCH"


@pytest.mark.parametrize("layers", [(2,), (1, 2, 3)])
def test_a_binding_that_does_not_describe_the_signer_s_file(
    layers: tuple[int, ...], case: Case, tmp_path: Path
) -> None:
    lie = forged(case, tmp_path, bound(case, "activations", "layers", to=layers))
    assert lie.reproduce().outcome == "MISMATCH"
    result = lie.reproduce(activations=case.activations)
    where = f"MISMATCH at binding.activations.layers: {len(layers)} entries signed, 2 found"
    assert result.line.startswith(where)


def test_what_cannot_be_recomputed_from_the_files_signed(case: Case, tmp_path: Path) -> None:
    geometry = BoundGeometry("Euclidean", "0.0", "0" * 64)
    lie = forged(
        case,
        tmp_path,
        bound(case, "geometry", to=geometry),
        inner_product=InnerProductTag("Euclidean"),
        geometry_hash="0" * 64,
    )
    result = lie.reproduce()
    assert result.line.startswith("MISMATCH at readings: not of the files signed: ")
    assert "--epsilon" not in result.line  # an option that reproduce has not


@pytest.mark.parametrize("layers", [(1, 2, 2), (2, 1)])
def test_layers_that_do_not_ascend_are_refused(
    layers: tuple[int, ...], case: Case, tmp_path: Path
) -> None:
    lie = forged(case, tmp_path, bound(case, "activations", "layers", to=layers))
    with pytest.raises(Refused) as refused:
        lie.reproduce()
    assert refused.value.step == 4


def test_an_amount_below_nothing_is_refused(case: Case, tmp_path: Path) -> None:
    signed = read_attestation(case.document).bound().geometry
    geometry = dataclasses.replace(signed, inner_product="CausalRegularised", epsilon="-1.0")
    tag = InnerProductTag("CausalRegularised", -1.0)
    lie = forged(case, tmp_path, bound(case, "geometry", to=geometry), inner_product=tag)
    with pytest.raises(Refused) as refused:
        lie.reproduce()
    assert refused.value.step == 4
    assert refused.value.where.endswith(".inner_product")


# --- unverifiable -----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"quantization": "int8"}], ids=str)
def test_the_fast_path(tmp_path: Path, options: dict[str, Any]) -> None:
    result = make(tmp_path, reproducible=False, **options).reproduce()
    assert result.outcome == "UNVERIFIABLE"
    assert "fast path" in result.line


def test_no_record(case: Case, tmp_path: Path) -> None:
    moved = copied(case, tmp_path)
    record_path(moved.activations).unlink()
    moved.sign()
    result = moved.reproduce()
    assert result.outcome == "UNVERIFIABLE"
    assert "no extraction record" in result.line


@pytest.mark.parametrize(
    ("arithmetic", "theirs"),
    [(None, "float64 with split products"), ("fixed-order-float32-0", "fixed-order-float32-0")],
)
def test_another_arithmetic(
    case: Case,
    tmp_path: Path,
    arithmetic: str | None,
    theirs: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Made by another version, before the arithmetic had a name or with another: that one can."""
    monkeypatch.setattr("geometry_of_trust.attesting.attest.__version__", "0.0.9")
    old = copied(case, tmp_path)
    record = dataclasses.replace(read_record(record_path(old.activations)), arithmetic=arithmetic)
    write_file(record_path(old.activations), record.to_json())
    old.sign()
    bound = read_attestation(old.document).binding
    assert bound is not None
    assert bound.extraction_record is not None
    assert bound.extraction_record.arithmetic == arithmetic
    assert (b'"arithmetic"' in old.document.read_bytes()) is (arithmetic is not None)
    files: dict[str, Any] = {
        "activations": old.activations, "probes": [old.probes],
        "unembedding": old.folder / "u.gotue", "model": old.model,
    }  # fmt: skip
    assert verify(old.document, KEY.public, **files).complete
    result = old.reproduce()
    assert result.outcome == "UNVERIFIABLE"
    for part in (theirs, ARITHMETIC, "geometry-of-trust 0.0.9"):
        assert part in result.line
    assert result.line.count("\n") == 0


def test_a_bidirectional_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That it was allowed is signed, and so allowed again; whoever reads it is told."""
    bert = Family("bert", {"is_decoder": False})
    case = make(tmp_path, bert, allow_bidirectional=True)
    assert b'"bidirectional":true' in case.document.read_bytes().replace(b" ", b"")
    assert case.reproduce().line == "MATCH"
    (tmp_path / "key.pub").write_bytes(KEY.public.raw)
    files = ["--activations", str(case.activations), "--probes", str(case.probes),
             "--unembedding", str(tmp_path / "u.gotue")]  # fmt: skip
    arguments = ["--attestation", str(case.document), "--pubkey", str(tmp_path / "key.pub")]
    assert main(["verify", *arguments, *files]) == 0
    shown = capsys.readouterr().out
    assert "\nbidirectional      each state depends on the tokens after it, too\n" in shown
    assert "; of a BIDIRECTIONAL run\n" in shown
    assert "''" not in shown  # no line of what there is not
    record = record_path(case.activations)
    forged = record.read_text().replace(',\n    "bidirectional": true', "")
    record.write_text(forged)
    with pytest.raises(Refused) as caught:
        verify(case.document, KEY.public, activations=case.activations)
    assert (caught.value.step, type(caught.value.cause)) == (5, errors.DigestMismatch)
    case.sign()  # of the forged record, as a signer could: then it does not come out again
    assert "cannot extract: layer " in case.reproduce().line


def test_the_arithmetic_is_signed(case: Case) -> None:
    bound = read_attestation(case.document).binding
    assert bound is not None
    assert bound.extraction_record is not None
    assert bound.extraction_record.arithmetic == ARITHMETIC
    assert ARITHMETIC in record_path(case.activations).read_text("utf-8")


def test_a_place_in_a_history_and_drift(case: Case, tmp_path: Path) -> None:
    """The place is taken as signed; drift is measured again, from the checkpoint."""
    moved = copied(case, tmp_path)
    reference, first = tmp_path / "g.gotgeo", tmp_path / "first.json"
    make_checkpoint(tmp_path / "u.gotue", reference)
    first.write_bytes(case.document.read_bytes())
    moved.sign(previous=first, geometry_reference=reference)
    assert read_attestation(moved.document).sequence_number == 1
    missing = moved.reproduce()
    assert (missing.outcome, "--geometry-reference" in missing.detail) == ("UNVERIFIABLE", True)
    result = moved.reproduce(geometry_reference=reference)
    assert result.line == "MATCH"
    assert "which document it follows" in result.not_checked
    assert "geometry reference" in [link.name for link in result.links]
    other = tmp_path / "o.gotgeo"
    write_checkpoint(other, Geometry.from_gram(np.eye(2)))
    ended = moved.reproduce(geometry_reference=other)
    assert ended.line.startswith("MISMATCH at geometry reference: ")
    moved.sign()
    assert moved.reproduce(geometry_reference=reference).outcome == "MISMATCH"


MADE_UP: dict[str, Any] = {
    "causal_scores": (CausalScore(1.0, 1.0, 1.0, is_causal=True),),
    "intervention_delta": 0.5,
    "causal_flag": True,
    "sequence_number": 41,
}


def test_members_that_nothing_here_makes(case: Case, tmp_path: Path) -> None:
    """Signed, and nobody can say whether they are true: no MATCH, no complete verdict."""
    lie = forged(case, tmp_path, **MADE_UP)
    result = lie.reproduce()
    assert result.outcome == "UNVERIFIABLE"
    assert [link.name for link in result.links if not link.equal] == ["document"]
    assert all(name in result.detail for name in MADE_UP)
    verdict = verify(
        lie.document, KEY.public, activations=case.activations, probes=[case.probes],
        unembedding=case.folder / "u.gotue", model=case.model,
    )  # fmt: skip
    assert not verdict.complete
    assert set(verdict.not_checked) == set(MADE_UP)


def test_probe_sets_in_another_order(case: Case, tmp_path: Path) -> None:
    own = copied(case, tmp_path)
    result = train_files(
        activations=own.activations, labels=tmp_path / "a.labels", layer=1,
        unembedding=tmp_path / "u.gotue",
    )  # fmt: skip
    first = tmp_path / "p1.json"
    write_file(first, result.probe_set.to_json())
    attestation = attest(
        activations=own.activations, probes=[first, own.probes], key=KEY, timestamp=TIMESTAMP,
        unembedding=tmp_path / "u.gotue",
    )  # fmt: skip
    write_attestation(own.document, attestation)
    assert own.reproduce(probes=[first, own.probes]).line == "MATCH"
    swapped = own.reproduce(probes=[own.probes, first])
    assert swapped.line == "UNVERIFIABLE: probe sets: those signed, in another order"


def test_a_model_that_cannot_be_run(case: Case, tmp_path: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.layers.1.mlp.down_proj.weight"][0, 0] = torch.nan

    result = case.reproduce(model=other_weights(case, tmp_path / "m", change))
    assert result.line.startswith("UNVERIFIABLE: cannot extract: layer 1, ")
    assert "dtype" not in result.line  # an option that reproduce has not


def test_operations_that_are_not_proved(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then another machine may give other bytes, and nobody has lied."""
    monkeypatch.setattr(
        deterministic_operations, "_ROUNDED", deterministic_operations._ROUNDED - {"mul"}
    )
    assert case.reproduce().line == "MATCH"
    result = case.reproduce(text=TEXT.replace("Seine", "Thames", 1))
    assert result.outcome == "UNVERIFIABLE"
    assert "(mul)" in result.detail


def test_an_interrupt(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: Any, **options: Any) -> Any:
        raise errors.Interrupted("extract", expected="a whole run", hint="Go on with --resume.")

    monkeypatch.setattr("geometry_of_trust.verifying.reproduce.extract_corpus", stop)
    with pytest.raises(KeyboardInterrupt):
        case.reproduce(text=None, corpus=[TEXT])


def test_something_is_missing(case: Case, tmp_path: Path) -> None:
    assert "probe sets: 1 needed" in case.reproduce(probes=()).line
    result = case.reproduce(model=tmp_path / "nothing")
    assert result.outcome == "UNVERIFIABLE"
    assert "cannot extract" in result.line


def test_a_document_that_does_not_verify(case: Case, tmp_path: Path) -> None:
    with pytest.raises(Refused):
        reproduce(case.document, OTHER_KEY.public, model=case.model, text=TEXT)


# --- the command ------------------------------------------------------------------------------


def test_the_command(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "k.pub").write_bytes(KEY.public.raw)
    (tmp_path / "o.pub").write_bytes(OTHER_KEY.public.raw)

    def run(*extra: object, key: str = "k.pub", text: str = TEXT) -> tuple[int, str]:
        arguments = [
            "reproduce", "--attestation", case.document, "--pubkey", tmp_path / key,
            "--model", case.model, "--input", text, "--probes", case.probes, *extra,
        ]  # fmt: skip
        code = main([str(argument) for argument in arguments])
        return code, capsys.readouterr().out

    code, out = run()
    assert (code, out.splitlines()[-1]) == (0, "MATCH")
    assert "layer 2, position last (" in out  # what it was that matches
    assert "taken as signed: that the model of these digests is what the name 'tiny'" in out
    code, out = run("--json")
    assert (code, json.loads(out)["outcome"]) == (0, "MATCH")
    assert len(json.loads(out)["not_checked"]) == 3
    assert json.loads(out)["attestation"]["model_id"] == "tiny"
    code, out = run(text="Else.")
    assert code == 1
    assert out.splitlines()[-1].startswith("MISMATCH at activations: ")
    code, out = run(key="o.pub")
    assert code == 1
    assert out.splitlines()[-1].startswith("REFUSED at step 3")


# --- a residual stream of several ---------------------------------------------------------------


def test_the_stream_signed_is_read_again(tmp_path: Path) -> None:
    case = make(tmp_path, gemma3n(), stream="1")
    record = read_record(record_path(case.activations))
    signed = read_attestation(case.document)
    bound = signed.bound()
    assert bound.extraction_record is not None
    assert (record.stream, bound.extraction_record.stream) == ("1", "1")
    verify(case.document, KEY.public, activations=case.activations)
    assert case.reproduce().outcome == "MATCH"
    for stream, outcome in (("2", "MISMATCH"), ("9", "UNVERIFIABLE"), ("x", "UNVERIFIABLE")):
        other = dataclasses.replace(bound.extraction_record, stream=stream)
        binding: Binding = dataclasses.replace(bound, extraction_record=other)
        case.document.write_bytes(signed_anew(signed, binding=binding))
        assert case.reproduce().outcome == outcome
        with pytest.raises(Refused) as caught:
            verify(case.document, KEY.public, record=record_path(case.activations))
        assert isinstance(caught.value.cause, errors.RecordMismatch)
        assert caught.value.cause.where.endswith(", stream")
