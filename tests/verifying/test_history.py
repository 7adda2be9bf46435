"""A history of three documents, made and broken in every way."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from geometry_of_trust import errors
from geometry_of_trust.cli import main
from geometry_of_trust.showing import histories
from geometry_of_trust.signing.attestation import Attestation, parse_document, read_attestation
from geometry_of_trust.signing.histories import MAX_NUMBER
from geometry_of_trust.signing.keyrings import (
    KeyEntry,
    Keyring,
    new_keyring,
    with_key,
    with_revocation,
)
from geometry_of_trust.signing.keys import SecretKey
from geometry_of_trust.verifying.history import HistoryRefused, verify_history
from geometry_of_trust.verifying.verdict import Refused
from geometry_of_trust.verifying.verify import verify
from pipeline import KEY, OTHER_KEY, TIMESTAMP, Files, build, signed_anew
from places import REFERENCE

OFFLINE = SecretKey.from_seed(bytes([7]) * 32)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return build(tmp_path_factory.mktemp("history"))


@pytest.fixture(scope="module")
def three(files: Files, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three documents of a history, of one key, the last two of one time."""
    folder = tmp_path_factory.mktemp("three")
    paths = [folder / f"{name}.json" for name in ("c", "b", "a")]
    previous = None
    for i, path in enumerate(paths):
        document = files.attest(timestamp=TIMESTAMP + min(i, 1), previous=previous)
        path.write_bytes(document.to_json())
        previous = path
    return paths


@pytest.fixture(scope="module")
def ring() -> Keyring:
    """Two keys, the first until 50 s after the second begins."""
    ring = new_keyring(OFFLINE, 0)
    for key, name, start, end in (
        (KEY, "old", TIMESTAMP - 100, TIMESTAMP + 100),
        (OTHER_KEY, "the new one", TIMESTAMP + 50, None),
    ):
        ring = with_key(
            ring, KeyEntry(key.public.raw.hex(), name, "attest", start, end), OFFLINE, 0
        )
    return ring


def refused(cause: type[errors.GotError], *args: Any, **options: Any) -> HistoryRefused:
    with pytest.raises(HistoryRefused) as caught:
        verify_history(*args, **options)
    assert type(caught.value.cause) is cause
    assert caught.value.__cause__ is caught.value.cause
    assert caught.value.exit_code == cause.exit_code
    assert (caught.value.where, caught.value.found) == (
        caught.value.cause.where, caught.value.cause.found,
    )  # fmt: skip
    return caught.value


def written(folder: Path, *documents: bytes) -> list[Path]:
    paths = [folder / f"{i}.json" for i in range(len(documents))]
    for path, data in zip(paths, documents, strict=True):
        path.write_bytes(data)
    return paths


# --- made -------------------------------------------------------------------------------------


def test_each_names_the_one_before(three: list[Path]) -> None:
    first, second, third = map(read_attestation, three)
    assert (first.parent_attestation_hash, first.sequence_number) == (None, 0)
    assert (second.parent_attestation_hash, second.sequence_number) == (first.digest, 1)
    assert (third.parent_attestation_hash, third.sequence_number) == (second.digest, 2)
    assert not first.follows
    assert second.follows


def test_a_first_document_has_the_bytes_that_it_had(files: Files) -> None:
    text = files.attest().to_json()
    for member in (b"parent_attestation_hash", b"geometry_reference", b"geometry_drift"):
        assert member not in text
    assert b'"sequence_number": 0' in text


def test_in_any_order_and_as_a_folder(three: list[Path]) -> None:
    for order in itertools.permutations(three):
        history = verify_history(order, KEY.public)
        assert [link.path for link in history.links] == list(map(str, three))
    again = verify_history([three[0].parent], [KEY.public, OTHER_KEY.public])
    assert [link.digest for link in again.links] == [read_attestation(p).digest for p in three]
    assert verify_history(three[:1], KEY.public).line.startswith("VERIFIED HISTORY of 1 document,")


