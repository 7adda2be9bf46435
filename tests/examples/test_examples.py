"""The shipped example: its hand labels cover the marked place names and nothing else."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

import pytest

from geometry_of_trust.formats.labels import read_labels
from places import EXAMPLES

MARK = re.compile(r"\[([^\]]*)\]")


def text_of(name: str) -> str:
    """An example as `--input "$(cat ...)"` passes it: without the line end."""
    return (EXAMPLES / name).read_text(encoding="utf-8").rstrip("\n")


def marked_spans() -> list[tuple[int, int]]:
    """Where the marked place names stand in the unmarked text."""
    spans = []
    for count, mark in enumerate(MARK.finditer(text_of("journey.marked.txt"))):
        start = mark.start() - 2 * count
        spans.append((start, start + len(mark[1])))
    return spans


@pytest.fixture(scope="module")
def offsets(smollm2: Path) -> list[tuple[int, int]]:
    """Character span of each token of journey.txt, in SmolLM2's tokenizer."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(smollm2)
    spans = tokenizer(text_of("journey.txt"), return_offsets_mapping=True)["offset_mapping"]
    return [(start, end) for start, end in spans]


def test_text_is_the_marked_text_without_its_marks() -> None:
    assert MARK.sub(r"\1", text_of("journey.marked.txt")) == text_of("journey.txt")


def test_tokens_cover_the_text_without_specials(offsets: list[tuple[int, int]]) -> None:
    text = text_of("journey.txt")
    assert "".join(text[start:end] for start, end in offsets) == text
    assert len(offsets) >= 150


def test_runs_of_ones_are_exactly_the_marked_place_names(offsets: list[tuple[int, int]]) -> None:
    labels = read_labels(EXAMPLES / "journey.labels").tolist()
    text = text_of("journey.txt")
    runs = []
    for label, tokens in groupby(zip(offsets, labels, strict=True), key=lambda pair: pair[1]):
        if label:
            spans = [span for span, _ in tokens]
            start, end = spans[0][0], spans[-1][1]
            # A token carries the space before its word; the space is no part of the name.
            runs.append((start + (text[start] == " "), end))
    assert runs == marked_spans()


def test_labels_are_no_guess_by_capital_letter() -> None:
    """The same word with either label, and as many capitalised words that are no place."""
    text, marked = text_of("journey.txt"), text_of("journey.marked.txt")
    for word in ("Florence", "Washington"):
        assert 0 < marked.count(f"[{word}]") < text.count(word)
    capitalised = re.findall(r"[A-Z]\w+", MARK.sub("", marked))
    assert len(capitalised) >= len(marked_spans())
    labels = read_labels(EXAMPLES / "journey.labels")
    assert 0.2 <= labels.mean() <= 0.3
    assert labels[-1] == 1


def test_question_is_a_statement_on_a_city_that_no_probe_was_trained_on() -> None:
    question = text_of("question.txt")
    city = re.fullmatch(r"The city of (\w+) is in \w+\.", question)
    assert city is not None
    assert city[1] not in text_of("statements.jsonl")
