"""A vector: a header that says what must happen, and the bytes that it happens to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

MALFORMED = frozenset(
    {
        "BadHeader", "BadJson", "BadKey", "BadLabel", "BadMagic", "BadText", "DuplicateMember",
        "LayerIndexChanged", "LayerOrder", "MissingMember", "PositionOrder", "TooLarge",
        "TrailingBytes", "Truncated", "UnknownMember", "UnknownPrecision", "UnsupportedVersion",
        "WrongType",
    }
)  # fmt: skip
"""Errors of what is not of its format: exit code 3."""
USAGE = frozenset({"BadOption"})
"""Errors of what was asked for: exit code 2. All others are refusals: exit code 1."""

Headers = Mapping[str, str]
Repeat = tuple[int, int, int]
"""Offset and length of a part of the payload, and how many times it stands there."""


@dataclass(frozen=True)
class Vector:
    """One file under `tests/vectors/`.

    Attributes:
        kind: what the payload is, which is also the folder.
        name: the file's name, without suffix.
        headers: lines of the header after `kind`, in order.
        payload: the bytes, before repetition.
        repeats: parts that stand more than once, in ascending order, none overlapping.
    """

    kind: str
    name: str
    headers: tuple[tuple[str, str], ...]
    payload: bytes
    repeats: tuple[Repeat, ...] = ()

    @property
    def input(self) -> bytes:
        """The bytes that are read: the payload with its parts repeated."""
        data = self.payload
        for offset, length, count in reversed(self.repeats):
            part = data[offset : offset + length]
            data = data[:offset] + part * count + data[offset + length :]
        return data

    @property
    def sha256(self) -> str:
        """Digest of the input, 64 hex digits."""
        return hashlib.sha256(self.input).hexdigest()

    def to_bytes(self) -> bytes:
        """The file: header lines, an empty line, the payload."""
        lines = [("kind", self.kind), *self.headers]
        lines += [("repeat", " ".join(map(str, repeat))) for repeat in self.repeats]
        lines.append(("sha256", self.sha256))
        for name, value in lines:
            if "\n" in value or not value or value != value.strip():
                raise ValueError(f"{self.kind}/{self.name}: {name}: {value!r}")
        return (
            "".join(f"{name}: {value}\n" for name, value in lines).encode() + b"\n" + self.payload
        )


def accepted(
    kind: str,
    name: str,
    payload: bytes,
    comment: str,
    *,
    expect: str = "read",
    more: Headers | None = None,
    **headers: str,
) -> Vector:
    """A vector that must be read or verified, with what must be found in `headers` and `more`."""
    lines = {"comment": comment, "expect": expect} | dict(more or {}) | headers
    return Vector(kind, name, _lines(lines), payload)


def refused(
    kind: str,
    name: str,
    error: str,
    payload: bytes,
    comment: str,
    *,
    repeats: tuple[Repeat, ...] = (),
    more: Headers | None = None,
    **headers: str,
) -> Vector:
    """A vector that must be refused with this class of error."""
    outcome = {"comment": comment, "expect": "refused"}
    if "step" in headers:
        outcome["step"] = headers.pop("step")
    code = "3" if error in MALFORMED else "2" if error in USAGE else "1"
    outcome |= {"error": error, "exit": code}
    return Vector(kind, name, _lines(outcome | dict(more or {}) | headers), payload, repeats)


def _lines(headers: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name.replace("_", "-"), value) for name, value in headers.items())
