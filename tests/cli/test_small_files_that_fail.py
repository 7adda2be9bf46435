"""Small files that took gigabytes, hours or a process, under `tests/vectors/cases/`: one line each.

What each folder is of: tests/vectors/cases/README.md.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from geometry_of_trust import write_unembedding
from geometry_of_trust.cli import main
from geometry_of_trust.corpus.entries import Columns, read_corpus
from geometry_of_trust.errors import GotError, TooLarge
from geometry_of_trust.formats.label_tables import read_label_table
from places import VECTORS

CASES = VECTORS / "cases"
BOMBS = sorted((CASES / "10-parquet-bomb").iterdir())
PARSED = sorted((CASES / "14-parser-tracebacks").iterdir())
NAMES = ("--model-id", "m", "--precision", "Fp32", "--layers", "0")

MEASURED = """
import sys
from geometry_of_trust.cli import main
code = main(sys.argv[1:])
with open("/proc/self/status") as status:
    kilobytes = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(kilobytes // 1024, file=sys.stderr)
raise SystemExit(code)
"""


def one_line(capsys: pytest.CaptureFixture[str], *words: str | Path) -> int:
    """The exit code of a command that says one line and nothing else."""
    code = main([str(word) for word in words])
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("got-cli: ")
    assert told.err.count("\n") == 1
    return code


def placed(source: Path, folder: Path) -> Path:
    """A case under the ending that its kind has."""
    kind = ".npy" if source.name.startswith("npy-") else source.suffix or ".parquet"
    return Path(shutil.copyfile(source, folder / f"case{kind}"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read memory from")
@pytest.mark.parametrize("path", BOMBS, ids=lambda path: path.name)
def test_a_table_that_unpacks_to_gigabytes(path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", MEASURED, "show", path], capture_output=True, text=True, check=False
    )
    line, megabytes = process.stderr.splitlines()
    assert process.returncode == 3
    assert line.startswith("got-cli: ")
    assert int(megabytes) < 300


@pytest.mark.parametrize("path", BOMBS, ids=lambda path: path.name)
def test_such_a_table_as_labels_and_as_a_corpus(path: Path) -> None:
    column = "x" if path.name.startswith("lab") else "token"
    with pytest.raises(TooLarge):
        read_label_table(path, [column])
    with pytest.raises(TooLarge):
        list(read_corpus(path, columns=Columns(text=column)))


@pytest.mark.parametrize("path", PARSED, ids=lambda path: path.name)
def test_a_file_that_a_parser_stumbles_over(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = placed(path, tmp_path)
    if path.name == "pqtab-ValueError-65b90978":  # of an unembedding, and whole
        assert one_line(capsys, "convert", source, tmp_path / "o.gotact", *NAMES) == 2
    else:
        assert one_line(capsys, "convert", source, tmp_path / "o.gotact", *NAMES) == 3
    assert one_line(capsys, "show", source) == 3
    assert list(tmp_path.iterdir()) == [source]
    if source.suffix == ".parquet":
        with pytest.raises(GotError) as refused:
            read_label_table(source)
        assert refused.value.exit_code == 3
        group = "g" if "ArrowIndexError" in path.name else None  # only there it is damaged
        with pytest.raises(GotError) as refused:
            list(read_corpus(source, columns=Columns(group=group)))
        assert refused.value.exit_code == 3


def test_a_row_table_that_a_parser_stumbles_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "a.npy", np.ones((1, 3, 4), np.float32))
    assert main(["convert", str(tmp_path / "a.npy"), str(tmp_path / "a.gotact"), *NAMES]) == 0
    write_unembedding(tmp_path / "u.gotue", np.eye(4, dtype=np.float32))
    capsys.readouterr()
    (case,) = (path for path in PARSED if path.name.startswith("rows-"))
    shutil.copyfile(case, tmp_path / "a.rows.parquet")
    options = ("--activations", tmp_path / "a.gotact", "--unembedding", tmp_path / "u.gotue")
    more = ("--layer", "0", "--output", tmp_path / "p.json", "--label-column", "x")
    assert one_line(capsys, "train", *options, *more) == 3
    assert main(["show", str(tmp_path / "a.gotact")]) == 3
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", ["bom_crlf", "onezero", "truefalse"])
def test_labels_as_spreadsheets_write_them(name: str) -> None:
    path = CASES / "26-labels-table-spreadsheet" / f"{name}.csv"
    labels = read_label_table(path, ["y"])["y"]
    assert len(labels) == 80
    assert set(labels.tolist()) == {0, 1}


@pytest.mark.parametrize("name", ["empty", "emptyone", "semicolon"])
def test_labels_that_are_missing(name: str) -> None:
    path = CASES / "26-labels-table-spreadsheet" / f"{name}.csv"
    with pytest.raises(GotError) as refused:
        read_label_table(path)
    assert refused.value.exit_code == 3
    assert refused.value.hint or "line 9" in refused.value.where
