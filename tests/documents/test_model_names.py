from __future__ import annotations

import itertools

import pytest

from geometry_of_trust.documents.model_names import same_model

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
