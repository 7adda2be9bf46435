"""Where outputs may not go: inputs, keys, edited labels, what is no file, links of others."""

# ruff: noqa: PT012 - what is tested happens at the end of a block

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from geometry_of_trust.errors import (
    BadOption,
    NotAFile,
    OutputExists,
    OutputIsInput,
    UnsafeFolder,
    Unwritable,
)
from geometry_of_trust.outputs.places import check_outputs, output_place
from geometry_of_trust.outputs.staged_files import StagedFiles, write_file
from geometry_of_trust.signing.key_making import KeyFormat, generate_key_files

NOBODY = 65534
root_only = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="gives a file to another user"
)


@pytest.mark.parametrize("form", ["pem", "raw", "openssh"])
@pytest.mark.parametrize("which", ["key", "key.pub"])
def test_a_key_is_never_replaced(form: KeyFormat, which: str, tmp_path: Path) -> None:
    generate_key_files(tmp_path / "key", format=form)
    before = (tmp_path / which).read_bytes()
    with pytest.raises(OutputExists) as refused:
        write_file(tmp_path / which, b"an attestation")
    assert refused.value.where == str(tmp_path / which)
    assert (tmp_path / which).read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["key", "key.pub"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (b"0\n" * 16, False), (b"0\n1\n", True), (b"\n true \nfalse\n", True), (b"0", False),
        (b"false\n" * 4, True), (b"", False), (b"1 of a kind\n", False), (b"0\n2\n", False),
    ],
)  # fmt: skip
def test_edited_labels_are_never_replaced(text: bytes, kept: bool, tmp_path: Path) -> None:
    (tmp_path / "any.name").write_bytes(text)
    if kept:
        with pytest.raises(OutputExists):
            output_place(tmp_path / "any.name")
    else:
        assert output_place(tmp_path / "any.name") == tmp_path / "any.name"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (b"0\n0\n", False), (b"", False), (b"# which\n0\n1\n", True), (b"0\n?\n1\n", True),
        (b"\xef\xbb\xbf0\n1\n", True), ("0\n1\n".encode("utf-16"), True), (b"0\xc2\xa0\n1", True),
    ],
)  # fmt: skip
def test_a_labels_file_in_the_making_is_not_replaced(
    text: bytes, kept: bool, tmp_path: Path
) -> None:
    (tmp_path / "a.labels").write_bytes(text)
    if kept:
        with pytest.raises(OutputExists):
            output_place(tmp_path / "a.labels")
    else:
        assert output_place(tmp_path / "a.labels") == tmp_path / "a.labels"
    with (tmp_path / "big.labels").open("wb") as handle:
        handle.truncate(2**24 + 1)
    with pytest.raises(OutputExists):
        output_place(tmp_path / "big.labels")


