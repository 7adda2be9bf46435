"""What opening an encrypted key would cost, read from the key before any of it is spent."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterator

from geometry_of_trust.errors import LimitExceeded
from geometry_of_trust.files import PathLike

MAX_BCRYPT_ROUNDS = 512
"""Of an OpenSSH key: about four seconds; ssh-keygen takes 24, `got-cli keygen` 32."""

MAX_ITERATIONS = 4_000_000
"""Of PBKDF2, in a PEM key: about four seconds."""

MAX_SCRYPT_BYTES = 2**28
"""That scrypt would fill, in a PEM key, all its passes taken together."""

_SSH_MAGIC = b"openssh-key-v1\0"
_SCRYPT = bytes.fromhex("2b06010401da47040b")  # 1.3.6.1.4.1.11591.4.11
_INTEGER, _OBJECT, _SEQUENCE = 0x02, 0x06, 0x30


def check_cost(path: PathLike, label: bytes, body: bytes) -> None:
    """A key costs no more to open than is spent here; one that is damaged is left to its reader.

    Args:
        path: for the error. label: of the PEM block. body: its base64.

    Raises:
        LimitExceeded: it costs more.
    """
    try:
        blob = base64.b64decode(body)
    except binascii.Error:
        return
    if label == b"OPENSSH PRIVATE KEY":
        _limit(path, "rounds of bcrypt", _bcrypt_rounds(blob), MAX_BCRYPT_ROUNDS)
        return
    if label != b"ENCRYPTED PRIVATE KEY":
        return
    for group, numbers in _algorithms(blob):
        if group == _SCRYPT:
            cost, blocks, lanes = (*numbers, 0, 0, 0)[:3]
            _limit(path, "bytes of scrypt", 128 * cost * blocks * lanes, MAX_SCRYPT_BYTES)
        else:
            _limit(path, "iterations", max(numbers, default=0), MAX_ITERATIONS)


def _limit(path: PathLike, what: str, found: int, limit: int) -> None:
    if found > limit:
        raise LimitExceeded(
            path,
            expected=f"a key that takes at most {limit} {what} to open",
            found=found,
            hint="Encrypt it again with fewer.",
        )


def _bcrypt_rounds(blob: bytes) -> int:
    """Of an OpenSSH key, 0 if it has none (PROTOCOL.key of OpenSSH)."""
    try:
        rest = blob.removeprefix(_SSH_MAGIC)
        _, rest = _string(rest)  # the cipher
        kind, rest = _string(rest)
        options, _ = _string(rest)
        _, rounds = _string(options)  # the salt
        return int.from_bytes(rounds[:4], "big") if kind == b"bcrypt" else 0
    except struct.error:
        return 0


def _string(data: bytes) -> tuple[bytes, bytes]:
    (size,) = struct.unpack_from(">I", data)
    return data[4 : 4 + size], data[4 + size :]


def _algorithms(blob: bytes) -> Iterator[tuple[bytes, list[int]]]:
    """Each algorithm that a PKCS #8 key names for its encryption, with the integers it is given.

    All of them are SEQUENCE { OBJECT IDENTIFIER, SEQUENCE { salt, integers … } }, at some depth.
    """
    outer = next(_elements(blob), (0, b""))[1]
    pending = [next(_elements(outer), (0, b""))[1]]
    while pending:
        parts = list(_elements(pending.pop()))
        inside = [content for tag, content in parts if tag == _SEQUENCE]
        pending += inside
        if parts and parts[0][0] == _OBJECT:
            for content in inside:
                numbers = [
                    int.from_bytes(part, "big") for tag, part in _elements(content)
                    if tag == _INTEGER
                ]  # fmt: skip
                yield parts[0][1], numbers


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each DER element; what is cut off ends it."""
    at = 0
    while at + 2 <= len(data):
        tag, size, at = data[at], data[at + 1], at + 2
        if size == 0x80:  # no length given: up to the end
            size = len(data)
        elif size & 0x80:
            width = size & 0x7F
            size, at = int.from_bytes(data[at : at + width], "big"), at + width
        yield tag, data[at : at + size]
        at += size