def test_what_a_history_does_not_prove_is_said(three: list[Path]) -> None:
    """The last document taken away leaves a history that verifies, and says so."""
    for documents in (three, three[:2]):
        history = verify_history(documents, KEY.public)
        assert history.line == (
            f"VERIFIED HISTORY of {len(documents)} documents, SIGNATURES, BINDINGS AND LINKS: "
            "not checked: files and readings of each; "
            "not proved: that no later document was left off at the end"
        )
    with pytest.raises(TypeError):
        bool(history)


def test_a_document_by_itself_says_that_its_place_was_not_checked(
    files: Files, three: list[Path]
) -> None:
    supplied: dict[str, Any] = {
        "activations": files.activations, "unembedding": files.unembedding, "probes": files.probes,
    }  # fmt: skip
    assert verify(three[0], KEY.public, **supplied).line == "VERIFIED"
    verdict = verify(three[1], KEY.public, **supplied)
    assert verdict.not_checked == ("parent_attestation_hash", "sequence_number")
    assert not verdict.complete


# --- broken -----------------------------------------------------------------------------------


def test_one_left_out(three: list[Path]) -> None:
    first, second, third = three
    for documents, orphan in (
        ([first, third], third), ([second, third], second), ([third, second], second),
        ([third], third),
    ):  # fmt: skip
        found = refused(errors.HistoryGap, documents, KEY.public)
        assert found.where == str(orphan)
        assert str(read_attestation(orphan).parent_attestation_hash) in found.expected
    assert len(refused(errors.HistoryGap, [third, first], KEY.public).links) == 1


def test_a_fork(files: Files, three: list[Path], tmp_path: Path) -> None:
    """Two documents after one, two that begin, and one twice."""
    other = tmp_path / "other.json"
    for previous in (None, three[0], three[1]):
        document = files.attest(timestamp=TIMESTAMP + 9, previous=previous, corpus_version="x")
        other.write_bytes(document.to_json())
        assert refused(errors.HistoryFork, [*three, other], KEY.public).where == str(other)
    other.write_bytes(three[1].read_bytes())
    twice = refused(errors.HistoryFork, [*three, other], KEY.public)
    assert (twice.expected, str(three[1]) in twice.found) == ("each document once", True)
    refused(errors.HistoryFork, [three[0].parent, three[0]], KEY.public)


def test_numbers_that_do_not_follow(three: list[Path], tmp_path: Path) -> None:
    first, second = map(read_attestation, three[:2])
    for number in (0, 2):
        lie = signed_anew(second, sequence_number=number)
        found = refused(errors.HistoryOrder, written(tmp_path, first.to_json(), lie), KEY.public)
        assert found.where == f"{tmp_path / '1.json'}.sequence_number"
        assert (found.expected, found.found) == ("1", str(number))
        assert len(found.links) == 1
    lie = signed_anew(first, sequence_number=1)
    assert refused(errors.HistoryOrder, written(tmp_path, lie), KEY.public).links == ()


def test_times_that_run_backwards(three: list[Path], tmp_path: Path) -> None:
    first, second = map(read_attestation, three[:2])
    lie = signed_anew(second, timestamp=first.timestamp - 1)
    found = refused(errors.HistoryOrder, written(tmp_path, first.to_json(), lie), KEY.public)
    assert found.where == f"{tmp_path / '1.json'}.timestamp"
    same = signed_anew(second, timestamp=first.timestamp)
    assert len(verify_history(written(tmp_path, first.to_json(), same), KEY.public).links) == 2


def test_a_document_changed_afterwards(three: list[Path], tmp_path: Path) -> None:
    """With a new signature it is another document, which the next one does not follow."""
    first, second = map(read_attestation, three[:2])
    changed = signed_anew(first, corpus_version="better")
    found = refused(errors.HistoryGap, written(tmp_path, changed, second.to_json()), KEY.public)
    assert found.where == str(tmp_path / "1.json")
    unsigned = dataclasses.replace(first, corpus_version="better").to_json()
    refused(errors.BadSignature, written(tmp_path, unsigned, second.to_json()), KEY.public)


