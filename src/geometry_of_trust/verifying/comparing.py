"""What was made again against what was signed: link by link, up to the first that differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from geometry_of_trust.attesting.assemble import differences, recomputed
from geometry_of_trust.attesting.evaluations import (
    KeptReadings,
    Labelled,
    check_evaluation,
    check_trained_on,
)
from geometry_of_trust.attesting.row_files import rows_against
from geometry_of_trust.documents.extraction_record import Record
from geometry_of_trust.documents.interventions import read_intervention
from geometry_of_trust.documents.names_beside import rows_path
from geometry_of_trust.errors import GotError, MalformedInput, OtherModel
from geometry_of_trust.extraction.one_text import Extraction
from geometry_of_trust.extraction.options import LoadingOptions
from geometry_of_trust.files import FileBytes, PathLike
from geometry_of_trust.formats.row_table import RowTable, read_own_rows
from geometry_of_trust.identity.model_signature import check_covered
from geometry_of_trust.intervening.intervene import repeated
from geometry_of_trust.probing.row_origins import RowOrigins
from geometry_of_trust.probing.sources import Sources, open_sources
from geometry_of_trust.signing.attestation import Attestation
from geometry_of_trust.terminal import quoted
from geometry_of_trust.verifying.differences import (
    activations_difference,
    distance,
    files_named,
    first_difference,
    flat,
    record_difference,
    row_difference,
)
from geometry_of_trust.verifying.reproduction import Compared, Link, Reproduction
from geometry_of_trust.verifying.signed_run import as_signed
from geometry_of_trust.verifying.supplied_files import needs_rows
from geometry_of_trust.verifying.token_differences import decoder_of, token_difference, tokens_of

if TYPE_CHECKING:
    from geometry_of_trust.corpus.corpus_run import CorpusExtraction


def _unsigned_model(compared: Compared, record: Record) -> Reproduction | None:
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


def _other_model(compared: Compared, record: Record) -> Reproduction | None:
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
    compared: Compared,
    again: Extraction | CorpusExtraction,
    model: str,
    options: LoadingOptions,
) -> Reproduction | None:
    """Whether the tokens are those signed, if these are there; how it ends if they are not."""
    theirs = compared.signers.read_record()
    if theirs is None:
        return None
    ours = tokens_of(again.record, _rows(again))
    signed = tokens_of(theirs, compared.signers.read_rows())
    if ours is None or signed is None:
        return None

    apart = token_difference(ours, signed, decoder_of(model, options))
    count = sum(map(len, ours.values()))
    compared.links.append(Link("tokens", apart is None, apart or f"{count}, as in the record"))
    return None if apart is None else compared.ends("MISMATCH", f"tokens: {apart}")


def _rows(again: Extraction | CorpusExtraction) -> RowTable | None:
    """The row table of an extraction, if it has one."""
    path = rows_path(again.activations_path)
    return read_own_rows(path, again.record) if path.exists() else None


def _other_rows(compared: Compared, again: Extraction | CorpusExtraction) -> str | None:
    """Where the row table is another one than the signer's, if both are there."""
    ours, signed = _rows(again), compared.signers.read_rows()
    return None if ours is None or signed is None else row_difference(ours, signed)


def _other_states(
    compared: Compared,
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
    compared: Compared, sources: Sources, kept: KeptReadings | None
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


def _other_interventions(
    compared: Compared, probes: Sequence[PathLike], model: str, options: LoadingOptions
) -> Reproduction | None:
    """Whether the interventions, run again, give what is signed; how it ends if not."""
    sets = {FileBytes.of(path).sha256: path for path in probes}
    for path, texts in compared.interventions:
        signed, sha256 = read_intervention(path)
        name = f"intervention {quoted(signed.probe.dimension)}"
        try:
            again = repeated(
                signed, model, sets[signed.probe.sha256], texts,
                options=as_signed(compared.attestation, options),
            )  # fmt: skip
        except MalformedInput as error:  # of the auditor's texts, which is nothing of the signer's
            return compared.ends("UNVERIFIABLE", f"{name}: cannot be run again: {error.what}")
        except GotError as error:
            compared.links.append(Link(name, False, error.what))
            return compared.ends("MISMATCH", f"{name}: {error.what}")
        if not compared.equal(name, again.sha256, sha256):
            apart = first_difference(name, again, signed)
            if again.unproved:
                operations = ", ".join(map(quoted, again.unproved))
                unproved = f"operations that are not proved to have one value ({operations})"
                return compared.ends("UNVERIFIABLE", f"the model has {unproved}; {apart}")
            return compared.ends("MISMATCH", apart)
    return None


def _made_again(
    compared: Compared, sources: Sources, kept: KeptReadings | None
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


def compare(
    compared: Compared,
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
