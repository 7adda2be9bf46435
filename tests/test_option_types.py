"""Values of options are of the types that they say, whoever makes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from geometry_of_trust import CorpusOptions, ExtractionOptions, LoadingOptions, TrainingOptions
from geometry_of_trust.errors import BadOption


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (LoadingOptions, "device", 1),
        (LoadingOptions, "device", None),
        (LoadingOptions, "trust_remote_code", "no"),
        (ExtractionOptions, "reproducible", "no"),
        (ExtractionOptions, "model_id", 3),
        (ExtractionOptions, "dtype", None),
        (CorpusOptions, "position", 7),
        (CorpusOptions, "position", True),
        (CorpusOptions, "batch_size", None),
        (CorpusOptions, "batch_size", 2.0),
        (CorpusOptions, "limit", "3"),
        (CorpusOptions, "limit", 1.5),
        (CorpusOptions, "limit", True),
        (CorpusOptions, "label_columns", "true"),
        (CorpusOptions, "label_columns", (1,)),
        (TrainingOptions, "epsilon", "x"),
        (TrainingOptions, "corpus_version", None),
        (TrainingOptions, "dimension", 3),
    ],
)
def test_a_value_of_another_type_is_refused(kind: Any, name: str, value: object) -> None:
    with pytest.raises(BadOption) as caught:
        kind(**{name: value})
    assert (caught.value.where, caught.value.found) == (name, repr(value))


def test_numbers_of_numpy_and_any_sequence_of_columns_are_taken() -> None:
    assert TrainingOptions(epsilon=0, l2=np.float64(1e-2)).l2 == 1e-2
    numbers: Any = {"limit": np.int64(3), "batch_size": 4}
    assert CorpusOptions(**numbers).limit == 3
    options = CorpusOptions(label_columns=["a", "b"])  # type: ignore[arg-type]
    assert options.label_columns == ("a", "b")
    assert hash(options) == hash(CorpusOptions(label_columns=("a", "b")))
    assert CorpusOptions(label_columns=[]).of_one_text() is None  # type: ignore[arg-type]


def test_an_empty_position_is_none() -> None:
    with pytest.raises(BadOption):
        CorpusOptions(position="")
