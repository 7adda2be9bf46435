"""The calibration report: on other data, with probabilities that hold and with some that do not."""

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
    GeometryMismatch,
    GotError,
    LabelCount,
    MissingMember,
    ModelMismatch,
    OneClass,
    ProvenanceMissing,
)
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.gotact import write_activations
from geometry_of_trust.formats.gotue import write_unembedding
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.probing.calibration_report import calibration_report
from geometry_of_trust.probing.options import TrainingOptions
from geometry_of_trust.probing.training_files import train_files

D = 6


def labelled(n: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """States and labels by chance: P(1) = σ(2h₀ − 1)."""
    rng = np.random.default_rng(seed)
    H = rng.normal(size=(n, D)).astype(np.float32)
    return H, (rng.random(n) < 1 / (1 + np.exp(1 - 2 * H[:, 0]))).astype(np.int8)


def write_rows(folder: Path, name: str, n: int, seed: int, model: str = "tiny") -> None:
    H, y = labelled(n, seed)
    write_activations(
        folder / f"{name}.gotact", Activations(model, "Fp32", (2,), range(n), H[np.newaxis])
    )
    (folder / f"{name}.labels").write_text("".join(f"{label}\n" for label in y))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibration")
    write_rows(folder, "old", 1200, 0)
    write_rows(folder, "new", 1500, 1)
    U = np.random.default_rng(2).normal(size=(60, D)).astype(np.float32)
    write_unembedding(folder / "u.gotue", U)
    write_unembedding(folder / "other.gotue", 2 * U)
    result = train_files(
        activations=folder / "old.gotact", labels=folder / "old.labels",
        unembedding=folder / "u.gotue", layer=2, options=TrainingOptions(dimension="warm"),
    )  # fmt: skip
    probe_set = result.probe_set
    write_file(folder / "p.json", probe_set.to_json())
    wild = replace(
        probe_set.probes[0], platt_scale=float(np.float32(6 * probe_set.probes[0].platt_scale))
    )
    write_file(folder / "wild.json", replace(probe_set, probes=(wild,)).to_json())
    write_file(folder / "bare.json", replace(probe_set, training=None).to_json())
    return folder


def report(folder: Path, **changes: Any) -> Any:
    chosen: dict[str, Any] = {
        "activations": "new.gotact", "labels": "new.labels", "unembedding": "u.gotue",
        "probes": "p.json",
    }  # fmt: skip
    return calibration_report(
        **{name: folder / value for name, value in (chosen | changes).items()}
    )


def test_a_calibrated_probe_is_seen_to_be_one(folder: Path) -> None:
    calibration = report(folder)
    assert (calibration.layer, calibration.grouped, calibration.trained_on) == (2, False, False)
    (probe,) = calibration.probes
    assert (probe.dimension, probe.positives + probe.negatives, probe.groups) == (
        "warm", 1500, 1500,
    )  # fmt: skip
    assert probe.off <= 1
    assert probe.quality.ece.value < 0.04
    assert 0.8 < probe.quality.auroc.value < 0.9


def test_an_overconfident_one_is_seen_to_be_that(folder: Path) -> None:
    good, wild = report(folder).probes[0], report(folder, probes="wild.json").probes[0]
    assert wild.off >= 4
    assert wild.quality.ece.low > good.quality.ece.high
    assert wild.quality.auroc == good.quality.auroc
    assert wild.bins_before == good.bins_before


def test_the_rows_trained_on_are_no_new_data(folder: Path) -> None:
    calibration = report(folder, activations="old.gotact", labels="old.labels")
    assert calibration.trained_on


def test_several_labels_by_name(folder: Path) -> None:
    labels = (folder / "new.labels").read_text().split()
    table = folder / "new.csv"
    table.write_text("tall,warm\n" + "".join(f"{1 - int(x)},{x}\n" for x in labels))
    assert report(folder, labels="new.csv").probes == report(folder).probes


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"unembedding": "other.gotue"}, GeometryMismatch),
        ({"probes": "bare.json"}, ProvenanceMissing),
        ({"labels": "old.labels"}, LabelCount),
        ({"activations": "foreign.gotact"}, ModelMismatch),
        ({"labels": "zeros.labels"}, OneClass),
        ({"labels": "strange.csv"}, MissingMember),
    ],
)
def test_refusals(folder: Path, changes: dict[str, str], error: type[GotError]) -> None:
    write_rows(folder, "foreign", 1500, 1, "other")
    (folder / "new.labels").write_bytes((folder / "foreign.labels").read_bytes())
    (folder / "zeros.labels").write_text("0\n" * 1500)
    (folder / "strange.csv").write_text("a,b\n" + "0,1\n" * 1500)
    with pytest.raises(error):
        report(folder, **changes)


def test_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["calibration-report", "--activations", "new.gotact", "--labels", "new.labels",
                 "--unembedding", "u.gotue", "--probes", "p.json"]  # fmt: skip
    arguments = [a if a.startswith("-") or i == 0 else str(folder / a)
                 for i, a in enumerate(arguments)]  # fmt: skip
    assert main(arguments) == 0
    out = capsys.readouterr().out
    for words in ("ECE", "contains the diagonal", "0.9 to 1.0", "share of positives"):
        assert words in out
    assert main([*arguments, "--json"]) == 0
    (probe,) = json.loads(capsys.readouterr().out)["probes"]
    assert probe["bins_off_the_diagonal"] <= 1
    assert [b["contains_diagonal"] for b in probe["bins"]].count(False) <= 1
    assert sum(b["rows"] for b in probe["bins"]) == 1500
