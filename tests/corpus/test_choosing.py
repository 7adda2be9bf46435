"""Which tokens give rows, and which texts run together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geometry_of_trust import errors
from geometry_of_trust.corpus.choosing import LEAST_FULL, Batching, Position

SPECIAL = [True, False, False, True]


@pytest.mark.parametrize(
    ("name", "skip", "kept"),
    [
        ("all", False, [0, 1, 2, 3]), ("all", True, [1, 2]), ("last", False, [3]),
        ("last", True, [2]), ("first", False, [0]), ("first", True, [1]),
        ("mean", False, [0, 1, 2, 3]), ("mean", True, [1, 2]), ("0", True, [1]), ("1", True, [2]),
        ("3", False, [3]),
    ],
)  # fmt: skip
def test_the_tokens_kept(name: str, skip: bool, kept: list[int]) -> None:
    assert Position(name, skip).kept(SPECIAL, "text") == kept
    assert Position(name, skip).mean == (name == "mean")


def test_a_text_too_short() -> None:
    with pytest.raises(errors.PositionMissing) as caught:
        Position("2", skip_special=True).kept(SPECIAL, "c.txt, line 7")
    assert (caught.value.where, caught.value.found) == ("c.txt, line 7", "2")


def test_a_text_of_special_tokens_alone() -> None:
    with pytest.raises(errors.EmptyText) as caught:
        Position("all", skip_special=True).kept([True, True], "here")
    assert caught.value.where == "here"


LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=80)


@given(LENGTHS, st.one_of(st.none(), st.integers(1, 9)), st.integers(1, 200), st.booleans())
def test_each_text_is_in_one_batch(
    lengths: list[int], texts: int | None, tokens: int, padded: bool
) -> None:
    units = list(Batching(texts, tokens, padded).units(lengths))
    assert sorted(n for unit in units for n in unit) == list(range(len(lengths)))
    for unit in units:
        longest, shortest = (f(lengths[n] for n in unit) for f in (max, min))
        assert texts is None or len(unit) <= texts
        assert len(unit) == 1 or len(unit) * longest <= tokens
        assert shortest >= LEAST_FULL * longest if padded else shortest == longest
    assert units == list(Batching(texts, tokens, padded).units(lengths))


def test_short_texts_fill_batches() -> None:
    lengths = [8, 9] * 64
    assert len(list(Batching(None, 512, padded=False).units(lengths))) == 3
    assert len(list(Batching(32, 10**6, padded=False).units(lengths))) == 4


def test_padding_is_rare() -> None:
    lengths = [5 + n % 30 for n in range(600)]
    units = list(Batching(None, 512, padded=True).units(lengths))
    padding = sum(len(unit) * max(lengths[n] for n in unit) for unit in units) / sum(lengths)
    assert padding < 1.08
    assert len(units) < 30
