"""What a sweep over layers found, and the rule by which a layer is chosen: docs/probes.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from geometry_of_trust.documents.probe_card import Controls, PermutationNull, Quality, ShiftFall
from geometry_of_trust.probing.intervals import standard_error


@dataclass(frozen=True)
class LayerFigures:
    """How well a layer does on the rows of choice, by nested cross-validation.

    Attributes:
        l2: λ, chosen by cross-validation unless given. quality, controls: as on a probe's card.
        null: permutations of the labels; None: not tried.
        verdict, reason: of `probe_card.judged`.
    """

    layer: int
    l2: float
    quality: Quality
    controls: Controls
    verdict: str
    reason: str
    null: PermutationNull | None = None


@dataclass(frozen=True)
class FinalTest:
    """Figures of the chosen layer on the groups held out; nothing was fitted to these or chosen."""

    positives: int
    negatives: int
    groups: int
    quality: Quality


@dataclass(frozen=True)
class DimensionSweep:
    """All layers for one dimension.

    Attributes:
        positives, negatives, groups: of the rows of choice.
        layers: figures, a layer each, in ascending order.
        best: the layer with the greatest AUROC. chosen: the layer that was tested.
        why: how it was chosen.
        final: its figures on the test fold.
        shifts: how far the AUROC falls there in other styles, if that was looked at.
        verdict, reason: `SUFFICIENT` if the choice and the test fold both say so.
    """

    dimension: str
    positives: int
    negatives: int
    groups: int
    layers: tuple[LayerFigures, ...]
    best: int
    chosen: int
    why: str
    final: FinalTest
    verdict: str
    reason: str
    shifts: tuple[ShiftFall, ...] = ()

    @property
    def recommended(self) -> int | None:
        """The layer to use; None if no layer can be recommended."""
        return self.chosen if self.verdict == "SUFFICIENT" else None


@dataclass(frozen=True)
class Sweep:
    """All layers for all dimensions.

    Attributes:
        model_id: of the activations. inner_product: under which all was fitted.
        grouped: whether there was a row table with groups.
        layers: ascending. dimensions: one entry each.
    """

    model_id: str
    inner_product: str
    grouped: bool
    layers: tuple[int, ...]
    dimensions: tuple[DimensionSweep, ...]


def choose_layer(figures: Sequence[LayerFigures]) -> tuple[int, int, str]:
    """The layer with the greatest AUROC, the layer chosen, and why; of equal layers the earliest.

    Args:
        figures: of one layer or more, in any order.
    """
    top = max(figures, key=lambda f: (f.quality.auroc.value, -f.layer))
    sufficient = [f for f in figures if f.verdict == "SUFFICIENT"]
    if not sufficient:
        return top.layer, top.layer, "no layer is SUFFICIENT; this one has the greatest AUROC"
    best = max(sufficient, key=lambda f: (f.quality.auroc.value, -f.layer))
    error = standard_error(best.quality.auroc)
    floor = best.quality.auroc.value - error
    layer = min(f.layer for f in sufficient if f.quality.auroc.value >= floor)
    return (
        top.layer,
        layer,
        f"the earliest SUFFICIENT layer whose AUROC is at least {floor:.3f}, one standard error "
        f"({error:.3f}) below that of layer {best.layer} ({best.quality.auroc.value:.3f})",
    )
