"""Numbers that are the same with every version of every library."""

from __future__ import annotations

from geometry_of_trust.probing import counted_random

PHILOX = [0.011547, 0.241549, 0.111426]


def test_drawn_numbers_are_fixed() -> None:
    six = counted_random.integers(5, 100, 6).tolist()
    assert six == counted_random.integers(5, 100, 10)[:6].tolist()
    assert six != counted_random.integers(6, 100, 6).tolist()
    u = counted_random.uniform(1, 20_000)
    assert 0 < u.min() < u.max() < 1
    assert abs(u.mean() - 0.5) < 0.01
    assert abs(counted_random.normal(1, 20_000).std() - 1) < 0.02
    assert sorted(counted_random.permutation(3, 50).tolist()) == list(range(50))
    assert [round(x, 6) for x in counted_random.uniform(0, 3).tolist()] == PHILOX
