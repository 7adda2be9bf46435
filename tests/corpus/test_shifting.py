"""The texts of a corpus in other styles, run again: which texts those are, and by the commands."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geometry_of_trust import errors
from geometry_of_trust.cli import main
from geometry_of_trust.corpus.extracting import extract_corpus
from geometry_of_trust.corpus.options import CorpusOptions
from geometry_of_trust.corpus.shifting import ShiftedTexts, Shifter
from geometry_of_trust.corpus.shifts import SENTENCES, SHIFTS
from geometry_of_trust.documents.extraction_record_reading import read_record
from geometry_of_trust.documents.names_beside import record_path
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.probing.probes import read_probe_set
from tiny_models import FAMILIES, build

TEMPLATE = "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}"
TEXTS = [f"The {'wet' if i % 2 else 'dry'} town, No. {i}." for i in range(40)]

pytestmark = pytest.mark.usefixtures("quickly")


def test_styles() -> None:
    text = "Is Łódź  in\tPoland? «Yes», it's so…"
    found = {name: shift(text) for name, shift in SHIFTS.items()}
    assert found["upper case"] == "IS ŁÓDŹ  IN\tPOLAND? «YES», IT'S SO…"
    assert found["lower case"] == "is łódź  in\tpoland? «yes», it's so…"
    assert found["no punctuation"] == "Is Łódź  in\tPoland Yes its so"
    assert found["whitespace doubled"] == "Is  Łódź    in\t\tPoland?  «Yes»,  it's  so…"
    assert found["quoted"] == f'"{text}"'
    assert found["chat turn"] == [{"role": "user", "content": text}]
    before, after = found["sentence before"], found["sentence after"]
    assert isinstance(before, str)
    assert isinstance(after, str)
    assert before.removesuffix(f" {text}") == after.removeprefix(f"{text} ")
    assert before.removesuffix(f" {text}") in SENTENCES
    assert SHIFTS["no punctuation"]("?!") == "?!"
    used = {str(SHIFTS["sentence before"](one)).removesuffix(f" {one}") for one in TEXTS}
    assert len(used) > len(SENTENCES) / 2


@dataclasses.dataclass(frozen=True)
class Run:
    model: Path
    corpus: Path
    activations: Path
    unembedding: Path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("shifting")
    model, corpus = build(FAMILIES["llama"], folder / "model"), folder / "c.jsonl"
    lines = [{"said": text, "wet": i % 2, "of": i // 4} for i, text in enumerate(TEXTS)]
    corpus.write_text("\n".join(map(json.dumps, lines)))
    made = Run(model, corpus, folder / "a.gotact", folder / "u.gotue")
    extract_corpus(
        model, corpus, [1, 2], output_activations=made.activations,
        output_unembedding=made.unembedding, options=ExtractionOptions(model_id="tiny"),
        corpus_options=CorpusOptions(text_column="said", label_columns=("wet",), group_column="of"),
    )  # fmt: skip
    return made


def shifter(run: Run, **changes: Any) -> Shifter:
    record = read_record(record_path(run.activations))
    made = Shifter.as_recorded(run.model, run.corpus, record, text_column="said")
    return dataclasses.replace(made, **changes)


def test_rows_are_what_each_text_gives_in_that_style(run: Run, tmp_path: Path) -> None:
    """Bit for bit, with those of a chat from the tokenizer's own template, if it has one."""
    texts, layers = [3, 5, 38], [2]
    plain: list[ShiftedTexts] = shifter(run)(texts, layers)
    assert [style.name for style in plain] == [*SHIFTS][:-1]
    model = tmp_path / "model"
    shutil.copytree(run.model, model)
    (model / "chat_template.jinja").write_text(TEMPLATE)
    found = shifter(run, model=model, recorded=None)(texts, layers)
    assert [style.name for style in found] == [*SHIFTS]
    for style, again in zip(plain, found, strict=False):
        assert np.array_equal(style.states[2], again.states[2])
        assert style.changed == {3, 5, 38}
        assert style.text.tolist() == texts
    said: list[str] = [str(SHIFTS["quoted"](TEXTS[i])) for i in texts]
    said += [f"<s>user: {TEXTS[i]}</s>" for i in texts]
    alone = extract_corpus(
        run.model, said[:3], layers, output_activations=tmp_path / "b.gotact",
        output_unembedding=tmp_path / "v.gotue", options=ExtractionOptions(model_id="tiny"),
    )  # fmt: skip
    assert np.array_equal(found[-2].states[2], alone.activations.values[0])


def test_other_texts_models_and_kinds_are_refused(run: Run, tmp_path: Path) -> None:
    shifter(run).check()
    other = tmp_path / "c.jsonl"
    other.write_text(run.corpus.read_text().replace("No. 7", "No. 8"))
    for changes, error in (
        ({"corpus": other}, errors.ContentMismatch),
        ({"corpus_options": CorpusOptions(tokens="after:town", text_column="said")},
         errors.BadOption),
    ):  # fmt: skip
        with pytest.raises(error):
            shifter(run, **changes).check()
    other.write_text(json.dumps({"said": [{"role": "user", "content": "a"}]}))
    with pytest.raises(errors.BadOption, match="a chat"):
        shifter(run, corpus=other, recorded=None).check()
    long = tmp_path / "long.txt"
    long.write_text("a, " * 40)  # of 128 that the model takes at most
    with pytest.raises(errors.TextTooLong, match="another style"):
        shifter(run, corpus=long, corpus_options=CorpusOptions(), recorded=None)([0], [2])
    model = build(FAMILIES["llama-tied"], tmp_path / "model")
    with pytest.raises(errors.ModelMismatch):
        shifter(run, model=model)([1], [2])


def test_train(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "p.json"
    train = ["train", "--activations", run.activations, "--unembedding", run.unembedding,
             "--label-column", "wet", "--layer", "2", "--output", output]  # fmt: skip
    shifts = ["--shifts", "--model", run.model, "--input-file", run.corpus]
    assert main([*map(str, (*train, *shifts, "--text-column", "said"))]) == 0
    shown = capsys.readouterr().out
    training = read_probe_set(output).training
    assert training is not None
    assert [shift.name for shift in training.cards[0].shifts] == [*SHIFTS][:-1]
    assert "held out, in another style" in shown
    assert main(["show", str(output)]) == 0
    assert "whitespace doubled" in capsys.readouterr().out
    for wrong in (shifts[1:], shifts[:3], shifts[:1]):
        assert main([*map(str, (*train, *wrong))]) == 2
        assert "--shifts" in capsys.readouterr().err


@pytest.mark.heavy
def test_sweep(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["sweep", "--label-column", "wet", "--layers", "2", "--shifts"]
    assert main([*sweep, "--activations", str(run.activations), "--unembedding",
                 str(run.unembedding)]) == 2  # fmt: skip
    assert "--shifts" in capsys.readouterr().err
    of_model = ["--model", str(run.model), "--input-file", str(run.corpus), "--text-column", "said"]
    assert main([*sweep, *of_model, "--json"]) == 0
    (dimension,) = json.loads(capsys.readouterr().out)["dimensions"]
    assert [shift["name"] for shift in dimension["shifts"]] == [*SHIFTS][:-1]
