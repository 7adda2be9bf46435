"""Where tokens first differ, in words; without a model where none is needed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from geometry_of_trust.verifying.token_differences import token_difference

WORDS = ["It", " is", " 26 Nov 2026", " 2026-11-25", " November 3rd, 2026", " 3/11/2026", " 2026"]


def decode(ids: Sequence[int]) -> str:
    """IndexError for an id that is none."""
    return "".join(WORDS[i] for i in ids)


@pytest.mark.parametrize(
    ("ours", "signed", "told"),
    [
        ({0: [0, 1, 6]}, {0: [0, 1, 6]}, None),
        ({0: [0, 1]}, {0: [0, 6]}, "token 1 of the text: ' is' (id 1), signed ' 2026' (id 6)"),
        ({0: [0, 1]}, {0: [0]}, "token 1 of the text: ' is' (id 1), signed none, after 1"),
        ({0: [0], 4: [0]}, {0: [0], 4: [9]}, "token 0 of text 4: It (id 0), signed id 9"),
        ({0: [0], 1: [0]}, {0: [0]}, "text 1 has rows, and has none as signed"),
    ],
)
def test_the_first_token(
    ours: dict[int, list[int]], signed: dict[int, list[int]], told: str | None
) -> None:
    found = token_difference(ours, signed, decode)
    assert found == told or (found or "").replace("'It'", "It") == told


@pytest.mark.parametrize("date", range(2, 6))
def test_dates_are_named(date: int) -> None:
    found = token_difference({0: [0, 1, date]}, {0: [0, 1, 6]}, decode) or ""
    assert f"the text holds a date ('{WORDS[date].strip()}', signed none)" in found
    assert "date" not in (token_difference({0: [0, 6]}, {0: [1, 6]}, decode) or "")
