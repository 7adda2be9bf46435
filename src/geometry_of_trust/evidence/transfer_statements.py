"""What was found of probes under other weights, as evidence: an in-toto Statement in an envelope.

Whoever has the files makes the predicate again, and holds it against the signed one:
docs/transfer.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from geometry_of_trust.documents.strictjson import dumps, loads
from geometry_of_trust.errors import BadBundle, ReadingsMismatch, UnknownSigner
from geometry_of_trust.evidence.envelopes import Envelope, encoded, read_envelope
from geometry_of_trust.evidence.reading import brief, json_object
from geometry_of_trust.evidence.statements import read_statement, statement
from geometry_of_trust.files import PathLike
from geometry_of_trust.signing.keys import PublicKey, SecretKey
from geometry_of_trust.version import __version__

TRANSFER_TYPE = "https://geometry-of-trust/transfer/v1"
T = TypeVar("T", str, int)


@dataclass(frozen=True)
class TransferStatement:
    """What is stated: in short.

    Attributes:
        states: SHA-256 of the new states. tool, timestamp: of the run, by the signer's word.
        verdicts: of each probe the word, the layer and its name.
    """

    states: str
    tool: str
    timestamp: int
    verdicts: tuple[tuple[str, int, str], ...]

    @property
    def of_the_run(self) -> dict[str, object]:
        """Members that another run has otherwise."""
        return {"tool": self.tool, "timestamp": self.timestamp}


def make_transfer_statement(
    new_states: str, found: Mapping[str, object], key: SecretKey, timestamp: int
) -> bytes:
    """The statement in a DSSE envelope.

    Args:
        new_states: SHA-256 of the states that it is of. found: as JSON has it.
        timestamp: Unix seconds.
    """
    tool = f"geometry-of-trust {__version__}"
    predicate = {"tool": tool, "timestamp": timestamp, **found}
    payload = dumps(statement([("activations", new_states)], TRANSFER_TYPE, predicate))
    return Envelope(payload, key.sign(encoded(payload)), key.public.key_id).to_json()


def check_transfer_statement(
    data: bytes, where: PathLike, key: PublicKey, new_states: str, found: Mapping[str, object]
) -> int:
    """A statement is signed by a key, and says what was found here.

    Args:
        data: the envelope. new_states, found: as of `make_transfer_statement`.

    Returns:
        The time that it states.

    Raises:
        UnknownSigner: it names another key. BadSignature: this one did not sign it.
        ReadingsMismatch: it says something else; the error names the first place.
        TooLarge, BadText, BadJson, DuplicateMember, BadBundle: it is no such statement.
    """
    envelope = read_envelope(data, where)
    if envelope.key_id not in ("", key.key_id):
        raise UnknownSigner(f"{where}, keyid", expected=f"key {key.key_id}",
                            found=brief(envelope.key_id))  # fmt: skip
    key.verify(envelope.signature, envelope.signed_bytes)
    said = read_transfer(envelope.payload, f"{where}, payload")
    predicate = {**said.of_the_run, **found}
    tree = loads(envelope.payload, where)
    again = loads(dumps(statement([("activations", new_states)], TRANSFER_TYPE, predicate)), where)
    for place, ours, theirs in _differences("", again, tree):
        raise ReadingsMismatch(f"{where}{place}", expected=f"{brief(ours)}, as found here",
                               found=brief(theirs))  # fmt: skip
    return said.timestamp


def read_transfer(payload: bytes, where: str) -> TransferStatement:
    """What a statement says that is one of these; not verified.

    Raises:
        TooLarge, BadText, BadJson, DuplicateMember, BadBundle: it is none.
    """
    tree = read_statement(payload, where, TRANSFER_TYPE)
    predicate = json_object(tree.get("predicate"), f"{where}, predicate")
    (subject,) = _list(tree.get("subject"), f"{where}, subject", 1)
    digest = json_object(json_object(subject, where).get("digest"), f"{where}, digest")
    verdicts = []
    for probe_set in _list(predicate.get("probe_sets"), f"{where}, probe_sets"):
        entry = json_object(probe_set, f"{where}, probe_sets")
        for probe in _list(entry.get("probes"), f"{where}, probes"):
            found = json_object(probe, f"{where}, probes")
            verdicts.append(
                (
                    _of(str, found.get("verdict"), f"{where}, verdict"),
                    _of(int, entry.get("layer"), f"{where}, layer"),
                    _of(str, found.get("dimension"), f"{where}, dimension"),
                )
            )
    return TransferStatement(
        _of(str, digest.get("sha256"), f"{where}, sha256"),
        _of(str, predicate.get("tool"), f"{where}, tool"),
        _of(int, predicate.get("timestamp"), f"{where}, timestamp"),
        tuple(verdicts),
    )


def _list(value: object, where: str, count: int | None = None) -> list[object]:
    if not isinstance(value, list) or count not in (None, len(value)):
        expected = "a list" if count is None else f"a list of {count}"
        raise BadBundle(where, expected=expected, found=brief(value))
    return value


def _of(kind: type[T], value: object, where: str) -> T:
    if type(value) is not kind:
        raise BadBundle(where, expected=kind.__name__, found=brief(value))
    return value


def _differences(place: str, ours: object, theirs: object) -> Iterator[tuple[str, object, object]]:
    """Where two JSON values differ, leaf by leaf."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in dict.fromkeys((*ours, *theirs)):
            yield from _differences(f"{place}, {name}", ours.get(name), theirs.get(name))
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for i, pair in enumerate(zip(ours, theirs, strict=True)):
            yield from _differences(f"{place}[{i}]", *pair)
    elif (type(ours), ours) != (type(theirs), theirs):
        yield place, ours, theirs
