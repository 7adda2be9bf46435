"""What the binary formats share: a cursor through the header, exact lengths, views."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from binary_bytes import V1, V2, Read
from geometry_of_trust import errors, files
from geometry_of_trust.errors import BadMagic, Unreadable
from geometry_of_trust.files import FileBytes
from geometry_of_trust.formats.binary_file import BinaryFile
from geometry_of_trust.formats.gotact import read_activations
from geometry_of_trust.formats.gotue import read_unembedding

BODY = np.arange(6, dtype="<f4")
DATA = b"GOTX" + struct.pack("<HI", 1, 77) + BODY.tobytes()


@pytest.fixture(params=[files.COPIED_BYTES, 0], ids=["copied", "mapped"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(files, "COPIED_BYTES", request.param)
    (tmp_path / "x").write_bytes(DATA)
    return tmp_path / "x"


def test_fields_in_order(path: Path) -> None:
    file = BinaryFile(path, b"GOTX")
    assert file.where == str(path)
    assert file.cursor == 6
    assert file.number("<I", "field") == 77
    assert file.take(4, "zero") == b"\0" * 4
    with pytest.raises(errors.Truncated) as refused:
        file.take(21, "last")
    assert "last" in refused.value.expected
    assert refused.value.found == f"{len(DATA)} bytes"
    assert file.cursor == 14  # as it was


def test_which_field_is_cut_short(path: Path) -> None:
    for length, needed, field in ((2, 4, "magic"), (5, 6, "version")):
        path.write_bytes(DATA[:length])
        with pytest.raises(errors.Truncated) as refused:
            BinaryFile(path, b"GOTX")
        assert refused.value.expected == f"at least {needed} bytes, to the end of its {field}"
    path.write_bytes(DATA[:9])
    with pytest.raises(errors.Truncated) as refused:
        BinaryFile(path, b"GOTX").number("<I", "field")
    assert "field" in refused.value.expected


def test_lengths(path: Path) -> None:
    file = BinaryFile(path, b"GOTX")
    assert file.expect_length(9, len(DATA)) == 1
    with pytest.raises(errors.Truncated):
        file.expect_length(len(DATA) + 1)
    with pytest.raises(errors.TrailingBytes):
        file.expect_length(len(DATA) - 1, len(DATA) + 1)


def test_views_are_read_only_and_of_the_same_bytes(path: Path) -> None:
    file = BinaryFile(path, b"GOTX")
    floats = file.floats((2, 3), 10, (12, 4))
    assert np.array_equal(floats, BODY.reshape(2, 3))
    words = file.words((2,), 6, (4,))
    assert words.tolist() == [77, 0]
    for view in (floats, words):
        assert not view.flags.writeable


def test_the_file_may_be_open_already(path: Path) -> None:
    taken = FileBytes(path)
    path.unlink()
    assert BinaryFile(taken, b"GOTX").file is taken


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", errors.Truncated), (b"GO", errors.Truncated), (b"GOTX\1", errors.Truncated),
        (b"GOTA\1\0", errors.BadMagic), (b"GOTX\2\0", errors.UnsupportedVersion),
    ],
)  # fmt: skip
def test_other_beginnings(data: bytes, error: type[errors.GotError], path: Path) -> None:
    path.write_bytes(data)
    with pytest.raises(error):
        BinaryFile(path, b"GOTX")


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"GOTG\1\0", "checkpoint"),
        (b"GOTU\1\0", "unembedding"),
        (b' {"a": 1}', "JSON"),
        (b" " * 63 + b"[", "JSON"),
        (b" " * 64 + b"[", ""),  # nobody looks further
        (b"?" * 9, ""),
    ],
)
def test_a_hint_where_the_kind_is_known(data: bytes, hint: str, path: Path) -> None:
    path.write_bytes(data)
    with pytest.raises(errors.BadMagic) as refused:
        BinaryFile(path, b"GOTX")
    assert (hint in refused.value.hint) if hint else refused.value.hint == ""


def test_wrong_kind_of_file_gets_a_hint(act: Read, unembed: Read) -> None:
    for read, data in [(act, V2), (unembed, V1), (act, b"[]"), (unembed, b"\n{}")]:
        with pytest.raises(BadMagic) as caught:
            read(data)
        assert caught.value.hint
    with pytest.raises(BadMagic) as caught:
        act(b"PK\x03\x04....")
    assert not caught.value.hint


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(Unreadable):
            read_activations(path)
        with pytest.raises(Unreadable):
            read_unembedding(path)
