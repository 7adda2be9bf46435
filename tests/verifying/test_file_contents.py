"""Step 5: what a supplied file says is held against what was signed, whatever else is missing."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geometry_of_trust import errors
from geometry_of_trust.documents.extraction_record import (
    LIBRARIES,
    Record,
    RecordedAdapter,
    Token,
    WrittenFile,
)
from geometry_of_trust.documents.names_beside import record_path
from geometry_of_trust.files import sha256_file
from geometry_of_trust.probing.calibration_report import calibration_report
from geometry_of_trust.probing.layer_sweep import sweep_files
from geometry_of_trust.probing.token_readings import read_tokens
from geometry_of_trust.signing.attestation import Attestation
from geometry_of_trust.signing.binding import BoundRecord
from geometry_of_trust.signing.checks import reference_commitment
from geometry_of_trust.signing.signed_bytes import InnerProductTag
from geometry_of_trust.verifying.verdict import Refused
from geometry_of_trust.verifying.verify import verify
from pipeline import KEY, LAYERS, Files, P, build, replaced, signed_anew, train_one

Path_ = tuple[str | int, ...]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return build(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture(scope="module")
def attestation(made: Files) -> Attestation:
    return made.attest()


@pytest.fixture
def files(made: Files, tmp_path: Path) -> Files:
    """The files in a folder of their own, with a record beside the activations."""
    shutil.copytree(made.activations.parent, tmp_path, dirs_exist_ok=True)
    moved = Files(
        **{
            name: tmp_path / getattr(made, name).name
            for name in ("activations", "unembedding", "labels")
        },
        probes=tuple(tmp_path / path.name for path in made.probes),
    )
    put_record(moved, record_of(moved))
    return moved


def record_of(files: Files) -> Record:
    return Record(
        tool_version="0", model="m", model_id="tiny", revision=None, commit=None,
        model_class="C", blocks_path="b", blocks_total=5, blocks_loaded=5, whole_because=None,
        unembedding_path="u", tied=False, bias=False, layers=LAYERS, dtype="float32",
        precision="Fp32", reproducible=True, device="cpu", attention=None,
        libraries=dict.fromkeys(LIBRARIES, "1"),
        activations=WrittenFile("a.gotact", sha256_file(files.activations)),
        unembedding=WrittenFile("u.gotue", sha256_file(files.unembedding)),
        prompt_sha256="ab" * 32, tokens=(Token(1, "a", None, False),) * P,
    )  # fmt: skip


def put_record(files: Files, record: Record) -> None:
    record_path(files.activations).write_bytes(record.to_json())


def refused(step: int, cause: type[errors.GotError], data: bytes, **options: Any) -> Refused:
    """Refused at this step for this cause, and verified when no file is supplied."""
    assert verify(data, KEY.public).not_checked
    with pytest.raises(Refused) as caught:
        verify(data, KEY.public, **options)
    assert (caught.value.step, type(caught.value.cause)) == (step, cause)
    return caught.value


def lie_of(attestation: Attestation, path: Path_, value: object, **members: Any) -> bytes:
    """The attestation with another value bound, and signed by the same key."""
    return signed_anew(attestation, binding=replaced(attestation.bound(), path, value), **members)


# --- headers, names, layers, verdicts ---------------------------------------------------------

OF_ACTIVATIONS: list[tuple[Path_, object, dict[str, Any]]] = [
    (("model_id",), "gpt-99", {"model_id": "gpt-99"}),
    (("precision",), "Fp16", {"precision": "Fp16"}),
    (("layout",), "per-position", {}),
    (("layers",), (1, 3, 4), {}),
]


@pytest.mark.parametrize(("path", "value", "members"), OF_ACTIVATIONS)
def test_the_header_of_activations(
    path: Path_, value: object, members: dict[str, Any], files: Files, attestation: Attestation
) -> None:
    lie = lie_of(attestation, ("activations", *path), value, **members)
    error = refused(5, errors.ContentMismatch, lie, activations=files.activations)
    assert error.where == f"{files.activations}, {path[0]}"


def test_the_number_of_positions(files: Files, attestation: Attestation) -> None:
    binding = replaced(attestation.bound(), ("activations", "positions"), P + 1)
    for i in range(2):
        binding = replaced(binding, ("probe_sets", i, "position_index"), P)
    lie = signed_anew(attestation, binding=binding)
    error = refused(5, errors.ContentMismatch, lie, activations=files.activations)
    assert error.where == f"{files.activations}, positions"


def test_the_hidden_dimension(files: Files, attestation: Attestation) -> None:
    binding = replaced(attestation.bound(), ("activations", "hidden_dim"), 7)
    binding = replaced(binding, ("unembedding", "hidden_dim"), 7)
    lie = signed_anew(attestation, binding=binding)
    for name in ("activations", "unembedding"):
        path = getattr(files, name)
        error = refused(5, errors.ContentMismatch, lie, **{name: path})
        assert error.where == f"{path}, hidden_dim"
    error = refused(5, errors.ContentMismatch, lie, probes=files.probes)
    assert error.where == f"{files.probes[0]}, weights of 'warm'"


def test_the_vocabulary(files: Files, attestation: Attestation) -> None:
    lie = lie_of(attestation, ("unembedding", "vocab_size"), 41)
    error = refused(5, errors.ContentMismatch, lie, unembedding=files.unembedding)
    assert error.where == f"{files.unembedding}, vocab_size"


def test_what_a_probe_set_says(files: Files, attestation: Attestation) -> None:
    first: Path_ = ("probe_sets", 0)
    (ours,) = attestation.bound().probe_sets[0].verdicts
    (other,) = {"SUFFICIENT", "INSUFFICIENT"} - {ours}
    cases: list[tuple[str, bytes]] = [
        ("layer", lie_of(attestation, (*first, "layer"), 4)),
        ("dimensions", lie_of(attestation, (*first, "dimensions"), ("honest",))),
        ("verdicts", lie_of(attestation, (*first, "verdicts"), (other,))),
        ("sha256", lie_of(attestation, ("geometry", "sha256"), "ab" * 32, geometry_hash="ab" * 32)),
    ]
    for name, lie in cases:
        error = refused(5, errors.ContentMismatch, lie, probes=files.probes)
        assert error.where == f"{files.probes[0]}, {name}"
    lie = signed_anew(attestation, probe_version="v9")
    error = refused(5, errors.ContentMismatch, lie, probes=files.probes)
    assert error.where == "--probes, probe_version"


def test_what_a_probe_set_was_trained_on(files: Files, attestation: Attestation) -> None:
    """Probes of another model, whose digest is bound all the same."""
    for member, value, cause, place in (
        ("model_id", "gpt-99", errors.ContentMismatch, ", training.model_id"),
        ("precision", "Fp16", errors.ContentMismatch, ", training.precision"),
        ("inner_product", "CausalRegularised", errors.ContentMismatch, ", inner_product"),
        ("epsilon", 0.5, errors.ContentMismatch, ", epsilon"),
        (None, None, errors.ProvenanceMissing, ""),
    ):
        tree = json.loads(files.probes[0].read_bytes())
        if member is None:
            del tree["training"]
        else:
            tree["training"][member] = value
        other = files.probes[0].with_name("other.json")
        other.write_text(json.dumps(tree))
        lie = lie_of(attestation, ("probe_sets", 0, "sha256"), sha256_file(other))
        error = refused(5, cause, lie, probes=(other, files.probes[1]))
        assert error.where == f"{other}{place}"


def test_a_probe_set_of_unknown_training(files: Files) -> None:
    """What little it says is held against what was signed, and not what it does not say."""
    tree = json.loads(files.probes[0].read_bytes())
    known = files.probes[0].with_name("known.json")
    known.write_text(json.dumps(tree))
    del tree["training"]
    files.probes[0].write_text(json.dumps(tree))
    probes, record = files.probes[:1], record_path(files.activations)
    attestation = files.attest(probes=probes, unknown_training=True)
    verdict = verify(
        attestation.to_json(), KEY.public, activations=files.activations,
        unembedding=files.unembedding, probes=probes, record=record,
    )  # fmt: skip
    assert verdict.complete
    assert verdict.steps[3].detail.endswith("probes of UNKNOWN TRAINING")
    first: Path_ = ("probe_sets", 0)
    for name, value in (("layer", 4), ("dimensions", ("honest",))):
        error = refused(
            5, errors.ContentMismatch, lie_of(attestation, (*first, name), value), probes=probes
        )
        assert error.where == f"{probes[0]}, {name}"
    lie = lie_of(attestation, (*first, "sha256"), sha256_file(known))
    error = refused(5, errors.ContentMismatch, lie, probes=[known])
    assert error.where == f"{known}, verdicts"


@pytest.mark.parametrize(
    ("member", "value"), [("inner_product", "CausalRegularised"), ("epsilon", 0.5)]
)
def test_probes_that_say_another_geometry_than_their_own_are_not_signed(
    member: str, value: object, files: Files
) -> None:
    tree = json.loads(files.probes[0].read_bytes())
    tree["training"][member] = value
    files.probes[0].write_text(json.dumps(tree))
    with pytest.raises(errors.GeometryMismatch) as caught:
        files.attest(probes=files.probes[:1])
    assert caught.value.where == f"{files.probes[0]}.training"


def test_a_model_s_folder_may_be_spelled_in_other_ways(
    files: Files, attestation: Attestation
) -> None:
    tree = json.loads(files.probes[0].read_bytes())
    tree["training"]["model_id"] = "../models/tiny/"
    other = files.probes[0].with_name("other.json")
    other.write_text(json.dumps(tree))
    again = files.attest(probes=(other, files.probes[1]))
    assert again.layer_readings == attestation.layer_readings
    assert verify(
        again.to_json(), KEY.public, activations=files.activations,
        unembedding=files.unembedding, probes=(other, files.probes[1]),
    ).complete  # fmt: skip


def test_a_file_that_is_bound_and_is_no_such_file(files: Files, attestation: Attestation) -> None:
    short = files.activations.with_name("short.gotact")
    short.write_bytes(files.activations.read_bytes()[:-1])
    digest = sha256_file(short)
    lie = lie_of(attestation, ("activations", "sha256"), digest, input_hash=digest)
    refused(5, errors.Truncated, lie, activations=short)


# --- the extraction record --------------------------------------------------------------------

OF_ANOTHER_RUN: list[dict[str, Any]] = [
    {"activations": WrittenFile("a.gotact", "1" * 64)},
    {"unembedding": WrittenFile("u.gotue", "1" * 64)},
    {"model_id": "gpt-99"},
    {"precision": "Fp16"},
    {"layers": (1, 5)},
    {"tokens": (Token(1, "a", None, False),)},
]


def said(change: dict[str, Any]) -> str:
    """What an error calls the member that was changed."""
    (name,) = change
    return {"model_id": "model", "tokens": "positions"}.get(name, name)


@pytest.mark.parametrize("change", OF_ANOTHER_RUN, ids=said)
@pytest.mark.parametrize("alone", [True, False])
def test_a_record_of_another_run_that_is_bound(
    change: dict[str, Any], alone: bool, files: Files, attestation: Attestation
) -> None:
    record = dataclasses.replace(record_of(files), **change)
    put_record(files, record)
    bound = BoundRecord(record.digest, record.mode, record.arithmetic)
    lie = lie_of(attestation, ("extraction_record",), bound)
    others: dict[str, Any] = {"unembedding": files.unembedding, "probes": files.probes}
    supplied = {"activations": files.activations} | ({} if alone else others)
    error = refused(5, errors.RecordMismatch, lie, **supplied)
    assert error.where == f"{record_path(files.activations)}, {said(change)}"


def test_a_record_of_another_mode_than_is_bound(files: Files, attestation: Attestation) -> None:
    """As if its digest were over its environment, too."""
    record = record_of(files)
    lie = lie_of(attestation, ("extraction_record",), BoundRecord(record.digest, "fast", None))
    path = record_path(files.activations)
    assert refused(5, errors.DigestMismatch, lie, record=path).where == str(path)


def test_the_environment_of_a_fast_run_is_signed(files: Files) -> None:
    for reproducible in (True, False):
        put_record(files, dataclasses.replace(record_of(files), reproducible=reproducible))
        verdict = verify(files.attest().to_json(), KEY.public, activations=files.activations)
        files_step = verdict.steps[4].detail
        assert ("without its environment" in files_step) == reproducible
        assert "activations, extraction record" in files_step


def test_a_record_beside_is_passed_over_where_none_is_bound(files: Files) -> None:
    record_path(files.activations).unlink()
    unrecorded = files.attest().to_json()
    put_record(files, record_of(files))
    verdict = verify(
        unrecorded, KEY.public, activations=files.activations, unembedding=files.unembedding,
        probes=files.probes,
    )  # fmt: skip
    assert verdict.complete
    assert "extraction record" not in verdict.steps[4].detail


def test_a_broken_link_is_not_taken_for_no_record(files: Files) -> None:
    signed, record = files.attest().to_json(), record_path(files.activations)
    supplied: dict[str, Any] = {
        "activations": files.activations, "unembedding": files.unembedding,
    }  # fmt: skip
    record.unlink()
    assert "extraction record" in verify(signed, KEY.public, **supplied).not_checked
    record.symlink_to("nothing")
    error = refused(5, errors.Unreadable, signed, **supplied)
    assert error.where == str(record)


@pytest.mark.parametrize(
    ("bound", "recorded"), [("other", "some"), (None, "some"), ("some", None)], ids=str
)
def test_an_arithmetic_that_the_record_does_not_say(
    bound: str | None, recorded: str | None, files: Files, attestation: Attestation
) -> None:
    record = dataclasses.replace(record_of(files), arithmetic=recorded)
    put_record(files, record)
    lie = lie_of(
        attestation, ("extraction_record",), BoundRecord(record.digest, record.mode, bound)
    )
    error = refused(5, errors.RecordMismatch, lie, activations=files.activations)
    assert error.where.endswith(", arithmetic")
    truth = BoundRecord(record.digest, record.mode, recorded)
    signed = lie_of(attestation, ("extraction_record",), truth)
    verdict = verify(signed, KEY.public, activations=files.activations)
    assert "extraction record" not in verdict.not_checked


@pytest.mark.parametrize("recorded", [True, False])
def test_a_bidirectional_run_is_bound_as_one(
    recorded: bool, files: Files, attestation: Attestation
) -> None:
    record = dataclasses.replace(record_of(files), bidirectional=recorded)
    put_record(files, record)
    lie = BoundRecord(record.digest, record.mode, None, not recorded)
    signed = lie_of(attestation, ("extraction_record",), lie)
    error = refused(5, errors.RecordMismatch, signed, activations=files.activations)
    assert error.where.endswith(", bidirectional")
    signed = lie_of(
        attestation, ("extraction_record",), dataclasses.replace(lie, bidirectional=recorded)
    )
    verdict = verify(signed, KEY.public, activations=files.activations)
    assert ("BIDIRECTIONAL" in verdict.steps[3].detail) is recorded
    # A record that says otherwise is another one.
    put_record(files, dataclasses.replace(record, bidirectional=not recorded))
    refused(5, errors.DigestMismatch, signed, activations=files.activations)


def test_nothing_is_recomputed_where_a_file_is_missing(files: Files) -> None:
    document = files.attest().to_json()
    everything: dict[str, Any] = {
        "activations": files.activations, "unembedding": files.unembedding, "probes": files.probes,
    }  # fmt: skip
    for missing in everything:
        supplied = {name: path for name, path in everything.items() if name != missing}
        verdict = verify(document, KEY.public, **supplied)
        assert [step.outcome for step in verdict.steps[4:]] == ["passed", "not run"]
        assert verdict.not_checked[0] == missing


def test_its_own_record_is_verified(files: Files) -> None:
    assert verify(
        files.attest().to_json(), KEY.public, activations=files.activations,
        unembedding=files.unembedding, probes=files.probes,
    ).complete  # fmt: skip


def three(files: Files) -> dict[str, Any]:
    return {
        "activations": files.activations,
        "unembedding": files.unembedding,
        "probes": files.probes[0],
    }


COMMANDS: dict[str, Callable[[Files], object]] = {
    "attest": lambda files: files.attest(),
    "train": lambda files: train_one(files, files.labels.with_name("new.json")),
    "read": lambda files: read_tokens(**three(files)),
    "sweep": lambda files: sweep_files(
        activations=files.activations, unembedding=files.unembedding, labels=files.labels
    ),
    "calibration-report": lambda files: calibration_report(**three(files), labels=files.labels),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("member", ["unembedding", "activations"])
def test_files_of_two_runs_are_not_computed_with(command: str, member: str, files: Files) -> None:
    """Another model with the same d was extracted into the same folder, say."""
    other: dict[str, Any] = {member: WrittenFile("x", "1" * 64)}
    put_record(files, dataclasses.replace(record_of(files), **other))
    with pytest.raises(errors.RecordMismatch) as caught:
        COMMANDS[command](files)
    assert caught.value.found == "1" * 64


# --- without a binding ------------------------------------------------------------------------


def test_a_binding_that_was_cut_off_is_missed(attestation: Attestation) -> None:
    cut = dataclasses.replace(attestation, binding=None)
    for allowed in (True, False):
        with pytest.raises(Refused) as caught:
            verify(cut.to_json(), KEY.public, allow_legacy=allowed)
        assert (caught.value.step, type(caught.value.cause)) == (4, errors.BindingMismatch)


def test_the_reference_s_own_commitment_is_no_binding(attestation: Attestation) -> None:
    # reference.md 14, V7
    assert reference_commitment(2) == (
        "9d34149fbd1fe777eb238799054c8cbfbce372255f219f8740838def9bfd02db"
    )
    theirs = signed_anew(attestation, binding=None, probe_commitment=reference_commitment(2))
    verdict = verify(theirs, KEY.public, allow_legacy=True)
    assert verdict.legacy
    assert verdict.not_checked[0] == "binding"
    other = signed_anew(attestation, binding=None, probe_commitment=reference_commitment(1))
    with pytest.raises(Refused):
        verify(other, KEY.public, allow_legacy=True)


@pytest.mark.parametrize(
    ("member", "value", "place"),
    [
        ("model_id", "gpt-99", "training.model_id"), ("precision", "Fp16", "training.precision"),
        ("geometry_hash", "1" * 64, "geometry_hash"),
        ("inner_product", InnerProductTag("Euclidean", None), "training.inner_product"),
    ],
)  # fmt: skip
def test_a_legacy_document_is_held_against_probe_sets(
    member: str, value: Any, place: str, files: Files, attestation: Attestation
) -> None:
    bare: dict[str, Any] = {"binding": None, "probe_commitment": None}
    options: dict[str, Any] = {"probes": files.probes, "allow_legacy": True}
    verdict = verify(signed_anew(attestation, **bare), KEY.public, **options)
    assert verdict.not_checked == ("binding", "activations", "unembedding", "probes", "readings")
    with pytest.raises(Refused) as caught:
        verify(signed_anew(attestation, **bare, **{member: value}), KEY.public, **options)
    assert (caught.value.step, type(caught.value.cause)) == (5, errors.ContentMismatch)
    assert caught.value.where == f"{files.probes[0]}, {place}"
    unnamed = signed_anew(attestation, **bare, model_id="unknown-model", geometry_hash=None)
    assert verify(unnamed, KEY.public, **options).legacy


def test_a_legacy_document_with_probes_that_say_nothing_of_their_training(
    files: Files, attestation: Attestation
) -> None:
    tree = json.loads(files.probes[0].read_bytes())
    del tree["training"]
    files.probes[0].write_text(json.dumps(tree))
    legacy = signed_anew(attestation, binding=None, probe_commitment=None)
    assert verify(legacy, KEY.public, allow_legacy=True, probes=files.probes).legacy
    other = signed_anew(attestation, binding=None, probe_commitment=None, geometry_hash="1" * 64)
    with pytest.raises(Refused) as caught:
        verify(other, KEY.public, allow_legacy=True, probes=files.probes[:1])
    assert caught.value.where == f"{files.probes[0]}, geometry_hash"


@pytest.mark.parametrize("change", [OF_ANOTHER_RUN[0], *OF_ANOTHER_RUN[2:4]])
def test_a_legacy_document_is_held_against_a_record(
    change: dict[str, Any], files: Files, attestation: Attestation
) -> None:
    legacy = signed_anew(attestation, binding=None, probe_commitment=None)
    record = record_path(files.activations)
    verdict = verify(legacy, KEY.public, allow_legacy=True, record=record)
    assert "extraction record" in verdict.not_checked
    assert "sha256" not in verdict.steps[4].detail
    unnamed = signed_anew(
        attestation, binding=None, probe_commitment=None, model_id="unknown-model"
    )
    assert verify(unnamed, KEY.public, allow_legacy=True, record=record).legacy
    put_record(files, dataclasses.replace(record_of(files), **change))
    with pytest.raises(Refused) as caught:
        verify(legacy, KEY.public, allow_legacy=True, record=record)
    assert (caught.value.step, type(caught.value.cause)) == (5, errors.RecordMismatch)
    assert caught.value.where == f"{record}, {said(change)}"


def test_no_file_that_is_supplied_is_passed_over(files: Files, attestation: Attestation) -> None:
    legacy = signed_anew(attestation, binding=None, probe_commitment=None)
    for name in ("activations", "unembedding", "record", "rows", "probes"):
        missing = files.labels.with_name("none")
        supplied: dict[str, Any] = {name: [missing] if name == "probes" else missing}
        with pytest.raises(Refused) as caught:
            verify(legacy, KEY.public, allow_legacy=True, **supplied)
        assert (caught.value.step, type(caught.value.cause)) == (5, errors.Unreadable)


@pytest.mark.parametrize(("member", "value"), [("model_id", "gpt-99"), ("precision", "Fp16")])
def test_a_legacy_document_is_held_against_the_header(
    member: str, value: str, files: Files, attestation: Attestation
) -> None:
    bare: dict[str, Any] = {"binding": None, "probe_commitment": None}
    options: dict[str, Any] = {"activations": files.activations, "allow_legacy": True}
    verdict = verify(signed_anew(attestation, **bare), KEY.public, **options)
    assert verdict.legacy
    assert verdict.steps[4].detail.startswith("sha256 of activations, ")
    with pytest.raises(Refused) as caught:
        verify(signed_anew(attestation, **bare, **{member: value}), KEY.public, **options)
    assert (caught.value.step, type(caught.value.cause)) == (5, errors.ContentMismatch)
    assert caught.value.where == f"{files.activations}, {member}"
    unnamed = signed_anew(attestation, **bare, model_id="unknown-model")
    assert verify(unnamed, KEY.public, **options).legacy


@pytest.mark.parametrize(("bound", "recorded"), [("fp8", None), (None, "fp8"), ("fp8", "mxfp8")])
def test_weights_that_the_record_says_came_otherwise(
    bound: str | None, recorded: str | None, files: Files, attestation: Attestation
) -> None:
    record = dataclasses.replace(record_of(files), stored=recorded)
    put_record(files, record)
    made = BoundRecord(record.digest, record.mode, record.arithmetic, stored=bound)
    lie = lie_of(attestation, ("extraction_record",), made)
    error = refused(5, errors.RecordMismatch, lie, activations=files.activations)
    assert error.where.endswith(", stored")
    truth = dataclasses.replace(made, stored=recorded)
    signed = lie_of(attestation, ("extraction_record",), truth)
    verdict = verify(signed, KEY.public, activations=files.activations)
    assert "extraction record" not in verdict.not_checked


@pytest.mark.parametrize(("bound", "recorded"), [("12", None), (None, "12"), ("12", "34")])
def test_an_adapter_that_the_record_does_not_say(
    bound: str | None, recorded: str | None, files: Files, attestation: Attestation
) -> None:
    adapter = recorded and RecordedAdapter(recorded * 32, "LORA", "some model")
    record = dataclasses.replace(record_of(files), adapter=adapter or None)
    put_record(files, record)
    digest = bound and bound * 32
    made = BoundRecord(record.digest, record.mode, record.arithmetic, adapter=digest)
    lie = lie_of(attestation, ("extraction_record",), made)
    error = refused(5, errors.RecordMismatch, lie, activations=files.activations)
    assert error.where.endswith(", adapter")
    truth = dataclasses.replace(made, adapter=recorded and recorded * 32)
    signed = lie_of(attestation, ("extraction_record",), truth)
    verdict = verify(signed, KEY.public, activations=files.activations)
    assert "extraction record" not in verdict.not_checked
