"""One grammar of positions, whoever asks: extraction, attestation and verification."""

from __future__ import annotations

from pathlib import Path

import pytest

from geometry_of_trust.cli import main
from geometry_of_trust.corpus.choosing import Position
from geometry_of_trust.documents.positions import (
    MANY_ROWS,
    ONE_ROW,
    check_position,
    numbered,
    position_index,
)
from geometry_of_trust.errors import BadOption, PositionMissing

NONE = ["", "-1", "+1", "1.5", "007", "05", "00", "1e1", " 1", "1\n", "end", "Last", "middle",
        "٣", "९", "12345678901", "9" * 30]  # fmt: skip


@pytest.mark.parametrize("name", NONE)
def test_what_is_no_position_is_refused_by_all_alike(name: str) -> None:
    found = []
    for ask in (lambda: Position(name), lambda: position_index(name, 5)):
        with pytest.raises(BadOption) as caught:
            ask()
        found.append((caught.value.where, caught.value.found, caught.value.exit_code))
    assert found == [("--position", name, 2)] * 2


@pytest.mark.parametrize("name", ["0", "7", "10", "1234567890"])
def test_numbers(name: str) -> None:
    for words in (ONE_ROW, MANY_ROWS):
        check_position(name, words)
    assert position_index(name, 2**40) == int(name) == numbered(name, 2**40, "here")


def test_words() -> None:
    assert position_index("last", 5) == 4
    assert position_index("first", 5) == 0
    assert position_index("mean", 5) is None
    assert position_index("4", 5) == 4
    assert [Position(word).name for word in MANY_ROWS] == list(MANY_ROWS)
    with pytest.raises(BadOption) as caught:
        position_index("all", 5, "a.json.position")  # not one row
    assert caught.value.where == "a.json.position"


def test_a_row_that_is_not_there() -> None:
    with pytest.raises(PositionMissing) as caught:
        position_index("5", 5)
    assert (caught.value.where, caught.value.found) == ("--position", "5")


def test_no_model_is_looked_for_before_the_position_is_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.txt").write_text("a\n")
    common = ["--model", str(tmp_path / "none"), "--layers", "0", "--position", "007"]
    for source in (["--input", "a"], ["--input-file", str(tmp_path / "c.txt")]):
        assert main(["extract", *source, *common]) == 2
        error = capsys.readouterr().err
        assert "--position" in error
        assert error.count("\n") == 1
