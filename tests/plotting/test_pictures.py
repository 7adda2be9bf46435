"""Pictures: of the size they should have, with named axes, the same bytes twice, safe names."""

from __future__ import annotations

import io
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import image
from numpy.typing import NDArray

from geometry_of_trust.cli import main
from geometry_of_trust.errors import BadOption, MissingExtra
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.gotact import write_activations
from geometry_of_trust.formats.gotue import write_unembedding
from geometry_of_trust.plotting import panels
from geometry_of_trust.plotting.image_files import DPI, check_picture
from geometry_of_trust.plotting.pictures import (
    calibration_picture,
    sweep_picture,
    training_picture,
)
from geometry_of_trust.probing.calibration_report import CalibrationReport, calibration_report
from geometry_of_trust.probing.layer_choice import Sweep
from geometry_of_trust.probing.layer_sweep import sweep_files
from geometry_of_trust.probing.training import TrainingResult
from geometry_of_trust.probing.training_files import train_layers

ROWS, D, LAYERS = 100, 5, (2, 6)
NASTY = "$\\frac{x$ <script> 温かい \x1b[31m"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plots")
    rng = np.random.default_rng(0)
    values = rng.normal(size=(len(LAYERS), ROWS, D)).astype(np.float32)
    labels = np.arange(ROWS) % 2
    values[0, :, 0] += 0.5 * labels
    values[1, :, 0] += 4 * labels
    write_activations(folder / "a.gotact", Activations("tiny", "Fp32", LAYERS, range(ROWS), values))
    write_unembedding(folder / "u.gotue", rng.normal(size=(40, D)).astype(np.float32))
    (folder / "a.labels").write_text("".join(f"{label}\n" for label in labels))
    (folder / "t.csv").write_text(
        "warm,tall\n" + "".join(f"{k % 2},{k // 2 % 2}\n" for k in range(ROWS))
    )
    return folder


def sources(folder: Path) -> dict[str, Any]:
    return {"activations": folder / "a.gotact", "unembedding": folder / "u.gotue"}


@pytest.fixture(scope="module")
def trained(folder: Path) -> list[TrainingResult]:
    return train_layers(**sources(folder), layers=LAYERS, labels=folder / "t.csv")


@pytest.fixture(scope="module")
def swept(folder: Path) -> Sweep:
    return sweep_files(**sources(folder), labels=folder / "t.csv")


@pytest.fixture(scope="module")
def report(folder: Path, trained: list[TrainingResult]) -> CalibrationReport:
    (folder / "p.json").write_bytes(trained[1].probe_set.to_json())
    return calibration_report(**sources(folder), probes=folder / "p.json", labels=folder / "t.csv")


Draw = Callable[[str], bytes]


@pytest.fixture(params=["training", "sweep", "calibration"])
def draw(
    request: pytest.FixtureRequest,
    trained: list[TrainingResult],
    swept: Sweep,
    report: CalibrationReport,
) -> Draw:
    """Each of the pictures."""
    drawn: dict[str, Draw] = {
        "training": lambda path: training_picture(trained, path),
        "sweep": lambda path: sweep_picture(swept, path),
        "calibration": lambda path: calibration_picture(report, path),
    }
    return drawn[request.param]


def texts(svg: bytes) -> list[str]:
    """All texts of an SVG, comments not included."""
    root = ET.fromstring(svg)  # noqa: S314 - our own bytes
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]


def pixels(png: bytes) -> NDArray[np.float32]:
    shown: NDArray[np.float32] = image.imread(io.BytesIO(png), format="png")
    return shown


# --- what is in them --------------------------------------------------------------------------


def test_axes_have_names_and_units(
    trained: list[TrainingResult], swept: Sweep, report: CalibrationReport
) -> None:
    reliability = {"probability (mean of 10 bins)", "share of positive rows", "rows"}
    depth = {"layer (block, from 0)", "AUROC (share of pairs in order)"}
    shown = set(texts(training_picture(trained, "t.svg")))
    assert shown >= reliability | depth | {
        "held-out logit, before calibration (nats)",
        "eigenvalue of Φ (logits² per unit of state²)",
        f"rank of the eigenvalue, of {D}",
        "warm, layer 2: scores by class",
        "tall, layer 6: scores by class",
    }
    shown = set(texts(sweep_picture(swept, "s.SVG")))
    assert shown >= depth | {
        "warm: SUFFICIENT", "tall: INSUFFICIENT", "layer 6, recommended",
        "layer 6 on the test fold", "random directions", "difference in means",
    }  # fmt: skip
    assert not {"bag of tokens", "position and length"} & shown  # not measured
    shown = set(texts(calibration_picture(report, "c.svg")))
    assert shown >= reliability | {"logit, before calibration (nats)", "calibrated"}


def test_pngs_have_the_size_of_their_panels_and_are_not_empty(draw: Draw) -> None:
    shown = pixels(draw("x.png"))
    height, width, _ = shown.shape
    assert width in (int(2 * 5.2 * DPI), int(8.5 * DPI))
    assert height % int(4.0 * DPI) == 0
    grey = shown[:, :, :3].mean(axis=2)
    assert 0.6 < (grey == 1).mean() < 0.99
    assert (grey < 0.3).mean() > 0.002


