"""An intervention that is signed: bound, verified without a model, and run again with one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from geometry_of_trust import errors
from geometry_of_trust.attesting.attest import attest
from geometry_of_trust.cli import main
from geometry_of_trust.corpus.options import RowOptions
from geometry_of_trust.documents.interventions import Intervention, Target, read_intervention
from geometry_of_trust.documents.recorded_identity import Weights
from geometry_of_trust.files import FileBytes
from geometry_of_trust.intervening.intervene import intervene
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.signing.attestation import Attestation, parse_document
from geometry_of_trust.signing.reference_members import CausalScore
from geometry_of_trust.verifying.reproduce import reproduce
from geometry_of_trust.verifying.verdict import Refused
from geometry_of_trust.verifying.verify import verify
from pipeline import KEY, TIMESTAMP, signed_anew
from planted_model import TARGETS, Planted, plant
from tiny_models import quick

pytestmark = pytest.mark.usefixtures("quickly")


@dataclass(frozen=True)
class Case:
    """A planted model, the result of an intervention, and files that are attested."""

    planted: Planted
    folder: Path
    result: Path

    @property
    def files(self) -> dict[str, Any]:
        """What is read and signed."""
        return {
            "activations": self.folder / "a.gotact",
            "unembedding": self.folder / "u.gotue",
            "probes": [self.planted.probes],
        }

    def attest(self, *results: Path, **options: Any) -> Attestation:
        """Sign these files and results."""
        chosen = {"timestamp": TIMESTAMP} | options
        return attest(**self.files, key=KEY, interventions=results, **chosen)

    def other(self, name: str, **changes: Any) -> Path:
        """Another result."""
        path = self.folder / f"{name}.json"
        write_file(path, replace(read_intervention(self.result)[0], **changes).to_json())
        return path


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    with quick():
        folder = tmp_path_factory.mktemp("signed")
        planted = plant(folder)
        rows = RowOptions(limit=8, label_columns=("high",))
        found = intervene(planted.model, planted.probes, planted.corpus, TARGETS, row_options=rows)
        write_file(folder / "r.json", found.to_json())
        return Case(planted, folder, folder / "r.json")


def result_of(case: Case) -> Intervention:
    return read_intervention(case.result)[0]


def test_what_is_signed_of_it(case: Case) -> None:
    signed, result = case.attest(case.result), result_of(case)
    (score,) = signed.causal_scores
    assert score == CausalScore(result.effect.plus, result.effect.minus, score.consistency, True)
    assert score.consistency == pytest.approx(0.99)
    assert (signed.intervention_delta, signed.causal_flag) == (2.0, True)
    (bound,) = signed.bound().interventions
    assert (bound.sha256, bound.probe, bound.targets) == (result.sha256, 0, TARGETS)
    assert not signed.not_made_here
    assert parse_document(signed.to_json(), "a").attestation == signed
    assert case.attest().bound() == replace(signed.bound(), interventions=())
    assert "interventions" not in case.attest().to_json().decode()


def test_it_is_verified_without_a_model(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    signed = case.attest(case.result)
    public, document = KEY.public, signed.to_json()
    known = {**case.files, "model": case.planted.model}
    verdict = verify(document, public, **known, interventions=[case.result])
    assert verdict.complete
    assert "what is signed is what 1 of 1 results say" in verdict.steps[4].detail
    assert "interventions, not run again here: 1 of 1 STEER" in verdict.steps[3].detail
    assert verify(document, public, **known).not_checked == ("interventions",)
    with pytest.raises(Refused) as refused:
        verify(document, public, interventions=[case.other("o", gain=0.0)])
    assert (refused.value.step, type(refused.value.cause)) == (5, errors.ContentMismatch)
    write_file(case.folder / "signed.json", document)
    assert main(["show", str(case.folder / "signed.json")]) == 0
    assert "DETECTS YES, STEERS YES, NECESSARY YES" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("probe", 1),
        ("as_great", 6),
        ("as_great", 100),
        ("directions", 98),
        ("plus", -1.0),
        ("delta", 1.0),
        ("steers", "NO"),
        ("targets", ("a",)),
        ("targets", ("a", "a")),
        ("texts", 7),
        ("texts", 1025),
    ],
)
def test_what_contradicts_itself_is_refused(case: Case, path: str, value: object) -> None:
    signed = case.attest(case.result)
    (bound,) = signed.bound().interventions
    lie = replace(signed.bound(), interventions=(replace(bound, **{path: value}),))  # type: ignore[arg-type]
    with pytest.raises(Refused) as refused:
        verify(signed_anew(signed, binding=lie), KEY.public)
    assert (refused.value.step, type(refused.value.cause)) == (4, errors.BindingMismatch)


def test_what_the_result_does_not_say_is_refused(case: Case) -> None:
    """Numbers that agree with each other, and not with the file that is bound."""
    signed = case.attest(case.result)
    (bound,) = signed.bound().interventions
    (score,) = signed.causal_scores
    better = replace(bound, plus=bound.plus + 1)
    lie = signed_anew(
        signed,
        binding=replace(signed.bound(), interventions=(better,)),
        causal_scores=(replace(score, delta_plus=better.plus),),
    )
    assert not verify(lie, KEY.public).complete
    with pytest.raises(Refused) as refused:
        verify(lie, KEY.public, interventions=[case.result])
    assert (refused.value.step, type(refused.value.cause)) == (5, errors.ContentMismatch)
    assert f"{case.result}, plus: expected {better.plus}, as signed" in str(refused.value)
    lie = signed_anew(
        signed,
        binding=replace(signed.bound(), interventions=(replace(bound, delta=0.0),)),
        intervention_delta=0.0,
    )
    with pytest.raises(Refused) as refused:
        verify(lie, KEY.public)
    assert (refused.value.step, type(refused.value.cause)) == (4, errors.BindingMismatch)


def test_results_that_do_not_fit_are_not_signed(case: Case) -> None:
    result = result_of(case)
    for name, kind, changes in (
        ("probe", errors.ContentMismatch, {"probe": replace(result.probe, sha256="0" * 64)}),
        ("layer", errors.ContentMismatch, {"probe": replace(result.probe, layer=0)}),
        ("verdict", errors.ContentMismatch, {"probe": replace(result.probe, verdict=None)}),
        ("model", errors.ContentMismatch, {"weights": Weights("0" * 64, "0" * 64)}),
        ("arithmetic", errors.ContentMismatch, {"arithmetic": "another"}),
        ("targets", errors.Inconsistent, {"targets": (Target("a", 1),) * 3}),
        ("random", errors.LimitExceeded, {"random": result.random[:98]}),
    ):  # fmt: skip
        with pytest.raises(kind):
            case.attest(case.other(name, **changes))
    with pytest.raises(errors.Inconsistent):
        case.attest(case.result, case.result)
    case.result.with_name("spaced.json").write_bytes(case.result.read_bytes() + b"\n")
    with pytest.raises(errors.NotOurSpelling):
        case.attest(case.result.with_name("spaced.json"))


def test_it_is_run_again(case: Case) -> None:
    signed = case.folder / "attestation.json"
    write_file(signed, case.attest(case.result).to_json())
    given = {
        "model": case.planted.model,
        "corpus": case.planted.corpus,
        "probes": [case.planted.probes],
    }
    texts = {"interventions": [case.result], "intervention_texts": [case.planted.corpus]}
    again = reproduce(signed, KEY.public, **given, **texts)  # type: ignore[arg-type]
    assert (again.outcome, again.detail) == ("MATCH", "")
    assert "intervention 'high'" in [link.name for link in again.links]
    without = reproduce(signed, KEY.public, **given)  # type: ignore[arg-type]
    assert without.outcome == "UNVERIFIABLE"
    assert "--intervention-input-file" in without.detail
    texts["intervention_texts"] = [case.folder / "no such file.jsonl"]
    again = reproduce(signed, KEY.public, **given, **texts)  # type: ignore[arg-type]
    assert again.outcome == "UNVERIFIABLE"
    assert "no such file" in again.detail
    texts["intervention_texts"] = [case.planted.corpus]
    # What the model is called is no part of what it is.
    named = case.other("named", model_id="another")
    write_file(signed, case.attest(named).to_json())
    texts["interventions"] = [named]
    again = reproduce(signed, KEY.public, **given, **texts)  # type: ignore[arg-type]
    assert (again.outcome, again.detail) == ("MATCH", "")
    # A result that is consistent in itself, and that the model does not give.
    effect = result_of(case).effect
    lie = case.other("lie", effect=replace(effect, plus=effect.plus + 1))
    write_file(signed, case.attest(lie).to_json())
    assert verify(signed.read_bytes(), KEY.public, interventions=[lie]).steps[4].outcome == "passed"
    texts["interventions"] = [lie]
    again = reproduce(signed, KEY.public, **given, **texts)  # type: ignore[arg-type]
    assert again.outcome == "MISMATCH"
    assert again.detail.startswith("intervention 'high'.effect.plus")


def test_one_result_given_twice_stands_for_one(case: Case) -> None:
    """Of two that are signed, the other one would never be run."""
    other = case.planted.probe_of(case.planted.v, case.folder / "second.json")
    result = result_of(case)
    sha256 = FileBytes.of(other).sha256
    second = case.other("second result", probe=replace(result.probe, sha256=sha256))
    probes = [case.planted.probes, other]
    signed = case.folder / "two.json"
    files = case.files | {"probes": probes}
    made = attest(**files, key=KEY, interventions=[case.result, second], timestamp=TIMESTAMP)
    write_file(signed, made.to_json())
    verdict = verify(made.to_json(), KEY.public, interventions=[case.result] * 2)
    assert "what is signed is what 1 of 2 results say" in verdict.steps[4].detail
    again = reproduce(
        signed, KEY.public, model=case.planted.model, corpus=case.planted.corpus, probes=probes,
        interventions=[case.result] * 2, intervention_texts=[case.planted.corpus] * 2,
    )  # fmt: skip
    assert again.outcome == "UNVERIFIABLE"
    assert "1 and 2 given" in again.detail
