"""From a model and a text back to a signed attestation, byte for byte, or to where it differs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from geometry_of_trust.attesting.assemble import bound_activations
from geometry_of_trust.corpus.extracting import extract_corpus
from geometry_of_trust.corpus.options import CorpusOptions, Listener, RowOptions
from geometry_of_trust.errors import BadOption, DigestMismatch, Interrupted, Refusal
from geometry_of_trust.extraction.one_text import Extraction, extract
from geometry_of_trust.extraction.options import LoadingOptions
from geometry_of_trust.files import FileBytes, PathLike
from geometry_of_trust.formats.gotact import read_activations
from geometry_of_trust.outputs.temporary_files import scratch_folder
from geometry_of_trust.progress import Progress
from geometry_of_trust.signing.keys import PublicKey
from geometry_of_trust.verifying.comparing import compare
from geometry_of_trust.verifying.differences import first_difference
from geometry_of_trust.verifying.reproduction import Compared, Reproduction
from geometry_of_trust.verifying.signed_run import (
    as_signed,
    interventions_missing,
    missing_for,
    rows_as_signed,
)
from geometry_of_trust.verifying.signers import Signers
from geometry_of_trust.verifying.verify import verify

if TYPE_CHECKING:
    from geometry_of_trust.corpus.corpus_run import CorpusExtraction


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
    compared = Compared(signed, Signers(bound.extraction_record, original, record, rows))
    compared.takes_signature(model_signature, model_key)
    missing = missing_for(signed, probes, geometry_reference, options)
    if not missing and labels is None and bound.evaluation and bound.evaluation.from_file:
        missing = "the labels that the evaluation was made with are needed (--labels)"
    missing = missing or interventions_missing(signed, interventions, intervention_texts)
    if missing:
        return compared.ends("UNVERIFIABLE", missing)
    compared.interventions = tuple(zip(interventions, intervention_texts, strict=True))
    row_options = rows_as_signed(row_options, bound.extraction_record)
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
        run, layers = as_signed(signed, options), bound.activations.layers
        again: Extraction | CorpusExtraction
        try:
            if corpus is None:
                again = extract(model, text or "", layers, **to, options=run, progress=progress)
            else:
                again = extract_corpus(
                    model,
                    corpus,
                    layers,
                    **to,
                    options=run,
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
        return compare(compared, again, probe_files, str(model), options)


def _supplied(compared: Compared, probes: Sequence[FileBytes]) -> Reproduction | None:
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
