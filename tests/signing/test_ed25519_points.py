"""Which public keys are refused, derived here with the curve's own arithmetic."""

from __future__ import annotations

import pytest

from geometry_of_trust.errors import BadKey, GotError, LowOrderKey
from geometry_of_trust.signing.ed25519_points import (
    LOW_ORDER_Y,
    ORDER,
    P,
    check_point,
    is_of_full_order,
)

D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]


def add(a: Point, b: Point) -> Point:
    """The complete addition law of RFC 8032 section 5.1.4, in affine coordinates."""
    product = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + a[1] * b[0]) * pow(1 + product, -1, P)
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, P)
    return x % P, y % P


def times(scalar: int, point: Point) -> Point:
    result = (0, 1)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def point_of(y: int, sign: int = 0) -> Point | None:
    """The point with this y and this sign of x, if there is one."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P:
        return None
    return (x if x & 1 == sign else (P - x) % P), y % P


def encoded(y: int, sign: int) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


def torsion() -> set[Point]:
    """The points whose order divides 8: ORDER times any point of the curve."""
    points: set[Point] = set()
    y = 2
    while len(points) < 8:
        point = point_of(y)
        if point:
            low = times(ORDER, point)
            points |= {times(k, low) for k in range(8)}
        y += 1
    return points


TORSION = torsion()


def test_there_are_eight_points_of_low_order() -> None:
    assert len(TORSION) == 8
    assert all(times(8, point) == (0, 1) for point in TORSION)
    assert {y for _, y in TORSION} == LOW_ORDER_Y


@pytest.mark.parametrize("point", sorted(TORSION))
def test_low_order_keys_are_refused(point: Point) -> None:
    with pytest.raises(LowOrderKey):
        check_point("key", encoded(point[1], point[0] & 1))


ALIASES = (
    # x = 0 has no negative: the sign bit must not be set.
    [encoded(y, 1) for x, y in sorted(TORSION) if x == 0]
    # y below 19 can be written a second time, the prime higher.
    + [encoded(y + P, sign) for y in range(19) for sign in (0, 1)]
)


@pytest.mark.parametrize("alias", ALIASES)
def test_non_canonical_encodings_are_refused(alias: bytes) -> None:
    assert len(ALIASES) == 2 + 38
    with pytest.raises(GotError) as caught:
        check_point("key", alias)
    y = int.from_bytes(alias, "little") % 2**255
    assert type(caught.value) is (BadKey if y >= P else LowOrderKey)


def test_exactly_the_points_of_the_curve_are_accepted() -> None:
    on_curve = 0
    for y in range(2, 60):
        point = point_of(y)
        on_curve += point is not None
        for sign in (0, 1):
            if point:
                check_point("key", encoded(y, sign))
            else:
                with pytest.raises(BadKey):
                    check_point("key", encoded(y, sign))
    assert 10 < on_curve < 50


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_other_lengths_are_refused(length: int) -> None:
    with pytest.raises(BadKey) as caught:
        check_point("key", b"\x02" * length)
    assert caught.value.where == "key"


def test_points_of_full_order() -> None:
    """Multiples of the base point, and none that a point of low order was added to."""
    base = point_of(4 * pow(5, -1, P) % P)
    assert base
    full = [times(scalar, base) for scalar in (1, 2, 5, ORDER - 1)]
    for point in full:
        assert is_of_full_order(encoded(point[1], point[0] & 1))
    for point in full[:2]:
        for low in TORSION - {(0, 1)}:
            x, y = add(point, low)
            assert not is_of_full_order(encoded(y, x & 1))
    for x, y in TORSION:
        assert not is_of_full_order(encoded(y, x & 1))
    for alias in ALIASES:
        assert not is_of_full_order(alias)
    no_points = [y for y in range(2, 60) if not point_of(y)]
    assert no_points
    assert not any(is_of_full_order(encoded(y, 0)) for y in no_points)


def test_the_order_is_that_of_the_base_point() -> None:
    base = point_of(4 * pow(5, -1, P) % P)
    assert base
    assert times(ORDER, base) == (0, 1)
