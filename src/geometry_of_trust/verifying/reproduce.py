"""From a model and a text back to a signed attestation, byte for byte, or to where it differs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

from geometry_of_trust.arithmetic import ARITHMETIC
from geometry_of_trust.attesting.assemble import bound_activations, differences, recomputed
from geometry_of_trust.attesting.evaluations import (
    KeptReadings,
    Labelled,
    check_evaluation,
    check_trained_on,
)
from geometry_of_trust.attesting.interventions import check_interventions
from geometry_of_trust.attesting.row_files import check_readings_file, rows_against
from geometry_of_trust.corpus.extracting import extract_corpus
from geometry_of_trust.corpus.options import CorpusOptions, Listener, RowOptions
from geometry_of_trust.documents.extraction_record import Record
from geometry_of_trust.documents.interventions import read_intervention
from geometry_of_trust.documents.names_beside import readings_path, rows_path
from geometry_of_trust.documents.token_choice import ALL
from geometry_of_trust.errors import (
    BadOption,
    DigestMismatch,
    GotError,
    Interrupted,
    OtherModel,
    Refusal,
)
from geometry_of_trust.extraction.one_text import Extraction, extract
from geometry_of_trust.extraction.options import Dtype, ExtractionOptions, LoadingOptions, is_stream
from geometry_of_trust.files import FileBytes, PathLike
from geometry_of_trust.formats.gotact import read_activations
from geometry_of_trust.formats.row_table import read_own_rows
from geometry_of_trust.geometry.checkpoints import Checkpoint, open_checkpoint
from geometry_of_trust.identity.model_signature import (
    SignedModel,
    check_covered,
    check_model_signature,
)
from geometry_of_trust.intervening.intervene import repeated
from geometry_of_trust.outputs.temporary_files import scratch_folder
from geometry_of_trust.probing.row_origins import RowOrigins
from geometry_of_trust.probing.sources import Sources, open_sources
from geometry_of_trust.progress import Progress
from geometry_of_trust.signing.attestation import Attestation
from geometry_of_trust.signing.binding import BoundRecord
from geometry_of_trust.signing.keys import PublicKey
from geometry_of_trust.terminal import escaped, quoted
from geometry_of_trust.verifying.differences import (
    activations_difference,
    distance,
    files_named,
    first_difference,
    flat,
    record_difference,
    row_difference,
)
from geometry_of_trust.verifying.model_files import SuppliedModel
from geometry_of_trust.verifying.signers import Signers
from geometry_of_trust.verifying.supplied_files import needs_rows
from geometry_of_trust.verifying.token_differences import decoder_of, token_difference, tokens_of
from geometry_of_trust.verifying.verify import MODEL_IDENTITY, PROPERTIES, verify

if TYPE_CHECKING:
    from geometry_of_trust.corpus.corpus_run import CorpusExtraction

DTYPES: dict[str, Dtype] = {
    "Fp32": "float32",
    "Fp16": "float16",
    "Bfloat16": "bfloat16",
    "Int8": "float32",
}
Outcome = Literal["MATCH", "MISMATCH", "UNVERIFIABLE"]


@dataclass(frozen=True)
class Link:
    """One thing compared: a name, whether it is equal, and what was compared."""

    name: str
    equal: bool
    detail: str


@dataclass(frozen=True)
class Reproduction:
    """How an attempt to reproduce an attestation ended.

    Attributes:
        attestation: what the document holds; its signature and binding are good.
        outcome: `MATCH` (the same document, byte for byte), `MISMATCH` or `UNVERIFIABLE`.
        links: what was compared, in order; the last one is the first that differs, if any, but
            that another model is compared to the end.
        detail: where it differs and by how much, or what is missing.
        not_checked: what a `MATCH` takes as it was signed, in words.
    """

    attestation: Attestation
    outcome: Outcome
    links: tuple[Link, ...]
    detail: str = ""
    not_checked: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Of the document's file, which is the one text of the attestation."""
        return hashlib.sha256(self.attestation.to_json()).hexdigest()

    @property
    def properties(self) -> tuple[str, ...]:
        """What holds of the document, in the names that stand in a verification result."""
        found = [PROPERTIES["signature"], PROPERTIES["binding"]]
        if self.outcome == "MATCH":
            found.append("GOT_REPRODUCED")
            if any(link.name == "model" for link in self.links):
                found.append(MODEL_IDENTITY)
        return tuple(found)

    def __bool__(self) -> NoReturn:
        """Raise TypeError: a reproduction that is not a `MATCH` must not pass for one."""
        raise TypeError("a Reproduction is neither true nor false: look at .outcome")

    @property
    def line(self) -> str:
        """The one line that an auditor reads."""
        joint = {"MATCH": "", "MISMATCH": " at ", "UNVERIFIABLE": ": "}[self.outcome]
        return f"{self.outcome}{joint}{self.detail}" if self.detail else self.outcome


