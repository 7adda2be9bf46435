"""The rule by which a layer is chosen."""

from __future__ import annotations

import pytest

from geometry_of_trust.documents.probe_card import Controls, Figure, Quality
from geometry_of_trust.probing.layer_choice import LayerFigures, choose_layer


def figures(layer: int, value: float, low: float, verdict: str = "SUFFICIENT") -> LayerFigures:
    other = Figure(0.5, 0.4, 0.6)
    quality = Quality(Figure(value, low, 1.0), *[other] * 6)
    return LayerFigures(layer, 0.1, quality, Controls(0.5, 0.5, 0.5, None, None), verdict, "")


@pytest.mark.parametrize(
    ("given", "best", "chosen"),
    [
        # one standard error of 0.98 is 0.02/1.96: 0.97 is within it, 0.96 is not
        ([figures(1, 0.96, 0.9), figures(4, 0.97, 0.9), figures(6, 0.98, 0.96)], 6, 4),
        ([figures(1, 0.98, 0.96), figures(4, 0.98, 0.96)], 1, 1),
        # the greatest figure is not SUFFICIENT
        ([figures(1, 0.9, 0.8), figures(4, 0.99, 0.4, "INSUFFICIENT")], 4, 1),
        # a layer near the best, but not SUFFICIENT
        ([figures(1, 0.979, 0.4, "INSUFFICIENT"), figures(4, 0.98, 0.96)], 4, 4),
        # none is
        ([figures(k, 0.5 + k / 10, 0.4, "INSUFFICIENT") for k in (1, 3, 2)], 3, 3),
    ],
)
def test_the_rule_of_choice(given: list[LayerFigures], best: int, chosen: int) -> None:
    assert choose_layer(given)[:2] == (best, chosen)
    assert choose_layer(given[::-1])[:2] == (best, chosen)


def test_the_reason_names_the_layer_that_was_best() -> None:
    _, _, why = choose_layer([figures(1, 0.97, 0.9), figures(6, 0.98, 0.96)])
    assert "that of layer 6 (0.980)" in why
    _, _, why = choose_layer([figures(1, 0.9, 0.4, "INSUFFICIENT")])
    assert "no layer is SUFFICIENT" in why
