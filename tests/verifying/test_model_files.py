"""A model is the one that was signed: its files, its tensors, its matrix, others' signatures."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import signing
from safetensors.torch import load_file

from geometry_of_trust import errors
from geometry_of_trust.attesting.attest import attest
from geometry_of_trust.cli import main
from geometry_of_trust.documents.extraction_record_reading import read_record
from geometry_of_trust.documents.names_beside import record_path
from geometry_of_trust.extraction.one_text import extract
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.probing.probes import read_probe_set
from geometry_of_trust.signing.attestation import read_attestation
from geometry_of_trust.signing.checks import sign
from geometry_of_trust.verifying.reproduce import reproduce
from geometry_of_trust.verifying.verdict import Refused, Verdict
from geometry_of_trust.verifying.verify import verify
from model_folders import flip
from model_signatures import write_keys
from options import arguments_of
from pipeline import KEY, signed_anew
from signed_cases import Case, copied, make, other_weights
from tiny_models import TEXT, quick

pytestmark = pytest.mark.usefixtures("quickly")

UNREAD = "model.layers.3.mlp.down_proj.weight"
"""A tensor of a block that no case loads."""


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    with quick():
        return make(tmp_path_factory.mktemp("identified"))


def checked(case: Case, **files: Any) -> Verdict:
    """The verdict with all files, or with others."""
    ours: dict[str, Any] = {
        "activations": case.activations, "probes": [case.probes],
        "unembedding": case.folder / "u.gotue", "model": case.model,
    }  # fmt: skip
    return verify(case.document, KEY.public, **(ours | files))


def refusal(case: Case, **files: Any) -> errors.GotError:
    with pytest.raises(Refused) as caught:
        checked(case, **files)
    assert caught.value.step == 5
    return caught.value.cause


def with_one_byte_changed(case: Case, folder: Path) -> Path:
    """The model, with one byte changed of a block that is not loaded."""

    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[UNREAD].view(torch.uint8).view(-1)[0] ^= 1

    return other_weights(case, folder, change)


# --- the model --------------------------------------------------------------------------------


def test_the_model_is_bound_and_checked(case: Case) -> None:
    signed = read_attestation(case.document)
    model = signed.bound().model
    assert model is not None
    assert signed.model_hash == model.manifest_root
    assert signed.not_made_here == ()
    assert model.not_covered == ()
    verdict = checked(case)
    assert verdict.complete
    assert "model (" in verdict.steps[4].detail
    assert "the unembedding is the model's 'lm_head.weight'" in verdict.steps[4].detail
    without = checked(case, model=None)
    assert without.not_checked == ("model",)
    assert without.line.endswith("FILES AND READINGS: not checked: model")


def test_one_byte_of_a_block_that_is_not_loaded_is_named(case: Case, tmp_path: Path) -> None:
    other = with_one_byte_changed(case, tmp_path / "m")
    error = refusal(case, model=other)
    assert isinstance(error, errors.OtherModel)
    assert "its tensors are others; files that differ: model.safetensors" in str(error.found)
    nameless = refusal(case, activations=None, unembedding=None, probes=(), model=other)
    assert "--record" in str(nameless.found)


def test_another_text_of_the_model_is_named(case: Case, tmp_path: Path) -> None:
    folder = other_weights(case, tmp_path / "m", lambda tensors: None)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    (folder / "README.md").write_text("is not covered")
    error = refusal(case, model=folder)
    assert "its tensors are those signed" in str(error.found)
    assert "differ: chat_template.jinja (not signed), config.json" in str(error.found)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    pickled = refusal(case, model=folder)
    assert "could not be compared" in str(pickled.found)  # they are the same


def test_a_record_that_says_another_model_is_refused(case: Case, tmp_path: Path) -> None:
    """What stands in the environment of a record no digest covers: it is held to the binding."""
    own = copied(case, tmp_path)
    path = record_path(own.activations)
    record = read_record(path)
    assert record.identity is not None
    renamed = dataclasses.replace(record.identity, not_covered=("x.py",))
    write_file(path, dataclasses.replace(record, identity=renamed).to_json())
    mismatch = refusal(own)
    assert isinstance(mismatch, errors.RecordMismatch)
    assert (mismatch.where, mismatch.found) == (f"{path}, not covered of the model", "('x.py',)")
    file = dataclasses.replace(record.identity.files[0], sha256="0" * 64)
    forged = dataclasses.replace(record.identity, files=(file, *record.identity.files[1:]))
    write_file(path, dataclasses.replace(record, identity=forged).to_json())
    assert isinstance(refusal(own), errors.Inconsistent)
    write_file(path, dataclasses.replace(record, identity=None).to_json())
    assert isinstance(refusal(own), errors.RecordMismatch)


def test_the_unembedding_s_place_is_checked(case: Case, tmp_path: Path) -> None:
    """A path that does not lead to the bound root; a matrix that is not the tensor named."""
    own = copied(case, tmp_path)
    path = record_path(own.activations)
    record = read_record(path)
    assert record.identity is not None
    tensor = record.identity.unembedding
    assert tensor is not None
    for change, cause in (
        ({"path": ("0" * 64, *tensor.path[1:])}, errors.OtherModel),
        ({"name": "model.embed_tokens.weight"}, errors.OtherModel),
        ({"index": tensor.index + 1}, errors.OtherModel),
    ):
        changed: Any = dataclasses.replace(tensor, **change)
        identity = dataclasses.replace(record.identity, unembedding=changed)
        write_file(path, dataclasses.replace(record, identity=identity).to_json())
        assert isinstance(refusal(own), cause), change
    # Nobody signs that a record of a reproducible run names no tensor: it is said, then.
    identity = dataclasses.replace(record.identity, unembedding=None)
    write_file(path, dataclasses.replace(record, identity=identity).to_json())
    verdict = checked(own)
    assert verdict.not_checked == ("that the unembedding is the model's",)
    assert verdict.properties[-1] == "GOT_MODEL_IDENTITY"


@pytest.mark.parametrize("root", ["0" * 64, None])
def test_both_roots_are_those_of_the_model(case: Case, root: str | None, tmp_path: Path) -> None:
    """As of a file that was altered in the hub's cache: called by the digest of another one."""
    signed = read_attestation(case.document)
    bound = signed.bound()
    assert bound.model is not None
    model = dataclasses.replace(bound.model, tensor_root=root)
    lie = tmp_path / "lie.json"
    lie.write_bytes(signed_anew(signed, binding=dataclasses.replace(bound, model=model)))
    with pytest.raises(Refused) as caught:
        verify(lie, KEY.public, model=case.model)
    assert (caught.value.step, type(caught.value.cause)) == (5, errors.OtherModel)
    assert "the files that are signed" in caught.value.cause.found
    again = reproduce(lie, KEY.public, model=str(case.model), text=TEXT, probes=[case.probes])
    assert again.outcome == "MISMATCH"
    assert "model's tensors" in [link.name for link in again.links if not link.equal]