def test_every_document_is_checked_by_itself(three: list[Path], tmp_path: Path) -> None:
    texts = [path.read_bytes() for path in three]
    spaced = written(tmp_path, texts[0], texts[1] + b"\n", texts[2])
    assert refused(errors.NotOurSpelling, spaced, KEY.public).links == ()
    assert len(verify_history(spaced, KEY.public, allow_reformatted=True).links) == 3
    refused(errors.BadJson, written(tmp_path, texts[0], b"{}"[:1], texts[2]), KEY.public)
    future = TIMESTAMP - 1000
    refused(errors.TimestampInFuture, three, KEY.public, now=future)
    with pytest.raises(errors.GotError):
        verify_history([tmp_path / "nothing.json"], KEY.public)


@pytest.mark.parametrize("name", ["2.JSON", ".json", "c.json~", ".c.json.swp", "c.Json.bak"])
def test_no_document_of_a_folder_is_passed_over(
    name: str, three: list[Path], tmp_path: Path
) -> None:
    first, second, third = (path.read_bytes() for path in three)
    written(tmp_path, first, second)
    (tmp_path / "key.pub").write_bytes(KEY.public.raw)
    (tmp_path / name).write_bytes(third)
    assert len(verify_history([tmp_path], KEY.public).links) == 3
    (tmp_path / name).write_bytes(b"{")
    refused(errors.BadJson, [tmp_path], KEY.public)


def test_nothing_to_check(tmp_path: Path, three: list[Path]) -> None:
    for documents in ([], [tmp_path]):
        with pytest.raises(errors.BadOption):
            verify_history(documents, KEY.public)
    with pytest.raises(errors.BadOption):
        verify_history(three, [])


# --- keys -------------------------------------------------------------------------------------


def test_the_keys_of_a_history(
    files: Files, three: list[Path], ring: Keyring, tmp_path: Path
) -> None:
    """A new key takes over by the keyring alone, and any of several named keys may have signed."""
    options: dict[str, Any] = {
        "key": OTHER_KEY, "timestamp": TIMESTAMP + 60, "previous": three[2],
    }  # fmt: skip
    with pytest.raises(errors.UnknownSigner) as caught:
        files.attest(**options)
    assert "--keyring" in caught.value.hint
    fourth = tmp_path / "d.json"
    fourth.write_bytes(files.attest(**options, keyring=ring).to_json())
    documents = [*three, fourth]
    refused(errors.BadSignature, documents, KEY.public)
    refused(errors.BadSignature, documents, OTHER_KEY.public)
    refused(errors.UnknownSigner, documents, [KEY.public, OFFLINE.public])
    history = verify_history(documents, [OTHER_KEY.public, KEY.public])
    assert [link.signer for link in history.links] == [
        *[f"key {KEY.public.key_id[:16]}…"] * 3, f"key {OTHER_KEY.public.key_id[:16]}…",
    ]  # fmt: skip
    named = verify_history(documents, ring).links
    assert (
        f"(old of keyring 2, {ring.sha256[:16]}…), valid at the time stated, which is the signer's "
        "word" in named[0].signer
    )
    assert "('the new one' of keyring 2, " in named[3].signer


def test_keys_that_the_keyring_does_not_take(
    files: Files, three: list[Path], ring: Keyring, tmp_path: Path
) -> None:
    late = tmp_path / "d.json"
    late.write_bytes(files.attest(timestamp=TIMESTAMP + 100, previous=three[2]).to_json())
    found = refused(errors.KeyNotValid, [*three, late], ring)
    assert found.where.startswith(f"{late}, key {KEY.public.key_id[:16]}")
    gone = with_revocation(
        ring, KEY.public.key_id, OFFLINE, at=TIMESTAMP + 1, reason="stolen", issued=1
    )
    assert "stolen" in refused(errors.KeyNotValid, three, gone).found
    after = with_revocation(
        ring, KEY.public.key_id, OFFLINE, at=TIMESTAMP + 2, reason="retired", issued=1
    )
    assert "revoked later (retired)" in verify_history(three, after).links[0].signer
    strangers = new_keyring(OFFLINE, 0)
    for seed in (11, 12):
        raw = SecretKey.from_seed(bytes([seed]) * 32).public.raw.hex()
        strangers = with_key(strangers, KeyEntry(raw, "n", "attest", 0), OFFLINE, 0)
    refused(errors.UnknownSigner, three, strangers)


