"""Inputs made of inputs: bytes changed anywhere, and structures changed so that they still parse.

Seeded, so that a test sees the same ones every time.
"""

from __future__ import annotations

import copy
import io
import json
import random
import re
import struct
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from geometry_of_trust.documents import strictjson

Mutator = Callable[[bytes, random.Random], bytes]

NUMBERS = (
    0, 1, -1, 2, 7, 255, 256, 1023, 1024, 65535, 65536, 2**20, 2**31 - 1, 2**31, 2**32 - 1, 2**32,
    2**53, 2**63 - 1, 2**63, 2**64, 10**18, 10**400,
)  # fmt: skip
FLOATS = (0.0, -0.0, 0.5, -0.5, 1.0, 1.5, 99.0, -1.0, 1e-45, 1e-46, 3.4e38, 3.5e38, 1e300, 1e-300)
WORDS = (
    "", "a", "0", "-1", "last", "mean", "Causal", "Euclidean", "SUFFICIENT", "x" * 257, "\0",
    "\x1b[2J", "\u202e", "\ufe0f", "é" * 129, "\n", "../x", "00" * 32, "ff" * 32, "\ud800",
)  # fmt: skip
_DIGITS = re.compile(rb"-?[0-9]+")


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """A few changes anywhere."""
    out = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(out)) if out else 0
        size = min(rng.choice((1, 2, 4, 8, 32, 256)), len(out) - at)
        match rng.randrange(8):
            case 0 if out:
                out[at] ^= 1 << rng.randrange(8)
            case 1 if out:
                out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 2:
                out[at:at] = rng.randbytes(rng.choice((1, 2, 4, 16)))
            case 3:
                del out[at : at + size]
            case 4:
                out[at:at] = out[at : at + size] * rng.choice((1, 2, 16))
            case 5:
                form = rng.choice(("<B", "<H", "<I", "<Q"))
                width = struct.calcsize(form)
                value = abs(rng.choice(NUMBERS)) % 2 ** (8 * width)
                out[at : at + width] = struct.pack(form, value)
            case 6:
                del out[at:]
            case _:
                runs = list(_DIGITS.finditer(bytes(out)))
                if runs:
                    run = rng.choice(runs)
                    out[run.start() : run.end()] = str(rng.choice(NUMBERS)).encode()
    return bytes(out)