@root_only
def test_what_its_owner_may_not_read_is_not_replaced() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # the test's own may be closed to others
        key = Path(name) / "key"
        key.parent.chmod(0o755)
        key.write_bytes(b"1")
        key.chmod(0)
        os.chown(key, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            with pytest.raises(OutputExists):
                output_place(key)
        finally:
            os.seteuid(0)


def test_what_is_too_large_to_be_a_key_or_labels_is_not_looked_into(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as handle:
        handle.write(b"-----BEGIN PRIVATE KEY-----")
        handle.truncate(2**40)
    assert output_place(tmp_path / "big") == tmp_path / "big"


def test_what_is_no_plain_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "circle").symlink_to("circle")
    for name in ("pipe", "folder", "link", "circle"):
        with pytest.raises(NotAFile) as refused:
            write_file(tmp_path / name, b"1")
        assert refused.value.exit_code == 3
    assert sorted(os.listdir(tmp_path)) == ["circle", "folder", "link", "pipe"]


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_devices_and_open_files_of_the_system_are_not_replaced(path: str) -> None:
    with pytest.raises(NotAFile):
        output_place(path)


def test_a_device_of_our_own_is_not_replaced(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "device", 0o020600, os.makedev(1, 3))
    except (AttributeError, PermissionError):
        pytest.skip("makes a device")
    with pytest.raises(NotAFile):
        write_file(tmp_path / "device", b"1")
    assert (tmp_path / "device").is_char_device()


def test_a_link_of_our_own_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(b"old")
    (tmp_path / "to-file").symlink_to("real/a")
    (tmp_path / "to-folder").symlink_to(tmp_path / "real")
    (tmp_path / "to-nothing").symlink_to("real/../real/new")
    write_file(tmp_path / "to-file", b"1")
    write_file(tmp_path / "to-folder" / "b", b"2")
    write_file(tmp_path / "to-nothing", b"3")
    assert (tmp_path / "to-file").is_symlink()
    found = {path.name: path.read_bytes() for path in (tmp_path / "real").iterdir()}
    assert found == {"a": b"1", "b": b"2", "new": b"3"}


def test_a_link_in_a_folder_that_others_can_write_is_not_followed(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a").write_bytes(b"precious")
    (shared / "a").symlink_to(tmp_path / "mine" / "a")
    (shared / "folder").symlink_to(tmp_path / "mine")
    for path in (shared / "a", shared / "folder" / "a", shared / "folder" / "new"):
        with pytest.raises(UnsafeFolder) as refused:
            write_file(path, b"1")
        assert refused.value.where == str(path)
    assert (tmp_path / "mine" / "a").read_bytes() == b"precious"
    write_file(shared / "plain", b"1")  # the control: it is the link that is refused
    shared.chmod(0o1777)  # in a sticky folder nobody else can have put our link there
    write_file(shared / "a", b"1")
    assert (tmp_path / "mine" / "a").read_bytes() == b"1"


@root_only
def test_a_link_of_another_user_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"precious")
    (tmp_path / "link").symlink_to("mine")
    os.chown(tmp_path / "link", NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(UnsafeFolder):
        write_file(tmp_path / "link", b"1")
    assert (tmp_path / "mine").read_bytes() == b"precious"


def test_a_folder_that_cannot_be_looked_at(tmp_path: Path) -> None:
    for path in (tmp_path / ("n" * 300), f"{tmp_path}/a\0b"):
        with pytest.raises(Unwritable):
            output_place(path)


# --- outputs and inputs -----------------------------------------------------------------------


def test_an_output_is_none_of_the_inputs(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"input")
    (tmp_path / "link").symlink_to("in")
    os.link(tmp_path / "in", tmp_path / "hard")
    (tmp_path / "folder").mkdir()
    for path in ("in", "link", "hard", "folder/../in"):
        with pytest.raises(OutputIsInput) as refused:
            check_outputs([tmp_path / "new", tmp_path / path], [tmp_path / "in"])
        assert refused.value.where == str(tmp_path / path)
        assert refused.value.exit_code == 2
    check_outputs([tmp_path / "IN"], [tmp_path / "in", tmp_path / "none"])


def test_an_output_is_none_of_the_files_in_a_folder_that_is_read(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_bytes(b"{}")
    (model / "a.gotact").write_bytes(b"GOTA")
    with pytest.raises(OutputIsInput):
        check_outputs([model / "config.json"], [model])
    check_outputs([model / "a.gotact", model / "new", tmp_path / "out"], [model])


@pytest.mark.parametrize(
    ("one", "other"),
    [("a", "a"), ("a", "./a"), ("a", "b/../a"), ("a", "A"), ("\u00e9", "e\u0301"), ("a", "link")],
)
def test_two_outputs_of_one_name_in_two_spellings(one: str, other: str, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "link").symlink_to("a")
    outputs = [f"{tmp_path}/{name}" for name in (one, other)]
    with pytest.raises(BadOption):
        check_outputs(outputs)
    with pytest.raises(BadOption), StagedFiles() as staged:
        staged.write(outputs[0], b"1")
        staged.write(outputs[1], b"2")
    assert sorted(os.listdir(tmp_path)) == ["b", "link"]


def test_what_is_kept_if_it_is_there_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "a.labels").write_bytes(b"1\n")
    check_outputs([tmp_path / "a", tmp_path / "a.labels"], kept=[tmp_path / "a.labels"])
    with pytest.raises(OutputExists):
        check_outputs([tmp_path / "a", tmp_path / "a.labels"])
