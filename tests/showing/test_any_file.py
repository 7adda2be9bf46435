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
from geometry_of_trust.showing.any_file import describe


def checkpoint(path: Path) -> None:
    path.write_bytes(b"GOTG\1\0" + b"\2\0\0\0" + b"\x20\x81" * 24)


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
        (checkpoint, ".gotgeo"), (npy, ".npy"), (tensors, "safetensors"), (gguf, ".gguf"),
        (archive, "zip"), (pickled, "pickle"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a.gotgeo", "a.labels", "a"])
def test_a_file_of_somebody_else_is_named(
    write: Callable[[Path], None], kind: str, name: str, tmp_path: Path
) -> None:
    write(tmp_path / name)
    with pytest.raises(ForeignFile) as refused:
        list(describe(tmp_path / name))
    assert kind in refused.value.found
    assert refused.value.where == str(tmp_path / name)
    assert refused.value.exit_code == 3


def test_what_is_of_no_kind(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(BadText):
        list(describe(tmp_path / "a"))
    (tmp_path / "a").write_bytes(b"{}")
    with pytest.raises(BadJson):
        list(describe(tmp_path / "a"))
    with pytest.raises(Unreadable):
        list(describe(tmp_path / "none"))