def test_one_document_and_the_keyring(three: list[Path], ring: Keyring) -> None:
    verdict = verify(three[0], ring)
    assert verdict.signer == KEY.public
    detail = verdict.steps[2].detail
    assert f"old of keyring 2, {ring.sha256[:16]}…), valid at the time stated" in detail
    gone = with_revocation(
        ring, KEY.public.key_id, OFFLINE, at=TIMESTAMP, reason="stolen", issued=1
    )
    with pytest.raises(Refused) as caught:
        verify(three[0], gone)
    assert (caught.value.step, type(caught.value.cause)) == (3, errors.KeyNotValid)
    auditors = with_key(
        new_keyring(OFFLINE, 0), KeyEntry(KEY.public.raw.hex(), "n", "audit", 0), OFFLINE, 0
    )
    with pytest.raises(Refused) as caught:
        verify(three[0], auditors)
    assert type(caught.value.cause) is errors.KeyNotValid
    with pytest.raises(errors.BadOption):
        verify(three[0], new_keyring(OFFLINE, 0))


# --- attest --previous ------------------------------------------------------------------------


def test_what_is_no_document_before_this_one(
    files: Files, three: list[Path], tmp_path: Path
) -> None:
    """The one before must verify on its own."""
    first = read_attestation(three[0])
    changed: list[tuple[bytes, type[errors.GotError]]] = [
        (b"{}", errors.MissingMember),
        (first.to_json() + b" ", errors.NotOurSpelling),
        (dataclasses.replace(first, corpus_version="x").to_json(), errors.BadSignature),
        (signed_anew(first, divergence_flag=not first.divergence_flag), errors.Inconsistent),
        (signed_anew(first, probe_commitment="ab" * 32), errors.BindingMismatch),
        (signed_anew(first, binding=None, probe_commitment=None), errors.LegacyDocument),
        (signed_anew(first, sequence_number=MAX_NUMBER), errors.LimitExceeded),
    ]  # fmt: skip
    path = tmp_path / "p.json"
    for data, error in changed:
        path.write_bytes(data)
        with pytest.raises(error):
            files.attest(previous=path)
    with pytest.raises(errors.Unreadable):
        files.attest(previous=tmp_path / "nothing.json")
    with pytest.raises(errors.HistoryOrder):
        files.attest(previous=three[0], timestamp=TIMESTAMP - 1)


def test_attest_by_a_key_that_the_keyring_does_not_take(
    files: Files, three: list[Path], ring: Keyring
) -> None:
    for options, error in (
        ({"key": OTHER_KEY, "timestamp": TIMESTAMP + 49}, errors.KeyNotValid),
        ({"key": KEY, "timestamp": TIMESTAMP + 100}, errors.KeyNotValid),
        ({"key": OFFLINE, "timestamp": TIMESTAMP + 60}, errors.UnknownSigner),
    ):  # fmt: skip
        for previous in (None, three[2]):
            with pytest.raises(error):
                files.attest(**options, previous=previous, keyring=ring)
    gone = with_revocation(
        ring, KEY.public.key_id, OFFLINE, at=TIMESTAMP, reason="stolen", issued=1
    )
    with pytest.raises(errors.KeyNotValid):
        files.attest(key=OTHER_KEY, timestamp=TIMESTAMP + 60, previous=three[2], keyring=gone)


# --- the reference's --------------------------------------------------------------------------


def unbound(attestation: Attestation, **changes: Any) -> bytes:
    """As the reference writes them: all members signed, and no binding."""
    return signed_anew(attestation, binding=None, probe_commitment=None, **changes)


def test_documents_without_a_binding(three: list[Path], tmp_path: Path) -> None:
    first, second = map(read_attestation, three[:2])
    begin = unbound(first)
    digest = parse_document(begin, "d").attestation.digest
    documents = written(tmp_path, begin, unbound(second, parent_attestation_hash=digest))
    refused(errors.LegacyDocument, documents, KEY.public)
    history = verify_history(documents, [OTHER_KEY.public, KEY.public], allow_legacy=True)
    assert "SIGNATURES AND LINKS ONLY" in history.line
    assert history.links[1].signer == f"key {KEY.public.key_id[:16]}…"


