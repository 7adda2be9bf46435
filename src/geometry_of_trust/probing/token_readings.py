"""What probes say at each token of one text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from geometry_of_trust.documents.names_beside import record_path
from geometry_of_trust.documents.probe_card import Card
from geometry_of_trust.documents.thresholds import Thresholds
from geometry_of_trust.errors import RecordMismatch, Unreadable
from geometry_of_trust.files import PathLike
from geometry_of_trust.probing.probe_readings import Reading, read_probe_set_at
from geometry_of_trust.probing.row_origins import ReadAt, RowOrigins, text_span
from geometry_of_trust.probing.sources import (
    Sources,
    check_agreement,
    open_sources,
    trained_geometry,
)
from geometry_of_trust.progress import Progress


@dataclass(frozen=True)
class TokenText:
    """A token of the text.

    Attributes:
        row: in the activations. text: what it reads (None: not known).
        other: whether the probes were trained on others, as far as that is known.
    """

    row: int
    text: str | None
    other: bool = False


@dataclass(frozen=True)
class ProbeReadings:
    """One probe's readings, a token each; `verdict` of its card, None without one.

    Attributes:
        whole: of the text, where the readings of its tokens are aggregated; else None.
        thresholds: of the probe, if it has some.
    """

    dimension: str
    verdict: str | None
    readings: tuple[Reading, ...]
    whole: Reading | None = None
    thresholds: Thresholds | None = None

    def above(self, reading: Reading) -> bool:
        """Whether a reading is above the probe's threshold; False without one."""
        return self.thresholds is not None and reading.raw > self.thresholds.one_percent


@dataclass(frozen=True)
class TextReadings:
    """A text read by the probes of a set.

    Attributes:
        model_id, layer: of the activations and the probes. text: its index in the corpus.
        tokens: of the text, those that have rows. probes: one entry each.
        unknown_training: whether the set does not say what it was trained on.
        aggregate: what becomes of the readings of the tokens, if its probes read texts.
        other_text: whether these are other tokens of a text than it was trained on then.
        untold: whether nothing says which tokens it was trained on, or which these are.
    """

    model_id: str
    layer: int
    text: int
    tokens: tuple[TokenText, ...]
    probes: tuple[ProbeReadings, ...]
    unknown_training: bool = False
    aggregate: str | None = None
    other_text: bool = False
    untold: bool = False

    @property
    def others(self) -> int:
        """How many of its tokens are others than the probes were trained on."""
        return sum(token.other for token in self.tokens)


def read_tokens(
    *,
    activations: PathLike,
    probes: PathLike,
    unembedding: PathLike,
    text: int | None = None,
    other_weights: bool = False,
    unknown_training: bool = False,
    progress: Progress | None = None,
) -> TextReadings:
    """Read every token of one text, exactly as `attest` would at its position.

    Tokens other than those that the probes were trained on are read, too, and said to be such.

    Args:
        activations, probes, unembedding: the files.
        text: which one of a corpus, by its index; None: the only one.
        other_weights: whether the probes may have been trained on another model.
        unknown_training: also take a probe set that does not say what it was trained on, as the
            reference makes it, and activations of its with nothing beside them: then rows are of
            one text, whose tokens are not known.
        progress: called with what is being done.

    Raises:
        MalformedInput and its kinds: a file cannot be read.
        Unreadable: there is neither a row table nor an extraction record beside the activations,
            if that is not accepted.
        RecordMismatch: what is there describes other activations, or another unembedding.
        BadOption: there are several texts, and none is named. PositionMissing: no such text.
        ModelMismatch, PrecisionMismatch, DimensionMismatch, GeometryMismatch, ProvenanceMissing,
        LayerMissing, NonFinite, ZeroState: the files do not fit together.
    """
    sources = open_sources(activations, [probes], unembedding)
    record = sources.own_record()
    weights = None if record is None else record.weights
    check_agreement(
        sources, weights=weights, other_weights=other_weights, unknown_training=unknown_training
    )
    index, tokens = _tokens(sources, text, unrecorded=unknown_training)
    geometry = trained_geometry(sources, progress)
    probe_set, acts = sources.probe_sets[0], sources.activations
    training = probe_set.training
    trained = probe_set.trained_tokens
    origins = RowOrigins.of(sources.activations_file)
    if origins is not None and trained is not None:
        home = origins.trained_on(trained)
        tokens = tuple(replace(token, other=not home[token.row]) for token in tokens)
    readings = []
    for n, token in enumerate(tokens):
        if progress is not None:
            progress(f"Token {n + 1} of {len(tokens)}")
        state = acts.row(probe_set.layer, token.row)[None, :]
        readings.append(read_probe_set_at(probe_set, geometry, state))
    whole: Sequence[Reading | None] = [None] * len(probe_set.probes)
    span = tokens[0].row, tokens[-1].row + 1
    at = ReadAt("all", probe_set.aggregate, span)
    if probe_set.aggregate is not None:
        rows = acts.rows(probe_set.layer, *span)
        whole = read_probe_set_at(probe_set, geometry, rows, probe_set.aggregate)
        at = at.held_against(trained, origins)
    cards: Sequence[Card | None] = training.cards if training else [None] * len(whole)
    read = [
        ProbeReadings(
            probe.name,
            None if card is None else card.verdict,
            each,
            of_text,
            None if card is None else card.thresholds,
        )
        for probe, card, each, of_text in zip(
            probe_set.probes, cards, zip(*readings, strict=True), whole, strict=True
        )
    ]
    return TextReadings(
        acts.model_id,
        probe_set.layer,
        index,
        tokens,
        tuple(read),
        unknown_training=training is None,
        aggregate=None if trained is None else trained.aggregate,
        other_text=at.other_tokens,
        untold=trained is None or origins is None,
    )


def _tokens(
    sources: Sources, text: int | None, *, unrecorded: bool
) -> tuple[int, tuple[TokenText, ...]]:
    """The text's index, and its tokens, from the row table or the extraction record."""
    file = sources.activations_file
    rows, record = file.rows, sources.own_record()
    if rows is None and record is None and not unrecorded:
        raise Unreadable(
            record_path(file.file), expected="an extraction record, which has the tokens",
            found="none",
        )  # fmt: skip
    index, span = text_span(file, text)
    numbers = range(span.start, span.stop)
    if rows is not None:
        return index, tuple(TokenText(i, rows.token[i]) for i in numbers)
    if record is None:
        return index, tuple(TokenText(i, None) for i in numbers)
    if len(record.tokens) != len(numbers):
        raise RecordMismatch(
            record_path(file.file), expected=f"{len(numbers)} tokens", found=len(record.tokens)
        )
    return index, tuple(TokenText(i, record.tokens[i].text) for i in numbers)
