"""Conversions: the same bytes after a round trip, the real libraries' files, and refusals."""

from __future__ import annotations

import json
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from geometry_of_trust import errors, files
from geometry_of_trust.cli import main
from geometry_of_trust.converting import exchange
from geometry_of_trust.converting.conversion import convert
from geometry_of_trust.converting.tensorfile import write_header
from geometry_of_trust.formats.arrays import Activations, Layout
from geometry_of_trust.formats.gotact import read_activations, write_activations
from geometry_of_trust.formats.gotue import read_unembedding, write_unembedding
from geometry_of_trust.formats.row_table import read_rows
from geometry_of_trust.formats.row_writer import NONE, RowWriter, TextRows

LAYERS = (2, 8, 10)  # 10 stands before 2 where names are sorted as text
P, D = 7, 5
NAMED: dict[str, Any] = {"model_id": "Modell ä", "precision": "Bfloat16", "layers": LAYERS}


def odd_values(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Numbers that a careless conversion changes: payloads of NaN, infinities, −0."""
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    bits = values.reshape(-1).view(np.uint32)
    bits[:7] = [0x7FC12345, 0x7F812345, 0xFFC00001, 0x7F800000, 0xFF800000, 0x80000000, 1]
    return values


@pytest.fixture(params=["per-layer", "per-position"])
def gotact(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    layout: Layout = request.param
    path = tmp_path / "a.gotact"
    write_activations(
        path,
        Activations("Modell ä", "Bfloat16", LAYERS, range(P), odd_values(3, P, D), layout),
    )
    return path


@pytest.fixture
def gotue(tmp_path: Path) -> Path:
    path = tmp_path / "u.gotue"
    write_unembedding(path, odd_values(11, D))
    return path


@pytest.fixture(params=[8 * 2**20, 50], ids=["whole", "in pieces"])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "CHUNK_BYTES", request.param)


# --- round trips ------------------------------------------------------------------------------


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("kind", [".safetensors", ".parquet"])
def test_activations_come_back_byte_for_byte(gotact: Path, kind: str) -> None:
    middle, back = gotact.with_suffix(kind), gotact.with_name("back.gotact")
    done = convert(gotact, middle)
    assert (done.files, done.shape) == ((middle,), (3, P, D))
    convert(middle, back)
    assert back.read_bytes() == gotact.read_bytes()
    assert sorted(path.name for path in gotact.parent.iterdir()) == sorted(
        [gotact.name, middle.name, back.name]
    )


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("kind", [".safetensors", ".parquet", ".npy"])
def test_an_unembedding_comes_back_byte_for_byte(gotue: Path, kind: str) -> None:
    middle, back = gotue.with_suffix(kind), gotue.with_name("back.gotue")
    assert convert(gotue, middle).shape == (11, D)
    convert(middle, back)
    assert back.read_bytes() == gotue.read_bytes()


@pytest.mark.usefixtures("chunk")
def test_npy_comes_back_with_the_names_given(gotact: Path) -> None:
    middle, back = gotact.with_suffix(".npy"), gotact.with_name("back.gotact")
    convert(gotact, middle)
    convert(middle, back, **NAMED, layout=read_activations(gotact).layout)
    assert back.read_bytes() == gotact.read_bytes()


def test_between_all_kinds_in_a_row(gotact: Path) -> None:
    last = gotact
    for number, kind in enumerate((".parquet", ".safetensors", ".parquet", ".gotact")):
        following = gotact.with_name(f"{number}{kind}")
        convert(last, following)
        last = following
    assert last.read_bytes() == gotact.read_bytes()


@pytest.mark.parametrize("layout", ["per-layer", "per-position"])
def test_between_the_layouts(gotact: Path, layout: Layout) -> None:
    other = gotact.with_name("other.gotact")
    convert(gotact, other, layout=layout)
    found, expected = read_activations(other), read_activations(gotact)
    assert found.layout == layout
    assert found.values.tobytes() == expected.values.tobytes()
    back = gotact.with_name("back.gotact")
    convert(other, back, layout=expected.layout)
    assert back.read_bytes() == gotact.read_bytes()


def test_the_magic_wins_over_the_suffix(gotact: Path) -> None:
    odd = gotact.rename(gotact.with_suffix(".bin"))
    convert(odd, gotact.with_suffix(".npy"))
    assert np.load(gotact.with_suffix(".npy")).shape == (3, P, D)


# --- what other libraries see -----------------------------------------------------------------


def test_safetensors_reads_what_is_written(gotact: Path) -> None:
    path, expected = gotact.with_suffix(".safetensors"), read_activations(gotact)
    convert(gotact, path)
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata() == {
            "format": "geometry-of-trust activations", "version": "1", "model_id": "Modell ä",
            "precision": "Bfloat16", "layout": expected.layout,
        }  # fmt: skip
        assert set(file.keys()) == {"layer.2", "layer.8", "layer.10"}
        for layer, states in zip(LAYERS, expected.values, strict=True):
            found = file.get_tensor(f"layer.{layer}")
            assert found.dtype == np.float32
            assert found.tobytes() == states.tobytes()
    start = struct.unpack("<Q", path.read_bytes()[:8])[0]
    assert start % 8 == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_safetensors_writes_is_read(tmp_path: Path, dtype: torch.dtype) -> None:
    # The library sorts the tensors by name, so layer.10 comes first and no one view is possible.
    states = {layer: torch.randn(P, D).to(dtype) for layer in LAYERS}
    path, out = tmp_path / "s.safetensors", tmp_path / "a.gotact"
    safetensors.torch.save_file({f"layer.{k}": v for k, v in states.items()}, path)
    convert(path, out, model_id="m", precision="Fp16")
    found = read_activations(out)
    assert (found.model_id, found.precision, found.layers) == ("m", "Fp16", LAYERS)
    for layer, states_ in states.items():
        np.testing.assert_array_equal(found.states(layer), states_.float().numpy())


def test_the_unembedding_may_be_of_half_precision(tmp_path: Path) -> None:
    matrix = torch.randn(11, D).bfloat16()
    safetensors.torch.save_file({"unembedding": matrix}, tmp_path / "u.safetensors")
    convert(tmp_path / "u.safetensors", tmp_path / "u.gotue")
    np.testing.assert_array_equal(
        read_unembedding(tmp_path / "u.gotue").values, matrix.float().numpy()
    )


def test_parquet_has_a_row_for_each_state(gotact: Path) -> None:
    path, expected = gotact.with_suffix(".parquet"), read_activations(gotact).values
    convert(gotact, path)
    table = pq.read_table(path)
    assert table.column_names == ["layer", "position", "values"]
    assert table.column("layer").to_pylist() == [k for k in LAYERS for _ in range(P)]
    assert table.column("position").to_pylist() == list(range(P)) * 3
    kind = table.schema.field("values").type
    assert (kind.value_type, kind.list_size) == (pa.float32(), D)
    values = np.concatenate([part.flatten().to_numpy() for part in table.column("values").chunks])
    assert values.tobytes() == expected.tobytes()
    assert table.schema.metadata[b"model_id"].decode() == "Modell ä"


def test_parquet_joins_the_row_table(gotact: Path) -> None:
    rows = gotact.with_suffix(".rows.parquet")
    with rows.open("wb") as handle, RowWriter(handle, ["true"]) as writer:
        for text in range(P):
            writer.add(
                TextRows(
                    text,
                    f"g{text % 2}",
                    [3],
                    [text + 50],
                    ["x"],
                    [(0, 1)],
                    [False],
                    {"true": text % 2},
                )
            )
    path, back = gotact.with_suffix(".parquet"), gotact.with_name("back.gotact")
    convert(gotact, path, rows=True)
    table = pq.read_table(path)
    assert table.column("text").to_pylist() == list(range(P)) * 3
    assert table.column("token_id").to_pylist() == list(range(50, 50 + P)) * 3
    assert table.column("group").to_pylist() == [f"g{k % 2}" for k in range(P)] * 3
    assert table.column("label.true").to_pylist() == [k % 2 for k in range(P)] * 3
    convert(path, back)
    assert back.read_bytes() == gotact.read_bytes()


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float32())])
def test_parquet_of_others_has_lists_and_no_names(tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.table(
        {
            "layer": pa.array([1, 1, 4, 4], pa.int64()),
            "position": pa.array([0, 1, 0, 1], pa.int64()),
            "values": pa.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]], kind),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    convert(tmp_path / "a.parquet", tmp_path / "a.gotact", model_id="m", precision="Fp32")
    found = read_activations(tmp_path / "a.gotact")
    assert found.layers == (1, 4)
    assert found.values.tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_others_is_widened(tmp_path: Path, dtype: str, order: Any) -> None:
    values = np.random.default_rng(1).normal(size=(3, P, D)).astype(dtype, order=order)
    np.save(tmp_path / "a.npy", values)
    convert(tmp_path / "a.npy", tmp_path / "a.gotact", **NAMED)
    np.testing.assert_array_equal(read_activations(tmp_path / "a.gotact").values, values)


# --- vLLM -------------------------------------------------------------------------------------


def vllm_export(path: Path, dtype: torch.dtype = torch.bfloat16, tokens: int = P) -> torch.Tensor:
    """A file as its ExampleHiddenStatesConnector writes it: same names, shapes and writer."""
    states = torch.randn(P, 2, D).to(dtype)
    tensors = {"hidden_states": states, "token_ids": torch.arange(100, 100 + tokens)}
    safetensors.torch.save_file(tensors, path)
    return states


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize(
    ("dtype", "precision"),
    [(torch.bfloat16, "Bfloat16"), (torch.float16, "Fp16"), (torch.float32, "Fp32")],
)
def test_vllm_export_is_read(tmp_path: Path, dtype: torch.dtype, precision: str) -> None:
    source, out = tmp_path / "req.safetensors", tmp_path / "a.gotact"
    states = vllm_export(source, dtype)
    done = convert(source, out, model_id="m", layers=[8, 15])
    assert done.files == (out, tmp_path / "a.rows.parquet")
    found = read_activations(out)
    assert (found.model_id, found.precision, found.layers) == ("m", precision, (8, 15))
    np.testing.assert_array_equal(found.states(8), states[:, 0].float().numpy())
    np.testing.assert_array_equal(found.states(15), states[:, 1].float().numpy())
    rows = read_rows(tmp_path / "a.rows.parquet")
    assert rows.token_id.tolist() == list(range(100, 100 + P))
    assert rows.token_index.tolist() == list(range(P))
    assert set(rows.start.tolist()) == {NONE}
    assert set(rows.text.tolist()) == {0}


def test_vllm_export_of_a_quantised_model_keeps_the_precision_given(tmp_path: Path) -> None:
    vllm_export(tmp_path / "r.safetensors")
    out = tmp_path / "a.gotact"
    convert(tmp_path / "r.safetensors", out, model_id="m", layers=[8, 15], precision="Int8")
    assert read_activations(out).precision == "Int8"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"layers": [8, 15]}, errors.NotNamed),
        ({"model_id": "m"}, errors.NotNamed),
        ({"model_id": "m", "layers": [8]}, errors.BadOption),
        ({"model_id": "m", "layers": [8, 15, 22]}, errors.BadOption),
        ({"model_id": "m", "layers": [15, 8]}, errors.BadOption),
        ({"model_id": "m", "layers": [8, 8]}, errors.BadOption),
    ],
)
def test_vllm_export_needs_its_names(
    tmp_path: Path, options: dict[str, Any], error: type[errors.GotError]
) -> None:
    vllm_export(tmp_path / "r.safetensors")
    with pytest.raises(error) as caught:
        convert(tmp_path / "r.safetensors", tmp_path / "a.gotact", **options)
    assert "--layers" in {caught.value.where, caught.value.expected} or "model_id" not in options
    assert [path.name for path in tmp_path.iterdir()] == ["r.safetensors"]


def test_the_row_table_of_a_vllm_export_is_not_written_over_it(tmp_path: Path) -> None:
    source, rows = tmp_path / "r.safetensors", tmp_path / "r.rows.parquet"
    vllm_export(source)
    before = source.read_bytes()
    for _ in range(2):  # one of an earlier conversion is replaced
        convert(source, tmp_path / "r.gotact", model_id="m", layers=[8, 15])
        assert rows.is_file()
    rows.unlink()
    rows.symlink_to(source)
    with pytest.raises(errors.OutputIsInput):
        convert(source, tmp_path / "r.gotact", model_id="m", layers=[8, 15])
    assert source.read_bytes() == before


def test_vllm_export_goes_to_gotact_only(tmp_path: Path) -> None:
    vllm_export(tmp_path / "r.safetensors")
    with pytest.raises(errors.WrongKind):
        convert(tmp_path / "r.safetensors", tmp_path / "a.npy", model_id="m", layers=[8, 15])


@pytest.mark.parametrize("tokens", [0, P + 1])
def test_vllm_export_with_another_number_of_tokens(tmp_path: Path, tokens: int) -> None:
    vllm_export(tmp_path / "r.safetensors", tokens=tokens)
    with pytest.raises(errors.BadTensors) as caught:
        convert(tmp_path / "r.safetensors", tmp_path / "a.gotact", model_id="m", layers=[8, 15])
    assert f"({tokens},)" in caught.value.found
    assert not (tmp_path / "a.gotact").exists()


@pytest.mark.parametrize("number", [-1, 2**31])
def test_vllm_export_with_an_impossible_token(tmp_path: Path, number: int) -> None:
    tensors = {"hidden_states": torch.zeros(1, 1, D), "token_ids": torch.tensor([number])}
    safetensors.torch.save_file(tensors, tmp_path / "r.safetensors")
    with pytest.raises(errors.BadTensors):
        convert(tmp_path / "r.safetensors", tmp_path / "a.gotact", model_id="m", layers=[8])


@pytest.mark.parametrize("shape", [(P, D), (0, 2, D)])
def test_vllm_export_of_another_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tensors = {
        "hidden_states": torch.zeros(shape),
        "token_ids": torch.zeros(shape[0], dtype=torch.int64),
    }
    safetensors.torch.save_file(tensors, tmp_path / "r.safetensors")
    with pytest.raises((errors.BadTensors, errors.BadHeader)):
        convert(tmp_path / "r.safetensors", tmp_path / "a.gotact", model_id="m", layers=[8, 15])


# --- refusals ---------------------------------------------------------------------------------


def test_source_and_destination_must_differ(gotact: Path) -> None:
    before = gotact.read_bytes()
    again = gotact.parent / "again.gotact"
    again.symlink_to(gotact)
    for destination in (gotact, again):
        with pytest.raises(errors.BadOption):
            convert(gotact, destination)
    assert gotact.read_bytes() == before


def test_an_existing_destination_is_replaced(gotact: Path) -> None:
    path = gotact.with_suffix(".npy")
    path.write_bytes(b"before")
    convert(gotact, path)
    assert np.load(path).shape == (3, P, D)


def test_a_failed_conversion_leaves_what_was_there(gotact: Path) -> None:
    path = gotact.with_suffix(".npy")
    convert(gotact, path)
    gotact.write_bytes(b"before")
    with pytest.raises(errors.NotNamed):
        convert(path, gotact)
    assert gotact.read_bytes() == b"before"


@pytest.mark.parametrize("missing", NAMED)
def test_npy_without_a_name_is_refused(gotact: Path, missing: str) -> None:
    convert(gotact, gotact.with_suffix(".npy"))
    names = {key: value for key, value in NAMED.items() if key != missing}
    with pytest.raises(errors.NotNamed) as caught:
        convert(gotact.with_suffix(".npy"), gotact.with_name("b.gotact"), **names)
    assert caught.value.expected == "--" + missing.replace("_", "-")


@pytest.mark.parametrize(
    "options", [{"model_id": "x"}, {"precision": "Fp32"}, {"layers": [1, 2, 3]}]
)
@pytest.mark.parametrize("kind", [".gotact", ".safetensors", ".parquet"])
def test_a_conversion_renames_nothing(gotact: Path, kind: str, options: dict[str, Any]) -> None:
    source = gotact
    if kind != ".gotact":
        source = gotact.with_suffix(kind)
        convert(gotact, source)
    out = gotact.with_name("b.gotact")
    with pytest.raises(errors.BadOption) as caught:
        convert(source, out, **options)
    assert caught.value.where == "--" + next(iter(options)).replace("_", "-")
    convert(source, out, **NAMED)  # the same names again do no harm
    assert out.read_bytes() == gotact.read_bytes()


def test_an_unembedding_has_no_names_and_no_rows(gotue: Path) -> None:
    with pytest.raises(errors.BadOption):
        convert(gotue, gotue.with_suffix(".npy"), model_id="m")
    with pytest.raises(errors.BadOption):
        convert(gotue, gotue.with_suffix(".parquet"), rows=True)


def test_destinations_that_do_not_fit(gotact: Path, gotue: Path) -> None:
    for source, destination in ((gotact, "b.gotue"), (gotue, "b.gotact")):
        with pytest.raises(errors.WrongKind):
            convert(source, gotact.with_name(destination))
    for destination in ("b.csv", "b"):
        with pytest.raises(errors.UnknownKind):
            convert(gotact, gotact.with_name(destination))
    with pytest.raises(errors.BadOption):
        convert(gotact, gotact.with_suffix(".npy"), layout="per-layer")
    with pytest.raises(errors.BadOption):
        convert(gotact, gotact.with_suffix(".npy"), rows=True)


def test_sources_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("hello")
    with pytest.raises(errors.UnknownKind):
        convert(tmp_path / "text.txt", tmp_path / "a.npy")
    with pytest.raises(errors.Unreadable):
        convert(tmp_path / "none.npy", tmp_path / "a.gotact")
    write_unembedding(tmp_path / "u.gotue", odd_values(3, D))
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.Unwritable):
        convert(tmp_path / "u.gotue", tmp_path / "file" / "u.npy")


def test_the_row_table_must_fit(gotact: Path) -> None:
    path = gotact.with_suffix(".parquet")
    with pytest.raises(errors.Unreadable):
        convert(gotact, path, rows=True)
    with gotact.with_suffix(".rows.parquet").open("wb") as handle, RowWriter(handle) as writer:
        writer.add(TextRows(0, None, [0], [1], ["a"], [(0, 1)], [False]))
    with pytest.raises(errors.BadRowTable) as caught:
        convert(gotact, path, rows=True)
    assert caught.value.found == "1"
    assert not path.exists()


def test_parquet_numbers_are_of_31_bits(tmp_path: Path) -> None:
    source = tmp_path / "a.gotact"
    write_activations(source, Activations("m", "Fp32", (2**32 - 1,), range(2), odd_values(1, 2, D)))
    with pytest.raises(errors.LimitExceeded):
        convert(source, tmp_path / "a.parquet")
    convert(source, tmp_path / "a.safetensors")
    convert(tmp_path / "a.safetensors", tmp_path / "b.gotact")
    assert (tmp_path / "b.gotact").read_bytes() == source.read_bytes()


def test_small_layers_share_row_groups(tmp_path: Path) -> None:
    count = 2**14
    values = np.arange(2 * count, dtype=np.float32).reshape(count, 2, 1)
    made = Activations("m", "Fp32", tuple(range(1, count + 1)), range(2), values)
    write_activations(tmp_path / "a.gotact", made)
    convert(tmp_path / "a.gotact", tmp_path / "a.parquet")
    assert pq.read_metadata(tmp_path / "a.parquet").num_row_groups == 1
    convert(tmp_path / "a.parquet", tmp_path / "b.gotact")
    assert (tmp_path / "a.gotact").read_bytes() == (tmp_path / "b.gotact").read_bytes()


def test_values_that_a_few_bytes_say_are_not_spooled(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    zeros = pa.array(np.zeros(20_000_000, np.float32))
    for d in (400, len(zeros)):
        values = pa.FixedSizeListArray.from_arrays(zeros, d)
        table = pa.table({"token": np.arange(len(values), dtype=np.int32), "values": values})
        pq.write_table(table, path)
        assert path.stat().st_size < 2**20
        with pytest.raises(errors.TooLarge):
            convert(path, tmp_path / "a.gotue")
    assert list(tmp_path.iterdir()) == [path]


def header_of(tree: object, data: bytes = b"") -> bytes:
    text = json.dumps(tree).encode()
    return struct.pack("<Q", len(text)) + text + data


F32 = {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 3) + b"{}",
        header_of([]),
        header_of({}),
        header_of({"weight": F32}, bytes(8)),
        header_of({"layer.01": F32}, bytes(8)),
        header_of({"layer.1": F32 | {"dtype": "F64", "data_offsets": [0, 16]}}, bytes(16)),
        header_of({"layer.1": F32 | {"dtype": "I32"}}, bytes(8)),
        header_of({"layer.1": F32 | {"shape": [2]}}, bytes(8)),
        header_of({"layer.1": F32 | {"shape": [1, 3]}}, bytes(8)),
        header_of({"layer.1": F32 | {"shape": [1, -2]}}, bytes(8)),
        header_of({"layer.1": F32 | {"shape": [10**4000] * 2}}, bytes(8)),
        header_of({"layer.1": F32 | {"shape": [2**62] * 9}}, bytes(8)),
        header_of({"layer.1": F32 | {"shape": [1] * 300_000}}, bytes(8)),
        header_of({"layer.1": F32 | {"data_offsets": [0] * 300_000}}, bytes(8)),
        header_of({"layer.1": F32 | {"data_offsets": [0, 10**4000]}}, bytes(8)),
        header_of({"layer.1": F32 | {"shape": [True, 2]}}, bytes(8)),
        header_of({"layer.1": F32 | {"data_offsets": [0]}}, bytes(8)),
        header_of({"layer.1": F32 | {"data_offsets": [8, 0]}}, bytes(8)),
        header_of({"layer.1": {"dtype": "F32"}}, bytes(8)),
        header_of({"layer.1": 3}, bytes(8)),
        header_of({"layer.1": F32}, bytes(7)),
        header_of({"layer.1": F32}, bytes(9)),
        header_of({"layer.1": F32 | {"data_offsets": [4, 12]}}, bytes(12)),
        header_of({"layer.1": F32, "layer.2": F32}, bytes(8)),
        header_of({"layer.1": F32, "__metadata__": {"a": 1}}, bytes(8)),
        header_of({"layer.1": F32, "__metadata__": []}, bytes(8)),
        header_of(
            {"layer.1": F32, "layer.2": F32 | {"shape": [2, 1], "data_offsets": [8, 16]}},
            bytes(16),
        ),
        header_of({"unembedding": F32, "layer.1": F32 | {"data_offsets": [8, 16]}}, bytes(16)),
    ],
)
def test_bad_safetensors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(errors.BadTensors) as caught:
        convert(path, tmp_path / "a.gotact", model_id="m", precision="Fp32")
    assert caught.value.where.startswith(str(path))
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"version": "2"}, errors.UnsupportedVersion),
        ({"precision": "Fp64"}, errors.UnknownPrecision),
        ({"layout": "sideways"}, errors.BadHeader),
        ({"model_id": "m" * 5000}, errors.BadHeader),
    ],
)
def test_bad_metadata(
    tmp_path: Path, changes: dict[str, str], error: type[errors.GotError]
) -> None:
    path = tmp_path / "a.safetensors"
    good = {"format": "geometry-of-trust activations", "version": "1", "model_id": "m",
            "precision": "Fp32", "layout": "per-layer"}  # fmt: skip
    with path.open("wb") as handle:
        write_header(handle, good | changes, {"layer.1": (1, 2)})
        handle.write(bytes(8))
    with pytest.raises(error) as caught:
        convert(path, tmp_path / "a.gotact")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("kind", [".safetensors", ".parquet"])
def test_an_unembedding_of_another_version(
    gotue: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(exchange, "VERSION", "2")
        convert(gotue, gotue.with_suffix(kind))
    with pytest.raises(errors.UnsupportedVersion) as caught:
        convert(gotue.with_suffix(kind), gotue.with_name("v.gotue"))
    assert caught.value.found == "2"


def save(path: Path, array: np.ndarray[Any, Any], cut: int = 0) -> None:
    np.save(path, array)
    path.write_bytes(path.read_bytes()[: path.stat().st_size - cut])


def header(path: Path, text: str, version: bytes = b"\1\0") -> None:
    data = text.encode()
    path.write_bytes(b"\x93NUMPY" + version + struct.pack("<H", len(data)) + data + bytes(4))


def test_npy_of_the_second_version(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as handle:
        np.lib.format.write_array(handle, odd_values(3, 2, D), version=(2, 0))
    convert(tmp_path / "a.npy", tmp_path / "a.gotact", **NAMED)
    values = read_activations(tmp_path / "a.gotact").values
    assert values.tobytes() == odd_values(3, 2, D).tobytes()


@pytest.mark.parametrize("shape", ["(99999999999999999999999, 2)", "(0, 2)", "(2, 4294967296)"])
def test_npy_of_a_shape_that_is_impossible(shape: str, tmp_path: Path) -> None:
    header(tmp_path / "a.npy", f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}")
    with pytest.raises(errors.BadHeader):
        convert(tmp_path / "a.npy", tmp_path / "a.gotue")


@pytest.mark.parametrize(
    "write",
    [
        lambda path: save(path, np.zeros((3, 2, 2))),
        lambda path: save(path, np.zeros((3, 2, 2), np.int16)),
        lambda path: save(path, np.zeros(4, np.float32)),
        lambda path: np.save(path, np.array([{}], object), allow_pickle=True),
        lambda path: path.write_bytes(b"\x93NUMPY\x01\x00nonsense"),
        lambda path: path.write_bytes(b""),
        lambda path: save(path, np.zeros((3, 2, 2), np.float32), cut=1),
        lambda path: header(path, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,) * 3}"),
        lambda path: header(path, "{'descr': '<f4', 'fortran_order': 0, 'shape': (1, 1, 1)}"),
        lambda path: header(path, "{'descr': '<f4', 'fortran_order': False, 'shape': [1, 1, 1]}"),
        lambda path: header(path, "{'descr': '<f4', 'fortran_order': False, 'shape': (1.0, 1)}"),
        lambda path: header(path, "{'descr': ('<f4', (2,)), 'fortran_order': False, 'shape': ()}"),
        lambda path: header(path, "{'descr': 4, 'fortran_order': False, 'shape': (1, 1)}"),
        lambda path: header(path, "{'descr': '\\d', 'fortran_order': False, 'shape': (1, 1)}"),
        lambda path: header(path, "{'descr': '<f4', 'shape': (1, 1)}"),
        lambda path: header(path, "{'descr': '<f4', 'order': False, 'shape': (1, 1)}"),
        lambda path: header(path, "(" * 3000),
        lambda path: header(path, "-" * 3000 + "1"),
        lambda path: header(path, "9" * 4000),
        lambda path: header(
            path, f"{{'descr': '<f4', 'fortran_order': False, 'shape': (0x{'f' * 3900}, 1, 1)}}"
        ),  # Python writes out no number of more than 4,300 digits
        lambda path: header(path, "[]" + " " * 5000),
        lambda path: header(path, "\0"),
        lambda path: header(path, "{}", version=b"\3\0"),
        lambda path: path.write_bytes(b"\x93NUMPY"),
    ],
)
def test_bad_npy(tmp_path: Path, write: Callable[[Path], object]) -> None:
    path = tmp_path / "a.npy"
    write(path)
    with pytest.raises(errors.BadTensors) as caught:
        convert(path, tmp_path / "a.gotact", **NAMED)
    assert caught.value.where == str(path)


FIXED = pa.list_(pa.float32(), 2)


def states(layer: list[int | None], position: list[Any], **columns: Any) -> pa.Table:
    kind = columns.get("kind", FIXED)
    values = columns.get("values", [[1.0, 2.0]] * len(layer))
    return pa.table(
        {
            "layer": pa.array(layer, pa.int32()),
            "position": position,
            "values": pa.array(values, kind),
        }
    )


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"values": pa.array([[1.0, 2.0]], FIXED)}),
        states([], pa.array([], pa.int32())),
        states([1, 1], [0, 2]),
        states([1, 1], [1, 2]),
        states([1, 1], [0, 0]),
        states([2, 1], [0, 0]),
        states([1, 2, 1], [0, 0, 1]),
        states([-1, -1], [0, 1]),
        states([1, 1, 2], [0, 1, 0]),
        states([1, 2, 2], [0, 0, 1]),
        states([1, None], [0, 1]),
        states([1, 1], ["0", "1"]),
        states([1, 1], [0, 1], values=[[1.0, 2.0], None]),
        states([1, 1], [0, 1], values=[[1.0, 2.0], [1.0, None]]),
        states([1, 1], [0, 1], kind=pa.list_(pa.float64(), 2)),
        states([1, 1], [0, 1], kind=pa.float32(), values=[1.0, 2.0]),
        states([1, 1], [0, 1], kind=pa.list_(pa.float32()), values=[[1.0, 2.0], [1.0]]),
        states([1, 1], [0, 1], kind=pa.list_(pa.float32()), values=[[], [1.0]]),
        states([1, 1], [0, 1], kind=pa.list_(pa.float32()), values=[None, [1.0]]),
        pa.table({"token": [0, 2], "values": pa.array([[1.0, 2.0]] * 2, FIXED)}),
    ],
)
def test_bad_parquet(tmp_path: Path, table: pa.Table) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table, path)
    out = tmp_path / ("a.gotue" if "token" in table.column_names else "a.gotact")
    options: dict[str, Any] = (
        {"model_id": "m", "precision": "Fp32"} if out.suffix == ".gotact" else {}
    )
    with pytest.raises(errors.BadTable) as caught:
        convert(path, out, **options)
    assert caught.value.where.startswith(str(path))
    assert not out.exists()


@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
def test_a_damaged_parquet(tmp_path: Path, place: float) -> None:
    write_unembedding(tmp_path / "u.gotue", odd_values(200, D))
    path = tmp_path / "u.parquet"
    convert(tmp_path / "u.gotue", path)
    content = bytearray(path.read_bytes())
    start = int(len(content) * place)
    content[start : start + 40] = b"\xff" * 40
    path.write_bytes(content)
    with pytest.raises(errors.BadTable) as caught:
        convert(path, tmp_path / "v.gotue")
    assert caught.value.where.startswith(str(path))


def test_what_is_no_parquet_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and then nothing of it")
    with pytest.raises(errors.BadTable):
        convert(tmp_path / "a.parquet", tmp_path / "a.gotact")


# --- memory, and the command line -------------------------------------------------------------


@pytest.mark.parametrize("kind", [".safetensors", ".npy", ".parquet"])
def test_memory_does_not_hold_the_file(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "COPIED_BYTES", 2**20)
    big = tmp_path / "a.gotact"
    values = np.random.default_rng(2).random((2, 20_000, 512), np.float32)  # 78 MiB
    write_activations(big, Activations("m", "Fp32", (1, 2), range(20_000), values))
    del values
    names: dict[str, Any] = {"model_id": "m", "precision": "Fp32", "layers": [1, 2]}
    tracemalloc.start()
    try:
        convert(big, tmp_path / f"b{kind}")
        convert(tmp_path / f"b{kind}", tmp_path / "c.gotact", **names)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30 * 2**20
    assert (tmp_path / "c.gotact").read_bytes() == big.read_bytes()


def test_the_command(gotact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    middle, back = gotact.with_suffix(".npy"), gotact.with_name("back.gotact")
    assert main(["convert", str(gotact), str(middle)]) == 0
    assert f"(layers, positions, d) = (3, {P}, {D})" in capsys.readouterr().out
    assert main(["convert", str(middle), str(back)]) == 2
    assert not back.exists()
    layout = read_activations(gotact).layout
    assert main([
        "convert", str(middle), str(back), "--model-id", "Modell ä", "--precision", "Bfloat16",
        "--layers", "2", "8", "10", "--gotact-layout", layout,
    ]) == 0  # fmt: skip
    assert back.read_bytes() == gotact.read_bytes()
    assert str(back) in capsys.readouterr().out


def test_the_command_tells_of_the_row_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vllm_export(tmp_path / "r.safetensors")
    out = tmp_path / "a.gotact"
    source = str(tmp_path / "r.safetensors")
    assert main(["convert", source, str(out), "--model-id", "m", "--layers", "8", "15"]) == 0
    printed = capsys.readouterr().out
    assert str(out) in printed
    assert "a.rows.parquet" in printed
