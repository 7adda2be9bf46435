from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from geometry_of_trust.documents.model_names import model_name, same_model

SPELLINGS = ("tiny", "tiny/", "./tiny", "../../tiny/", "/data/tiny", "~/x/tiny")


@pytest.mark.parametrize(
    ("one", "other"),
    list(itertools.combinations(SPELLINGS, 2)),
)
def test_a_folder_has_one_name_however_it_is_reached(one: str, other: str) -> None:
    assert same_model(one, other)
    assert same_model(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tiny", "small"),
        ("a/tiny", "b/tiny"),
        ("a/tiny", "tiny"),
        ("/data/tiny", "/data/small"),
        ("/data/tiny", "/tiny/data"),
        ("..", "../.."),
        (".", "./"),
        ("/", "./"),
        ("", "tiny"),
    ],
)
def test_other_names_are_other_models(one: str, other: str) -> None:
    assert not same_model(one, other)
    assert not same_model(other, one)


def test_a_path_is_named_by_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "owner" / "tiny"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    for path in (".", "./", "../tiny", "../tiny/", str(folder), f"{folder}/"):
        assert model_name(path) == "tiny"
    monkeypatch.chdir(tmp_path)
    assert model_name("owner/tiny") == "tiny"  # a folder, whatever the hub has
    assert model_name("owner/small") == "owner/small"
    assert model_name("/nowhere/x.gguf") == "x.gguf"
    assert model_name("/") == "/"