class _Compared:
    """The links so far; an outcome when one of them differs."""

    def __init__(self, attestation: Attestation, signers: Signers) -> None:
        self.attestation = attestation
        self.bound = attestation.bound()
        self.signers = signers
        self.links = [Link("attestation", True, "steps 1 to 4 of verify passed")]
        self.reference: Checkpoint | None = None
        self.signed_model: SignedModel | None = None
        self.labels: PathLike | None = None
        self.interventions: tuple[tuple[PathLike, PathLike], ...] = ()
        self.readings: PathLike | None = None

    def equal(self, name: str, ours: object, signed: object) -> bool:
        """Add a link: whether a value is as signed."""
        same = ours == signed
        found = escaped(ours)
        detail = found if same else f"signed {escaped(signed)}, found {found}"
        self.links.append(Link(name, same, detail))
        return same

    def takes_reference(self, path: PathLike) -> bool:
        """Measure drift from a checkpoint, if it is the one that is bound."""
        self.reference = open_checkpoint(path, epsilon=None)
        bound = self.bound.geometry_reference
        return self.equal("geometry reference", self.reference.sha256, bound or "none")

    def takes_signature(self, path: PathLike | None, key: PathLike | None) -> None:
        """Read what others signed of the model, to compare the model with it."""
        supplied = SuppliedModel(model="", signature=path, key=key)
        if supplied.signature is not None and supplied.key is not None:
            self.signed_model = check_model_signature(supplied.signature, supplied.key)

    def takes_readings(self, path: PathLike | None, document: PathLike) -> None:
        """Compare readings beside the document with those of a file, if they are those signed."""
        beside = readings_path(document)
        if path is None and self.bound.readings is not None and os.path.lexists(beside):
            path = beside
        if path is not None:
            self.readings = FileBytes.of(path)
            check_readings_file(self.attestation, self.readings)

    def ends(self, outcome: Outcome, detail: str = "", *not_checked: str) -> Reproduction:
        """The reproduction, with the links so far."""
        return Reproduction(self.attestation, outcome, tuple(self.links), detail, not_checked)


