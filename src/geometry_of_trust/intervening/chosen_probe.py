"""The probe of an intervention, held against the model whose states it moves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from geometry_of_trust.corpus.options import RowOptions
from geometry_of_trust.documents.interventions import (
    ProbeUsed,
)
from geometry_of_trust.documents.recorded_identity import Weights
from geometry_of_trust.documents.token_choice import ALL
from geometry_of_trust.documents.trained_tokens import TrainedTokens
from geometry_of_trust.errors import (
    BadOption,
    DimensionMismatch,
    GeometryMismatch,
    LayerMissing,
    ModelMismatch,
    OtherTokens,
    PrecisionMismatch,
    ProvenanceMissing,
)
from geometry_of_trust.files import PathLike
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.probes import Probe, ProbeSet, Training
from geometry_of_trust.probing.sources import ProbeSetFile, open_probe_set, same_weights
from geometry_of_trust.progress import Progress

if TYPE_CHECKING:
    from geometry_of_trust.extraction.running import Opened, Runner


@dataclass(frozen=True)
class ChosenProbe:
    """The probe that is used, of a set that says what it was trained on."""

    file: ProbeSetFile
    probe: Probe
    training: Training

    @property
    def probe_set(self) -> ProbeSet:
        """The set that it is one of."""
        return self.file.probe_set

    @classmethod
    def of(cls, path: PathLike, dimension: str | None) -> ChosenProbe:
        """Raises BadOption for a name that is none, or none of several; ProvenanceMissing."""
        file = open_probe_set(path)
        named = {probe.name: probe for probe in file.probe_set.probes}
        if dimension is None and len(named) == 1:
            dimension = next(iter(named))
        if dimension not in named:
            expected = f"one of {', '.join(map(repr, named))}"
            raise BadOption("--dimension", expected=expected, found=dimension or "none")
        if file.probe_set.training is None:
            raise ProvenanceMissing(
                path, expected="a training member, which says which model it is for", found="none",
                hint="Train the probe again with got-cli train.",
            )  # fmt: skip
        return cls(file, named[dimension], file.probe_set.training)

    def used(self, geometry: Geometry) -> ProbeUsed:
        """What is said of it."""
        verdicts = {card.dimension: card.verdict for card in self.training.cards}
        return ProbeUsed(
            self.file.sha256,
            self.probe.name,
            self.probe_set.layer,
            verdicts.get(self.probe.name),
            geometry.digest,
        )

    def check_model(self, opened: Opened) -> None:
        """What is seen before any weight is loaded.

        Raises:
            DimensionMismatch, PrecisionMismatch.
        """
        d = opened.anatomy.hidden_dim
        if self.probe.weights.size != d:
            raise DimensionMismatch(
                self.file.path, expected=f"{d} weights, as the model's states have",
                found=self.probe.weights.size,
            )  # fmt: skip
        if self.training.precision != opened.precision:
            raise PrecisionMismatch(
                self.file.path, expected=opened.precision, found=self.training.precision,
                hint="Say how the model was run: --dtype, --quantization.",
            )  # fmt: skip

    def check_weights(self, model_id: str, weights: Weights) -> None:
        """Raises ModelMismatch: it was trained on other weights."""
        if not same_weights(self.training, model_id, weights):
            theirs = self.training.weights or f"the model called {self.training.model_id!r}"
            raise ModelMismatch(
                self.file.path, expected=f"a probe trained on this model, {weights}",
                found=f"one trained on {theirs}",
                hint="A probe is valid for the weights that it was trained on: train on these.",
            )  # fmt: skip

    def check_tokens(self, rows: RowOptions) -> TrainedTokens:
        """Which token's state is moved; it is one of those trained on, if the set says so.

        Raises:
            OtherTokens: it is not. BadOption: not one token of each text.
        """
        place = rows.place
        if place.name in ("all", "mean"):
            raise BadOption("--position", expected="one token of each text", found=place.name)
        ours = TrainedTokens(rows.tokens, place.name, place.skip_special)
        trained = self.training.tokens
        if trained is not None and replace(trained, aggregate=None) != ours:
            every = trained.position == "all" and trained.chosen in (ALL, ours.chosen)
            if not every:
                raise OtherTokens(
                    self.file.path, expected=f"a probe of the token that is moved, {ours}",
                    found=f"one trained on {trained}", hint="Give --tokens and --position as then.",
                )  # fmt: skip
        return ours


def opened_for(opened: Opened, chosen: ChosenProbe) -> Opened:
    """A model whose states at the probe's layer are read.

    Raises:
        LayerMissing, and as `ChosenProbe.check_model`. BadOption: a model of several streams.
    """
    layer, blocks = chosen.probe_set.layer, opened.anatomy.blocks
    if layer >= blocks:
        raise LayerMissing(
            chosen.file.path, expected=f"a layer from 0 to {blocks - 1}", found=layer
        )
    if opened.stream is not None:
        raise BadOption("--model", expected="one with one residual stream", found="several")
    chosen.check_model(opened)
    return replace(opened, layers=(layer,))


def geometry_of(runner: Runner, chosen: ChosenProbe, progress: Progress) -> Geometry:
    """The inner product that the probe was trained under.

    Raises:
        GeometryMismatch: the model's unembedding gives another one.
    """
    euclidean = chosen.training.inner_product == "Euclidean"
    geometry = Geometry.from_unembedding(
        np.concatenate(list(runner.unembedding_rows())),
        inner_product="euclidean" if euclidean else "causal",
        added=chosen.training.epsilon,
        progress=progress,
    )
    if chosen.probe_set.geometry_hash != geometry.digest:
        raise GeometryMismatch(
            chosen.file.path, expected=f"geometry {geometry.digest}, that of the model",
            found=chosen.probe_set.geometry_hash,
            hint="Use the model whose unembedding the probe was trained with.",
        )  # fmt: skip
    return geometry
