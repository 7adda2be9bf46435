"""Probe sets as files: their names, and that all of them appear or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from geometry_of_trust.errors import Unwritable
from geometry_of_trust.probing.probe_set_files import layer_path, write_probe_sets
from geometry_of_trust.probing.probes import read_probe_set
from geometry_of_trust.probing.training import TrainingResult
from geometry_of_trust.probing.training_files import train_layers
from pipeline import LAYERS, build


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[TrainingResult]:
    files = build(tmp_path_factory.mktemp("trained"))
    return train_layers(
        activations=files.activations,
        unembedding=files.unembedding,
        layers=LAYERS,
        labels=files.labels,
    )


@pytest.mark.parametrize(
    ("output", "path"),
    [("p.json", "p.layer8.json"), ("a/p", "a/p.layer8"), ("a.b/p.q.json", "a.b/p.q.layer8.json")],
)
def test_the_layer_stands_before_the_suffix(output: str, path: str) -> None:
    assert layer_path(output, 8) == Path(path)


def test_one_file_a_layer(results: list[TrainingResult], tmp_path: Path) -> None:
    picture = tmp_path / "picture"
    paths = write_probe_sets(
        results, tmp_path / "p.json", by_layer=True, beside={picture: b"drawn"}
    )
    assert paths == (tmp_path / "p.layer1.json", tmp_path / "p.layer4.json")
    assert [read_probe_set(path).layer for path in paths] == list(LAYERS)
    assert picture.read_bytes() == b"drawn"
    assert write_probe_sets(results[:1], tmp_path / "p.json", by_layer=False) == (
        tmp_path / "p.json",
    )
    assert (tmp_path / "p.json").read_bytes() == paths[0].read_bytes()


def test_all_or_none(results: list[TrainingResult], tmp_path: Path) -> None:
    (tmp_path / "p.layer4.json").mkdir()
    with pytest.raises(Unwritable):
        write_probe_sets(results, tmp_path / "p.json", by_layer=True)
    assert list(tmp_path.iterdir()) == [tmp_path / "p.layer4.json"]
