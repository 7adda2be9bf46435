"""Which 32 bytes are a point of Ed25519's curve that a signature can be checked under.

Integers modulo the field's prime, for public data only: nothing here is secret, or constant time.
"""

from __future__ import annotations

from geometry_of_trust.errors import BadKey, LowOrderKey
from geometry_of_trust.files import PathLike

POINT_BYTES = 32

# The curve of RFC 8032 section 5.1: -x² + y² = 1 + d·x²y² modulo P, base point of order ORDER.
P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
# y of the points of order 8; with 1 (order 1), -1 (order 2) and 0 (order 4) they are all the y of
# points of low order. tests/signing/test_ed25519_points.py derives them.
_Y8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
LOW_ORDER_Y = frozenset({0, 1, P - 1, _Y8, P - _Y8})


def is_of_full_order(encoded: bytes) -> bool:
    """Whether 32 bytes are a point of order `ORDER`, as every honest public key is.

    Of random bytes a 16th is: half of them are points, and an eighth of these are of that order.
    """
    y = y_of(encoded)
    if y >= P or y in LOW_ORDER_Y:
        return False
    over = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(over, (P + 3) // 8, P)
    if (x * x - over) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - over) % P:
        return False
    total, power, scalar = (0, 1), (x, y), ORDER
    while scalar:
        total = _sum(total, power) if scalar & 1 else total
        power, scalar = _sum(power, power), scalar >> 1
    return total == (0, 1)


def _sum(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """RFC 8032 section 5.1.4, in affine coordinates."""
    product = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + product, -1, P)
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, P)
    return x % P, y % P


def y_of(encoded: bytes) -> int:
    """The y that the bytes encode; the top bit is the sign of x."""
    return int.from_bytes(encoded, "little") & (2**255 - 1)


def check_point(where: PathLike, raw: bytes) -> None:
    """`raw` is the canonical encoding of a curve point that is not of low order.

    A point has an x exactly when x² = (y² - 1)/(d·y² + 1) is a square.

    Raises:
        BadKey: not 32 bytes, not canonical, or not a point of the curve.
        LowOrderKey: a point whose order divides 8.
    """
    if len(raw) != POINT_BYTES:
        raise BadKey(where, expected=f"{POINT_BYTES} bytes", found=f"{len(raw)} bytes")
    y = y_of(raw)
    if y >= P:
        raise BadKey(where, expected="a canonical public key", found="y beyond the field's prime")
    if y in LOW_ORDER_Y:
        raise LowOrderKey(
            where,
            expected="a public key of full order",
            found="a point of low order",
            hint="One signature under it fits every message: do not trust who gave it to you.",
        )
    square = (y * y - 1) * (D * y * y + 1)
    if pow(square, (P - 1) // 2, P) != 1:
        raise BadKey(where, expected="a point of the curve", found="no such point")