def mutate_json(data: bytes, rng: random.Random) -> bytes:
    """A change of a value or a member, mostly in our own spelling; of what is no JSON, of bytes."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return mutate_bytes(data, rng)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        tree = _changed(tree, rng)
    try:
        spell: Callable[[object], bytes] = rng.choice(
            (strictjson.dumps, strictjson.dumps, lambda tree: json.dumps(tree).encode())
        )
        return spell(tree)
    except (ValueError, OverflowError, UnicodeEncodeError, TypeError, RecursionError):
        return mutate_bytes(data, rng)


def _changed(tree: Any, rng: random.Random) -> Any:
    holders = [place for place in _holders(tree) if place]
    if not holders:
        return _value(tree, rng)
    holder = rng.choice(holders)
    key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    match rng.randrange(10):
        case 0:
            del holder[key]
        case 1:
            other = rng.choice(holders)
            holder[key] = copy.deepcopy(other)
        case 2 if isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        case 3 if isinstance(holder, list):
            holder.extend(copy.deepcopy(holder) * rng.choice((1, 3)))
        case 4 if isinstance(holder, dict):
            holder[rng.choice((*WORDS[:-1], key + "x"))] = holder[key]
        case 5:
            for _ in range(rng.choice((1, 20))):
                holder[key] = [holder[key]] if rng.random() < 0.5 else {"a": holder[key]}
        case _:
            holder[key] = _value(holder[key], rng)
    return tree


def _holders(tree: Any) -> list[Any]:
    """All objects and arrays in a tree, the tree first."""
    found = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict | list):
            found.append(node)
            waiting.extend(node.values() if isinstance(node, dict) else node)
    return found


def _value(old: Any, rng: random.Random) -> Any:
    """Mostly of the same type, at a limit or near the old one."""
    if isinstance(old, bool) and rng.random() < 0.8:
        return not old
    if isinstance(old, int) and rng.random() < 0.8:
        return rng.choice((*NUMBERS, old + 1, old - 1, 2 * old))
    if isinstance(old, float) and rng.random() < 0.8:
        return rng.choice((*FLOATS, old + 1, -old, old / 2, old * 1e9))
    if isinstance(old, str) and rng.random() < 0.8:
        return rng.choice((*WORDS, old + "x", old[:-1], old.upper(), old * 2))
    return copy.deepcopy(rng.choice((None, True, 0, 0.5, "", [], {}, [0], *NUMBERS, *FLOATS)))


def mutate_framed(data: bytes, rng: random.Random) -> bytes:
    """A JSON header behind its length, as of safetensors: mostly its JSON is changed."""
    length = int.from_bytes(data[:8], "little")
    if rng.random() < 0.3 or length > len(data) - 8:
        return mutate_bytes(data, rng)
    header, rest = data[8 : 8 + length], data[8 + length :]
    header = mutate_json(header, rng) if rng.random() < 0.8 else mutate_bytes(header, rng)
    return struct.pack("<Q", len(header)) + header + rest


TYPES = (
    pa.int8(), pa.int64(), pa.uint64(), pa.float32(), pa.float64(), pa.string(), pa.binary(),
    pa.bool_(),
    pa.null(), pa.date32(), pa.timestamp("ns"), pa.decimal128(38, 4), pa.large_string(),
    pa.list_(pa.int64()), pa.dictionary(pa.int32(), pa.string()),
    pa.struct([("a", pa.int64())]), pa.list_(pa.list_(pa.int8())),
)  # fmt: skip
CELLS: tuple[object, ...] = (
    None, 0, 1, -1, 2**31, 2**63 - 1, 0.5, float("nan"), "", "true", "x" * 300, b"\xff", True, [],
    [0], [None], {"a": 0},
)  # fmt: skip


def mutate_parquet(data: bytes, rng: random.Random) -> bytes:
    """Columns and cells of a Parquet table changed; else bytes."""
    if rng.random() < 0.5:
        return mutate_bytes(data, rng)
    try:
        table = pq.read_table(pa.BufferReader(data), use_threads=False)
        for _ in range(rng.choice((1, 1, 2))):
            table = _other_table(table, rng)
        sink = io.BytesIO()
        pq.write_table(
            table, sink, row_group_size=rng.choice((1, 2, 100)),
            compression=rng.choice(("none", "snappy", "zstd")), use_dictionary=rng.random() < 0.5,
        )  # fmt: skip
    except Exception:  # whatever cannot be made of the table
        return mutate_bytes(data, rng)
    return sink.getvalue()


def _other_table(table: pa.Table, rng: random.Random) -> pa.Table:
    at = rng.randrange(table.num_columns)
    name, column = table.column_names[at], table.column(at)
    match rng.randrange(7):
        case 0:
            return table.remove_column(at)
        case 1:
            return table.rename_columns(
                [rng.choice(WORDS[:8]) if n == name else n for n in table.column_names]
            )
        case 2:
            return table.append_column(name, column)
        case 3:
            return pa.concat_tables([table] * rng.choice((0, 2, 5))) if table else table
        case 4:
            cells = pa.array(column.to_pylist(), rng.choice(TYPES))
            return table.set_column(at, name, cells)
        case 5:
            kind = rng.choice(TYPES)
            cell = rng.choice(CELLS)
            return table.set_column(at, name, pa.array([cell] * len(table), kind))
        case _:
            cells = column.to_pylist()
            cells[rng.randrange(len(cells))] = rng.choice(CELLS)
            return table.set_column(at, name, pa.array(cells, column.type))
