"""Inputs that get past parsing: the conformance vectors, and files made here."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import struct
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geometry_of_trust.documents import strictjson
from geometry_of_trust.documents.schema import write_members
from geometry_of_trust.errors import GotError
from geometry_of_trust.evidence.attested import PREDICATE_TYPE, subjects_of
from geometry_of_trust.evidence.envelopes import Envelope
from geometry_of_trust.evidence.statements import statement
from geometry_of_trust.evidence.verification_results import make_verification_result
from geometry_of_trust.formats.row_writer import RowWriter, TextRows
from geometry_of_trust.signing.attestation import MEMBERS, parse_document
from geometry_of_trust.signing.keyrings import KeyEntry, new_keyring, with_key, with_revocation
from geometry_of_trust.signing.keys import SecretKey
from places import VECTORS

LARGEST = 20_000
"""Bytes of a seed: larger ones slow a fuzzer down."""


@cache
def of_vectors(*kinds: str) -> tuple[bytes, ...]:
    """The payloads of the vectors of some kinds."""
    found = []
    for kind in kinds:
        for path in sorted((VECTORS / kind).glob("*.vector")):
            payload = path.read_bytes().partition(b"\n\n")[2]
            if len(payload) <= LARGEST:
                found.append(payload)
    return tuple(found)


@cache
def cards() -> tuple[bytes, ...]:
    """Each card of the probe sets among the vectors."""
    found = []
    for data in of_vectors("probe-set"):
        try:
            tree = json.loads(data)
            found += [json.dumps(card).encode() for card in tree["training"]["cards"]]
        except (ValueError, LookupError, TypeError):
            continue
    return tuple(dict.fromkeys(found))


def parquet(**columns: object) -> bytes:
    """A Parquet table of these columns."""
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def checkpoints() -> tuple[bytes, ...]:
    """The reference's vector, and one with ε = 0."""
    phi = np.array([[2, 1], [1, 5]], np.float32).tobytes()
    return tuple(
        b"GOTG\1\0\2\0\0\0" + hashlib.sha256(struct.pack("<Qf", 2, epsilon) + phi).digest() + phi
        for epsilon in (0.0, 1e-6)
    )


def keyrings() -> tuple[bytes, ...]:
    """Without keys, and with a key that was revoked."""
    offline, other = (SecretKey.from_seed(bytes([n]) * 32) for n in (1, 2))
    empty = new_keyring(offline, 0)
    entry = KeyEntry(other.public.raw.hex(), "n", "attest", 1, 9)
    full = with_key(empty, entry, offline, 1)
    key_id = other.public.key_id
    gone = with_revocation(full, key_id, offline, at=5, reason="lost", issued=2)
    return empty.to_json(), gone.to_json()


def evidence() -> tuple[bytes, ...]:
    """Of the vectors that have a binding, one in both forms and the others' payloads; a verdict."""
    key = SecretKey.from_seed(bytes([1]) * 32)
    payloads = []
    for data in of_vectors("attestation"):
        with contextlib.suppress(GotError):
            signed = parse_document(data, "vector").attestation
            predicate = write_members(signed, MEMBERS)
            tree = statement(subjects_of(signed), PREDICATE_TYPE, predicate)
            payloads.append(strictjson.dumps(tree))
    forms = [Envelope(payloads[0], bytes(64), "k", hint).to_json() for hint in (None, "k")]
    return *forms, *payloads[:5], make_verification_result("00" * 32, ["GOT_SIGNATURE"], key, 0)


def row_tables() -> tuple[bytes, ...]:
    """As a corpus run writes them."""
    found = []
    for labels in ((), ("b", "a")):
        sink = io.BytesIO()
        with RowWriter(sink, labels) as writer:
            writer.add(TextRows(
                text=0, group="g", token_index=[0, 1], token_id=[1, 300], token=["<s>", "né"],
                span=[None, (0, 2)], special=[True, False],
                labels=dict.fromkeys(labels, 1), tokens=[1, 300, 2],
            ))  # fmt: skip
            writer.add(TextRows(
                text=2, group=None, token_index=[None], token_id=[None], token=[None], span=[None],
                special=[False], labels=dict.fromkeys(labels, 0),
            ))  # fmt: skip
        found.append(sink.getvalue())
    return tuple(found)


