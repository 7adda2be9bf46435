"""What others wrote, made safe to read."""

from __future__ import annotations

import time

import pytest

from geometry_of_trust.terminal import (
    bare_or_quoted,
    escaped,
    escaped_line,
    escaped_prose,
    quoted,
    quoted_prose,
)


@pytest.mark.parametrize(
    "harmless", ["plain", "a b", "café", "日本語", "Ωμ", "привет", "π = 3,14", "\U0001f600"]
)
def test_text_that_moves_nothing_stays(harmless: str) -> None:
    assert escaped(harmless) == harmless


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb", r"a\nb"),
        ("\u202e", r"\u202e"),
        ("\u2066x\u2069", r"\u2066x\u2069"),
        ("\xa0\u3000\u2003", r"\xa0\u3000\u2003"),
        ("\u2800\u3164\u115f\u1160\uffa0", r"\u2800\u3164\u115f\u1160\uffa0"),
        ("a\ufe0f\U000e0100\u180b", r"a\ufe0f\U000e0100\u180b"),
        ("e\u0301", r"e\u0301"),
        ("\uac00\u1161\u11a8\ud7cb", "\uac00" r"\u1161\u11a8\ud7cb"),
        ("\U0001f44d\U0001f3ff", "\U0001f44d" r"\U0001f3ff"),
        ("\u05d0\u0627\u0661", r"\u05d0\u0627\u0661"),
        ("\u200b\u00ad\ufeff", r"\u200b\xad\ufeff"),
        ("\udcff", r"\udcff"),
    ],
)
def test_what_hides_moves_or_combines_is_escaped(text: str, shown: str) -> None:
    assert escaped(text) == shown
    assert quoted(text) == f"'{shown}'"


def test_what_is_cut_says_so() -> None:
    assert escaped("x" * 201) == "x" * 200 + "..."
    assert escaped_line("x  " * 5000) == "x  " * 5000


def test_a_name_is_shown_whole_up_to_256_bytes() -> None:
    assert quoted("x" * 256) == f"'{'x' * 256}'"
    assert quoted("x" * 257) == f"'{'x' * 256}'... (cut: 257 bytes)"
    assert quoted("é" * 128) == f"'{'é' * 128}'"
    assert quoted("xé" * 128) == f"'{'xé' * 85}x'... (cut: 384 bytes)"  # no half of a letter


def test_a_name_cannot_close_its_quotes_nor_push_text_away() -> None:
    assert quoted("a' p = 1") == r"'a\' p = 1'"
    assert quoted("a\\") == r"'a\\'"
    assert quoted("a   b") == r"'a \x20\x20b'"
    assert escaped("a   b") == r"a \x20\x20b"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("smollm2-135m-instruct", "smollm2-135m-instruct"),
        ("org/model.v1", "org/model.v1"),
        ("café", "café"),
        ("two words", "'two words'"),
        ("a, b", "'a, b'"),
        ("", "''"),
        ("x" * 257, f"'{'x' * 256}'... (cut: 257 bytes)"),
        ("e\u0301", r"'e\u0301'"),
    ],
)
def test_only_one_plain_word_stands_without_quotes(name: str, shown: str) -> None:
    assert bare_or_quoted(name) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("हिन्दी", "हिन्दी"),
        ("z" + "\u0300" * 5, "z\u0300\u0300\u0300\\u0300\\u0300"),
        ("\u0301x", "\\u0301x"),
        ("a\ufe0f\u034f", "a\\ufe0f\\u034f"),
        ("\u05e9\u05dc", "\u2068\u05e9\u05dc\u2069"),
        ("\u05e9\u202e\u2069", "\u2068\u05e9\\u202e\\u2069\u2069"),
        ("\u2800\x1b", "\\u2800\\x1b"),
        ("x" * 101, "x" * 100 + "..."),
    ],
)
def test_what_a_model_reads_keeps_its_script(text: str, shown: str) -> None:
    assert escaped_prose(text) == shown
    assert quoted_prose(text) == f"'{shown}'"


def test_what_a_model_reads_cannot_close_its_quotes() -> None:
    assert quoted_prose("' x") == r"'\' x'"


def test_millions_of_odd_characters_take_seconds() -> None:
    text = "\u0301\u05d0\u2800\U0001d159" * 2**18
    start = time.process_time()
    escaped_line(text)
    escaped_prose(text, len(text))
    assert time.process_time() - start < 3
