"""`.gotact` and `.gotue`: docs/formats.md, row by row."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence

from conformance.vector import Vector, accepted, refused

States = Sequence[Sequence[Sequence[float]]]

V1 = bytes.fromhex(
    "474f54410100010000006d0002000000010000000200000003000000"
    "000000000000803f000000c0" "010000000000003f00000000"
)  # fmt: skip
"""reference.md 14, V1."""
V2 = bytes.fromhex("474f5455010003000000020000000000803f0000000000000000000000400000803f0000803f")
"""reference.md 14, V2."""
U2 = ((1.0, 0.0), (0.0, 2.0), (1.0, 1.0))

SAMPLE: States = (
    ((-3.5, -2.5), (-1.5, -0.5), (0.5, 1.5)),
    ((2.5, 3.5), (4.5, 5.5), (6.5, 7.5)),
)
TINY: States = (
    ((1.0, -2.0), (0.5, 0.0), (2.0, 1.0)),
    ((0.0, 1.0), (-1.0, 0.5), (0.25, -0.75)),
)
"""States of the pipeline that the attestations are of: layers 1 and 4, three positions."""


def u32(value: int) -> bytes:
    """An unsigned integer of 32 bits."""
    return struct.pack("<I", value)


def floats(values: Sequence[float]) -> bytes:
    """Values as float32."""
    return struct.pack(f"<{len(values)}f", *values)


def put(data: bytes, offset: int, new: bytes) -> bytes:
    """`data` with other bytes from `offset` on."""
    return data[:offset] + new + data[offset + len(new) :]


def gotact(
    states: States,
    layers: Sequence[int],
    layout: str = "per-layer",
    model_id: bytes = b"m",
    tag: int = 0,
) -> bytes:
    """The bytes of an activations file."""
    out = b"GOTA" + struct.pack("<HI", 1, len(model_id)) + model_id
    out += struct.pack("<BIII", tag, len(states[0][0]), len(states), len(states[0]))
    for layer, rows in zip(layers, states, strict=True):
        out += u32(layer) if layout == "per-layer" else b""
        for position, row in enumerate(rows):
            out += u32(layer) if layout == "per-position" else b""
            out += u32(position) + floats(row)
    return out


def gotue(rows: Sequence[Sequence[float]]) -> bytes:
    """The bytes of an unembedding file."""
    return b"GOTU" + struct.pack("<HII", 1, len(rows), len(rows[0])) + b"".join(map(floats, rows))


def values_sha256(states: States) -> str:
    """Digest of the values as float32: by layer, position and index."""
    data = b"".join(floats(row) for rows in states for row in rows)
    return hashlib.sha256(data).hexdigest()


PRECISIONS = ("Fp32", "Fp16", "Bfloat16", "Int8")
PER_LAYER = gotact(SAMPLE, (4, 9))
PER_POSITION = gotact(SAMPLE, (4, 9), "per-position")
NAN_AT_LAYER_9 = put(PER_LAYER, len(PER_LAYER) - 4, bytes.fromhex("0100c0ff"))
INFINITE = put(PER_LAYER, len(PER_LAYER) - 4, floats((float("-inf"),)))

# Offsets of V1: its model id is one letter.
TAG, HIDDEN, LAYERS, POSITIONS, BODY = 11, 12, 16, 20, 24


def activations() -> Iterator[Vector]:
    """Vectors of kind `gotact`."""
    yield from _activations_read()
    yield from _activations_headers()
    yield from _activations_lengths()
    yield from _activations_indices()
    yield from _activations_used()


def _read(
    name: str, data: bytes, states: States, layers: Sequence[int], comment: str, **more: str
) -> Vector:
    facts = {
        "model_id": '"m"',
        "precision": "Fp32",
        "layout": "per-layer",
        "layers": " ".join(map(str, layers)),
        "positions": str(len(states[0])),
        "hidden_dim": str(len(states[0][0])),
    }
    return accepted("gotact", name, data, comment,
                    more=facts | more | {"values_sha256": values_sha256(states)})  # fmt: skip


def _activations_read() -> Iterator[Vector]:
    v1: States = (((1.0, -2.0), (0.5, 0.0)),)
    yield _read("reference-v1", V1, v1, (3,), "reference.md 14, V1")
    yield _read("per-layer", PER_LAYER, SAMPLE, (4, 9), "two layers, three positions")
    yield _read(
        "per-position", PER_POSITION, SAMPLE, (4, 9),
        "the same states, the layer index before every position", layout="per-position",
    )  # fmt: skip
    one: States = ((SAMPLE[0][0],), (SAMPLE[1][0],))
    yield _read("one-position", gotact(one, (4, 9)), one, (4, 9),
                "both layouts are the same bytes, and are called per-layer")  # fmt: skip
    for tag, precision in enumerate(PRECISIONS):
        yield _read(f"precision-{precision.lower()}", gotact(v1, (3,), tag=tag), v1, (3,),
                    f"precision tag {tag}; values are float32", precision=precision)  # fmt: skip
    yield _read("model-id-empty", gotact(v1, (3,), model_id=b""), v1, (3,),
                "a model id of no bytes", model_id='""')  # fmt: skip
    name = 'modèle "é"\n'
    yield _read("model-id-utf-8", gotact(v1, (3,), model_id=name.encode()), v1, (3,),
                "any UTF-8 is a model id, line feeds too; given here as JSON",
                model_id='"modèle \\"é\\"\\n"')  # fmt: skip
    longest = "é" * 2048
    yield _read("model-id-longest", gotact(v1, (3,), model_id=longest.encode()), v1, (3,),
                "4096 bytes, the most", model_id=f'"{longest}"')  # fmt: skip
    yield _read("layers-extreme", gotact(SAMPLE, (0, 2**32 - 1)), SAMPLE, (0, 2**32 - 1),
                "the least and the greatest layer index")  # fmt: skip
    zeros: States = (((-0.0, 0.0), (1e-45, -1e-45)),)
    yield _read("signed-zero-and-subnormal", gotact(zeros, (3,)), zeros, (3,),
                "-0.0 and the least float32 keep their bits")  # fmt: skip
    nan = hashlib.sha256(PER_LAYER_VALUES[:-4] + bytes.fromhex("0100c0ff")).hexdigest()
    yield accepted("gotact", "nan-is-opened", NAN_AT_LAYER_9,
                   "NaN is refused when it is used, not on opening; its payload stays",
                   layers="4 9", positions="3", hidden_dim="2", values_sha256=nan)  # fmt: skip


PER_LAYER_VALUES = b"".join(floats(row) for rows in SAMPLE for row in rows)


def _bad(name: str, error: str, data: bytes, comment: str) -> Vector:
    return refused("gotact", name, error, data, comment)


def _activations_headers() -> Iterator[Vector]:
    yield _bad("empty", "Truncated", b"", "no byte at all")
    for name, magic in (("lower-case", b"gota"), ("other", b"GOTB"), ("unembedding", b"GOTU"),
                        ("geometry", b"GOTG")):  # fmt: skip
        yield _bad(f"magic-{name}", "BadMagic", put(V1, 0, magic), f"begins with {magic.decode()}")
    yield _bad("magic-json", "BadMagic", b'[{"layer": 1, "token_position": 0, "values": [1.0]}]',
               "the reference's JSON form is not read")  # fmt: skip
    for version in (0, 2, 256, 65535):
        data = put(V1, 4, struct.pack("<H", version))
        yield _bad(f"version-{version}", "UnsupportedVersion", data, "only version 1 is defined")
    yield _bad("model-id-4097-bytes", "BadHeader", gotact(SAMPLE, (4, 9), model_id=b"m" * 4097),
               "one byte too long, and the file is otherwise whole")  # fmt: skip
    yield _bad("model-id-length-greatest", "BadHeader", put(V1, 6, u32(2**32 - 1)),
               "a length of 2^32 - 1 is refused before it is read")  # fmt: skip
    yield _bad("model-id-beyond-the-file", "Truncated", put(V1, 6, u32(4096)),
               "an allowed length that the file does not have")  # fmt: skip
    for name, raw in (("not-utf-8", b"\xc3\x28"), ("surrogate", b"\xed\xa0\x80"),
                      ("overlong", b"\xc0\xaf"),
                      ("beyond-unicode", b"\xf4\x90\x80\x80")):  # fmt: skip
        yield _bad(f"model-id-{name}", "BadHeader", gotact(SAMPLE, (4, 9), model_id=raw),
                   f"the model id is {raw.hex()}")  # fmt: skip
    for tag in (4, 255):
        yield _bad(
            f"precision-{tag}", "UnknownPrecision", put(V1, TAG, bytes([tag])), "tags are 0 to 3"
        )
    for name, offset in (("dimensions", HIDDEN), ("layers", LAYERS), ("positions", POSITIONS)):
        yield _bad(f"no-{name}", "BadHeader", put(V1, offset, u32(0)), f"{name}: 0")
    yield _bad("layers-65537", "BadHeader", put(V1, LAYERS, u32(65537)), "one more than the most")
    most = put(V1, HIDDEN, u32(2**32 - 1) + u32(65536) + u32(2**32 - 1))
    yield _bad("promises-2-to-the-82-bytes", "Truncated", most,
               "every count the greatest allowed: beyond 64 bits")  # fmt: skip
    wrapping = put(V1, HIDDEN, u32(2**31) + u32(2**16) + u32(2**15))
    yield _bad("promises-2-to-the-64-bytes", "Truncated", wrapping,
               "a product of the counts that is 0 in 64 bits")  # fmt: skip
    yield _bad("promises-2-to-the-60-bytes", "Truncated",
               put(V1, HIDDEN, u32(2**30) + u32(2**14) + u32(2**14)),
               "2^60 bytes fit in 64 bits, and not in this file")  # fmt: skip


FIELDS = {
    "magic": 2, "version": 5, "model-id-length": 8, "model-id": 10, "precision": 11,
    "hidden-dim": 14, "num-layers": 18, "num-positions": 22, "header": 24, "layer-index": 27,
    "position": 31, "values": 35, "last-position": 44,
}  # fmt: skip
"""Where V1 ends when it is cut inside a field."""


def _activations_lengths() -> Iterator[Vector]:
    for field, end in FIELDS.items():
        yield _bad(f"truncated-{field}", "Truncated", V1[:end], f"V1 cut after {end} bytes")
    yield _bad("one-byte-less", "Truncated", PER_LAYER[:-1], "shorter than the first layout")
    yield _bad("one-byte-more", "TrailingBytes", PER_LAYER + b"\0", "longer than the first layout")
    yield _bad("per-position-one-byte-less", "TrailingBytes", PER_POSITION[:-1],
               "between the two lengths, so longer than the first layout")  # fmt: skip
    yield _bad(
        "per-position-one-byte-more", "TrailingBytes", PER_POSITION + b"\0", "longer than both"
    )
    yield _bad("fewer-positions", "TrailingBytes", put(PER_LAYER, POSITIONS, u32(2)),
               "the header says 2 positions, the file holds 3")  # fmt: skip
    yield _bad("twice", "TrailingBytes", V1 + V1, "one file after the other")


def _activations_indices() -> Iterator[Vector]:
    for layout in ("per-layer", "per-position"):
        tail = "" if layout == "per-layer" else "-per-position"
        for name, layers in (("repeated", (4, 4)), ("descending", (9, 4))):
            yield _bad(f"layers-{name}{tail}", "LayerOrder", gotact(SAMPLE, layers, layout),
                       f"layers {layers[0]} and {layers[1]}")  # fmt: skip
        good = PER_LAYER if layout == "per-layer" else PER_POSITION
        yield _bad(f"last-position{tail}", "PositionOrder", put(good, len(good) - 12, u32(3)),
                   "position 3 in the place of position 2")  # fmt: skip
    yield _bad(
        "positions-from-1", "PositionOrder", put(PER_LAYER, BODY + 4, u32(1)), "the first is 1"
    )
    yield _bad("position-repeated", "PositionOrder", put(PER_LAYER, BODY + 16, u32(0)), "0, 0, 2")
    yield _bad("layer-index-changes", "LayerIndexChanged",
               put(PER_POSITION, len(PER_POSITION) - 16, u32(10)),
               "the last position of layer 9 says layer 10")  # fmt: skip
    yield _bad("padded-to-the-second-layout", "LayerIndexChanged",
               PER_LAYER + bytes(len(PER_POSITION) - len(PER_LAYER)),
               "the length is that of per-position, the bytes are not")  # fmt: skip


def _activations_used() -> Iterator[Vector]:
    for name, error, data, use, comment in (
        ("use-nan", "NonFinite", NAN_AT_LAYER_9, "9 2", "NaN in the state that is asked for"),
        ("use-infinity", "NonFinite", INFINITE, "9 2", "an infinity in the state asked for"),
        ("use-layer-missing", "LayerMissing", PER_LAYER, "5 0", "layers 4 and 9 are there"),
        ("use-position-missing", "PositionMissing", PER_LAYER, "4 3", "positions 0 to 2 are there"),
    ):
        yield refused("gotact", name, error, data, comment, use=use)
    yield accepted("gotact", "use-beside-nan", NAN_AT_LAYER_9,
                   "a NaN elsewhere does not disturb another state", use="9 1",
                   state_sha256=hashlib.sha256(floats(SAMPLE[1][1])).hexdigest())  # fmt: skip


# --- unembedding ------------------------------------------------------------------------------


def unembeddings() -> Iterator[Vector]:
    """Vectors of kind `gotue`."""
    yield accepted("gotue", "reference-v2", V2, "reference.md 14, V2", vocab_size="3",
                   hidden_dim="2", values_sha256=values_sha256((U2,)))  # fmt: skip
    one: States = (((-0.0,),),)
    yield accepted("gotue", "one-value", gotue(one[0]), "one row of one column, -0.0",
                   vocab_size="1", hidden_dim="1", values_sha256=values_sha256(one))  # fmt: skip

    def bad(name: str, error: str, data: bytes, comment: str, **use: str) -> Vector:
        return refused("gotue", name, error, data, comment, more=use)

    yield bad("empty", "Truncated", b"", "no byte at all")
    for name, magic in (("lower-case", b"gotu"), ("activations", b"GOTA"), ("geometry", b"GOTG")):
        yield bad(f"magic-{name}", "BadMagic", put(V2, 0, magic), f"begins with {magic.decode()}")
    yield bad("magic-json", "BadMagic", b'{"vocab_size": 1, "hidden_dim": 1, "data": [1.0]}',
              "the reference's JSON form is not read")  # fmt: skip
    for version in (0, 2, 65535):
        data = put(V2, 4, struct.pack("<H", version))
        yield bad(f"version-{version}", "UnsupportedVersion", data, "only version 1 is defined")
    yield bad("no-rows", "BadHeader", put(V2, 6, u32(0)), "V = 0")
    yield bad("no-columns", "BadHeader", put(V2, 10, u32(0)), "d = 0")
    for field, end in {"magic": 3, "version": 5, "vocab-size": 9, "hidden-dim": 13,
                       "header": 14, "values": 37}.items():  # fmt: skip
        yield bad(f"truncated-{field}", "Truncated", V2[:end], f"V2 cut after {end} bytes")
    yield bad("more-rows", "Truncated", put(V2, 6, u32(4)), "one row more than the file has")
    yield bad("fewer-rows", "TrailingBytes", put(V2, 6, u32(2)), "one row fewer than it has")
    yield bad("one-byte-more", "TrailingBytes", V2 + b"\0", "a byte after the last value")
    yield bad("promises-2-to-the-66-bytes", "Truncated", put(V2, 6, b"\xff" * 8),
              "beyond 64 bits, and refused without allocation")  # fmt: skip
    yield bad("promises-2-to-the-64-bytes", "Truncated", put(V2, 6, u32(2**31) * 2),
              "4·V·d is 0 in 64 bits")  # fmt: skip
    nan = put(V2, 14 + 8, bytes.fromhex("0000c07f"))
    yield accepted("gotue", "nan-is-opened", nan, "NaN is refused when it is used, not on opening",
                   vocab_size="3", hidden_dim="2",
                   values_sha256=hashlib.sha256(nan[14:]).hexdigest())  # fmt: skip
    yield bad("use-nan", "NonFinite", nan, "row 1 holds a NaN", use="values")
    infinite = put(V2, len(V2) - 4, floats((float("inf"),)))
    yield bad("use-infinity", "NonFinite", infinite, "row 2 holds an infinity", use="values")
