"""What probes say at each token of one text."""

from __future__ import annotations

from dataclasses import dataclass, replace

from geometry_of_trust.documents.names_beside import record_path
from geometry_of_trust.errors import BadOption, PositionMissing, RecordMismatch, Unreadable
from geometry_of_trust.files import PathLike
from geometry_of_trust.probing.probe_readings import Reading, read_probe_set_at
from geometry_of_trust.probing.row_origins import RowOrigins
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
    """One probe's readings, a token each; `verdict` of its card, None without one."""

    dimension: str
    verdict: str | None
    readings: tuple[Reading, ...]


@dataclass(frozen=True)
class TextReadings:
    """A text read by the probes of a set.

    Attributes:
        model_id, layer: of the activations and the probes. text: its index in the corpus.
        tokens: of the text, those that have rows. probes: one entry each.
        unknown_training: whether the set does not say what it was trained on.
    """

    model_id: str
    layer: int
    text: int
    tokens: tuple[TokenText, ...]
    probes: tuple[ProbeReadings, ...]
    unknown_training: bool = False

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
    verdicts = [card.verdict for card in training.cards] if training else [None] * len(readings[0])
    read = [
        ProbeReadings(probe.name, verdict, each)
        for probe, verdict, each in zip(
            probe_set.probes, verdicts, zip(*readings, strict=True), strict=True
        )
    ]
    return TextReadings(
        acts.model_id,
        probe_set.layer,
        index,
        tokens,
        tuple(read),
        unknown_training=training is None,
    )


def _tokens(
    sources: Sources, text: int | None, *, unrecorded: bool
) -> tuple[int, tuple[TokenText, ...]]:
    """The text's index, and its tokens, from the row table or the extraction record."""
    rows = sources.activations_file.rows
    if rows is None:
        return _recorded(sources, text, unrecorded=unrecorded)
    if len(rows) != len(sources.activations.positions):
        raise RecordMismatch(
            "row table", expected=f"{len(sources.activations.positions)} rows", found=len(rows)
        )
    spans = {int(rows.text[span.start]): span for span in rows.text_rows()}
    if text is None and len(spans) > 1:
        raise BadOption("--text", expected="the number of a text, as there are several",
                        found=f"none, of {len(spans)}")  # fmt: skip
    index = next(iter(spans)) if text is None else text
    if index not in spans:
        known = f"{min(spans)} to {max(spans)}"
        raise PositionMissing("--text", expected=f"a text that has rows, {known}", found=index)
    span = spans[index]
    return index, tuple(TokenText(i, rows.token[i]) for i in range(span.start, span.stop))


def _recorded(
    sources: Sources, text: int | None, *, unrecorded: bool
) -> tuple[int, tuple[TokenText, ...]]:
    record, place = sources.own_record(), record_path(sources.activations.source)
    if record is None and not unrecorded:
        raise Unreadable(place, expected="an extraction record, which has the tokens", found="none")
    if text not in (None, 0):
        raise PositionMissing("--text", expected="0, as there is one text", found=text)
    count = len(sources.activations.positions)
    if record is None:
        return 0, tuple(TokenText(i, None) for i in range(count))
    if len(record.tokens) != count:
        raise RecordMismatch(place, expected=f"{count} tokens", found=len(record.tokens))
    return 0, tuple(TokenText(i, token.text) for i, token in enumerate(record.tokens))
