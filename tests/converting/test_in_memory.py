"""Arrays for numpy, torch and pandas: what is shared, what is copied, what is refused."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from geometry_of_trust import errors
from geometry_of_trust.converting.in_memory import to_numpy, to_pandas, to_torch
from geometry_of_trust.formats.arrays import Activations, Unembedding
from geometry_of_trust.formats.gotact import read_activations, write_activations
from geometry_of_trust.formats.gotue import read_unembedding, write_unembedding
from geometry_of_trust.formats.row_table import read_rows
from geometry_of_trust.formats.row_writer import NONE, RowWriter, TextRows

VALUES = np.random.default_rng(3).normal(size=(2, 5, 4)).astype(np.float32)
ALIGNED, UNALIGNED = "m", "mm"  # 4k + 1 bytes of model id, and others


def activations(folder: Path, model_id: str = UNALIGNED) -> Activations:
    path = folder / "a.gotact"
    write_activations(path, Activations(model_id, "Fp32", (3, 8), range(5), VALUES))
    return read_activations(path)


def unembedding(folder: Path) -> Unembedding:
    write_unembedding(folder / "u.gotue", VALUES[0])
    return read_unembedding(folder / "u.gotue")


def test_numpy_is_a_read_only_view_of_the_file(tmp_path: Path) -> None:
    taken = activations(tmp_path)
    for layer, expected in ((None, VALUES), (8, VALUES[1])):
        found = to_numpy(taken, layer)
        assert np.shares_memory(found, taken.values)
        assert not found.flags.writeable
        np.testing.assert_array_equal(found, expected)
    matrix = unembedding(tmp_path)
    assert np.shares_memory(to_numpy(matrix), matrix.values)
    np.testing.assert_array_equal(to_numpy(matrix), VALUES[0])


@pytest.mark.parametrize("bridge", [to_numpy, to_torch, to_pandas])
def test_a_layer_that_is_not_there(tmp_path: Path, bridge: object) -> None:
    assert callable(bridge)
    with pytest.raises(errors.LayerMissing) as caught:
        bridge(activations(tmp_path), 4)
    assert caught.value.found == "4"
    with pytest.raises(errors.BadOption):
        bridge(unembedding(tmp_path), 3)


@pytest.mark.parametrize(("model_id", "shared"), [(ALIGNED, True), (UNALIGNED, False)])
@pytest.mark.parametrize("layer", [None, 8])
def test_torch_shares_what_is_aligned(
    tmp_path: Path, model_id: str, shared: bool, layer: int | None
) -> None:
    taken = activations(tmp_path, model_id)
    values = to_numpy(taken, layer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = to_torch(taken, layer)
    assert tensor.dtype == torch.float32
    assert (tensor.data_ptr() == values.ctypes.data) == shared
    assert torch.equal(tensor, torch.tensor(np.array(values)))


def test_torch_of_arrays_in_memory(tmp_path: Path) -> None:
    taken = Activations("m", "Fp32", (3, 8), range(5), VALUES)
    assert to_torch(taken).data_ptr() == VALUES.ctypes.data
    backwards = Activations("m", "Fp32", (3, 8), range(5), VALUES[:, ::-1])
    assert torch.equal(to_torch(backwards), torch.tensor(VALUES[:, ::-1].copy()))
    assert torch.equal(to_torch(unembedding(tmp_path)), torch.tensor(VALUES[0]))


@pytest.mark.parametrize(("model_id", "shared"), [(ALIGNED, True), (UNALIGNED, False)])
def test_pandas_has_a_row_a_position(tmp_path: Path, model_id: str, shared: bool) -> None:
    taken = activations(tmp_path, model_id)
    frame = to_pandas(taken, 8)
    assert frame.index.name == "position"
    assert frame.index.tolist() == list(range(5))
    assert set(frame.dtypes) == {np.dtype(np.float32)}
    assert np.shares_memory(frame.to_numpy(), taken.values) == shared
    np.testing.assert_array_equal(frame.to_numpy(), VALUES[1])
    with pytest.raises(errors.BadOption):
        to_pandas(taken)


def test_pandas_of_an_unembedding_has_a_row_a_token(tmp_path: Path) -> None:
    frame = to_pandas(unembedding(tmp_path))
    assert frame.index.name == "token"
    np.testing.assert_array_equal(frame.to_numpy(), VALUES[0])


def test_pandas_joins_the_row_table(tmp_path: Path) -> None:
    path = tmp_path / "a.rows.parquet"
    with path.open("wb") as handle, RowWriter(handle, ["true"]) as writer:
        writer.add(
            TextRows(
                0, "g", [0, 1], [5, 6], ["<s>", "a"], [None, (0, 1)], [True, False], {"true": 1}
            )
        )
        writer.add(
            TextRows(
                1,
                None,
                [0, 1, None],
                [5, 7, None],
                ["<s>", "b", None],
                [None, (0, 1), None],
                [True, False, False],
                {"true": 0},
            )
        )
    taken, rows = activations(tmp_path), read_rows(path)
    frame = to_pandas(taken, 3, rows=rows)
    assert frame.index.names == [
        "position", "text", "group", "token_index", "token_id", "token", "start", "end", "special",
        "label.true",
    ]  # fmt: skip
    assert frame.index.get_level_values("text").tolist() == [0, 0, 1, 1, 1]
    assert frame.index.get_level_values("token_id").tolist() == [5, 6, 5, 7, NONE]
    assert frame.index.get_level_values("label.true").tolist() == [1, 1, 0, 0, 0]
    assert frame.index.get_level_values("group").isna().tolist() == [False] * 2 + [True] * 3
    np.testing.assert_array_equal(frame.to_numpy(), VALUES[0])
    means = frame.groupby(level="text").mean().to_numpy()
    np.testing.assert_allclose(means[1], VALUES[0, 2:].mean(axis=0), rtol=1e-6)
    short = Activations("m", "Fp32", (3,), range(2), VALUES[:1, :2])
    with pytest.raises(errors.BadRowTable) as caught:
        to_pandas(short, 3, rows=rows)
    assert caught.value.found == "5"
    with pytest.raises(errors.BadRowTable):
        to_pandas(unembedding(tmp_path), rows=rows)


@pytest.mark.parametrize(
    ("package", "bridge"), [("torch", to_torch), ("pandas", to_pandas)], ids=["torch", "pandas"]
)
def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, package: str, bridge: object
) -> None:
    assert callable(bridge)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(errors.MissingExtra) as caught:
        bridge(Activations("m", "Fp32", (3, 8), range(5), VALUES), 3)
    assert package in caught.value.expected
    assert caught.value.hint


def test_importing_the_room_imports_neither_torch_nor_pandas() -> None:
    code = (
        "import sys, geometry_of_trust.converting.in_memory\n"
        "sys.exit(int('torch' in sys.modules or 'pandas' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
