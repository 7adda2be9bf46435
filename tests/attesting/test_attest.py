"""What attest signs, and what it refuses to sign."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
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
from geometry_of_trust.formats.gotact import read_activations, write_activations
from geometry_of_trust.formats.gotue import read_unembedding, write_unembedding
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.probing.probes import read_probe_set
from geometry_of_trust.signing.attestation import parse_document
from geometry_of_trust.signing.binding import BoundRecord
from geometry_of_trust.signing.checks import check_structure
from geometry_of_trust.signing.key_making import generate_key_files
from geometry_of_trust.signing.signed_bytes import InnerProductTag
from geometry_of_trust.verifying.verdict import Refused
from geometry_of_trust.verifying.verify import verify
from pipeline import KEY, LAYERS, TIMESTAMP, D, Files, P, V, build, signed_anew, train_one


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return build(tmp_path_factory.mktemp("attesting"))


def copy_of(files: Files, folder: Path) -> Files:
    """The same files elsewhere, to be spoiled one by one."""
    moved = {
        name: folder / getattr(files, name).name
        for name in ("activations", "unembedding", "labels")
    }
    for name, path in moved.items():
        path.write_bytes(getattr(files, name).read_bytes())
    probes = tuple(folder / path.name for path in files.probes)
    for old, new in zip(files.probes, probes, strict=True):
        new.write_bytes(old.read_bytes())
    return Files(**moved, probes=probes)


def rewrite(files: Files, **changes: Any) -> None:
    """Write the activations again with other fields."""
    activations = read_activations(files.activations)
    new = dataclasses.replace(activations, values=np.array(activations.values))
    write_activations(files.activations, dataclasses.replace(new, **changes))


def respell(path: Path, change: Any) -> None:
    """Change the JSON of a probe set."""
    tree = json.loads(path.read_bytes())
    change(tree)
    path.write_text(json.dumps(tree, indent=2))


def test_the_members_of_an_attestation(files: Files) -> None:
    attestation = files.attest(corpus_version="c1")
    acts = read_activations(files.activations)
    assert attestation.model_id == "tiny"
    assert attestation.precision == "Fp32"
    assert attestation.inner_product == InnerProductTag("Causal", None)
    assert attestation.timestamp == TIMESTAMP
    assert attestation.corpus_version == "c1"
    assert attestation.probe_version == read_probe_set(files.probes[0]).version
    assert [len(row) for row in attestation.layer_readings] == [1, 1]
    assert attestation.geometry_hash == read_probe_set(files.probes[0]).geometry_hash
    assert attestation.sequence_number == 0
    assert attestation.binding is not None
    assert attestation.binding.activations.layers == LAYERS
    assert attestation.binding.activations.positions == len(acts.positions) == P
    assert attestation.binding.unembedding.vocab_size == V
    assert [e.dimensions for e in attestation.binding.probe_sets] == [("warm",), ("tall",)]
    assert [e.layer for e in attestation.binding.probe_sets] == list(LAYERS)
    assert attestation.binding.key_id == KEY.public.key_id
    check_structure(attestation, "a")


def test_same_inputs_and_timestamp_give_the_same_bytes(files: Files, tmp_path: Path) -> None:
    assert files.attest().to_json() == files.attest().to_json()
    moved = copy_of(files, tmp_path)
    assert moved.attest().to_json() == files.attest().to_json()


def test_readings_are_those_of_the_position(files: Files) -> None:
    acts = read_activations(files.activations)
    probe_set = read_probe_set(files.probes[0])
    phi_free = {}
    for position in ("last", "first", "7", "mean"):
        attestation = files.attest(position=position, probes=files.probes[:1])
        phi_free[position] = attestation.layer_readings[0][0]
        assert verify(
            attestation.to_json(), KEY.public, activations=files.activations,
            unembedding=files.unembedding, probes=files.probes[:1],
        ).complete  # fmt: skip
    assert len(set(phi_free.values())) == 4
    geometry = Geometry.from_unembedding(read_unembedding(files.unembedding))
    weights = probe_set.probes[0].weights.astype(np.float64)
    states = acts.layer(LAYERS[0])
    raw = geometry.apply(states) @ weights + probe_set.probes[0].bias
    assert phi_free["last"] == pytest.approx(raw[-1], rel=1e-6)
    assert phi_free["first"] == pytest.approx(raw[0], rel=1e-6)
    assert phi_free["7"] == pytest.approx(raw[7], rel=1e-6)
    assert phi_free["mean"] == pytest.approx(raw.mean(), rel=1e-5)


def test_the_timestamp(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1234567")
    assert files.attest(timestamp=None).timestamp == 1234567
    assert files.attest().timestamp == TIMESTAMP
    for wrong in ("", "x", "-1", "1" * 20):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", wrong)
        with pytest.raises(errors.BadOption):
            files.attest(timestamp=None)
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert abs(files.attest(timestamp=None).timestamp - time.time()) < 60
    for value in (-1, 2**64):
        with pytest.raises(errors.BadOption):
            files.attest(timestamp=value)
    with pytest.raises(errors.TimestampInFuture):
        files.attest(timestamp=int(time.time()) + 1000)


def test_another_model_id_is_refused(files: Files, tmp_path: Path) -> None:
    assert files.attest(model_id="tiny").model_id == "tiny"
    with pytest.raises(errors.ModelMismatch):
        files.attest(model_id="other")
    moved = copy_of(files, tmp_path)
    rewrite(moved, model_id="other")
    with pytest.raises(errors.ModelMismatch) as caught:
        moved.attest()
    assert caught.value.where == str(moved.probes[0])


def test_another_precision_is_refused(files: Files, tmp_path: Path) -> None:
    moved = copy_of(files, tmp_path)
    rewrite(moved, precision="Bfloat16")
    with pytest.raises(errors.PrecisionMismatch):
        moved.attest()


def test_another_dimension_is_refused(files: Files, tmp_path: Path) -> None:
    moved = copy_of(files, tmp_path)
    rng = np.random.default_rng(0)
    write_unembedding(moved.unembedding, rng.normal(size=(V, D + 1)).astype(np.float32))
    with pytest.raises(errors.DimensionMismatch) as caught:
        moved.attest()
    assert caught.value.where == str(moved.unembedding)
    rewrite(moved, values=rng.normal(size=(2, P, D + 1)).astype(np.float32))
    with pytest.raises(errors.DimensionMismatch) as caught:
        moved.attest()
    assert str(moved.probes[0]) in caught.value.where


def test_another_geometry_is_refused(files: Files, tmp_path: Path) -> None:
    moved = copy_of(files, tmp_path)
    rng = np.random.default_rng(5)
    write_unembedding(moved.unembedding, rng.normal(size=(V, D)).astype(np.float32))
    with pytest.raises(errors.GeometryMismatch):
        moved.attest()


def test_probe_sets_under_two_inner_products_are_refused(files: Files, tmp_path: Path) -> None:
    euclidean = train_one(files, tmp_path / "e.json", inner_product="euclidean")
    with pytest.raises(errors.GeometryMismatch):
        files.attest(probes=(files.probes[0], euclidean))
    attestation = files.attest(probes=(euclidean,))
    assert attestation.inner_product == InnerProductTag("Euclidean", None)
    assert verify(
        attestation.to_json(), KEY.public, activations=files.activations,
        unembedding=files.unembedding, probes=(euclidean,),
    ).complete  # fmt: skip


def test_a_layer_that_is_not_there_is_refused(files: Files, tmp_path: Path) -> None:
    moved = copy_of(files, tmp_path)
    activations = read_activations(moved.activations)
    rewrite(moved, layers=(1,), values=np.array(activations.values[:1]))
    with pytest.raises(errors.LayerMissing):
        moved.attest()


def test_probes_of_unknown_origin_are_refused(files: Files, tmp_path: Path) -> None:
    moved = copy_of(files, tmp_path)
    respell(moved.probes[1], lambda tree: tree.pop("training"))
    with pytest.raises(errors.ProvenanceMissing) as caught:
        moved.attest()
    assert caught.value.where == str(moved.probes[1])
    assert "--unknown-training" in caught.value.hint
    attestation = moved.attest(unknown_training=True)
    known, unknown = attestation.bound().probe_sets
    assert (known.unknown_training, unknown.unknown_training) == (False, True)
    assert (len(known.verdicts), unknown.verdicts) == (1, ())
    assert attestation.layer_readings == files.attest().layer_readings
    everything: dict[str, Any] = {
        "activations": moved.activations, "unembedding": moved.unembedding, "probes": moved.probes
    }  # fmt: skip
    assert verify(attestation.to_json(), KEY.public, **everything).complete
    # What the probe sets say decides, and not what the signer was asked for.
    assert files.attest(unknown_training=True).to_json() == files.attest().to_json()
    for probe_set, value in (
        (dataclasses.replace(unknown, verdicts=known.verdicts), "verdicts"),
        (dataclasses.replace(unknown, unknown_training=False), "verdicts"),
    ):
        lie = dataclasses.replace(attestation.bound(), probe_sets=(known, probe_set))
        with pytest.raises(Refused) as refusal:
            verify(signed_anew(attestation, binding=lie), KEY.public)
        assert refusal.value.step == 4
        assert refusal.value.where.endswith(f"probe_sets[1].{value}")
    respell(moved.probes[0], lambda tree: tree["training"].update(inner_product="Euclidean"))
    with pytest.raises(errors.GeometryMismatch) as caught_:
        moved.attest(unknown_training=True)
    assert caught_.value.where == str(moved.probes[1])
    with pytest.raises(errors.BadOption):
        files.attest(probes=())


def test_a_non_finite_state_is_refused_by_place(files: Files, tmp_path: Path) -> None:
    moved = copy_of(files, tmp_path)
    values = np.array(read_activations(moved.activations).values)
    values[1, P - 1, 2] = np.nan
    rewrite(moved, values=values)
    with pytest.raises(errors.NonFinite) as caught:
        moved.attest()
    assert caught.value.where.endswith(f"layer {LAYERS[1]}, position {P - 1}")
    moved.attest(position="first")


def test_a_regularised_geometry_says_what_was_added(tmp_path: Path) -> None:
    files = build(tmp_path)
    rng = np.random.default_rng(1)
    narrow = np.zeros((V, D), np.float32)
    narrow[:, : D - 1] = rng.normal(size=(V, D - 1))
    write_unembedding(files.unembedding, narrow)
    for path, layer in zip(files.probes, LAYERS, strict=True):
        train_one(files, path, layer=layer)
    attestation = files.attest()
    assert attestation.inner_product.name == "CausalRegularised"
    assert attestation.binding is not None
    assert attestation.inner_product.epsilon == np.float32(attestation.inner_product.epsilon)
    phi_trace = (narrow.astype(np.float64) ** 2).sum()
    assert attestation.inner_product.epsilon == pytest.approx(1e-6 * phi_trace / D, rel=1e-6)
    assert verify(
        attestation.to_json(), KEY.public, activations=files.activations,
        unembedding=files.unembedding, probes=files.probes,
    ).complete  # fmt: skip
    with pytest.raises(errors.GeometryMismatch):
        files.attest(epsilon=1e-3)


def test_keys_from_files(files: Files, tmp_path: Path) -> None:
    secret, public, key = generate_key_files(tmp_path / "key", format="pem")
    attestation = files.attest(key=secret)
    assert attestation.binding is not None
    assert attestation.binding.key_id == key.key_id
    assert verify(attestation.to_json(), public).attestation == attestation


def record_of(files: Files) -> Record:
    """A record of these files."""
    return Record(
        tool_version="0", model="m", model_id="tiny", revision=None, commit=None,
        model_class="C", blocks_path="b", blocks_total=2, blocks_loaded=2, whole_because=None,
        unembedding_path="u", tied=False, bias=False, layers=LAYERS, dtype="float32",
        precision="Fp32", reproducible=False, device="cpu", attention=None,
        libraries=dict.fromkeys(LIBRARIES, "1"),
        activations=WrittenFile("a.gotact", sha256_file(files.activations)),
        unembedding=WrittenFile("u.gotue", sha256_file(files.unembedding)),
        prompt_sha256="ab" * 32, tokens=(Token(1, "a", None, False),) * P,
    )  # fmt: skip


def test_the_extraction_record_must_be_of_these_files(files: Files, tmp_path: Path) -> None:
    moved = copy_of(files, tmp_path)
    record = record_of(moved)
    place = record_path(moved.activations)
    write_file(place, record.to_json())
    attestation = moved.attest()
    assert attestation.binding is not None
    assert attestation.binding.extraction_record == BoundRecord(sha256_file(place), "fast", None)
    everything: dict[str, Any] = {
        "activations": moved.activations, "unembedding": moved.unembedding, "probes": moved.probes,
    }  # fmt: skip
    assert verify(attestation.to_json(), KEY.public, **everything).complete
    place.rename(tmp_path / "elsewhere")
    verdict = verify(attestation.to_json(), KEY.public, **everything)
    assert verdict.not_checked == ("extraction record",)
    assert not verdict.complete
    write_file(place, dataclasses.replace(record, device="cuda:0").to_json())
    refused_at_step_5(attestation.to_json(), everything)
    for change in (
        {"unembedding": WrittenFile("u", "ab" * 32)}, {"activations": WrittenFile("a", "ab" * 32)},
        {"model_id": "other"}, {"precision": "Fp16"}, {"layers": (1,)},
        {"tokens": record.tokens[1:]},
    ):  # fmt: skip
        write_file(place, dataclasses.replace(record, **change).to_json())
        with pytest.raises(errors.RecordMismatch):
            moved.attest()


def test_a_probe_whose_name_cannot_be_signed(files: Files, tmp_path: Path) -> None:
    probe_set = read_probe_set(files.probes[0])
    long = "x" * 257
    card = dataclasses.replace(probe_set.training.cards[0], dimension=long)  # type: ignore[union-attr]
    training = dataclasses.replace(probe_set.training, cards=(card,))  # type: ignore[type-var]
    probes = (dataclasses.replace(probe_set.probes[0], name=long),)
    renamed = dataclasses.replace(probe_set, probes=probes, training=training)
    write_file(tmp_path / "p.json", renamed.to_json())
    with pytest.raises(errors.LimitExceeded) as caught:
        files.attest(probes=(tmp_path / "p.json",))
    assert caught.value.where.startswith(str(tmp_path / "p.json"))


def refused_at_step_5(data: bytes, everything: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        verify(data, KEY.public, **everything)
    assert caught.value.step == 5
    assert isinstance(caught.value.__cause__, errors.DigestMismatch)


def test_the_environment_of_a_reproducible_run_is_not_bound(files: Files, tmp_path: Path) -> None:
    moved = copy_of(files, tmp_path)
    record = dataclasses.replace(record_of(moved), reproducible=True)
    place = record_path(moved.activations)
    write_file(place, record.to_json())
    attestation = moved.attest()
    assert attestation.binding is not None
    bound = BoundRecord(record.measured_digest, "reproducible", record.arithmetic)
    assert attestation.binding.extraction_record == bound
    adapter = RecordedAdapter("12" * 32, "LORA", None)
    record_of_more = dataclasses.replace(record, stored="fp8", adapter=adapter)
    write_file(place, record_of_more.to_json())
    digest = record_of_more.measured_digest
    said = BoundRecord(digest, "reproducible", record.arithmetic, stored="fp8", adapter="12" * 32)
    assert moved.attest().bound().extraction_record == said
    everything: dict[str, Any] = {
        "activations": moved.activations, "unembedding": moved.unembedding, "probes": moved.probes,
    }  # fmt: skip
    write_file(place, dataclasses.replace(record, device="cuda:0").to_json())
    assert verify(attestation.to_json(), KEY.public, **everything).complete
    write_file(place, dataclasses.replace(record, layers=(0,)).to_json())
    refused_at_step_5(attestation.to_json(), everything)
    write_file(place, dataclasses.replace(record, reproducible=False).to_json())
    refused_at_step_5(attestation.to_json(), everything)


@pytest.mark.parametrize(
    ("names", "signed_there"),
    [
        (("synthetic/synthetic.gotact", "synthetic/synthetic.gotue",
          "synthetic/probes-layer4.json"), "synthetic/attestation.json"),
        (("demo/activations.gotact", "demo/model.gotue", "demo/probe_layer0.json"),
         "demo/attestation.json"),
    ],
    ids=["synthetic", "demo"],
)  # fmt: skip
def test_the_reference_s_probes(
    names: tuple[str, str, str], signed_there: str, interop: Path
) -> None:
    """Signed with on request, and with the readings of the reference, which rounds otherwise."""
    activations, unembedding, probes = (interop / name for name in names)
    files = Files(activations, unembedding, interop, (probes,))
    with pytest.raises(errors.ProvenanceMissing):
        files.attest()
    ours = files.attest(position="first", unknown_training=True)
    assert ours.bound().probe_sets[0].unknown_training
    theirs = parse_document((interop / signed_there).read_bytes(), "a", wrapped=True).attestation
    assert ours.layer_readings[0] == pytest.approx(theirs.layer_readings[0], rel=1e-6)
    assert ours.coverage_flags == theirs.coverage_flags
    assert verify(
        ours.to_json(), KEY.public, activations=activations, unembedding=unembedding,
        probes=[probes],
    ).complete  # fmt: skip


# --- many probe sets --------------------------------------------------------------------------


def versioned(files: Files, folder: Path, version: str) -> Path:
    """The first probe set under another version."""
    path = folder / f"{version[:40]}.json"
    probe_set = dataclasses.replace(read_probe_set(files.probes[0]), version=version)
    write_file(path, probe_set.to_json())
    return path


def test_many_probe_sets_of_one_version(files: Files, tmp_path: Path) -> None:
    many = files.probes * 18
    attestation = files.attest(probes=many)
    assert attestation.probe_version == read_probe_set(files.probes[0]).version
    assert verify(
        attestation.to_json(), KEY.public, activations=files.activations,
        unembedding=files.unembedding, probes=many,
    ).complete  # fmt: skip


def test_versions_are_written_once_in_order(files: Files, tmp_path: Path) -> None:
    second, first = (versioned(files, tmp_path, name) for name in ("b", "a"))
    attestation = files.attest(probes=(second, first, second))
    assert attestation.probe_version == "b+a"
    assert files.attest(probes=(first,)).probe_version == "a"


def test_versions_signed_once_a_set_still_verify(files: Files) -> None:
    """As documents of several probe sets were signed before versions were written once."""
    attestation = files.attest()
    both = f"{attestation.probe_version}+{attestation.probe_version}"
    supplied: Any = {"activations": files.activations, "unembedding": files.unembedding}
    document = signed_anew(attestation, probe_version=both)
    assert verify(document, KEY.public, probes=files.probes, **supplied).complete
    document = signed_anew(attestation, probe_version=f"{both}+{attestation.probe_version}")
    with pytest.raises(Refused) as caught:
        verify(document, KEY.public, probes=files.probes, **supplied)
    assert (caught.value.step, caught.value.where) == (5, "--probes, probe_version")


def no_arithmetic(*arguments: object, **options: object) -> None:
    raise AssertionError("the Gram matrix was asked for")


@pytest.mark.parametrize("lengths", [(257,), (128, 127, 1)])
def test_versions_too_long_to_sign_are_shortened(
    files: Files, tmp_path: Path, lengths: tuple[int, ...]
) -> None:
    """One byte more than what can be signed: their number and their digest stand there."""
    names = [f"{letter}" * n for letter, n in zip("abc", lengths, strict=False)]
    long = tuple(versioned(files, tmp_path, name) for name in names)
    attestation = files.attest(probes=(*long, long[0]))
    digest = hashlib.sha256("+".join(names).encode()).hexdigest()
    counted = "1 version" if len(names) == 1 else f"{len(names)} versions"
    assert attestation.probe_version == f"{counted}, sha256 {digest}"
    supplied: Any = {"activations": files.activations, "unembedding": files.unembedding}
    checked = verify(
        attestation.to_json(), KEY.public, probes=(*long, long[0]), **supplied
    )  # fmt: skip
    assert checked.complete


def test_a_probe_set_of_a_version_of_its_own_for_each_of_eighty_layers(
    files: Files, tmp_path: Path
) -> None:
    many = [versioned(files, tmp_path, f"v0.1.0-{layer}") for layer in range(80)]
    attestation = files.attest(probes=many)
    assert len(attestation.layer_readings) == 80
    assert len(attestation.probe_version) < 100
    lie = signed_anew(attestation, probe_version=attestation.probe_version[:-1] + "g")
    with pytest.raises(Refused) as caught:
        verify(lie, KEY.public, probes=many)
    assert (caught.value.step, caught.value.where) == (5, "--probes, probe_version")


def test_a_name_too_long_to_sign_is_refused_before_the_long_arithmetic(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Geometry, "from_unembedding", no_arithmetic)
    with pytest.raises(errors.LimitExceeded) as caught:
        files.attest(corpus_version="é" * 129)
    assert caught.value.where == "--corpus-version"


# --- verdicts ---------------------------------------------------------------------------------


def test_the_verdict_of_each_probe_is_bound(files: Files, tmp_path: Path) -> None:
    attestation = files.attest()
    assert attestation.binding is not None
    for bound, path in zip(attestation.binding.probe_sets, files.probes, strict=True):
        training = read_probe_set(path).training
        assert training is not None
        assert bound.verdicts == tuple(card.verdict for card in training.cards)
