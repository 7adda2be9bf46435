"""A planted direction is found, with its sign; a control is not; and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geometry_of_trust import errors
from geometry_of_trust.cli import main
from geometry_of_trust.corpus.options import RowOptions
from geometry_of_trust.documents.interventions import MEASURES, Intervention, read_intervention
from geometry_of_trust.documents.trained_tokens import TrainedTokens
from geometry_of_trust.extraction import running
from geometry_of_trust.extraction.intervening import Continuing
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.extraction.quiet import running_model
from geometry_of_trust.extraction.request import Request
from geometry_of_trust.extraction.tokenizing import encode
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.intervening.intervene import intervene, measured
from geometry_of_trust.probing.options import InterventionOptions
from geometry_of_trust.probing.probes import read_probe_set
from geometry_of_trust.probing.random_directions import directions
from geometry_of_trust.showing.interventions import intervention
from planted_model import LAYER, TARGETS, Planted, plant
from tiny_models import FAMILIES, HIDDEN, LAYERS, build, quick

pytestmark = pytest.mark.usefixtures("quickly")

FEW: dict[str, Any] = {"row_options": RowOptions(limit=8)}
LABELLED: dict[str, Any] = {"row_options": RowOptions(limit=12, label_columns=("high",))}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    with quick():
        return plant(tmp_path_factory.mktemp("planted"))


def of(planted: Planted, probes: Path | None = None, **changes: Any) -> Intervention:
    """The intervention with the planted probe, or another one."""
    given: dict[str, Any] = {"corpus": planted.corpus, "targets": TARGETS, "model": planted.model}
    chosen = given | changes
    return intervene(probes=probes or planted.probes, **chosen)


def test_a_planted_direction_is_found(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    found = of(planted, **LABELLED, cost=told.append)
    assert (found.detects, found.steers, found.necessary) == ("YES", "YES", "YES")
    assert found.p("steering") == found.p("fall") == Fraction(1, 100)
    assert found.effect.plus > 1
    assert found.effect.minus < -1
    assert found.effect.fall > 0.8 * found.gain > 0
    ratios = [other.deviation / found.effect.deviation for other in found.random]
    assert len(ratios) == 99
    assert max(abs(np.array(ratios) - 1)) < 1e-4
    assert "12 texts x 100 directions x 3 = 3600 states" in told[0]
    assert len(told) == 1
    # The whole model on every token gives the same file.
    monkeypatch.setattr(Continuing, "_agrees", lambda *_: False)
    assert of(planted, **LABELLED).to_json() == found.to_json()


def test_the_sign_counts_and_a_direction_without_effect_has_none(
    planted: Planted, tmp_path: Path
) -> None:
    other = of(planted, planted.probe_of(-planted.v, tmp_path / "p.json"), **LABELLED)
    # What is projected out has no sign: the labels have.
    assert (other.detects, other.steers, other.necessary) == ("NO", "NO", "YES")
    assert other.as_great("steering") == 99
    assert other.effect.plus < -1 < 1 < other.effect.minus
    alone = of(planted, tmp_path / "p.json", **FEW)
    assert (alone.steers, alone.necessary) == ("NO", "NO")
    assert alone.as_great("fall") == 99
    assert alone.gain < 0
    beside = np.random.default_rng(1).normal(size=HIDDEN)
    beside -= (beside @ planted.v) * planted.v
    none = of(planted, planted.probe_of(beside, tmp_path / "none.json"), **FEW)
    assert (none.steers, none.necessary) == ("NO", "NO")
    assert abs(none.effect.plus) < 0.5


def test_the_command_writes_what_it_shows(
    planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "r.json"
    told = ["intervene", "--model", str(planted.model), "--probes", str(planted.probes)]
    told += ["--input-file", str(planted.corpus), "--targets", "a,b", "--output", str(output)]
    told += ["--limit", "8", "--delta", "0.5"]
    assert main(told) == 0
    shown = capsys.readouterr()
    for word in (
        "DETECTS    yes: SUFFICIENT by",
        "STEERS     yes: ",
        "NECESSARY  ",
        "0.5 standard deviations",
    ):
        assert word in shown.out
    assert "8 texts x 100 directions x 3 = 2400 states" in shown.err
    result, sha256 = read_intervention(output)
    assert result.to_json() == output.read_bytes()
    assert sha256 == result.sha256
    assert result.delta == 0.5
    assert main(["show", str(output)]) == 0
    assert capsys.readouterr().out in shown.out
    assert main([*told, "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert (tree["steers"], tree["p"]["steering"], tree["sha256"]) == ("YES", 0.01, sha256)
    tree = json.loads(output.read_bytes())
    tree["random"] = tree["random"][:98]
    output.write_text(json.dumps(tree))
    with pytest.raises(errors.LimitExceeded):
        read_intervention(output)
    for changes, kind in (
        ({"texts": replace(result.texts, count=7)}, errors.LimitExceeded),
        ({"targets": result.targets[:1] * 2}, errors.Inconsistent),
        ({"delta": 0.0}, errors.Inconsistent),
    ):  # fmt: skip
        output.write_bytes(replace(result, **changes).to_json())
        with pytest.raises(kind):
            read_intervention(output)


def test_labels_of_its_own_texts_do_not_outdo_its_card(planted: Planted, tmp_path: Path) -> None:
    """A probe ranks the texts that it was trained on, whatever their labels are."""
    training = planted.training(sufficient=False)
    found = of(planted, planted.probe_of(planted.v, tmp_path / "p.json", training=training),
               row_options=RowOptions(limit=8, label_columns=("high",)))  # fmt: skip
    assert found.auroc is not None
    assert found.auroc.low > 0.5
    assert found.detects == "NO"
    assert "no: INSUFFICIENT by the probe's card; AUROC on these texts" in intervention(found)
    alone = replace(found, probe=replace(found.probe, verdict=None))
    assert (alone.detects, replace(alone, auroc=None).detects) == ("YES", "UNKNOWN")


@pytest.mark.parametrize(
    ("targets", "kind"),
    [
        ("a", errors.BadOption),
        ("a,b,c", errors.BadOption),
        ("a,a", errors.BadOption),
        ("a,", errors.NotOneToken),
        ("a,zq", errors.NotOneToken),
    ],
)
def test_targets_are_two_tokens(planted: Planted, targets: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        of(planted, targets=targets)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"row_options": RowOptions(limit=7)}, errors.BadOption),
        ({"row_options": RowOptions(position="mean")}, errors.BadOption),
        ({"row_options": RowOptions(position="first")}, errors.OtherTokens),
        ({"row_options": RowOptions(label_columns=("high", "low"))}, errors.BadOption),
        ({"options": ExtractionOptions(reproducible=False)}, errors.BadOption),
        ({"options": ExtractionOptions(allow_bidirectional=True)}, errors.BadOption),
        ({"options": ExtractionOptions(dtype="float16")}, errors.PrecisionMismatch),
        ({"dimension": "low"}, errors.BadOption),
        ({"corpus": ["word " * 200] * 8}, errors.TextTooLong),
        ({"corpus": ["one and the same"] * 8}, errors.ConstantState),
    ],
)
def test_what_makes_no_sense_is_refused(
    planted: Planted, changes: dict[str, Any], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        of(planted, **changes)


def test_probes_of_other_weights_layers_and_tokens_are_refused(
    planted: Planted, tmp_path: Path
) -> None:
    with pytest.raises(errors.ModelMismatch):
        of(planted, model=build(FAMILIES["llama"], tmp_path / "other"))
    training = read_probe_set(planted.probes).training
    assert training is not None

    def changed(**changes: Any) -> Path:
        new = replace(training, **changes)
        layer = new.layer
        return planted.probe_of(planted.v, tmp_path / "p.json", training=new, layer=layer)

    with pytest.raises(errors.LayerMissing):
        of(planted, changed(layer=LAYERS))
    with pytest.raises(errors.OtherTokens):
        of(planted, changed(tokens=TrainedTokens("assistant", "last")))
    with pytest.raises(errors.GeometryMismatch):
        of(planted, changed(inner_product="Euclidean"))
    with pytest.raises(errors.DimensionMismatch):
        of(planted, planted.probe_of(planted.v[:-1], tmp_path / "short.json"))
    with pytest.raises(errors.ProvenanceMissing):
        of(planted, planted.probe_of(planted.v, tmp_path / "none.json", training=None))


@pytest.mark.parametrize(
    "given", [{"delta": 0.0}, {"delta": 1e60}, {"directions": 98}, {"directions": "many"}]
)
def test_options(given: dict[str, Any]) -> None:
    with pytest.raises(errors.BadOption):
        InterventionOptions(**given)


@pytest.mark.heavy
def test_one_random_probe_in_twenty_steers(planted: Planted, tmp_path: Path) -> None:
    """400 random probes of a model, each against its own 99 directions; two minutes."""
    options = ExtractionOptions(device="cpu", reproducible=True)
    request = Request.of(
        str(planted.model), [LAYER], tmp_path / "a.gotact", tmp_path / "u.gotue", options
    )
    texts = [json.loads(line)["text"] for line in planted.corpus.read_text().splitlines()[:8]]
    rng, passed = np.random.default_rng(0), dict.fromkeys(MEASURES, 0)
    with running_model():
        opened = running.open_model(request, lambda message: None)
        runner = running.load(opened, LAYERS, once=False)
        ids = [encoded.ids for encoded in encode(opened.tokenizer, texts)]
        targets = [encode(opened.tokenizer, [w], add_special=False)[0].ids[0] for w in TARGETS]
        going_on = Continuing(runner, LAYER, targets)
        states = going_on.states(ids)
        labels = np.arange(len(ids)) % 2
        geometry = Geometry.from_unembedding(np.concatenate(list(runner.unembedding_rows())))
        lower = np.linalg.cholesky(geometry.matrix().astype(np.float64))
        for seed in range(400):
            w = np.linalg.solve(lower.T, rng.normal(size=HIDDEN)).astype(np.float32)
            found = directions(w, geometry, states, 99, seed)
            of_labels = labels if seed % 2 else None
            effects = measured(going_on, ids, states, found, 2.0, labels=of_labels)
            for name, measure in MEASURES.items():
                value = [measure(effect) for effect in effects.of_each]
                passed[name] += 1 + sum(x >= value[0] for x in value[1:]) <= 5
    print(passed)
    assert all(6 <= count <= 34 for count in passed.values())  # of 20: 3.2 standard deviations
