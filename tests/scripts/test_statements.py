"""The shipped corpora of true and false statements: made by the script, and fair to words."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from places import ROOT

SCRIPT = ROOT / "scripts" / "make_statements.py"
SIZES = {
    "examples/statements.jsonl": 200,
    "benchmarks/corpora/cities.jsonl": 756,
    "benchmarks/corpora/kinds.jsonl": 784,
}
# A sample of the example, as an atlas has it; written here, not read from the lists.
COUNTRIES = {
    "Australia": "Sydney Melbourne Brisbane Adelaide",
    "Japan": "Tokyo Osaka Kyoto Hiroshima",
    "France": "Paris Marseille Lyon Bordeaux",
    "Egypt": "Cairo Alexandria Giza Luxor",
}


@dataclass(frozen=True)
class Statement:
    text: str
    label: int
    group: str


def read(name: str) -> list[Statement]:
    rows = [json.loads(line) for line in (ROOT / name).read_text(encoding="utf-8").splitlines()]
    assert {tuple(row) for row in rows} == {("text", "true", "group", "topic")}
    assert len({row["topic"] for row in rows}) == 1
    return [Statement(row["text"], row["true"], row["group"]) for row in rows]


@pytest.fixture(params=SIZES)
def statements(request: pytest.FixtureRequest) -> list[Statement]:
    return read(request.param)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_statements", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_script_makes_the_shipped_files_byte_for_byte(tmp_path: Path) -> None:
    subprocess.run([sys.executable, SCRIPT, "--root", tmp_path], check=True, capture_output=True)
    made = {
        path.relative_to(tmp_path).as_posix(): path.read_bytes()
        for path in tmp_path.rglob("*.jsonl")
    }
    assert made == {name: (ROOT / name).read_bytes() for name in SIZES}


def test_script_makes_only_the_corpus_that_is_asked_for(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, SCRIPT, "kinds", "--root", tmp_path], check=True, capture_output=True
    )
    made = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jsonl")]
    assert made == ["benchmarks/corpora/kinds.jsonl"]


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_sizes(name: str, size: int) -> None:
    assert len(read(name)) == size


def test_half_are_true_and_no_text_comes_twice(statements: list[Statement]) -> None:
    assert Counter(s.label for s in statements) == {0: len(statements) / 2, 1: len(statements) / 2}
    assert len({s.text for s in statements}) == len(statements)
    assert all(s.text.count(".") == 1 and s.text.endswith(".") for s in statements)


def test_a_group_says_the_same_words_truly_and_falsely(statements: list[Statement]) -> None:
    """So no weighting of words separates the classes, on any split that keeps groups together."""
    groups: dict[str, dict[int, Counter[str]]] = {}
    for s in statements:
        groups.setdefault(s.group, {0: Counter(), 1: Counter()})[s.label].update(s.text.split())
    assert len(groups) == len(statements) / 4
    assert all(words[0] == words[1] for words in groups.values())


def test_both_statements_of_a_subject_are_in_one_group(statements: list[Statement]) -> None:
    for s in statements:
        subjects = s.group.split(", ")
        assert len(subjects) == 2
        assert sum(f" {subject} is " in s.text for subject in subjects) == 1
    said = Counter(s.text.split(" is ")[0] for s in statements)
    assert set(said.values()) == {2}


def test_words_alone_tell_nothing(statements: list[Statement]) -> None:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    texts = [s.text for s in statements]
    labels = [s.label for s in statements]
    scores = cross_val_predict(
        make_pipeline(CountVectorizer(), LogisticRegression()),
        texts,
        labels,
        groups=[s.group for s in statements],
        cv=GroupKFold(5, shuffle=True, random_state=0),
        method="decision_function",
    )
    assert 0.4 < roc_auc_score(labels, scores) < 0.6


def test_example_cities_are_where_an_atlas_has_them() -> None:
    true = {s.text for s in read("examples/statements.jsonl") if s.label}
    for country, cities in COUNTRIES.items():
        assert {f"The city of {city} is in {country}." for city in cities.split()} <= true
    countries = Counter(text.rsplit(" is in ", 1)[1] for text in true)
    assert len(countries) == 25
    assert set(countries.values()) == {4}


def test_no_exchange_gives_a_value_that_holds_too(script: ModuleType) -> None:
    also = {"a": "ab", "b": "b", "c": "cd", "d": "d"}
    facts = [
        script.Fact(f"{value}{i}", value, frozenset(also[value]))
        for value in also
        for i in range(9)
    ]
    pairs = script.pairs(facts)
    assert sorted(fact.subject for pair in pairs for fact in pair) == [f.subject for f in facts]
    for one, other in pairs:
        assert other.value not in also[one.value]
        assert one.value not in also[other.value]


@pytest.mark.parametrize("values", ["aa", "aaab", "abc"], ids=["alike", "too many alike", "odd"])
def test_facts_that_cannot_be_paired_end_the_run(script: ModuleType, values: str) -> None:
    facts = [script.Fact(f"{i}", value, frozenset(value)) for i, value in enumerate(values)]
    with pytest.raises(SystemExit):
        script.pairs(facts)


def test_a_subject_listed_twice_ends_the_run(script: ModuleType) -> None:
    with pytest.raises(SystemExit):
        script.pairs([script.Fact("x", value, frozenset(value)) for value in "ab"])


def test_a_city_is_refused_elsewhere_or_beside_a_large_namesake(script: ModuleType) -> None:
    paris = [script.Place("FR", 2_000_000, True), script.Place("US", 25_000, True)]
    script.check_city("Paris", "France", "FR", paris)
    with pytest.raises(SystemExit):
        script.check_city("Paris", "Germany", "DE", paris)
    with pytest.raises(SystemExit):
        script.check_city("Paris", "France", "FR", [*paris, script.Place("CA", 1_000_000, True)])