def reproduce(
    attestation: PathLike,
    public_key: PathLike | PublicKey,
    *,
    model: PathLike,
    text: str | None = None,
    corpus: PathLike | Iterable[str] | None = None,
    row_options: RowOptions = RowOptions(),
    probes: Sequence[PathLike] = (),
    activations: PathLike | None = None,
    record: PathLike | None = None,
    rows: PathLike | None = None,
    geometry_reference: PathLike | None = None,
    labels: PathLike | None = None,
    interventions: Sequence[PathLike] = (),
    intervention_texts: Sequence[PathLike] = (),
    readings: PathLike | None = None,
    model_signature: PathLike | None = None,
    model_key: PathLike | None = None,
    options: LoadingOptions = LoadingOptions(),
    progress: Progress | None = None,
) -> Reproduction:
    """Extract again, recompute everything, and compare every link with what was signed.

    Args:
        attestation: the document; it must verify on its own (steps 1 to 4).
        public_key: the signer's.
        model, text: as for `extract`.
        corpus: instead of a text, as for `extract_corpus`.
        row_options: how the signer's corpus gave rows, or which tokens of the text did; the
            tokens and the date are as they were signed.
        probes: the signer's probe sets, in the order signed.
        activations: the signer's activations, if you have them: a mismatch is then located to
            layer, position and units in the last place.
        record, rows: the signer's extraction record and row table, if you have them: the first
            token that differs is then named. None: those beside `activations`.
        geometry_reference: the checkpoint that drift was measured from, if one is bound.
        labels: those that an evaluation was made with, if they came from a file of their own.
        interventions: the signer's results, if some are bound. intervention_texts: what each was
            run on, in the same order; it is run again.
        readings: the signer's, where they lie beside the document: the first row that differs is
            then named. None: the file of that name beside it, if there is one.
        model_signature, model_key: what others signed of the model, as of `SuppliedModel`.
        options: where the model comes from and where it runs, here.
        progress: called with what is being done.

    Raises:
        Refused: the document itself does not verify.
        BadOption: not one of text and corpus, a text with options that only a corpus has, or other
            tokens or another date than those signed.
        GotError: a file cannot be read.
    """
    if (text is None) == (corpus is None):
        found = "neither" if text is None else "both"
        raise BadOption("--input", expected="a text or a corpus", found=found)
    signed = verify(attestation, public_key, alone=True).attestation
    original = None if activations is None else FileBytes.of(activations)
    bound = signed.bound()
    compared = _Compared(signed, Signers(bound.extraction_record, original, record, rows))
    compared.takes_signature(model_signature, model_key)
    missing = _missing(signed, probes, geometry_reference, options)
    if not missing and labels is None and bound.evaluation and bound.evaluation.from_file:
        missing = "the labels that the evaluation was made with are needed (--labels)"
    missing = missing or _interventions_missing(signed, interventions, intervention_texts)
    if missing:
        return compared.ends("UNVERIFIABLE", missing)
    compared.interventions = tuple(zip(interventions, intervention_texts, strict=True))
    row_options = _rows_as_signed(row_options, bound.extraction_record)
    if text is not None and (chosen := row_options.of_one_text()) is not None:
        corpus, row_options, text = [text], chosen, None
    if geometry_reference is not None and not compared.takes_reference(geometry_reference):
        return compared.ends("MISMATCH", f"geometry reference: {compared.links[-1].detail}")
    probe_files = [FileBytes.of(path) for path in probes]
    ended = _supplied(compared, probe_files)
    if ended is not None:
        return ended
    if record is not None or rows is not None:  # refused before the long run
        compared.signers.read_rows()
    compared.takes_readings(readings, attestation)
    with scratch_folder() as folder:
        to = {
            "output_activations": Path(folder, "activations.gotact"),
            "output_unembedding": Path(folder, "unembedding.gotue"),
        }
        as_signed, layers = _as_signed(signed, options), bound.activations.layers
        again: Extraction | CorpusExtraction
        try:
            if corpus is None:
                again = extract(
                    model, text or "", layers, **to, options=as_signed, progress=progress
                )
            else:
                again = extract_corpus(
                    model,
                    corpus,
                    layers,
                    **to,
                    options=as_signed,
                    corpus_options=CorpusOptions(**vars(row_options)),
                    listener=Listener() if progress is None else Listener(progress),
                )
        except Interrupted:  # whose advice is to resume, in a folder that is gone
            raise KeyboardInterrupt from None
        except (Refusal, BadOption) as error:
            if isinstance(error, BadOption) and error.where not in ("quantization", "dtype"):
                raise  # not what was signed, but what was asked for here
            return compared.ends("UNVERIFIABLE", f"cannot extract: {error.what}")
        compared.labels = labels
        return _compare(compared, again, probe_files, str(model), options)


def _rows_as_signed(rows: RowOptions, record: BoundRecord | None) -> RowOptions:
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


def _as_signed(attestation: Attestation, options: LoadingOptions) -> ExtractionOptions:
    """How the model is run: what is signed of it, on this machine."""
    bound = attestation.bound()
    record = bound.extraction_record
    came_so = record is not None and record.stored is not None
    return ExtractionOptions(
        **vars(options),
        dtype=DTYPES[attestation.precision],
        quantization="int8" if attestation.precision == "Int8" and not came_so else None,
        reproducible=True,
        allow_bidirectional=record is not None and record.bidirectional,
        model_id=attestation.model_id,
        layout=bound.activations.layout,
        stream=None if record is None else record.stream,
        rehash=True,
    )


