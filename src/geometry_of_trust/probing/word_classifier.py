"""What a classifier makes of the words alone, as one builds it who would do without the model.

TF-IDF of n-grams and a logistic regression, by scikit-learn. Formulas: docs/mathematics.md,
section 7.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from geometry_of_trust.probing.array_types import Array, Indices, Labels
from geometry_of_trust.probing.cross_validation import least, mean_losses
from geometry_of_trust.probing.surface_features import SurfaceFeatures

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""scikit-learn's C, from the strongest penalty to the weakest."""

MOST_CHARACTERS = 2_000_000
"""Of all different texts together; of more, only tokens and words are counted."""


def word_scores(surface: SurfaceFeatures, y: Labels, groups: Indices, fold: Indices) -> Array:
    """Held-out scores by words and n-grams, with the C that is best in hindsight; shape (n,).

    Args:
        surface: of n rows, with their tokens. y: 0 or 1, both outside each fold, shape (n,).
        groups: 0, 1, 2, …, shape (n,). fold: 0 to K − 1, shape (n,).
    """
    X = ngram_features(surface, groups)
    held_out = np.zeros((len(STRENGTHS), len(y)))
    for k in range(int(fold.max()) + 1):
        outside = fold != k
        for i, strength in enumerate(STRENGTHS):
            model = LogisticRegression(C=strength, solver="liblinear", max_iter=1000)
            model.fit(X[outside], y[outside])
            held_out[i, ~outside] = model.decision_function(X[~outside])
    best: Array = held_out[least(mean_losses(held_out, y))]
    return best


def ngram_features(surface: SurfaceFeatures, groups: Indices) -> sparse.csr_array:
    """TF-IDF of one and two tokens, and, where texts are known, of words and characters.

    n-grams that occur in one group alone say nothing of rows held out, and are left out.

    Returns:
        Shape (n, n-grams); where there are none, a column of zeros.
    """
    parts = []
    if surface.tokens is not None:
        lists = [" ".join(map(str, row)) for row in surface.tokens]
        parts.append(_tfidf(lists, groups, "word", (1, 2), r"\S+"))
    if surface.texts is not None:
        parts.append(_tfidf(surface.texts, groups, "word", (1, 2), r"(?u)\b\w+\b"))
        if sum(map(len, set(surface.texts))) <= MOST_CHARACTERS:
            parts.append(_tfidf(surface.texts, groups, "char_wb", (2, 5), None))
    return sparse.csr_array(sparse.hstack(parts))


def _tfidf(
    rows: Sequence[str], groups: Indices, analyzer: str, lengths: tuple[int, int], word: str | None
) -> sparse.csr_array:
    different, places = np.unique(np.array(rows, object), return_inverse=True)
    counter = TfidfVectorizer(
        analyzer=analyzer, ngram_range=lengths, token_pattern=word, sublinear_tf=True
    )
    try:
        found = sparse.csr_array(counter.fit_transform(different.tolist()))[places]
    except ValueError:  # texts without a word
        return sparse.csr_array((len(rows), 1))
    members = sparse.csr_array((np.ones(len(groups)), (groups, np.arange(len(groups)))))
    shared = np.asarray((members @ (found > 0).astype(float) > 0).sum(axis=0)).ravel() > 1
    return found[:, shared] if shared.any() else sparse.csr_array((len(rows), 1))
