"""benchmarks/published.py on a part of one published set and of its twin: names of people.

`published/` has rows of `6_hist_fig_isamerican` of sae-probes 0.4.2 (MIT; its LICENSE is beside
them), in a wheel that is made here as that package is.
"""

from __future__ import annotations

import csv
import json
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from tokenizers import Tokenizer

from places import ROOT
from tiny_models import quick

sys.path.insert(0, str(ROOT))

from benchmarks.probing.published_sets import DATA, FIRST_PARTS, MASTER, WHEEL, PublishedSets
from benchmarks.probing.published_tables import print_tables
from benchmarks.published import Run

NAME, SAMPLE = "6_hist_fig_isamerican", Path(__file__).parent / "published"


def packed(text: str) -> bytes:
    return bytes(pa.compress(text.encode(), "zstd", asbytes=True))


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory, smollm2: Path) -> PublishedSets:
    path = tmp_path_factory.mktemp("wheel") / WHEEL
    master = (
        "Dataset save name,Data type\n"
        f"cleaned_data/{NAME}.csv,Binary Classification\n"
        "cleaned_data/52_virtue_is.csv,Binary Classification\n"
        "cleaned_data/2_hist_fig_birthyear.csv,Continuous Data\n"
    )
    pairs = (
        "prompt,target\nA [SEP] b,no\nA [SEP] c,yes\nD [SEP] e,no\nD [SEP] e,yes\nF [SEP] b,no\n"
    )
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(MASTER, packed(master))
        wheel.writestr(f"{DATA}/cleaned_data/52_virtue_is.csv.zst", packed(pairs))
        for folder, file in (("cleaned_data", NAME), ("OOD data", f"{NAME}_OOD")):
            text = (SAMPLE / f"{file}.csv").read_text("utf-8")
            wheel.writestr(f"{DATA}/{folder}/{file}.csv.zst", packed(text))
    return PublishedSets(path, Tokenizer.from_file(str(smollm2 / "tokenizer.json")), 80, 64)


def test_each_text_once_with_its_label_and_what_it_shares(sets: PublishedSets) -> None:
    assert sets.names() == [NAME, "52_virtue_is"]
    assert sets.twins() == {NAME}
    with (SAMPLE / f"{NAME}.csv").open(encoding="utf-8", newline="") as file:
        labels = {row["prompt"]: int(row["target"]) for row in csv.DictReader(file)}
    entries = sets.entries(NAME)
    assert len({entry.text for entry in entries}) == len(entries) == 80
    assert all(labels[entry.text] == entry.label for entry in entries)
    pairs = sorted(sets.entries("52_virtue_is"), key=lambda entry: entry.text)
    assert FIRST_PARTS["52_virtue_is"] == " [SEP] "
    assert [(one.text, one.label, one.group) for one in pairs] == [
        ("A [SEP] b", 0, "A"),  # the text with both labels is left out
        ("A [SEP] c", 1, "A"),
        ("F [SEP] b", 0, "F"),
    ]


def test_of_long_texts_the_end(sets: PublishedSets) -> None:
    short = PublishedSets(sets.path, sets.tokenizer, 80, 2)
    whole = [entry.text for entry in sets.entries(NAME)]
    ends = [entry.text for entry in short.entries(NAME)]
    assert sum(end in whole for end in ends) < 10  # names of two tokens
    assert all(any(text.endswith(end) for text in whole) for end in ends)


def test_a_part_of_a_set_is_measured_and_kept(
    sets: PublishedSets, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path, sets, layers=(8,))
    with quick():
        run.add([NAME])
    kept = run.results.read_bytes()
    run.add([NAME])  # has its result
    assert run.results.read_bytes() == kept
    (result,) = run.done()
    assert result == json.loads(kept)
    assert (result["set"], result["rows"], result["groups"]) == (NAME, 80, 80)
    found = result["layers"]["8"]
    assert all(found[name]["auroc"] > 0.6 for name in ("ours", "scikit-learn", "twin"))
    assert found["permuted"]["verdict"] == "INSUFFICIENT"
    assert found["ours"]["auroc"] > found["permuted"]["auroc"] + 0.1
    print_tables(run.done())
    printed = capsys.readouterr().out
    assert f"| {NAME} | 8 | {found['ours']['verdict']} | {found['ours']['auroc']:.3f} |" in printed
    assert "SUFFICIENT with labels permuted at most 5%: reached" in printed