def readings() -> tuple[bytes, ...]:
    """Three rows of two probes, and one row less."""
    kinds = {
        "raw": np.float32, "probability": np.float32, "flagged": np.bool_, "outside": np.bool_,
    }  # fmt: skip
    return tuple(
        parquet(
            **{
                f"{name}.{probe}": (np.arange(rows) / 4).astype(kind)
                for probe in (0, 1)
                for name, kind in kinds.items()
            }
        )
        for rows in (3, 2)
    )


def label_tables() -> tuple[bytes, ...]:
    return (
        parquet(a=[0, 1, 1], b=[True, False, True]),
        parquet(a=["0", "true", "1"]),
        parquet(a=[0.0, 1.0, 0.0], text=["x", "y", "z"]),
    )


def label_csv() -> tuple[bytes, ...]:
    return (b"a,b\n0,1\n1,0\n", b"a;b\n0;1\n", b'"a","b ""c"""\ntrue,false\n1,0\n', b"a\n0\n1\n")


def corpora() -> tuple[bytes, ...]:
    return (
        b'{"text": "The river.", "true": 1, "group": "a"}\n'
        b'{"text": "A town.", "true": 0, "group": "b"}\n',
        b'{"messages": [{"role": "user", "content": "Hello"}], "true": false}\n',
        b"text,true,group\nThe river.,1,a\nA town.,0,b\n",
        b'text,true\n"a ""quoted"" one, and\ntwo lines",1\n',
    )


def corpus_tables() -> tuple[bytes, ...]:
    chat = [[{"role": "user", "content": "Hello"}]]
    return (
        parquet(text=["The river.", "A town."], true=[1, 0], group=["a", None]),
        parquet(messages=chat, true=[1]),
    )


def framed(header: object, data: bytes) -> bytes:
    """A safetensors file."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def safetensors() -> tuple[bytes, ...]:
    names = {"format": "gotact", "version": "1", "model_id": "m", "precision": "Fp32"}
    activations = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
    more = activations | {"data_offsets": [24, 48]}
    exported = {"dtype": "BF16", "shape": [3, 2, 2], "data_offsets": [0, 24]}
    ids = {"dtype": "I64", "shape": [3], "data_offsets": [24, 48]}
    return (
        framed({"__metadata__": names, "layer.1": activations, "layer.10": more}, bytes(48)),
        framed({"unembedding": activations}, bytes(range(24))),
        framed({"lm_head.weight": activations | {"dtype": "F16", "shape": [4, 3]}}, bytes(24)),
        framed({"hidden_states": exported, "token_ids": ids}, bytes(48)),
    )


def npy() -> tuple[bytes, ...]:
    found = []
    for array in (
        np.arange(12, dtype="<f4").reshape(2, 3, 2), np.ones((4, 2), "<f2"),
        np.ones((4, 2), ">f4"), np.asfortranarray(np.ones((2, 3), "<f4")),
    ):  # fmt: skip
        sink = io.BytesIO()
        np.save(sink, array)
        found.append(sink.getvalue())
    return tuple(found)


def states_tables() -> tuple[bytes, ...]:
    """What `convert` writes and reads as Parquet."""
    states = pa.array([[0.5, 1.0]] * 4, pa.list_(pa.float32(), 2))
    return (
        parquet(layer=[1, 1, 2, 2], position=[0, 1, 0, 1], values=states),
        parquet(token=[0, 1, 2, 3], values=states),
    )


def kept(folder: Path) -> tuple[bytes, ...]:
    """What is kept in a folder of a corpus."""
    return tuple(path.read_bytes() for path in sorted(folder.glob("*")))
