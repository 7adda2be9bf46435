"""Which tokens, or texts, probes were trained on and read: from a tiny model to the auditor."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geometry_of_trust import errors
from geometry_of_trust.attesting.attest import attest
from geometry_of_trust.cli import main
from geometry_of_trust.corpus.extracting import extract_corpus
from geometry_of_trust.documents.aggregates import Aggregate
from geometry_of_trust.documents.names_beside import record_path, rows_path
from geometry_of_trust.documents.trained_tokens import TrainedTokens
from geometry_of_trust.extraction.one_text import extract
from geometry_of_trust.formats.activations_file import open_activations
from geometry_of_trust.formats.gotact import read_activations, write_activations
from geometry_of_trust.geometry.exact import round32
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.probing.calibration_report import calibration_report
from geometry_of_trust.probing.probes import read_probe_set
from geometry_of_trust.probing.row_origins import RowOrigins, text_span
from geometry_of_trust.probing.token_readings import read_tokens
from geometry_of_trust.probing.training_files import train_files
from geometry_of_trust.signing.attestation import Attestation, write_attestation
from geometry_of_trust.signing.binding import BoundProbeSet
from geometry_of_trust.verifying.reproduce import reproduce
from geometry_of_trust.verifying.verdict import Refused
from geometry_of_trust.verifying.verify import verify
from options import arguments_of, training_arguments
from pipeline import KEY, replaced, signed_anew
from tiny_models import TinyModel

pytestmark = pytest.mark.usefixtures("quickly")
TEXTS = [
    f"{city} is in {country} {n}."
    for n in range(6)
    for city, country in (("Rome", "Italy"), ("Lyon", "Spain"))
]
LAST = TrainedTokens(position="last")
EVERY = TrainedTokens()


@dataclasses.dataclass(frozen=True)
class Runs:
    """A model, corpora of last tokens (`last`), of all (`all`) and of means, and one text."""

    folder: Path
    model: Path

    def files(self, run: str, probes: str = "last") -> dict[str, Any]:
        return {
            "activations": self.folder / f"{run}.gotact",
            "unembedding": self.folder / f"{run}.gotue",
            "probes": self.folder / f"{probes}.json",
        }

    def attest(self, run: str, probes: str = "last", **options: Any) -> Attestation:
        files = self.files(run, probes)
        files["probes"] = [files["probes"]]
        return attest(**files, key=KEY, timestamp=1, **options)

    def verify(self, document: bytes, run: str, probes: str = "last", **options: Any) -> str:
        files = self.files(run, probes)
        files["probes"] = [files["probes"]]
        verdict = verify(document, KEY.public, **files, **options)
        assert verdict.steps[5].outcome == "passed"
        return verdict.steps[3].detail


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_model: TinyModel) -> Runs:
    folder, model = tmp_path_factory.mktemp("other"), tiny_model("llama")
    rows = [{"text": text, "true": int("Rome" in text), "of": text[-2]} for text in TEXTS]
    (folder / "c.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "t.jsonl").write_text(json.dumps(rows[0]))
    for run, corpus, position in (
        ("last", "c", "last"), ("all", "c", "all"), ("mean", "c", "mean"), ("single", "t", "all"),
    ):  # fmt: skip
        options = arguments_of(
            position=position, label_columns=("true",), group_column="of", model_id="tiny"
        )
        extract_corpus(
            model, folder / f"{corpus}.jsonl", [1], output_activations=folder / f"{run}.gotact",
            output_unembedding=folder / f"{run}.gotue", **options,
        )  # fmt: skip
    extract(
        model, TEXTS[0], [1], output_activations=folder / "one.gotact",
        output_unembedding=folder / "one.gotue", **arguments_of(model_id="tiny"),
    )  # fmt: skip
    runs = Runs(folder, model)
    for run in ("last", "all"):
        files = runs.files(run)
        del files["probes"]
        trained = train_files(
            **files, layer=1, **training_arguments(label_columns=("true",), l2=1e-2)
        )
        write_file(folder / f"{run}.json", trained.probe_set.to_json())
    return runs


def test_a_probe_set_says_what_it_was_trained_on(runs: Runs, tmp_path: Path) -> None:
    for name, tokens in (("last", LAST), ("all", EVERY)):
        assert read_probe_set(runs.folder / f"{name}.json").trained_tokens == tokens
    files = runs.files("all")
    acts = read_activations(files["activations"])
    write_activations(tmp_path / "a.gotact", acts)
    (tmp_path / "a.labels").write_text("".join(f"{i % 2}\n" for i in range(len(acts.positions))))
    unknown = train_files(
        activations=tmp_path / "a.gotact", unembedding=files["unembedding"],
        labels=tmp_path / "a.labels", layer=1, **training_arguments(l2=1e-2),
    )  # fmt: skip
    assert unknown.training.tokens is None


@pytest.mark.parametrize(
    ("run", "trained", "home"),
    [
        ("last", LAST, "every"),
        ("last", EVERY, "every"),
        ("last", TrainedTokens(position="first"), "none"),
        ("last", TrainedTokens("assistant", "last"), "none"),
        ("all", LAST, "ends"),
        ("all", TrainedTokens(position="first", skip_special_tokens=True), "second ones"),
        ("all", TrainedTokens(position="999"), "none"),
        ("all", TrainedTokens(skip_special_tokens=True), "all but special ones"),
        ("all", TrainedTokens(position="mean"), "none"),
        ("mean", EVERY, "none"),
        ("mean", TrainedTokens(position="mean"), "every"),
        ("one", LAST, "ends"),
        ("one", TrainedTokens("after:x"), "none"),
    ],
)
def test_which_rows_a_probe_was_trained_on(
    runs: Runs, run: str, trained: TrainedTokens, home: str
) -> None:
    file = open_activations(runs.files(run)["activations"])
    origins = RowOrigins.of(file)
    assert origins is not None
    index = [len(file.activations.positions) - 1]
    special = [0]
    if file.rows is not None:
        starts = [rows.start for rows in file.rows.text_rows()]
        index = [*(i - 1 for i in starts[1:]), len(file.rows) - 1]
        special = np.flatnonzero(file.rows.special).tolist()
        assert run in {"last", "mean"} or special == starts
    count = len(file.activations.positions)
    expected = {
        "every": range(count), "none": [], "ends": index, "second ones": [i + 1 for i in special],
        "all but special ones": sorted({*range(count)} - {*special}),
    }[home]  # fmt: skip
    assert np.flatnonzero(origins.trained_on(trained)).tolist() == list(expected)


def test_the_mean_of_one_text_is_what_a_probe_of_means_reads(runs: Runs) -> None:
    for run, skip, home in (
        ("one", False, True), ("one", True, False), ("single", False, True), ("all", False, False),
        ("mean", False, False), ("last", False, False),
    ):  # fmt: skip
        origins = RowOrigins.of(open_activations(runs.files(run)["activations"]))
        assert origins is not None
        trained = TrainedTokens(position="mean", skip_special_tokens=skip)
        assert origins.trained_at(trained, "mean") is home


def test_other_tokens_are_refused_or_bound(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = runs.attest("one")
    assert "OTHER" not in runs.verify(plain.to_json(), "one")
    assert set(BoundProbeSet.__annotations__) > {"other_tokens", "outside"}
    assert b"other_tokens" not in plain.to_json()
    for position in ("first", "3", "mean"):
        with pytest.raises(errors.OtherTokens) as refused:
            runs.attest("one", position=position)
        assert (refused.value.where, refused.value.exit_code) == (
            str(runs.files("one")["probes"]), 1,
        )  # fmt: skip
    elsewhere = runs.attest("one", position="first", anyway=True)
    assert elsewhere.bound().probe_sets[0].other_tokens
    assert "probes read at OTHER TOKENS" in runs.verify(elsewhere.to_json(), "one")
    # What was signed is recomputed: neither may it be left out, nor said of what is at home.
    for document, said in ((elsewhere, False), (plain, True)):
        lie = signed_anew(
            document,
            binding=replaced(document.bound(), ("probe_sets", 0, "other_tokens"), said),
        )
        with pytest.raises(Refused) as caught:
            runs.verify(lie, "one")
        assert (caught.value.step, caught.value.where) == (
            6, "binding.probe_sets[0].other_tokens",
        )  # fmt: skip
    key, to = tmp_path / "k", tmp_path / "t.json"
    assert main(["keygen", "--output", str(key)]) == 0
    command = ["attest", *(f"--{name}={path}" for name, path in runs.files("one").items()),
               "--position=first", f"--key={key}", f"--output={to}"]  # fmt: skip
    assert main(command) == 1
    assert main([*command, "--anyway"]) == 0
    assert "warning: it was trained on other tokens" in capsys.readouterr().err
    assert main(["show", str(to)]) == 0
    assert "by a probe TRAINED ON OTHER TOKENS" in capsys.readouterr().out


def test_an_auditor_without_the_row_table(runs: Runs, tmp_path: Path) -> None:
    """What nothing tells is as it was signed; a signer without the table is refused."""
    row = str(int(np.flatnonzero(read_table(runs).text == 1)[0]) - 1)
    signed = runs.attest("all", position=row)
    elsewhere = runs.attest("all", position="0", anyway=True)
    assert [x.bound().probe_sets[0].other_tokens for x in (signed, elsewhere)] == [False, True]
    moved = Runs(tmp_path, runs.model)
    for name in ("all.gotact", "all.gotue", "all.record.json", "last.json"):
        (tmp_path / name).write_bytes((runs.folder / name).read_bytes())
    for document in (signed, elsewhere):
        for files, untold in ((runs, set()), (moved, {"row table"})):
            probes = [files.files("all")["probes"]]
            verdict = verify(
                document.to_json(), KEY.public, **files.files("all") | {"probes": probes}
            )
            assert set(verdict.not_checked) - {"model"} == untold
    lie = signed_anew(
        signed, binding=replaced(signed.bound(), ("probe_sets", 0, "other_tokens"), True)
    )
    table = rows_path(runs.files("all")["activations"])
    with pytest.raises(Refused) as caught:
        moved.verify(lie, "all", rows=table)
    assert caught.value.step == 6
    with pytest.raises(errors.Unreadable) as missing:
        moved.attest("all")
    assert missing.value.where == str(rows_path(tmp_path / "all.gotact"))
    record_path(tmp_path / "all.gotact").unlink()
    assert not moved.attest("all", position="0").bound().probe_sets[0].other_tokens


def read_table(runs: Runs) -> Any:
    rows = open_activations(runs.files("all")["activations"]).rows
    assert rows is not None
    return rows


def test_reproduced_from_the_model(runs: Runs, tmp_path: Path) -> None:
    document = tmp_path / "t.json"
    write_attestation(document, runs.attest("one", position="first", anyway=True))
    again = reproduce(
        document, KEY.public, model=runs.model, text=TEXTS[0],
        probes=[runs.files("one")["probes"]],
    )  # fmt: skip
    assert again.outcome == "MATCH"


def test_all_tokens_are_read_and_others_are_marked(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = read_tokens(**runs.files("all"), text=3)
    assert [token.other for token in last.tokens] == [True] * (len(last.tokens) - 1) + [False]
    assert read_tokens(**runs.files("all", "all"), text=3).others == 0
    command = ["read", *(f"--{name}={path}" for name, path in runs.files("one").items())]
    assert main([*command, f"--html={tmp_path / 'r.html'}"]) == 0
    out, err = capsys.readouterr()
    lines = [line for line in out.splitlines() if line[:1] == " " and "token" not in line]
    assert [line[17:22].strip().endswith("?") for line in lines] == [True] * (len(lines) - 1) + [
        False
    ]
    assert f"{len(lines) - 1} of {len(lines)} tokens are others" in err
    assert "other than the tokens that it was trained on" in (tmp_path / "r.html").read_text()


def test_rows_of_a_calibration_report(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    files = runs.files("all") | {"label_columns": ("true",)}
    with pytest.raises(errors.OtherTokens):
        calibration_report(**files)
    assert calibration_report(**files, anyway=True).other_tokens
    assert not calibration_report(**files | runs.files("last")).other_tokens
    command = ["calibration-report", "--label-column=true", "--anyway",
               *(f"--{name}={path}" for name, path in runs.files("all").items())]  # fmt: skip
    assert main(command) == 0
    assert "trained on other tokens than some" in capsys.readouterr().out


def test_what_is_far_outside_is_marked_wherever_it_is_read(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A state a hundred times longer, at the token that the probe is for."""
    moved = Runs(tmp_path, runs.model)
    for name in ("one.gotue", "last.json"):
        (tmp_path / name).write_bytes((runs.folder / name).read_bytes())
    acts = read_activations(runs.files("one")["activations"])
    values = np.array(acts.values)
    values[:, -1] *= 100
    write_activations(tmp_path / "one.gotact", dataclasses.replace(acts, values=values))
    signed = moved.attest("one")
    assert signed.bound().probe_sets[0].outside == (True,)
    assert not any(x.outside for x in runs.attest("one").bound().probe_sets)
    assert moved.verify(signed.to_json(), "one").endswith("OUTSIDE of the fitted range: 1")
    lie = signed_anew(signed, binding=replaced(signed.bound(), ("probe_sets", 0, "outside"), ()))
    with pytest.raises(Refused) as caught:
        moved.verify(lie, "one")
    assert caught.value.step == 6
    write_attestation(tmp_path / "t.json", signed)
    assert main(["show", str(tmp_path / "t.json")]) == 0
    assert "(OUTSIDE of what the probe was fitted on), raw" in capsys.readouterr().out
    # A set that was written before does not say what it was fitted on.
    tree = json.loads((tmp_path / "last.json").read_bytes())
    del tree["training"]["fitted"], tree["training"]["tokens"]
    (tmp_path / "last.json").write_text(json.dumps(tree, indent=2))
    assert moved.attest("one").bound().probe_sets[0].outside == ()


