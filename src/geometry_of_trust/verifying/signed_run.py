"""The run that a document says there was: how it is repeated, and what that takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from geometry_of_trust.arithmetic import ARITHMETIC
from geometry_of_trust.attesting.interventions import check_interventions
from geometry_of_trust.corpus.options import RowOptions
from geometry_of_trust.documents.token_choice import ALL
from geometry_of_trust.errors import BadOption
from geometry_of_trust.extraction.options import (
    DTYPE_OF,
    ExtractionOptions,
    LoadingOptions,
    is_stream,
)
from geometry_of_trust.files import PathLike
from geometry_of_trust.signing.attestation import Attestation
from geometry_of_trust.signing.binding import BoundRecord
from geometry_of_trust.terminal import quoted


def rows_as_signed(rows: RowOptions, record: BoundRecord | None) -> RowOptions:
    """Which rows there were: what is signed of it, and what the auditor says of the rest.

    Raises:
        BadOption: the auditor says something else than what is signed.
    """
    if record is None:
        return rows
    for name, signed, given, default in (
        ("--tokens", record.tokens, rows.tokens, ALL),
        ("--date", record.date, rows.date, None),
    ):
        if given not in (default, signed):
            raise BadOption(name, expected=f"{signed or 'none'}, as signed, or none", found=given)
    return replace(rows, tokens=record.tokens, date=record.date)


def as_signed(attestation: Attestation, options: LoadingOptions) -> ExtractionOptions:
    """How the model is run: what is signed of it, on this machine."""
    bound = attestation.bound()
    record = bound.extraction_record
    came_so = record is not None and record.stored is not None
    return ExtractionOptions(
        **vars(options),
        dtype=DTYPE_OF[attestation.precision],
        quantization="int8" if attestation.precision == "Int8" and not came_so else None,
        reproducible=True,
        allow_bidirectional=record is not None and record.bidirectional,
        model_id=attestation.model_id,
        layout=bound.activations.layout,
        stream=None if record is None else record.stream,
        rehash=True,
    )


def missing_for(
    attestation: Attestation,
    probes: Sequence[PathLike],
    reference: PathLike | None,
    options: LoadingOptions,
) -> str:
    """Why nothing can be reproduced; empty if it can."""
    bound = attestation.bound()
    record = bound.extraction_record
    if record is None:
        return "no extraction record was bound: nothing signed says how the text was run"
    if record.mode != "reproducible":
        return (
            "the activations were extracted with the fast path, whose last bits depend on the "
            "machine; ask for an attestation of a reproducible extraction"
        )
    if record.arithmetic != ARITHMETIC:
        theirs = "float64 with split products" if record.arithmetic is None else record.arithmetic
        return (
            f"the activations were computed with another arithmetic ({quoted(theirs)}) than this "
            f"version's ({ARITHMETIC}); {quoted(bound.tool)}, which made the document, can"
        )
    if record.adapter is not None and options.adapter is None:
        return f"the model had an adapter in it ({record.adapter}): give that with --adapter"
    if record.stream is not None and not is_stream(record.stream):
        return f"no residual stream of a model is called {quoted(record.stream)}, as signed"
    if not _readable(record):
        named = ", ".join(map(quoted, filter(None, (record.tokens, record.date))))
        return f"no tokens, or no date, are called so, as signed: {named}"
    if len(probes) != len(bound.probe_sets):
        return f"probe sets: {len(bound.probe_sets)} needed (--probes), {len(probes)} given"
    if bound.geometry_reference is not None and reference is None:
        return "the checkpoint that drift was measured from is needed (--geometry-reference)"
    return ""


def _readable(record: BoundRecord) -> bool:
    """Whether the tokens and the date that are signed are some."""
    try:
        RowOptions(tokens=record.tokens, date=record.date)
    except BadOption:
        return False
    return True


def interventions_missing(
    attestation: Attestation, results: Sequence[PathLike], texts: Sequence[PathLike]
) -> str:
    """Why interventions that are signed cannot be run again; empty if they can.

    Raises:
        ContentMismatch: a result is none of those that are signed.
    """
    bound = attestation.bound()
    different = check_interventions(results, bound)
    if different == len(results) == len(texts) == len(bound.interventions):
        return ""
    return (
        f"{len(bound.interventions)} interventions are signed: the result of each "
        "(--intervention) and the texts that it was run on (--intervention-input-file) are needed, "
        f"{different} and {len(texts)} given"
    )
