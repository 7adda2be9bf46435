"""Ed25519 with fixed keys, and the signatures that only a signer who means harm makes.

The curve of RFC 8032 section 5.1 in affine integers: slow, and for public test keys only.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]
NEUTRAL: Point = (0, 1)


def point_of(y: int, sign: int) -> Point | None:
    """The point with this y and this lowest bit of x, if there is one."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P:
        return None
    return (x if x & 1 == sign else -x % P), y % P


def _base() -> Point:
    point = point_of(4 * pow(5, -1, P) % P, 0)
    if point is None:
        raise ValueError("the base point is on the curve")
    return point


BASE = _base()


def add(a: Point, b: Point) -> Point:
    """The complete addition law."""
    product = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + a[1] * b[0]) * pow(1 + product, -1, P)
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, P)
    return x % P, y % P


def times(scalar: int, point: Point) -> Point:
    """A point added to itself so many times."""
    result = NEUTRAL
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def encoded(point: Point) -> bytes:
    """The 32 bytes of a point: y, and the lowest bit of x on top."""
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def order_eight() -> Point:
    """A point of order 8: ORDER times a point that is in no smaller subgroup."""
    y = 2
    while True:
        point = point_of(y, 0)
        low = times(ORDER, point) if point else NEUTRAL
        if times(4, low) != NEUTRAL:
            return low
        y += 1


def low_order() -> list[Point]:
    """The eight points whose order divides 8: multiples of one of order 8."""
    generator = order_eight()
    return [times(k, generator) for k in range(8)]


@dataclass(frozen=True)
class Key:
    """A secret key of a fixed seed."""

    seed: bytes

    @property
    def public(self) -> bytes:
        """The 32 bytes of the public key."""
        return Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()

    @property
    def key_id(self) -> str:
        """SHA-256 of the public key."""
        return hashlib.sha256(self.public).hexdigest()

    @property
    def scalar(self) -> int:
        """The clamped secret scalar a."""
        digest = int.from_bytes(hashlib.sha512(self.seed).digest()[:32], "little")
        return digest & (2**254 - 8) | 2**254

    def sign(self, message: bytes) -> bytes:
        """The signature of RFC 8032."""
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)

    def sign_with(self, nonce: int, r: bytes, public: bytes, message: bytes) -> bytes:
        """R ‖ S with S = nonce + k·a, whatever the bytes of R and of the public key are."""
        return r + ((nonce + challenge(r, public, message) * self.scalar) % ORDER).to_bytes(
            32, "little"
        )


def challenge(r: bytes, public: bytes, message: bytes) -> int:
    """k, the hash that binds R, the public key and the message."""
    return int.from_bytes(hashlib.sha512(r + public + message).digest(), "little")


KEY = Key(bytes([1]) * 32)
OTHER = Key(bytes([2]) * 32)