def test_classes_and_curves_differ_without_colour(trained: list[TrainingResult]) -> None:
    svg = training_picture(trained, "t.svg")
    assert b"<pattern" in svg  # the hatch of the negatives
    assert svg.count(b"stroke-dasharray") >= 5


def test_same_values_same_bytes_whatever_the_settings(draw: Draw) -> None:
    for name in ("x.png", "x.svg"):
        once = draw(name)
        with mpl.rc_context({"font.size": 20, "svg.hashsalt": "x", "axes.facecolor": "red"}):
            assert draw(name) == once
        assert b"Date" not in once


def test_settings_are_left_as_they_were(draw: Draw) -> None:
    before = dict(mpl.rcParams)
    draw("x.svg")
    assert dict(mpl.rcParams) == before


def test_names_are_shown_as_they_are(trained: list[TrainingResult], swept: Sweep) -> None:
    named = replace(
        swept, dimensions=tuple(replace(entry, dimension=NASTY) for entry in swept.dimensions)
    )
    assert any("$\\frac{x$ <script>" in text for text in texts(sweep_picture(named, "s.svg")))
    assert sweep_picture(named, "s.png").startswith(b"\x89PNG")
    results = []
    for result in trained:
        cards = tuple(replace(card, dimension=NASTY) for card in result.training.cards)
        results.append(replace(result, training=replace(result.training, cards=cards)))
    shown = texts(training_picture(results, "t.svg"))
    assert sum("\\u6e29" in text for text in shown) >= 6  # titles and the legend
    assert not any("\x1b" in text for text in shown)


def test_many_probes_are_cut_and_said_to_be(
    report: CalibrationReport, swept: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panels, "MOST_ROWS", 4)
    many = replace(report, probes=report.probes * 3)
    shown = texts(calibration_picture(many, "c.svg"))
    assert sum(text.endswith("scores by class") for text in shown) == 4
    assert any("and 2 more, not shown" in text for text in shown)
    wide = replace(swept, dimensions=swept.dimensions * 3)
    assert any("and 2 more, not shown" in text for text in texts(sweep_picture(wide, "s.svg")))


def test_one_layer_and_one_score_are_enough(
    trained: list[TrainingResult], report: CalibrationReport
) -> None:
    assert texts(training_picture(trained[:1], "t.svg"))
    probe = report.probes[0]
    flat = replace(probe, scores=replace(probe.scores, high=probe.scores.low))
    assert texts(calibration_picture(replace(report, probes=(flat,)), "c.svg"))


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.gif", "x", "x.png.txt", ".png"])
def test_other_suffixes_are_refused(name: str, draw: Draw) -> None:
    with pytest.raises(BadOption):
        check_picture(name)
    with pytest.raises(BadOption):
        draw(name)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra) as caught:
        check_picture("x.png")
    assert "plot" in caught.value.hint
    assert caught.value.exit_code == 2


def test_pyplot_is_never_imported(folder: Path) -> None:
    code = (
        "import sys; from geometry_of_trust.cli import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "sys.exit(int('matplotlib.pyplot' in sys.modules))"
    )
    arguments = command(folder, "train", "--layer", 2, "--labels", folder / "a.labels",
                        "--output", folder / "sub.json", "--plot", folder / "sub.png")  # fmt: skip
    run = subprocess.run([sys.executable, "-c", code, *arguments], check=False, capture_output=True)
    assert (run.returncode, run.stderr.decode()) == (0, f"wrote {folder / 'sub.png'}\n")


# --- the commands -----------------------------------------------------------------------------


def command(folder: Path, name: str, *more: object) -> list[str]:
    files = ("--activations", folder / "a.gotact", "--unembedding", folder / "u.gotue")
    return [name, *map(str, (*files, *more))]


def test_train_and_calibration_report_draw(
    folder: Path, tmp_path: Path, trained: list[TrainingResult], report: CalibrationReport
) -> None:
    options = ("--labels", folder / "t.csv")
    to_train = ("--layers", 2, 6, "--output", tmp_path / "p.json", "--plot", tmp_path / "t.svg")
    assert main(command(folder, "train", *options, *to_train)) == 0
    assert (tmp_path / "t.svg").read_bytes() == training_picture(trained, "t.svg")
    probes = ("--probes", folder / "p.json", "--plot", tmp_path / "c.png")
    assert main(command(folder, "calibration-report", *options, *probes)) == 0
    assert (tmp_path / "c.png").read_bytes() == calibration_picture(report, "c.png")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("train", ("--layer", 2, "--output", "{}/p.json")),
        ("calibration-report", ("--probes", "p.json")),
        ("sweep", ()),
    ],
)
def test_nothing_is_written_for_a_picture_that_cannot_be(
    folder: Path, tmp_path: Path, name: str, options: tuple[object, ...]
) -> None:
    given = [str(option).format(tmp_path) for option in options]
    common = ("--labels", folder / "a.labels", "--plot", tmp_path / "p.jpeg")
    assert main(command(folder, name, *given, *common)) == 2
    assert not list(tmp_path.iterdir())