def test_documents_with_a_binding_and_without_are_no_history(
    three: list[Path], tmp_path: Path
) -> None:
    """Neither kind follows the other, whoever signed them."""
    first, second = map(read_attestation, three[:2])
    keys = [KEY.public, OTHER_KEY.public]
    parent = parse_document(unbound(first), "d").attestation.digest
    for documents, expected in (
        ((first.to_json(), unbound(second)), "one with a binding, as the one before it"),
        (
            (unbound(first), signed_anew(second, parent_attestation_hash=parent)),
            "one without, as the one before it",
        ),
    ):
        paths = written(tmp_path, *documents)
        found = refused(errors.LegacyDocument, paths, keys, allow_legacy=True)
        assert (found.where, found.expected, len(found.links)) == (str(paths[1]), expected, 1)


def test_the_references_own_documents_sign_no_place(files: Files) -> None:
    """They are signed over members 1 to 13 only."""
    folder = REFERENCE / "synthetic"
    for allowed in (False, True):
        refused(
            errors.LegacyDocument, [folder / "attestation.json"], folder / "test-key.pub",
            allow_legacy=allowed,
        )  # fmt: skip
    with pytest.raises(errors.LegacyDocument):
        files.attest(previous=folder / "attestation.json")


# --- printed ----------------------------------------------------------------------------------


def test_a_line_a_document_and_one_verdict(three: list[Path], tmp_path: Path) -> None:
    history = verify_history(three, KEY.public)
    *lines, empty, verdict = histories.history(history).splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "2"]
    assert (empty, verdict) == ("", history.line)
    tree = json.loads(histories.history_json(history))
    assert [entry["digest"] for entry in tree["documents"]] == [
        link.digest for link in history.links
    ]
    first = history.links[0]
    known = dataclasses.replace(
        first, attestation=dataclasses.replace(first.attestation, model_hash="1f" * 32)
    )
    assert f"model tiny {'1f' * 8}…  {first.path}" in histories.history(
        dataclasses.replace(history, links=(known,))
    )  # two models may have one name
    broken = refused(errors.HistoryGap, [three[0], three[2]], KEY.public)
    line, empty, verdict = histories.refusal(broken).splitlines()
    assert (line, verdict) == (lines[0], broken.line)
    assert broken.line.startswith("REFUSED HISTORY: ")
    tree = json.loads(histories.refusal_json(broken))
    assert (tree["verified"], tree["error"], len(tree["documents"])) == (False, "HistoryGap", 1)


def test_exit_codes(three: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = tmp_path / "key.pub"
    key.write_bytes(KEY.public.raw)
    bad = tmp_path / "bad.json"
    bad.write_bytes(b"{")

    def run(*arguments: object) -> int:
        return main(["verify", *map(str, arguments)])

    assert run("--chain", *three, "--pubkey", key) == 0
    assert run("--chain", three[0].parent, "--public-key", key, "--json") == 0
    assert run("--chain", three[0], three[2], "--pubkey", key) == 1
    assert run("--chain", bad, "--pubkey", key) == 3
    assert run("--chain", tmp_path / "nothing", "--pubkey", key) == 3
    capsys.readouterr()
    assert run("--pubkey", key) == 2
    assert run("--chain", three[0], "--attestation", three[0], "--pubkey", key) == 2
    assert run("--chain", three[0]) == 2
    assert run("--chain", three[0], "--pubkey", key, "--unembedding", bad) == 2
    assert run("--chain", three[0], "--pubkey", key, "--keyring", bad) == 2
    assert capsys.readouterr().out == ""


def test_no_numpy_is_needed(three: list[Path], tmp_path: Path) -> None:
    key = tmp_path / "key.pub"
    key.write_bytes(KEY.public.raw)
    code = (
        "import sys\nfrom geometry_of_trust.cli import main\n"
        "code = main(sys.argv[1:])\nsys.exit(code or 9 * ('numpy' in sys.modules))"
    )
    command = ["verify", "--chain", str(three[0].parent), "--pubkey", str(key)]
    done = subprocess.run([sys.executable, "-c", code, *command], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