def _supplied(compared: _Compared, probes: Sequence[FileBytes]) -> Reproduction | None:
    """Compare the files supplied with what was signed of them; how it ends, or None."""
    attestation, bound = compared.attestation, compared.bound
    activations = compared.signers.activations
    if activations is not None:
        if activations.sha256 != attestation.input_hash:
            raise DigestMismatch(
                activations,
                expected=f"the signed activations, {attestation.input_hash}",
                found="others",
            )
        ours, signed = (
            bound_activations(read_activations(activations), attestation.input_hash),
            bound.activations,
        )
        if ours != signed:
            compared.equal("header", ours, signed)
            where = first_difference("binding.activations", ours, signed)
            return compared.ends("MISMATCH", f"{where}, in the signer's file")
    digests = [file.sha256 for file in probes]
    entries = [entry.sha256 for entry in bound.probe_sets]
    if digests != entries and sorted(digests) == sorted(entries):
        return compared.ends("UNVERIFIABLE", "probe sets: those signed, in another order")
    for i, (digest, entry) in enumerate(zip(digests, entries, strict=True)):
        if not compared.equal(f"probe set {i}", digest, entry):
            link = compared.links[-1]
            return compared.ends("MISMATCH", f"{link.name}: {link.detail}")
    return None


def _missing(
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


def _unsigned_model(compared: _Compared, record: Record) -> Reproduction | None:
    """Whether it is the model that is signed; how it ends if it is not what others signed.

    Of another model all that was measured is compared nevertheless, to say where that differs.
    """
    signed, found = compared.bound.model, record.identity
    if signed is not None and found is not None:
        files = compared.equal("model", found.manifest_root, signed.manifest_root)
        if files and found.tensor_root != signed.tensor_root:
            compared.equal("model's tensors", found.tensor_root, signed.tensor_root)
    if compared.signed_model is not None and found is not None:
        try:
            check_covered(found.files, compared.signed_model, "signature of the model")
        except OtherModel as error:
            compared.links.append(Link("model's signature", False, error.what))
            return compared.ends("MISMATCH", error.what)
        key = f"covers its {len(found.files)} files, by key {compared.signed_model.key}"
        compared.links.append(Link("model's signature", True, key))
    return None


def _other_model(compared: _Compared, record: Record) -> Reproduction | None:
    """How it ends if all that was measured is as signed, and the model is not."""
    signed, found = compared.bound.model, record.identity
    if signed is None or found is None or signed.weights == found.weights:
        return None
    if signed.manifest_root == found.manifest_root:
        return compared.ends(
            "MISMATCH",
            "model: what was measured is equal, and so are its files, which have other tensors "
            f"than those signed: root {found.tensor_root}",
        )
    names = files_named(compared.signers.read_record(), found)
    if None in (signed.tensor_root, found.tensor_root):
        return compared.ends(
            "UNVERIFIABLE",
            "all that was measured is equal, but the model has other files, and whether the same "
            f"tensors cannot be told, as pickled ones are not read: {names}",
        )
    if not signed.weights.are(found.weights):
        return compared.ends(
            "MISMATCH", f"model: what was measured is equal, but its weights are others: {names}"
        )
    return compared.ends(
        "UNVERIFIABLE",
        f"all that was measured is equal, of the same tensors, but the model has other files: "
        f"{names}",
    )


def _other_tokens(
    compared: _Compared,
    again: Extraction | CorpusExtraction,
    model: str,
    options: LoadingOptions,
) -> Reproduction | None:
    """Whether the tokens are those signed, if these are there; how it ends if they are not."""
    theirs = compared.signers.read_record()
    if theirs is None:
        return None
    own = rows_path(again.activations_path)
    ours = tokens_of(again.record, read_own_rows(own, again.record) if own.exists() else None)
    signed = tokens_of(theirs, compared.signers.read_rows())
    if ours is None or signed is None:
        return None

    apart = token_difference(ours, signed, decoder_of(model, options))
    count = sum(map(len, ours.values()))
    compared.links.append(Link("tokens", apart is None, apart or f"{count}, as in the record"))
    return None if apart is None else compared.ends("MISMATCH", f"tokens: {apart}")


def _other_rows(compared: _Compared, again: Extraction | CorpusExtraction) -> str | None:
    """Where the row table is another one than the signer's, if both are there."""
    own, signed = rows_path(again.activations_path), compared.signers.read_rows()
    ours = read_own_rows(own, again.record) if own.exists() else None
    return None if ours is None or signed is None else row_difference(ours, signed)


def _other_states(
    compared: _Compared,
    again: Extraction | CorpusExtraction,
    sources: Sources,
    model: str,
    options: LoadingOptions,
) -> Reproduction | None:
    """Whether activations and record are those signed; how it ends if not: tokens first."""
    attestation, record = compared.attestation, again.record
    digest, signed = sources.activations_file.sha256, compared.bound.extraction_record
    signed_digest = "" if signed is None else signed.sha256
    if (digest, record.digest) != (attestation.input_hash, signed_digest):
        ended = _other_tokens(compared, again, model, options)
        if ended is not None:
            return ended
    if compared.equal("activations", digest, attestation.input_hash):
        if compared.equal("extraction record", record.digest, signed_digest):
            return None
        theirs = compared.signers.read_record()
        apart = _other_rows(compared, again) or record_difference(record, theirs)
        return compared.ends("MISMATCH", apart)
    apart = activations_difference(
        attestation, sources, compared.signers.activations, corpus=record.corpus is not None
    )
    if record.unproved:
        names = ", ".join(record.unproved)
        return compared.ends(
            "UNVERIFIABLE",
            f"the model has operations that are not proved to have one value ({names}); "
            f"activations: {apart}",
        )
    return compared.ends("MISMATCH", f"activations: {apart}")


def _other_evaluation(
    compared: _Compared, sources: Sources, kept: KeptReadings | None
) -> Reproduction | None:
    """Whether the evaluation, if one is signed, comes of these rows; how it ends if it does not."""
    evaluation = compared.bound.evaluation
    if evaluation is None:
        return None
    rows = sources.activations_file.rows if needs_rows(compared.bound) else None
    try:
        check_evaluation(compared.attestation, Labelled(compared.labels, rows, kept))
        check_trained_on(compared.attestation, sources.probe_sets)
    except GotError as error:
        compared.links.append(Link("evaluation", False, error.what))
        return compared.ends("MISMATCH", f"evaluation: {error.what}")
    compared.links.append(
        Link("evaluation", True, f"of {len(evaluation.probes)} probes, equal bit for bit")
    )
    return None


def _interventions_missing(
    attestation: Attestation, results: Sequence[PathLike], texts: Sequence[PathLike]
) -> str:
    """Why interventions that are signed cannot be run again; empty if they can.

    Raises:
        ContentMismatch: a result is none of those that are signed.
    """
    bound = attestation.bound()
    check_interventions(results, bound)
    if len(results) == len(texts) == len(bound.interventions):
        return ""
    return (
        f"{len(bound.interventions)} interventions are signed: the result of each "
        "(--intervention) and the texts that it was run on (--intervention-input-file) are needed, "
        f"{len(results)} and {len(texts)} given"
    )


def _other_interventions(
    compared: _Compared, probes: Sequence[PathLike], model: str, options: LoadingOptions
) -> Reproduction | None:
    """Whether the interventions, run again, give what is signed; how it ends if not."""
    sets = {FileBytes.of(path).sha256: path for path in probes}
    for path, texts in compared.interventions:
        signed, sha256 = read_intervention(path)
        name = f"intervention {quoted(signed.probe.dimension)}"
        try:
            again = repeated(
                signed, model, sets[signed.probe.sha256], texts,
                options=_as_signed(compared.attestation, options),
            )  # fmt: skip
        except GotError as error:
            compared.links.append(Link(name, False, error.what))
            return compared.ends("MISMATCH", f"{name}: {error.what}")
        if not compared.equal(name, again.sha256, sha256):
            return compared.ends("MISMATCH", first_difference(name, again, signed))
    return None


def _made_again(
    compared: _Compared, sources: Sources, kept: KeptReadings | None
) -> Attestation | Reproduction:
    """What these files give, if it is as signed; else how it ends.

    Args:
        kept: to be given readings that lie beside the document.
    """
    attestation = compared.attestation
    try:
        origins = RowOrigins.of(sources.activations_file)
        with rows_against(attestation, compared.readings) as against:
            takers = [against.add] if kept is None else [against.add, kept.add]
            made = recomputed(attestation, sources, compared.reference, origins, takers)
    except GotError as error:  # of files that are all as signed
        return compared.ends("MISMATCH", f"readings: not of the files signed: {error.what}")
    if against.apart is not None:
        where, found, theirs = against.apart
        return compared.ends("MISMATCH", f"{where}: signed {theirs}, found {found}")
    for name, ours_, signed_ in differences(made, attestation):
        compared.links.append(Link(name, False, f"signed {signed_}, found {ours_}"))
        where = first_difference(name, ours_, signed_)
        mine, yours = flat(made.layer_readings), flat(attestation.layer_readings)
        if name == "layer_readings" and len(mine) == len(yours):
            where += f"; of {len(attestation.confidence)} readings, {distance(mine, yours)}"
        return compared.ends("MISMATCH", where)
    return made


def _compare(
    compared: _Compared,
    again: Extraction | CorpusExtraction,
    probes: Sequence[PathLike],
    model: str,
    options: LoadingOptions,
) -> Reproduction:
    """Compare an extraction with what was signed, link by link, up to the first that differs."""
    attestation, bound = compared.attestation, compared.bound
    ended = _unsigned_model(compared, again.record)
    if ended is not None:
        return ended
    sources = open_sources(again.activations_path, probes, again.unembedding_path)
    unembedding = sources.unembedding
    if not compared.equal("unembedding", sources.unembedding_file.sha256, bound.unembedding.sha256):
        ours = (unembedding.vocab_size, unembedding.hidden_dim)
        signed = (bound.unembedding.vocab_size, bound.unembedding.hidden_dim)
        shape = f"{ours[0]} x {ours[1]}, as signed, with other values"
        if ours != signed:
            shape = f"{ours[0]} x {ours[1]}, signed {signed[0]} x {signed[1]}"
        return compared.ends("MISMATCH", f"unembedding: {shape}: another model")
    record = again.record
    signed_record = bound.extraction_record
    ours_in = record.adapter and record.adapter.sha256
    signed_in = signed_record and signed_record.adapter
    if (ours_in or signed_in) and not compared.equal("adapter", ours_in, signed_in):
        return compared.ends("MISMATCH", f"adapter: {compared.links[-1].detail}")
    ended = _other_states(compared, again, sources, model, options)
    if ended is not None:
        return ended
    kept = None
    if bound.readings is not None and bound.evaluation is not None:
        kept = KeptReadings(bound.readings.rows, len(bound.dimensions))
    made = _made_again(compared, sources, kept)
    if isinstance(made, Reproduction):
        return made
    compared.links.append(Link("geometry", True, f"{made.geometry_hash}"))
    count = f"{len(attestation.confidence)}"
    if bound.readings is not None:
        count = f"{bound.readings.rows * len(bound.dimensions)}, under one root"
    compared.links.append(Link("readings", True, f"{count}, equal bit for bit"))
    ended = _other_evaluation(compared, sources, kept)
    if ended is not None:
        return ended
    ended = _other_interventions(compared, probes, model, options)
    if ended is not None:
        return ended
    rebuilt = replace(made, signature=attestation.signature).to_json()
    document = attestation.to_json()  # what step 1 compared the file with
    compared.links.append(Link("document", rebuilt == document, f"{len(document)} bytes"))
    if rebuilt != document:
        names = ", ".join(
            name
            for name in attestation.not_made_here
            if getattr(made, name) != getattr(attestation, name)
        )
        return compared.ends(
            "UNVERIFIABLE", f"all that can be made again is equal; nothing here makes {names}"
        )
    ended = _other_model(compared, record)
    if ended is not None:
        return ended
    subject = quoted(model) if bound.model is None else "the model of these digests"
    return compared.ends(
        "MATCH",
        "",
        f"that {subject} is what the name {quoted(attestation.model_id)} stands for",
        "time, corpus version and tool",
        *(["which document it follows"] if attestation.follows else []),
        *(["when the bar was written down"] if bound.evaluation and bound.evaluation.bar else []),
        "how the probes were trained and what their cards say",
    )
