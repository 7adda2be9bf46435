"""One extraction, from its arguments to its four files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from geometry_of_trust.documents.extraction_record import Record
from geometry_of_trust.documents.names_beside import rows_path
from geometry_of_trust.errors import EmptyText
from geometry_of_trust.extraction.identifying import Identifying
from geometry_of_trust.extraction.options import ExtractionOptions, utf8
from geometry_of_trust.extraction.quiet import running_model
from geometry_of_trust.extraction.recording import is_edited, make_record, stage_arrays
from geometry_of_trust.extraction.request import Request
from geometry_of_trust.extraction.tokenizing import begins_twice
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.gotact import stage_activations
from geometry_of_trust.formats.labels import labels_stub
from geometry_of_trust.identity.model_identity import ModelIdentity
from geometry_of_trust.outputs.folder_locks import only_run_into
from geometry_of_trust.outputs.staged_files import StagedFiles

if TYPE_CHECKING:
    from geometry_of_trust.extraction.first_text import Findings
    from geometry_of_trust.extraction.running import Run


@dataclass(frozen=True, eq=False)
class Extraction:
    """What an extraction gives.

    Attributes:
        activations: the residual stream, in memory.
        activations_path, unembedding_path, labels_path, record_path: the files.
        record: what stands in the extraction record.
        labels_kept: an edited labels file was there, and was left as it was.
        unembedding_shape: (V, d) of the unembedding written.
    """

    activations: Activations
    activations_path: Path
    unembedding_path: Path
    labels_path: Path
    record_path: Path
    record: Record
    labels_kept: bool
    unembedding_shape: tuple[int, int]

    @property
    def begun_twice(self) -> bool:
        """Whether the text begins with the same special token twice."""
        return begins_twice([(token.id, token.special) for token in self.record.tokens[:2]])

    @property
    def token_texts(self) -> tuple[str, ...]:
        """The text of the token at each position."""
        return tuple(token.text for token in self.record.tokens)


def extract(
    model: PathLike,
    text: str,
    layers: Sequence[int] | None,
    *,
    output_activations: PathLike = "activations.gotact",
    output_unembedding: PathLike = "unembedding.gotue",
    options: ExtractionOptions = ExtractionOptions(),
    progress: Callable[[str], None] | None = None,
) -> Extraction:
    """Run a causal language model on a text; write its residual stream and its unembedding.

    Layer i is the output of block i (0-based) at every token, before any final norm. Blocks after
    the deepest layer are neither loaded nor run. Beside the activations come a labels stub and
    the extraction record; all four files appear together, or none.

    Args:
        model: name on the hub, folder, or `.gguf` file.
        text: one text; the tokenizer adds its special tokens.
        layers: block indices, in any order, -1 for the last; None: all blocks.
        output_activations, output_unembedding: the files to write (`.gotact`, `.gotue`).
        options: how the model is run, and how its activations are written.
        progress: told what is being done.

    Returns:
        The activations, float32, shape (layers, tokens, d), and where the files are.

    Raises:
        UsageError: EmptyText, RepeatedLayers, BadOption, MissingExtra, NoKernels.
        ExtractionRefused: LayerOutOfRange, WrongStream, TextTooLong, UnknownModel, NoTokenizer,
            TokenizerFailed, UnsupportedArchitecture, UntrustedCode, OutsideOfModel,
            IncompleteModel, ModelFailed, NoDevice; NotCausal: states depend on later tokens.
        LimitExceeded: the model promises too many layers, or is made of too many modules.
        DimensionMismatch: the unembedding does not read the residual stream directly.
        NonFinite, ZeroState, ConstantState: the activations are not finite, or zero, or the same
            for each text; name layer and position.
        MalformedInput: BadText; TooLarge and NotEnoughMemory for what the model needs; Unwritable,
            with nothing left behind.
    """
    request = Request.of(model, layers, output_activations, output_unembedding, options)
    if not text:
        raise EmptyText("text", expected="at least one character", found="none")
    prompt_sha256 = hashlib.sha256(utf8(text, "text")).hexdigest()
    report = progress or (lambda message: None)
    with only_run_into(*request.outputs), running_model(), Identifying(request) as identifying:
        from geometry_of_trust.extraction import first_text, running  # noqa: PLC0415 - heavy

        run = running.run(request, text, report)
        report("Checking")
        findings = first_text.look(run.runner, [token.id for token in run.tokens], run.values)
        identity = identifying.of(run.runner.opened.source)
        report("Writing")
        return _write(request, run, findings, prompt_sha256, identity)


def _write(
    request: Request, run: Run, findings: Findings, prompt_sha256: str, identity: ModelIdentity
) -> Extraction:
    """Write the four files, the record last."""
    to_activations, to_unembedding, to_labels, to_record = request.outputs
    activations = Activations(
        model_id=request.model_id,
        precision=run.runner.opened.precision,
        layers=run.runner.opened.layers,
        positions=range(len(run.tokens)),
        values=run.values,
        layout=request.options.layout,
    )
    vocab_size, hidden_dim = run.runner.weight.shape
    labels_kept = is_edited(to_labels)
    with StagedFiles() as staged:
        stage_activations(staged, to_activations, activations)
        if not labels_kept:
            staged.write(to_labels, labels_stub(len(run.tokens)))
        written, recorded = stage_arrays(
            staged, run.runner, identity, activations=to_activations, unembedding=to_unembedding
        )
        record = make_record(run.runner, findings, prompt_sha256, run.tokens, written)
        record = replace(record, identity=recorded)
        staged.write(to_record, record.to_json())
        # What an earlier corpus run left is of the activations that are replaced.
        staged.remove(rows_path(to_activations))
    return Extraction(
        activations=activations,
        activations_path=to_activations,
        unembedding_path=to_unembedding,
        labels_path=to_labels,
        record_path=to_record,
        record=record,
        labels_kept=labels_kept,
        unembedding_shape=(vocab_size, hidden_dim),
    )
