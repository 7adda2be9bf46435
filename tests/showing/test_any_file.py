"""`show`: files of other kinds are named, not parsed as ours."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from geometry_of_trust.errors import BadJson, BadText, ForeignFile, Unreadable
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.gotact import write_activations
from geometry_of_trust.probing.probes import Probe, ProbeSet
from geometry_of_trust.showing.any_file import describe


def npy(path: Path) -> None:
    with path.open("wb") as handle:
        np.save(handle, np.zeros(3))


def tensors(path: Path) -> None:
    safetensors.numpy.save_file({"x": np.zeros(3, np.float32)}, path)


def gguf(path: Path) -> None:
    path.write_bytes(b"GGUF\3\0\0\0" + bytes(16))


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as handle:
        handle.writestr("archive/data.pkl", b"x")


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps([1]))


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (npy, ".npy"), (tensors, "safetensors"), (gguf, ".gguf"),
        (archive, "zip"), (pickled, "pickle"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a.npz", "a.labels", "a"])
def test_a_file_of_somebody_else_is_named(
    write: Callable[[Path], None], kind: str, name: str, tmp_path: Path
) -> None:
    write(tmp_path / name)
    with pytest.raises(ForeignFile) as refused:
        list(describe(tmp_path / name))
    assert kind in refused.value.found
    assert refused.value.where == str(tmp_path / name)
    assert refused.value.exit_code == 3


def test_layers_that_are_not_shown_are_counted(tmp_path: Path) -> None:
    values = np.ones((66, 1, 2), np.float32)
    write_activations(
        tmp_path / "a.gotact", Activations("a model", "Fp32", tuple(range(66)), range(1), values)
    )
    lines = list(describe(tmp_path / "a.gotact"))
    assert lines[-1] == "and 2 more layers"
    assert sum(line.startswith("layer ") for line in lines) == 64
    assert "'a model'" in lines[1]  # of two words


def test_a_broken_link_beside_labels_is_not_taken_for_nothing(tmp_path: Path) -> None:
    labels = tmp_path / "a.labels"
    labels.write_text("0\n1\n")
    assert len(list(describe(labels))) == 3
    (tmp_path / "a.record.json").symlink_to("nothing")
    with pytest.raises(Unreadable):
        list(describe(labels))


def test_names_of_a_probe_set_come_last_and_are_cut(tmp_path: Path) -> None:
    probe_set = ProbeSet(
        (Probe("x' " + "y" * 3000, np.ones(2, np.float32), 0.5),), 4, "v' " * 200, "c" * 300
    )
    (tmp_path / "p.json").write_bytes(probe_set.to_json())
    first, second, *rest = describe(tmp_path / "p.json")
    assert first.startswith("probe set for layer 4, version 'v\\' v\\' ")
    assert first.endswith("(cut: 600 bytes)")
    assert second.startswith("2 weights of norm 1.414, bias 0.5, ")
    assert second.endswith("y'... (cut: 3003 bytes)")
    assert "(cut: 300 bytes)" in rest[0]


def test_what_is_of_no_kind(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(BadText):
        list(describe(tmp_path / "a"))
    (tmp_path / "a").write_bytes(b"{}")
    with pytest.raises(BadJson):
        list(describe(tmp_path / "a"))
    with pytest.raises(Unreadable):
        list(describe(tmp_path / "none"))
