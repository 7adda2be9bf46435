"""n-grams find what a bag of tokens cannot see, and find nothing where there is nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing import word_classifier
from geometry_of_trust.probing.metrics import within_fold_auroc
from geometry_of_trust.probing.resampling import Sample
from geometry_of_trust.probing.surface_features import SurfaceFeatures, surface_features
from geometry_of_trust.probing.training import train
from geometry_of_trust.probing.word_classifier import ngram_features, word_scores
from row_tables import last_rows, table_of

RNG = np.random.default_rng(0)
N = 120
Y = RNG.permutation(np.arange(N) % 2).astype(np.int8)
GROUPS, FOLD = np.arange(N), np.arange(N) % 5
PLACE = np.zeros((N, 1))


def auroc(surface: SurfaceFeatures) -> float:
    return within_fold_auroc(Sample(Y, GROUPS, FOLD), word_scores(surface, Y, GROUPS, FOLD))


def test_the_order_of_two_words_is_no_business_of_the_probe() -> None:
    """Texts with 1 before 2 or after it: the same bag, and a card that says who else knew."""
    texts = [[3 + i, *((1, 2) if y else (2, 1)), 3 + i] for i, y in enumerate(Y.tolist())]
    rows = replace(last_rows(table_of(texts))[0], tokens=tuple(map(tuple, texts)))
    H = RNG.normal(size=(N, 8)) + 4 * np.eye(8)[0] * Y[:, np.newaxis]
    states = Activations("t", "Fp32", (0,), range(N), H.astype(np.float32)[np.newaxis])
    geometry = Geometry("Euclidean", 0.0, 8, None)
    made = train(states, Y, geometry, layer=0, l2=1e-2, rows=rows).training.cards[0]
    assert made.controls.bag_of_tokens == 0.5
    assert made.controls.ngrams == 1.0
    assert (made.verdict, "TF-IDF of n-grams" in made.reason) == ("INSUFFICIENT", True)


def test_characters_are_seen_where_each_token_has_its_string() -> None:
    """Words that all differ, of which the positive ones end alike."""
    table = table_of([[10 + i, 5] for i in range(N)])
    strings = [f" {chr(97 + i % 26)}{i}{'ing' if y else 'ed'}" for i, y in enumerate(Y.tolist())]
    rows = replace(table, token=tuple(s for word in strings for s in (word, ".")))
    surface = surface_features(rows, np.repeat(Y, 2)).in_order(np.arange(0, 2 * N, 2))
    assert surface.texts is not None
    assert surface.texts[7] == f"{strings[7]}."
    assert auroc(surface) == 1.0
    assert auroc(replace(surface, texts=None)) < 0.6
    last, _ = last_rows(table)
    assert surface_features(last, Y).texts is None
    told = replace(last, tokens=((10, 5),) * N)
    assert surface_features(told, Y).texts is None
    within = surface_features(rows, np.arange(2 * N) % 2)
    assert within.texts is not None
    assert within.texts[:2] == [strings[0], "."]


def test_random_words_say_nothing() -> None:
    texts = [" ".join(f"w{t}" for t in RNG.integers(0, 30, 8)) for _ in range(N)]
    tokens = [[int(word[1:]) for word in text.split()] for text in texts]
    assert 0.35 < auroc(SurfaceFeatures(tokens, PLACE, texts)) < 0.65
    assert auroc(SurfaceFeatures([[]] * N, PLACE, [""] * N)) == 0.5
    assert auroc(SurfaceFeatures([[i] for i in range(N)], PLACE, None)) == 0.5


def test_only_what_two_groups_share_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    surface = SurfaceFeatures([[1, 2], [1, 2], [2, 3]], np.zeros((3, 1)), ["ab", "ab", "b c"])
    by_group = ngram_features(surface, np.array([0, 0, 1])).toarray()
    by_row = ngram_features(surface, np.arange(3)).toarray()
    assert (by_group > 0).sum() < (by_row > 0).sum()
    assert np.array_equal(by_group[0], by_group[1])
    monkeypatch.setattr(word_classifier, "MOST_CHARACTERS", 3)
    assert ngram_features(surface, np.arange(3)).shape[1] < by_row.shape[1]