def test_what_nothing_tells_is_warned_of(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A probe set as it was written before, and activations without their record."""
    files, old = runs.files("one"), tmp_path / "old.json"
    tree = json.loads(files["probes"].read_bytes())
    del tree["training"]["fitted"], tree["training"]["tokens"]
    old.write_text(json.dumps(tree, indent=2))
    alone = tmp_path / "alone.gotact"
    alone.write_bytes(files["activations"].read_bytes())
    key = tmp_path / "k"
    assert main(["keygen", f"--output={key}"]) == 0
    signing = [f"--key={key}", f"--output={tmp_path / 't.json'}", "--position=first"]
    for changed, told in (
        ({"probes": old}, "does not say which tokens it was trained on"),
        ({"activations": alone}, "no extraction record says which tokens these are"),
    ):
        given = [f"--{name}={path}" for name, path in (files | changed).items()]
        assert main(["attest", *given, *signing]) == 0
        assert f"warning: {told}" in capsys.readouterr().err.replace("warning: it ", "warning: ")
    assert (
        main(["read", *(f"--{name}={path}" for name, path in (files | {"probes": old}).items())])
        == 0
    )
    assert "nothing says whether the probes were trained on such" in capsys.readouterr().err


# --- texts, by an aggregate of their tokens ------------------------------------------------------

AGGREGATES = ["mean", "max", "top-k-mean:3", "max-of-rolling-means:4"]


@pytest.fixture(scope="module")
def texts(runs: Runs) -> Runs:
    """With probe sets that read texts, named after the aggregate."""
    files = runs.files("all")
    del files["probes"]
    for name in AGGREGATES:
        trained = train_files(
            **files, layer=1,
            **training_arguments(label_columns=("true",), l2=1e-2, aggregate=name),
        )  # fmt: skip
        write_file(runs.folder / f"{name}.json", trained.probe_set.to_json())
    return runs


@pytest.mark.parametrize("name", AGGREGATES)
def test_a_text_is_read_by_the_aggregate_trained_with(texts: Runs, name: str) -> None:
    trained = read_probe_set(texts.folder / f"{name}.json")
    assert trained.trained_tokens == TrainedTokens(aggregate=name)
    span = read_table(texts).text_rows()[4]
    signed = texts.attest("all", name, text=4)
    (bound,) = signed.bound().probe_sets
    assert (bound.position, bound.position_index, bound.aggregate, bound.rows) == (
        "all", None, name, (span.start, span.stop),
    )  # fmt: skip
    assert not bound.other_tokens
    assert not any(bound.outside)
    # The aggregate of what attest signs of each token, rounded once.
    each = [
        texts.attest("all", name, position=str(row), anyway=True).layer_readings[0][0]
        for row in range(span.start, span.stop)
    ]
    assert signed.layer_readings[0][0] == round32(Aggregate.parse(name).of(each))
    texts.verify(signed.to_json(), "all", name)
    (probe,) = read_tokens(**texts.files("all", name), text=4).probes
    assert [reading.raw for reading in probe.readings] == each
    assert probe.whole is not None
    assert (probe.whole.raw, probe.whole.confidence, probe.whole.flagged) == (
        signed.layer_readings[0][0], signed.confidence[0], signed.coverage_flags[0],
    )  # fmt: skip
    alone = texts.attest("one", name)
    assert alone.layer_readings == texts.attest("all", name, text=0).layer_readings
    texts.verify(alone.to_json(), "one", name)
    report = calibration_report(**texts.files("all", name), label_columns=("true",))
    assert (report.probes[0].positives, report.probes[0].negatives) == (6, 6)


def test_other_texts_than_trained_on(texts: Runs, tmp_path: Path) -> None:
    """A token for a text, part of a text, the last tokens of texts: refused, or bound as such."""
    signed = texts.attest("all", "max", text=4)
    start, end = signed.bound().probe_sets[0].rows or (0, 0)
    for run, options in (
        ("all", {"position": "last"}), ("one", {"position": "mean"}), ("last", {"text": 4}),
    ):  # fmt: skip
        with pytest.raises(errors.OtherTokens):
            texts.attest(run, "max", **options)
        other = texts.attest(run, "max", **options, anyway=True)
        assert other.bound().probe_sets[0].other_tokens
        assert "OTHER TOKENS" in texts.verify(other.to_json(), run, "max")
    first: tuple[str | int, ...] = ("probe_sets", 0)
    for member, value in (("rows", (start, end - 1)), ("aggregate", "mean")):
        lie = signed_anew(signed, binding=replaced(signed.bound(), (*first, member), value))
        with pytest.raises(Refused) as caught:
            texts.verify(lie, "all", "max")
        assert caught.value.step == 6
    wrong: tuple[tuple[str, dict[str, Any], type[errors.GotError]], ...] = (
        ("max", {}, errors.BadOption), ("max", {"text": 99}, errors.PositionMissing),
        ("all", {"text": 4}, errors.BadOption), ("all", {"position": "all"}, errors.BadOption),
        ("max", {"text": 4, "position": "last"}, errors.BadOption),
    )  # fmt: skip
    for probes, chosen, error in wrong:
        with pytest.raises(error):
            texts.attest("all", probes, **chosen)
    with pytest.raises(errors.OtherTokens):
        calibration_report(**texts.files("last", "max"), label_columns=("true",))
    with pytest.raises(errors.BadOption) as refused:
        train_files(
            activations=texts.files("last")["activations"], layer=1,
            unembedding=texts.files("last")["unembedding"],
            **training_arguments(label_columns=("true",), aggregate="max"),
        )  # fmt: skip
    assert refused.value.where == "--aggregate"


def test_special_tokens_of_a_text_count_as_in_training(texts: Runs) -> None:
    for run, skip, rows, home in (
        ("one", False, None, True), ("one", True, None, False), ("all", False, 2, True),
    ):  # fmt: skip
        file = open_activations(texts.files(run)["activations"])
        origins = RowOrigins.of(file)
        assert origins is not None
        _, span = text_span(file, rows)
        trained = TrainedTokens(skip_special_tokens=skip, aggregate="max")
        assert origins.whole_text(trained, (span.start, span.stop)) is home
        assert not origins.whole_text(trained, (span.start, span.stop - 1))
        other = TrainedTokens("assistant", aggregate="max")
        assert not origins.whole_text(other, (span.start, span.stop))


def test_texts_in_the_commands(
    texts: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, to, probes = tmp_path / "k", tmp_path / "t.json", tmp_path / "p.json"
    corpus = [f"--{name}={path}" for name, path in texts.files("all").items()][:2]
    one = [f"--{name}={path}" for name, path in texts.files("one").items()][:2]
    more = ["--label-column=true", "--l2=0.01", "--layer=1", "--aggregate=max-of-rolling-means:4"]
    assert main(["train", *corpus, *more, f"--output={probes}"]) == 0
    out = capsys.readouterr().out
    assert "texts: 6 positive, 6 negative" in out
    assert "Causal, texts           tokens" in out
    assert "max-of-rolling-means:4 of all" in out
    assert probes.read_bytes() == (texts.folder / "max-of-rolling-means:4.json").read_bytes()
    assert main(["keygen", "--output", str(key)]) == 0
    named = [f"--probes={probes}", f"--key={key}", f"--output={to}"]
    assert main(["attest", *corpus, *named, "--text=4"]) == 0
    assert "max-of-rolling-means:4 of rows" in capsys.readouterr().out
    assert main(["attest", *one, *named]) == 0
    again = ["reproduce", f"--attestation={to}", f"--pubkey={key}.pub", f"--model={texts.model}",
             f"--input={TEXTS[0]}", f"--probes={probes}"]  # fmt: skip
    assert main(again) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "MATCH"
    page = tmp_path / "r.html"
    assert main(["read", *one, f"--probes={probes}", f"--html={page}"]) == 0
    said = "the text, max-of-rolling-means:4 of its logits: p = "
    assert said in capsys.readouterr().out
    assert said in page.read_text()
