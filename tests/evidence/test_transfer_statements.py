"""Statements of what was found under other weights: signed, read, and held against findings."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from geometry_of_trust.errors import (
    BadBundle,
    BadSignature,
    GotError,
    ReadingsMismatch,
    UnknownSigner,
)
from geometry_of_trust.evidence.envelopes import Envelope, encoded, read_envelope
from geometry_of_trust.evidence.transfer_statements import (
    check_transfer_statement,
    make_transfer_statement,
    read_transfer,
)
from pipeline import KEY, OTHER_KEY

STATES = "ab" * 32
FOUND: dict[str, Any] = {
    "margin": 0.5,
    "probe_sets": [
        {"layer": 3, "probes": [{"dimension": "warm", "verdict": "STALE", "figures": [0.25, 1]}]}
    ],
}
SIGNED = make_transfer_statement(STATES, FOUND, KEY, 1_700_000_000)


def changed(**members: Any) -> dict[str, Any]:
    probe = FOUND["probe_sets"][0]["probes"][0] | members
    return FOUND | {"probe_sets": [FOUND["probe_sets"][0] | {"probes": [probe]}]}


def test_what_was_found_again_is_what_was_signed() -> None:
    assert check_transfer_statement(SIGNED, "t", KEY.public, STATES, FOUND) == 1_700_000_000
    said = read_transfer(read_envelope(SIGNED, "t").payload, "t")
    assert said.verdicts == (("STALE", 3, "warm"),)
    assert said.states == STATES


@pytest.mark.parametrize(
    ("found", "where"),
    [
        (changed(verdict="VALID"), "t, predicate, probe_sets[0], probes[0], verdict"),
        (changed(figures=[0.25, 2]), "t, predicate, probe_sets[0], probes[0], figures[1]"),
        (changed(figures=[0.25]), "t, predicate, probe_sets[0], probes[0], figures"),
        (FOUND | {"more": True}, "t, predicate, more"),
    ],
)
def test_the_first_place_that_differs_is_named(found: dict[str, Any], where: str) -> None:
    with pytest.raises(ReadingsMismatch) as error:
        check_transfer_statement(SIGNED, "t", KEY.public, STATES, found)
    assert error.value.where == where


def test_of_other_states_or_by_another_key_it_is_refused() -> None:
    with pytest.raises(ReadingsMismatch):
        check_transfer_statement(SIGNED, "t", KEY.public, "cd" * 32, FOUND)
    with pytest.raises(UnknownSigner):
        check_transfer_statement(SIGNED, "t", OTHER_KEY.public, STATES, FOUND)
    tree = json.loads(SIGNED)
    tree["signatures"][0]["keyid"] = ""
    with pytest.raises(BadSignature):
        check_transfer_statement(json.dumps(tree).encode(), "t", OTHER_KEY.public, STATES, FOUND)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("subject",), []),
        (("subject", 0, "digest", "sha256"), None),
        (("predicate", "timestamp"), "now"),
        (("predicate", "probe_sets"), {}),
        (("predicate", "probe_sets", 0, "layer"), True),
        (("predicate", "probe_sets", 0, "probes", 0, "verdict"), 1),
        (("predicateType",), "https://geometry-of-trust/attestation/v1"),
    ],
)
def test_what_is_no_such_statement(path: tuple[str | int, ...], value: object) -> None:
    tree = json.loads(base64.b64decode(json.loads(SIGNED)["payload"]))
    inner: Any = tree
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    payload = json.dumps(tree).encode()
    data = Envelope(payload, KEY.sign(encoded(payload)), KEY.public.key_id).to_json()
    error: type[GotError] = BadBundle
    with pytest.raises(error):
        check_transfer_statement(data, "t", KEY.public, STATES, FOUND)
