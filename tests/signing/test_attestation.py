"""The attestation as a value and as a document: one text, and no other."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from geometry_of_trust import errors
from geometry_of_trust.documents.schema import Member
from geometry_of_trust.documents.strictjson import float32
from geometry_of_trust.signing import binding, reference_members
from geometry_of_trust.signing.attestation import (
    MEMBERS,
    Attestation,
    Document,
    parse_document,
    read_attestation,
    write_attestation,
)
from geometry_of_trust.signing.binding import BINDING, Binding
from geometry_of_trust.signing.checks import check_binding, check_structure, sign
from geometry_of_trust.signing.keys import SecretKey
from geometry_of_trust.signing.signed_bytes import SIGNED_MEMBERS
from places import VECTORS

KEY = SecretKey.from_seed(bytes([1]) * 32)
DEMO = VECTORS / "demo" / "attestation.json"


@pytest.fixture(scope="module")
def signed() -> Attestation:
    return read_attestation(DEMO)


def test_a_document_of_before_reads_back_to_its_bytes(signed: Attestation, tmp_path: Path) -> None:
    assert signed.to_json() == DEMO.read_bytes()
    write_attestation(tmp_path / "a.json", signed)
    assert read_attestation(tmp_path / "a.json") == signed


def test_signing_again_gives_the_same_signature(signed: Attestation) -> None:
    unsigned = dataclasses.replace(signed, signature="")
    assert sign(unsigned, KEY) == signed
    KEY.public.verify(bytes.fromhex(signed.signature), signed.signed_bytes())
    members = {field.name: getattr(signed, field.name) for field in dataclasses.fields(signed)}
    del members["signature"]
    assert Attestation(**members) == unsigned


def test_the_binding_and_its_parts_are_frozen(signed: Attestation) -> None:
    bound = signed.bound()
    parts = (
        signed, signed.inner_product, bound, bound.activations, bound.unembedding, bound.geometry,
        bound.extraction_record, *bound.probe_sets,
    )  # fmt: skip
    for part in parts:
        assert dataclasses.is_dataclass(part)
        name = dataclasses.fields(part)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, name, None)
    assert hash(signed) == hash(read_attestation(DEMO))


def test_every_value_that_is_signed_is_a_frozen_dataclass() -> None:
    for module in (binding, reference_members):
        values = [
            value
            for value in vars(module).values()
            if isinstance(value, type) and value.__module__ == module.__name__
        ]
        assert len(values) >= 6
        for value in values:
            assert dataclasses.is_dataclass(value)
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(object.__new__(value), dataclasses.fields(value)[0].name, None)


def test_a_table_has_the_fields_of_its_dataclass() -> None:
    def attributes(members: tuple[Member, ...]) -> set[str]:
        return {member.attribute for member in members}

    assert attributes(MEMBERS) == {field.name for field in dataclasses.fields(Attestation)}
    defaults = {member.attribute: member.default for member in MEMBERS if not member.required}
    for field in dataclasses.fields(Attestation):
        if field.name in defaults:
            assert field.default == defaults[field.name]


def test_the_binding_in_json(signed: Attestation) -> None:
    tree = json.loads(DEMO.read_bytes())["binding"]
    assert BINDING.read(tree, "b") == signed.bound()
    assert BINDING.write(signed.bound()) == tree
    mean = dataclasses.replace(signed.bound().probe_sets[0], position="mean", position_index=None)
    averaged: Binding = dataclasses.replace(
        signed.bound(), probe_sets=(mean,), extraction_record=None
    )
    written = BINDING.write(averaged)
    assert isinstance(written, dict)
    assert "extraction_record" not in written
    assert "position_index" not in written["probe_sets"][0]
    assert BINDING.read(written, "b") == averaged
    assert averaged.digest != signed.bound().digest
    with pytest.raises(errors.WrongType) as caught:
        BINDING.read({**tree, "extraction_record": None}, "b")
    assert caught.value.where == "b.extraction_record"


def test_the_arithmetic_in_a_binding(signed: Attestation) -> None:
    """That of a reproducible run; bindings from before it had a name are spelled as they were."""
    record = signed.bound().extraction_record
    assert record is not None
    spellings = []
    for arithmetic in (None, "some-1", "some-2"):
        named = dataclasses.replace(record, arithmetic=arithmetic)
        binding: Binding = dataclasses.replace(signed.bound(), extraction_record=named)
        written: Any = BINDING.write(binding)
        assert written["extraction_record"].get("arithmetic") == arithmetic
        assert ("arithmetic" in written["extraction_record"]) is (arithmetic is not None)
        assert BINDING.read(written, "b") == binding
        spellings.append(binding.digest)
    assert len(set(spellings)) == 3
    written["extraction_record"]["arithmetic"] = None
    with pytest.raises(errors.WrongType) as caught:
        BINDING.read(written, "b")
    assert caught.value.where == "b.extraction_record.arithmetic"


def test_a_bidirectional_run_in_a_binding(signed: Attestation) -> None:
    """Bindings of other runs are spelled as they were before one could be bound."""
    record = signed.bound().extraction_record
    assert record is not None
    assert not record.bidirectional
    both = dataclasses.replace(record, bidirectional=True)
    binding: Binding = dataclasses.replace(signed.bound(), extraction_record=both)
    written: Any = BINDING.write(binding)
    assert written["extraction_record"]["bidirectional"] is True
    assert BINDING.read(written, "b") == binding
    assert binding.digest != signed.bound().digest
    plain: Any = BINDING.write(signed.bound())
    assert "bidirectional" not in plain["extraction_record"]
    assert BINDING.read(plain, "b") == signed.bound()


def test_the_stream_in_a_binding(signed: Attestation) -> None:
    """Which of several residual streams was read; of a model with one, nothing."""
    record = signed.bound().extraction_record
    assert record is not None
    assert "stream" not in _written(signed.bound())["extraction_record"]
    digests = {signed.bound().digest}
    for stream in ("0", "mean"):
        named = dataclasses.replace(record, stream=stream)
        binding: Binding = dataclasses.replace(signed.bound(), extraction_record=named)
        assert _written(binding)["extraction_record"]["stream"] == stream
        assert BINDING.read(_written(binding), "b") == binding
        digests.add(binding.digest)
    assert len(digests) == 3


def _written(binding: Binding) -> Any:
    return BINDING.write(binding)


def test_chosen_tokens_and_a_date_in_a_binding(signed: Attestation) -> None:
    record = signed.bound().extraction_record
    assert record is not None
    assert not {"tokens", "date"} & set(_written(signed.bound())["extraction_record"])
    digests = {signed.bound().digest}
    for named in ({"tokens": "assistant"}, {"tokens": "after:x"}, {"date": "2026-02-01"}):
        changed: Any = dataclasses.replace(record, **named)  # type: ignore[arg-type]
        binding: Binding = dataclasses.replace(signed.bound(), extraction_record=changed)
        assert named.items() <= _written(binding)["extraction_record"].items()
        assert BINDING.read(_written(binding), "b") == binding
        digests.add(binding.digest)
    assert len(digests) == 4


@pytest.mark.parametrize("name", ["stored", "adapter"])
def test_what_weights_came_from_in_a_binding(name: str, signed: Attestation) -> None:
    """Absent, as in bindings from before, if there is nothing to say."""
    record = signed.bound().extraction_record
    assert record is not None
    bound: Any = {"stored": "fp8", "adapter": "ab" * 32}
    said = dataclasses.replace(record, **{name: bound[name]})
    binding: Binding = dataclasses.replace(signed.bound(), extraction_record=said)
    written: Any = BINDING.write(binding)
    assert list(written["extraction_record"])[-1] == name
    assert name not in BINDING.write(signed.bound())["extraction_record"]  # type: ignore[index]
    assert BINDING.read(written, "b") == binding
    assert binding.digest != signed.bound().digest
    for other in (None, 7, *(["AB" * 32, "ab"] if name == "adapter" else [])):
        written["extraction_record"][name] = other
        with pytest.raises(errors.WrongType) as caught:
            BINDING.read(written, "b")
        assert caught.value.where == f"b.extraction_record.{name}"


def test_without_a_binding(signed: Attestation) -> None:
    bare = dataclasses.replace(signed, binding=None)
    assert b'"binding"' not in bare.to_json()
    with pytest.raises(errors.LegacyDocument) as caught:
        bare.bound("x")
    assert caught.value.where == "x.binding"
    with pytest.raises(errors.LegacyDocument) as caught:
        bare.bound()
    assert caught.value.where == "attestation.binding"
    with pytest.raises(errors.LegacyDocument):
        check_binding(bare, KEY.public, "x")


def test_what_nothing_here_makes(signed: Attestation) -> None:
    assert signed.not_made_here == ()
    made_up = dataclasses.replace(signed, sequence_number=3, model_hash="ab" * 32)
    assert made_up.not_made_here == ("model_hash", "sequence_number")


def test_the_probes_that_are_insufficient(signed: Attestation) -> None:
    def with_verdicts(*sets: tuple[tuple[str, ...], tuple[Any, ...]]) -> Attestation:
        first = signed.bound().probe_sets[0]
        bound = tuple(
            dataclasses.replace(first, dimensions=names, verdicts=verdicts)
            for names, verdicts in sets
        )
        return dataclasses.replace(
            signed, binding=dataclasses.replace(signed.bound(), probe_sets=bound)
        )

    no, yes = "INSUFFICIENT", "SUFFICIENT"
    found = with_verdicts((("a", "b"), (yes, no)), (("c",), (no,)), (("d",), (yes,)))
    assert found.insufficient == ("b", "c")
    # Nobody has checked a document that is only shown: its lists may be of other lengths.
    assert with_verdicts((("a",), (no, no))).insufficient == ("a",)
    assert dataclasses.replace(signed, binding=None).insufficient == ()


def test_an_outer_object_has_one_spelling_too(signed: Attestation) -> None:
    wrapped = Document(signed, KEY.public.raw.hex())
    data = wrapped.to_json()
    assert list(json.loads(data)) == ["attestation", "verifying_key_hex"]
    assert json.loads(data)["verifying_key_hex"] == KEY.public.raw.hex()
    assert parse_document(data, "w", wrapped=True) == wrapped
    with pytest.raises(errors.LegacyDocument):
        parse_document(data, "w")
    with pytest.raises(errors.NotOurSpelling):
        parse_document(data + b"\n", "w", wrapped=True)
    assert parse_document(data + b"\n", "w", wrapped=True, reformatted=True) == wrapped


def test_another_spelling_is_refused_at_the_byte_where_it_begins(signed: Attestation) -> None:
    data = signed.to_json()
    assert parse_document(data, "a") == Document(signed)
    after_a_line = data.index(b"\n", 500) + 1
    for at in (0, 1, 2, after_a_line, len(data) - 1, len(data)):
        with pytest.raises(errors.NotOurSpelling) as caught:
            parse_document(data[:at] + b"\t" + data[at:], "a")
        assert caught.value.where == f"a, byte {at}"


def test_an_error_names_the_file_and_the_member(signed: Attestation, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    wrong = json.loads(signed.to_json()) | {"timestamp": "noon"}
    path.write_text(json.dumps(wrong))
    with pytest.raises(errors.WrongType) as caught:
        read_attestation(path)
    assert caught.value.where == f"{path}.timestamp"
    outer = {"attestation": wrong, "verifying_key_hex": "ab" * 32}
    with pytest.raises(errors.WrongType) as caught:
        parse_document(json.dumps(outer).encode(), "w", wrapped=True)
    assert caught.value.where == "w.attestation.timestamp"


def test_the_most_values_there_may_be() -> None:
    for count, error in ((400_000, errors.WrongType), (400_001, errors.TooLarge)):
        with pytest.raises(error):
            parse_document(b"[" + b"0," * (count - 2) + b"0]", "a")


def test_what_may_be_signed(signed: Attestation) -> None:
    check_structure(signed, "a")
    nan = dataclasses.replace(signed, layer_readings=((float("nan"),),))
    with pytest.raises(errors.NonFinite):
        sign(nan, KEY)
    with pytest.raises(errors.TimestampInFuture):
        check_structure(signed, "a", now=signed.timestamp - 301)


def test_members_in_signing_order() -> None:
    assert MEMBERS[: len(SIGNED_MEMBERS)] == SIGNED_MEMBERS
    assert [member.name for member in MEMBERS[len(SIGNED_MEMBERS) :]] == ["binding", "signature"]


def test_documents_and_signing_import_no_numpy() -> None:
    """By rule of the folder: whatever is put there."""
    code = (
        "import pkgutil, importlib, sys\n"
        "import geometry_of_trust.documents as documents, geometry_of_trust.signing as signing\n"
        "names = [f'{room.__name__}.{module.name}' for room in (documents, signing)"
        " for module in pkgutil.iter_modules(room.__path__)]\n"
        "for name in (*names, 'geometry_of_trust.verifying.verify',"
        " 'geometry_of_trust.showing.verdicts'):\n"
        "    importlib.import_module(name)\n"
        "print(len(names))\n"
        "sys.exit(str({'numpy', 'scipy', 'sklearn', 'torch', 'pyarrow'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
    assert int(done.stdout) > 10


def numbers(count: int) -> tuple[float, ...]:
    """Float32 values of seven to nine digits, no two alike."""
    return tuple(float32(1 / (3 + number)) for number in range(count))


@pytest.mark.parametrize("case", ["most readings", "too many", "long numbers", "empty rows"])
def test_time_and_memory_follow_the_length(case: str, signed: Attestation, tmp_path: Path) -> None:
    """The greatest document that is read, and texts that claim more, in a process of their own."""
    if not sys.platform.startswith("linux"):
        pytest.skip("memory as Linux tells it")
    path, fits = tmp_path / "a.json", case == "most readings"
    if fits:
        rows = tuple(numbers(64) for _ in range(1024))
        flags = (False,) * 65536
        full = dataclasses.replace(
            signed, layer_readings=rows, confidence=numbers(65536), coverage_flags=flags
        )
        path.write_bytes(full.to_json())
    else:
        part = {"too many": "1,", "long numbers": "0.123456789012345678,", "empty rows": "[],"}[
            case
        ]
        text = json.dumps({**json.loads(DEMO.read_bytes()), "layer_readings": ["@"]})
        path.write_text(text.replace('"@"', part * (16 * 2**20 // len(part) - 1000) + "1"))
    code = (
        "import re, sys, time\n"
        "from geometry_of_trust.errors import TooLarge\n"
        "from geometry_of_trust.signing.attestation import read_attestation\n"
        "start, read = time.process_time(), False\n"
        "try:\n    read_attestation(sys.argv[1]); read = True\n"
        "except TooLarge: pass\n"
        "peak = int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "print(int(read), time.process_time() - start, peak / 2**10)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True
    )
    read, seconds, megabytes = map(float, run.stdout.split())
    assert read == fits
    assert seconds < 2
    assert megabytes < 300
