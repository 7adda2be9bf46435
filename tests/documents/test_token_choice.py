"""One grammar of tokens, for options and for what is signed."""

from __future__ import annotations

import pytest

from geometry_of_trust.corpus.options import RowOptions
from geometry_of_trust.documents.token_choice import CHATS, MAX_CHARACTERS, WORDS, TokenChoice
from geometry_of_trust.errors import BadOption


@pytest.mark.parametrize(("name", "kind", "strings"), [
    ("after:Answer:", "after", ("Answer:",)),
    ("after: ", "after", (" ",)),
    ("between:<a>:</a>", "between", ("<a>", "</a>")),
    ("between|A:|B:", "between", ("A:", "B:")),
    ("between/(/)", "between", ("(", ")")),
    ("after:" + "x" * (MAX_CHARACTERS - 6), "after", ("x" * (MAX_CHARACTERS - 6),)),
    *((word, word, ()) for word in WORDS),
])  # fmt: skip
def test_a_choice(name: str, kind: str, strings: tuple[str, ...]) -> None:
    choice = TokenChoice.parse(name)
    assert (choice.kind, choice.strings) == (kind, strings)
    assert choice.of_chats is (kind in CHATS)
    assert RowOptions(tokens=name).choice == choice


@pytest.mark.parametrize("name", [
    "", "All", "tool", "after", "after:", "between", "between:", "between:a", "between:a:",
    "between::b", "between:a:b:c", "betweena-b", "between-a-b", " all", "assistant:",
    "after:" + "x" * (MAX_CHARACTERS - 5),
])  # fmt: skip
def test_what_is_none_is_refused(name: str) -> None:
    for ask in (lambda: TokenChoice.parse(name), lambda: RowOptions(tokens=name)):
        with pytest.raises(BadOption) as caught:
            ask()
        assert (caught.value.where, caught.value.found) == ("--tokens", name[:80])
    with pytest.raises(BadOption) as caught:
        TokenChoice.parse(name, "a.json.tokens")
    assert caught.value.where == "a.json.tokens"


@pytest.mark.parametrize("date", ["", "2026-2-1", "20260201", "2026-02-30", "today", "2026-W05-1"])
def test_what_is_no_date_is_refused(date: str) -> None:
    with pytest.raises(BadOption) as caught:
        RowOptions(date=date)
    assert caught.value.where == "--date"


def test_of_one_text_there_are_those_that_its_characters_show() -> None:
    chosen = RowOptions(tokens="after:x").of_one_text()
    assert chosen == RowOptions(tokens="after:x", position="all")
    for word in (*CHATS, "chars"):
        with pytest.raises(BadOption) as caught:
            RowOptions(tokens=word).of_one_text()
        assert caught.value.where == "--tokens"
