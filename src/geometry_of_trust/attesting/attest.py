"""From files to a signed attestation, and the check that signed readings are those of the files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import BinaryIO

from geometry_of_trust.attesting.assemble import (
    Statement,
    TakesRows,
    assemble,
    differences,
    joined_version,
    recomputed,
    tokens_told,
    with_interventions,
)
from geometry_of_trust.attesting.drifts import measured_drift
from geometry_of_trust.attesting.interventions import bound_interventions
from geometry_of_trust.attesting.mismatches import mismatch
from geometry_of_trust.attesting.row_files import rows_against
from geometry_of_trust.documents.extraction_record import Record
from geometry_of_trust.documents.names import check_name
from geometry_of_trust.documents.names_beside import record_path
from geometry_of_trust.documents.positions import EVERY
from geometry_of_trust.documents.token_choice import ALL
from geometry_of_trust.errors import BadOption, LimitExceeded, Unreadable
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.readings_file import (
    MAX_FILE_PROBES,
    MAX_FILE_READINGS,
    MAX_FILE_ROWS,
    ReadingsWriter,
)
from geometry_of_trust.geometry.checkpoints import Checkpoint, open_checkpoint
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.outputs.staged_files import StagedFiles
from geometry_of_trust.probing.row_origins import ReadAt, RowOrigins, refused_tokens, text_span
from geometry_of_trust.probing.sources import Sources, check_agreement, open_sources
from geometry_of_trust.signing.attestation import Attestation
from geometry_of_trust.signing.binding import BoundCorpus, BoundModel, BoundRecord
from geometry_of_trust.signing.checks import MAX_READINGS, sign, stated_time
from geometry_of_trust.signing.histories import place_after
from geometry_of_trust.signing.keyrings import Keyring
from geometry_of_trust.signing.keys import SecretKey, load_secret_key
from geometry_of_trust.version import __version__


def attest(
    *,
    activations: PathLike,
    probes: Sequence[PathLike],
    unembedding: PathLike,
    key: PathLike | SecretKey,
    model_id: str | None = None,
    corpus_version: str = "unversioned",
    position: str | None = None,
    text: int | None = None,
    timestamp: int | None = None,
    epsilon: float = 1e-6,
    previous: PathLike | None = None,
    keyring: Keyring | None = None,
    geometry_reference: PathLike | None = None,
    other_weights: bool = False,
    unknown_training: bool = False,
    anyway: bool = False,
    labels: PathLike | None = None,
    label_columns: Sequence[str] = (),
    threshold: float | None = None,
    bar: PathLike | None = None,
    interventions: Sequence[PathLike] = (),
    readings: PathLike | Callable[[], BinaryIO] | None = None,
) -> Attestation:
    """Read the probes and sign the readings, bound to everything they came from.

    Args:
        activations, probes, unembedding: the files; digested, and named in the binding.
        key: the secret key, or its file (not encrypted).
        model_id: None, or the activations' own.
        corpus_version: a name that is signed as it is; at most 256 bytes.
        position: token to read: `last`, `first`, `mean` of all, a number, or `every`: each row by
            itself, all probes of a row, then the next row; of probes that were trained with an
            aggregate each text. Of a corpus its texts and row table are bound, too. None: `last`,
            or of probes that were trained with an aggregate all tokens of a text.
        text: whose tokens, by its index in the corpus; None: the only one's.
        timestamp: Unix seconds; None: SOURCE_DATE_EPOCH if set, else the clock.
        epsilon: relative regularisation, as given to training; unused if Φ needs none.
        previous: the attestation before this one in a history.
        keyring: whose keys may take over from each other in that history.
        geometry_reference: a `.gotgeo` file, to measure drift from.
        other_weights: whether probes may have been trained on another model; that is bound.
        unknown_training: also take probe sets that do not say what they were trained on, as the
            reference makes them; the binding says of which.
        anyway: also read probes at other tokens than they were trained on; the binding says of
            which.
        labels, label_columns: of every row, as of `train_files`: the readings are held against
            them, and what comes of it is bound. Of several columns or probes, each probe has the
            column of its name.
        threshold: probability from which a row is called positive, for figures at it; None: the
            own threshold of each probe that has one.
        bar: a file that says what a probe must reach on this corpus (docs/evaluations.md); the
            document says whether it did.
        interventions: results of `intervene` with these probes, which are bound, and signed in the
            causal members (docs/intervene.md).
        readings: a file for the readings of every row, or what opens one, used only if they are
            more than fit into a document. Beside `a.json`, `verify` looks for
            `a.readings.parquet`.

    Returns:
        The attestation, signed. Same files, options and timestamp: the same bytes.

    Raises:
        BadKey, BadPassphrase, UnsafeKeyPermissions, WrongKeyKind: as `load_secret_key`.
        MalformedInput and its kinds: a file cannot be read, or is not of its format.
        BadOption: no probe set, a position that is none, or a timestamp that is none; or readings
            beside the document of rows and of texts.
        ModelMismatch, PrecisionMismatch, DimensionMismatch, GeometryMismatch, ProvenanceMissing,
        LayerMissing, PositionMissing, RecordMismatch: the files do not fit together.
        OtherTokens: a probe was trained on other tokens, as far as record and row table say.
        NotPositiveDefinite, NonFinite, ZeroState: Φ or a state cannot be computed with.
        Inconsistent, NotOurSpelling: a probe set or record contradicts itself or is re-spelled.
        LimitExceeded, BadText, TimestampInFuture: of what may be signed.
        ContentMismatch: an intervention is of other probes, or of another model.
        FileChanged: a file was written to meanwhile.
        UnknownSigner, KeyNotValid, BadSignature, LegacyDocument, HistoryOrder: of the previous one,
            as `place_after`.
    """
    secret = key if isinstance(key, SecretKey) else load_secret_key(key)
    sources = open_sources(activations, probes, unembedding)
    record = sources.own_record()
    weights = None if record is None else record.weights
    check_agreement(
        sources,
        model_id,
        weights=weights,
        other_weights=other_weights,
        unknown_training=unknown_training,
    )
    # All that can be refused is refused before the long arithmetic.
    labelled = labels is not None or len(label_columns) > 0
    _check_evaluated(position, labelled, {"--threshold": threshold, "--bar": bar})
    places = _places(sources, position, text, anyway=anyway)
    size = _size_beside(sources, places) if position == EVERY else None
    if size is not None and readings is None:
        raise LimitExceeded(
            "--position every", expected=f"at most {MAX_READINGS} readings in a document",
            found=size[0] * size[1], hint="Name a file for them: attest(readings=…).",
        )  # fmt: skip
    check_name(corpus_version, "--corpus-version")
    for file in sources.probe_files:
        for probe in file.probe_set.probes:
            check_name(probe.name, f"{file.path}, name of a probe")
    joined_version(sources.probe_sets)
    statement = Statement(
        timestamp=stated_time(timestamp),
        corpus_version=corpus_version,
        tool=f"geometry-of-trust {__version__}",
        key_id=secret.public.key_id,
        record=None if record is None else _bound_record(record),
        model=None if record is None else BoundModel.of(record),
        corpus=BoundCorpus.of(record) if record is not None and position == EVERY else None,
    )
    if previous is not None:
        place = place_after(previous, secret.public, statement.timestamp, keyring)
        statement = replace(statement, place=place)
    elif keyring is not None:
        entry = keyring.entry(secret.public.key_id)
        entry.check_valid("attest", statement.timestamp, "the new document")
    reference = None if geometry_reference is None else open_checkpoint(geometry_reference, epsilon)
    training = sources.training
    causal = training is None or training.inner_product != "Euclidean"
    geometry = Geometry.from_unembedding(
        sources.unembedding, epsilon, "causal" if causal else "euclidean"
    )
    drift = None
    if reference is not None:
        drift = measured_drift(reference, geometry, sources.probe_sets)
    with contextlib.ExitStack() as outputs:
        beside: list[TakesRows] | None = None
        if size is not None and readings is not None:
            if callable(readings):
                handle = readings()
            else:
                handle = outputs.enter_context(StagedFiles()).open(readings)
            beside = [outputs.enter_context(ReadingsWriter(handle, *size)).add]
        if not labelled:
            made = assemble(sources, geometry, places, statement, drift=drift, beside=beside)
            return sign(_intervened(made, interventions), secret)
        # Labels and what is made of them need libraries that not every signer has.
        from geometry_of_trust.attesting.evaluations import (  # noqa: PLC0415
            KeptReadings,
            Labelled,
            with_evaluation,
        )

        kept = None
        if size is not None and beside is not None:
            kept = KeptReadings(*size)
            beside.append(kept.add)
        made = assemble(sources, geometry, places, statement, drift=drift, beside=beside)
        rows = None if statement.corpus is None else sources.activations_file.rows
        made = with_evaluation(
            made,
            Labelled(labels, rows, kept),
            sources.probe_sets,
            label_columns=label_columns,
            threshold=threshold,
            bar=bar,
        )
        return sign(_intervened(made, interventions), secret)


def _intervened(made: Attestation, interventions: Sequence[PathLike]) -> Attestation:
    """An attestation, not yet signed, with results of interventions, if there are some."""
    return with_interventions(made, bound_interventions(interventions, made.bound()))


def _check_evaluated(position: str | None, labelled: bool, others: Mapping[str, object]) -> None:
    """Labels go with a reading of every row, and all else of an evaluation with labels.

    Raises:
        BadOption: they do not.
    """
    if labelled and position != EVERY:
        raise BadOption("--labels", expected="--position every with it", found=position)
    for option, value in others.items():
        if value is not None and not labelled:
            raise BadOption(option, expected="--labels or --label-column with it", found="neither")


def _size_beside(sources: Sources, places: Sequence[ReadAt]) -> tuple[int, int] | None:
    """How many rows and probes there are, if all of their readings are too many for a document.

    Raises:
        LimitExceeded: they are too many for a file, too.
        BadOption: rows and texts would lie in one file.
    """
    rows = len(sources.activations.positions)
    units = [rows if at.texts is None else len(at.texts) for at in places]
    probes = [len(probe_set.probes) for probe_set in sources.probe_sets]
    count = sum(n * of_each for n, of_each in zip(units, probes, strict=True))
    if count <= MAX_READINGS:
        return None
    if len({at.texts is None for at in places}) > 1:
        raise BadOption(
            "--probes", found="both", hint="Attest them apart.",
            expected=f"probe sets that all read rows, or all texts, of {count} readings",
        )  # fmt: skip
    for found, most, what in (
        (units[0], MAX_FILE_ROWS, "rows"),
        (sum(probes), MAX_FILE_PROBES, "probes"),
        (count, MAX_FILE_READINGS, "readings"),
    ):
        if found > most:
            raise LimitExceeded(
                "--position every", expected=f"at most {most} {what}", found=found,
                hint="Attest fewer probes at a time, or a corpus in parts.",
            )  # fmt: skip
    return units[0], sum(probes)


def _places(
    sources: Sources, position: str | None, text: int | None, *, anyway: bool
) -> list[ReadAt]:
    """What each probe set reads.

    Raises:
        BadOption, PositionMissing: a position or a text that is none, or a text without an
            aggregate. OtherTokens: a set was trained on others, and that is not allowed.
    """
    file = sources.activations_file
    origins, places = RowOrigins.of(file), []
    for probes in sources.probe_files:
        aggregate, trained = probes.probe_set.aggregate, probes.probe_set.trained_tokens
        if aggregate is not None and position == EVERY:
            if origins is None and file.rows is not None:
                raise Unreadable(
                    record_path(file.file), found="none",
                    expected="an extraction record, which has the digest of the row table",
                )  # fmt: skip
            whole = ((0, len(file.activations.positions)),)
            at = ReadAt(EVERY, aggregate, texts=whole if origins is None else origins.texts)
        elif aggregate is not None and position in (None, "all"):
            _, span = text_span(file, text)
            at = ReadAt("all", aggregate, (span.start, span.stop))
        elif text is not None:
            raise BadOption(
                "--text", expected="probes that read texts, without --position",
                found=f"{probes.path}, at a position: give the number of the row as --position",
            )  # fmt: skip
        else:
            at = ReadAt(position or "last")
            at.index(len(file.activations.positions))
        at = at.held_against(trained, origins)
        if at.other_tokens and trained is not None and not anyway:
            raise refused_tokens(probes.path, trained, f"other tokens (--position {at.position})")
        places.append(at)
    return places


def _bound_record(record: Record) -> BoundRecord:
    """What is bound of the record beside the activations."""
    return BoundRecord(
        record.digest,
        record.mode,
        record.arithmetic,
        record.bidirectional,
        record.stored,
        None if record.adapter is None else record.adapter.sha256,
        record.stream,
        ALL if record.corpus is None else record.corpus.tokens,
        None if record.corpus is None else record.corpus.date,
    )


def check_readings(
    attestation: Attestation,
    sources: Sources,
    reference: Checkpoint | None = None,
    origins: RowOrigins | None = None,
    readings: PathLike | None = None,
) -> list[str]:
    """Recompute everything that an attestation says of its files (step 6 of a verification).

    Args:
        reference: the geometry reference, if one is bound and it is there.
        origins: the bound extraction record and its row table, if they are there.
        readings: those that lie beside the document, if they are there, under the bound root.

    Returns:
        What was needed and was not there, beside the record: the row table, or nothing.

    Raises:
        ReadingsMismatch: naming the first member that differs, and both values.
        LegacyDocument and others: as `recomputed`.
    """
    with rows_against(attestation, readings) as against:
        again = recomputed(attestation, sources, reference, origins, [against.add])
    # 6.2 All that follows from the files is as it was signed.
    if against.apart is not None:
        raise mismatch(*against.apart)
    for name, ours, signed in differences(again, attestation):
        raise mismatch(name, ours, signed)
    sets = zip(attestation.bound().probe_sets, sources.probe_sets, strict=True)
    told = all(tokens_told(bound, probe_set, origins) for bound, probe_set in sets)
    return [] if told else ["row table"]