def test_the_hash_signed_is_the_root_bound(case: Case) -> None:
    signed = read_attestation(case.document)
    lie = signed_anew(signed, model_hash="0" * 64)
    with pytest.raises(Refused) as caught:
        verify(lie, KEY.public)
    assert (caught.value.step, type(caught.value.cause)) == (4, errors.BindingMismatch)


def test_a_document_that_says_nothing_of_its_model(case: Case, tmp_path: Path) -> None:
    old = copied(case, tmp_path)
    path = record_path(old.activations)
    write_file(path, dataclasses.replace(read_record(path), identity=None).to_json())
    old.sign()
    assert b"manifest_root" not in old.document.read_bytes()
    assert checked(old, model=None).complete
    assert isinstance(refusal(old), errors.BadOption)
    assert old.reproduce().line == "MATCH"


def test_an_adapter_needs_a_model(case: Case) -> None:
    with pytest.raises(errors.BadOption):
        checked(case, model=None, adapter=case.model)


# --- probes of other weights ------------------------------------------------------------------


def test_probes_of_other_weights_are_refused_or_bound(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One name, other weights: by digest and not by name; what is allowed is bound and printed."""
    other = with_one_byte_changed(case, tmp_path / "m")
    own = Case(tmp_path, other)
    extract(
        other, TEXT, [1, 2], output_activations=own.activations,
        output_unembedding=tmp_path / "u.gotue",
        **arguments_of(model_id="tiny", reproducible=True),
    )  # fmt: skip
    shutil.copy(case.probes, own.probes)
    arguments: dict[str, Any] = {
        "activations": own.activations, "probes": [own.probes],
        "unembedding": tmp_path / "u.gotue", "key": KEY,
    }  # fmt: skip
    with pytest.raises(errors.ModelMismatch) as caught:
        attest(**arguments)
    assert "tensors of root" in str(caught.value)
    assert "--other-weights" in str(caught.value)
    signed = attest(**arguments, other_weights=True)
    assert [bound.other_weights for bound in signed.bound().probe_sets] == [True]
    own.document.write_bytes(signed.to_json())
    assert checked(own).complete
    assert main(["show", str(own.document)]) == 0
    assert "TRAINED ON OTHER WEIGHTS" in capsys.readouterr().out
    bound = dataclasses.replace(signed.bound().probe_sets[0], other_weights=False)
    binding = dataclasses.replace(signed.bound(), probe_sets=(bound,))
    hidden = sign(
        dataclasses.replace(signed, binding=binding, probe_commitment=binding.digest), KEY
    )
    own.document.write_bytes(hidden.to_json())
    assert isinstance(refusal(own), errors.ContentMismatch)
    read = ["read", "--activations", own.activations, "--probes", own.probes,
            "--unembedding", tmp_path / "u.gotue"]  # fmt: skip
    assert main([str(word) for word in read]) == 1
    assert main([*(str(word) for word in read), "--other-weights"]) == 0


def test_one_model_under_any_name(case: Case, tmp_path: Path) -> None:
    """Of equal weights the name decides nothing; where digests are missing, it does and says so."""
    own = Case(tmp_path, case.model)
    extract(
        f"{case.model}/", TEXT, [1, 2], output_activations=own.activations,
        output_unembedding=tmp_path / "u.gotue", **arguments_of(model_id="else"),
    )  # fmt: skip
    shutil.copy(case.probes, own.probes)
    own.sign()
    assert read_attestation(own.document).model_id == "else"
    assert checked(own).complete
    probe_set = read_probe_set(own.probes)
    assert probe_set.training is not None
    training = dataclasses.replace(probe_set.training, weights=None)
    write_file(own.probes, dataclasses.replace(probe_set, training=training).to_json())
    with pytest.raises(errors.ModelMismatch) as caught:
        own.sign()
    assert "the model's name decides" in str(caught.value)
    assert "if the unembedding is the same one" in str(caught.value)
    own.sign(other_weights=True)
    assert "NAME alone" not in checked(own).steps[4].detail


def test_probes_that_do_not_say_their_weights_are_taken_by_name(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of files written before; it is said to who signs and to who verifies."""
    own = copied(case, tmp_path)
    probe_set = read_probe_set(own.probes)
    assert probe_set.training is not None
    training = dataclasses.replace(probe_set.training, weights=None)
    write_file(own.probes, dataclasses.replace(probe_set, training=training).to_json())
    assert main(["keygen", "--output", str(tmp_path / "k")]) == 0
    words = ["attest", "--activations", own.activations, "--unembedding", tmp_path / "u.gotue",
             "--probes", own.probes, "--key", tmp_path / "k", "--output", own.document]  # fmt: skip
    own.document.unlink()
    assert main([str(word) for word in words]) == 0
    assert "the model's name decides" in capsys.readouterr().err
    own.sign()
    assert "NAME alone, as no weights are named: probe set 0" in checked(own).steps[4].detail


# --- what others signed -----------------------------------------------------------------------


def test_a_signature_of_the_model_by_the_tool(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = other_weights(case, tmp_path / "m", lambda tensors: None)
    shutil.copy(case.model / "model.safetensors", model)
    (model / "README.md").write_text("signed, and not covered")
    secret, public = write_keys(tmp_path, "s", ec.generate_private_key(ec.SECP256R1()))
    signature = tmp_path / "model.sig"
    signing.Config().use_elliptic_key_signer(private_key=secret).sign(model, signature)
    by: dict[str, Any] = {"model_signature": signature, "model_key": public}
    assert "signature of the model, by key" in checked(case, **by).steps[4].detail
    alone = checked(case, model=None, **by)
    assert "signature of the model, by key" in alone.steps[4].detail
    assert alone.not_checked == ("model",)
    with pytest.raises(Refused) as caught:
        verify(case.document, KEY.public, **by)
    assert isinstance(caught.value.cause, errors.BadOption)
    again = case.reproduce(model=model, **by)
    assert again.line == "MATCH"
    assert "model's signature" in [link.name for link in again.links]
    words = ["verify", "--attestation", case.document, "--pubkey", tmp_path / "k.pub",
             "--model", model, "--model-signature", signature, "--model-key", public]  # fmt: skip
    (tmp_path / "k.pub").write_bytes(KEY.public.raw)
    assert main([str(word) for word in words]) == 0
    assert "signature of the model, by key" in capsys.readouterr().out
    with pytest.raises(errors.BadOption):
        checked(case, model_signature=signature)

    flip(model / "config.json")
    (model / "config.json").write_text(json.dumps({"model_type": "llama"}))
    signing.Config().use_elliptic_key_signer(private_key=secret).sign(model, signature)
    error = refusal(case, model=None, **by)
    assert (type(error), "config.json" in error.where) == (errors.OtherModel, True)
    unsigned = case.reproduce(**by)
    assert unsigned.line.startswith("MISMATCH at ")
    assert "config.json" in unsigned.line
    shutil.copy(case.model / "config.json", model)
    (model / "chat_template.jinja").write_text("signed, and not in the model that was run")
    signing.Config().use_elliptic_key_signer(private_key=secret).sign(model, signature)
    error = refusal(case, model=None, **by)
    assert (type(error), "chat_template.jinja" in error.where) == (errors.OtherModel, True)
