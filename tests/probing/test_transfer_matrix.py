"""The transfer matrix: what carries, what does not, and what is not tested on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from geometry_of_trust.cli import main
from geometry_of_trust.errors import (
    BadOption,
    GotError,
    ModelMismatch,
    NonFinite,
    OneClass,
    PrecisionMismatch,
)
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.gotact import write_activations
from geometry_of_trust.formats.gotue import write_unembedding
from geometry_of_trust.probing.transfer_matrix import TransferMatrix, names_of, transfer_matrix
from row_tables import table_of, write_table

D, N, LAYERS = 10, 120, (2, 5)
Values = NDArray[np.float32]


def write(
    folder: Path, name: str, values: Values, y: NDArray[np.int8], first: int, **header: Any
) -> Path:
    """Two layers, a text a row, four rows a group."""
    n = values.shape[1]
    chosen = {"model_id": "tiny", "precision": "Fp32"} | header
    path = folder / f"{name}.gotact"
    write_activations(path, Activations(layers=LAYERS, positions=range(n), values=values, **chosen))
    rows = table_of([[first + i] for i in range(n)], [f"{name} {i // 4}" for i in range(n)])
    write_table(folder / f"{name}.rows.parquet", replace(rows, labels={"warm": y}))
    return path


def states(seed: int, axis: int) -> tuple[Values, NDArray[np.int8]]:
    """Labels along one axis, at both layers."""
    rng = np.random.default_rng(seed)
    y = (np.arange(N) % 4 < 2).astype(np.int8)
    values = rng.normal(size=(len(LAYERS), N, D)).astype(np.float32)
    values[:, :, axis] += np.where(y == 1, 1.2, -1.2)
    return values, y


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("matrix")
    for name, seed, axis, first in (("a", 0, 0, 0), ("b", 1, 0, 500), ("c", 2, 1, 900)):
        write(folder, name, *states(seed, axis), first)
    values, y = states(0, 0)
    again, _ = states(3, 0)
    again[:, :40] = values[:, :40]  # rows of a, among others
    write(folder, "partly a", again, y, 2000)
    values, y = states(6, 0)
    write(folder, "huge", np.sign(values) * np.float32(3e38), y, 5000)
    write(folder, "alike", values, np.ones_like(y), 6000)
    write(folder, "foreign", *states(4, 0), 3000, model_id="other")
    write(folder, "coarse", *states(5, 0), 4000, precision="Fp16")
    write_unembedding(
        folder / "u.gotue", np.random.default_rng(9).normal(size=(50, D)).astype(np.float32)
    )
    return folder


def matrix(folder: Path, *names: str, **options: Any) -> TransferMatrix:
    chosen: dict[str, Any] = {"layers": [5]} | options
    return transfer_matrix(
        corpora=[folder / f"{name}.gotact" for name in names],
        unembedding=folder / "u.gotue", label_columns=["warm"], **chosen,
    )  # fmt: skip


def test_what_is_the_same_direction_carries_and_another_does_not(folder: Path) -> None:
    result = matrix(folder, "a", "b", "c", layers=[5, 2])
    assert [corpus.name for corpus in result.corpora] == ["a", "b", "c"]
    assert [corpus.groups for corpus in result.corpora] == [N // 4] * 3
    assert [found.layer for found in result.matrices] == [5, 2]
    for found in result.matrices:
        for i, row in enumerate(found.cells):
            for j, cell in enumerate(row):
                auroc = cell.auroc
                assert auroc is not None
                assert auroc.low < auroc.value < auroc.high
                carries = (i == 2) == (j == 2)
                assert auroc.low > 0.75 if carries else abs(auroc.value - 0.5) < 0.2, (i, j, auroc)


def test_rows_of_both_corpora_are_not_tested_on(folder: Path) -> None:
    (found,) = matrix(folder, "a", "partly a").matrices
    (own, other), (back, again) = found.cells
    assert (own.left_out, other.left_out, back.left_out, again.left_out) == (0, 40, 40, 0)
    assert (own.rows, other.rows) == (N, N - 40)
    values, y = states(0, 0)
    write(folder, "all a", values, y, 0, model_id="tiny", layout="per-position")
    (found,) = matrix(folder, "a", "all a").matrices
    assert found.cells[0][1].auroc is None
    assert found.cells[0][1].rows == 0


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (("a",), BadOption),
        (("a", "a"), BadOption),
        (("a", "foreign"), ModelMismatch),
        (("a", "coarse"), PrecisionMismatch),
        (("a", "huge"), NonFinite),
    ],
)
def test_what_is_refused(folder: Path, names: tuple[str, ...], error: type[GotError]) -> None:
    with pytest.raises(error):
        matrix(folder, *names)


def test_labels_that_will_not_do_are_said_of_their_corpus(folder: Path) -> None:
    with pytest.raises(OneClass) as refused:
        matrix(folder, "a", "alike")
    assert refused.value.where == f"{folder / 'alike.gotact'}, labels 'warm'"


def test_corpora_of_one_name_are_called_by_their_paths() -> None:
    paths = ["x/a.gotact", "y/a.gotact", "b.gotact"]
    assert names_of(paths) == ["x/a.gotact", "y/a.gotact", "b"]


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["transfer", "--corpora", *(str(folder / f"{name}.gotact") for name in "ac"),
               "--unembedding", str(folder / "u.gotue"), "--label-column", "warm",
               "--layers", "2", "5"]  # fmt: skip
    picture = folder / "matrix.svg"
    assert main([*command, "--plot", str(picture)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("trained on") == 3
    drawn = picture.read_text()
    assert main([*command, "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    value = tree["matrices"][0]["cells"][0][1]["auroc"]["value"]
    assert f"{value:.3f} [" in shown
    assert f"{value:.3f}" in drawn
    for wrong in (
        ["--margin", "0.1"], ["--probes", "p.json"], ["--layer", "2"], ["--to", "a.gotact"],
    ):  # fmt: skip
        assert main([*command, *wrong]) == 2
    assert main(command[:-3]) == 2  # no layer
    assert main(["transfer", "--unembedding", "u.gotue"]) == 2
