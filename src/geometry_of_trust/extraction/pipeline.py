"""One extraction, from its arguments to its four files."""

from __future__ import annotations

import atexit
import contextlib
import gc
import hashlib
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from geometry_of_trust.documents.extraction_record import Record, Token, WrittenFile
from geometry_of_trust.documents.names_beside import rows_path
from geometry_of_trust.errors import EmptyText, TooLarge, Unreadable
from geometry_of_trust.extraction.request import Request, utf8
from geometry_of_trust.extras import optional
from geometry_of_trust.files import PathLike, StagedFiles, read_bounded, sha256_file
from geometry_of_trust.formats.arrays import Activations, Layout
from geometry_of_trust.formats.gotact import stage_activations
from geometry_of_trust.formats.gotue import stage_unembedding
from geometry_of_trust.formats.labels import labels_stub
from geometry_of_trust.version import __version__

if TYPE_CHECKING:
    from geometry_of_trust.extraction.running import Run, Runner

_STUB = re.compile(rb"(0\r?\n)*0(\r?\n)?")


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
    def token_texts(self) -> tuple[str, ...]:
        """The text of the token at each position."""
        return tuple(token.text for token in self.record.tokens)


def extract(
    model: PathLike,
    text: str,
    layers: Sequence[int],
    *,
    output_activations: PathLike,
    output_unembedding: PathLike,
    device: str = "auto",
    dtype: str = "float32",
    trust_remote_code: bool = False,
    revision: str | None = None,
    model_id: str | None = None,
    layout: Layout = "per-layer",
    reproducible: bool | None = None,
    low_memory: bool = False,
    quantization: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> Extraction:
    """Run a causal language model on a text; write its residual stream and its unembedding.

    Layer i is the output of block i (0-based) at every token, before any final norm. Blocks after
    the deepest layer are neither loaded nor run. Beside the activations come a labels stub and
    the extraction record; all four files appear together, or none.

    Args:
        model: name on the hub, folder, or `.gguf` file.
        text: one text; the tokenizer adds its special tokens.
        layers: block indices, in any order.
        output_activations, output_unembedding: the files to write (`.gotact`, `.gotue`).
        device: "auto", "cpu", "cuda", "cuda:1" …
        dtype: the type that the model runs in: "float32", "float16" or "bfloat16". The files hold
            float32 always.
        trust_remote_code: run code that comes with the model.
        revision: branch, tag or commit of a model on the hub.
        model_id: what the activations call the model; `model` if None.
        layout: which of the two byte layouts of `.gotact` to write.
        reproducible: compute in float64 throughout and round once to float32, so that the bytes
            are the same on every machine; None: if dtype is float32 and nothing is quantised. The
            weights are those of `dtype`, and so is the precision tag.
        low_memory: leave the weights in their safetensors files, and read each block when it is
            needed.
        quantization: "int8": hold the linear layers of the blocks in 8-bit integers, and compute
            in `dtype` with what these stand for. The precision tag is then `Int8`; the unembedding
            is written as it is without.
        progress: told what is being done.

    Raises:
        UsageError: EmptyText, RepeatedLayers, BadOption, MissingExtra.
        ExtractionRefused: LayerOutOfRange, TextTooLong, UnknownModel, NoTokenizer,
            UnsupportedArchitecture, UntrustedCode, IncompleteModel, ModelFailed, NoDevice.
        DimensionMismatch: the unembedding does not read the residual stream directly.
        NonFinite: the activations are not finite; names layer and position.
        MalformedInput: BadText; Unwritable, with nothing left behind.
    """
    request = Request.asked(
        model,
        layers,
        output_activations=output_activations,
        output_unembedding=output_unembedding,
        device=device,
        dtype=dtype,
        quantization=quantization,
        trust_remote_code=trust_remote_code,
        revision=revision,
        model_id=model_id,
        layout=layout,
        reproducible=reproducible,
        low_memory=low_memory,
    )
    if not text:
        raise EmptyText("text", expected="at least one character", found="none")
    prompt_sha256 = hashlib.sha256(utf8(text, "text")).hexdigest()
    report = progress or (lambda message: None)
    with calm():
        with optional():
            from geometry_of_trust.extraction import loading, running  # noqa: PLC0415 - heavy
        with loading.silence():
            run = running.run(request, text, report)
            report("Writing")
            return _write(request, run, prompt_sha256)


@contextlib.contextmanager
def calm() -> Iterator[None]:
    """Neither third-party warnings nor searches for garbage.

    The imports of torch and transformers and the making of a model leave millions of objects that
    stay; looking through them for garbage again and again takes a fifth of the whole time.
    Nor does the process end with such a search, which would take a second.
    """
    atexit.unregister(gc.freeze)  # once is enough
    atexit.register(gc.freeze)
    enabled = gc.isenabled()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if gc.get_freeze_count() == 0:
            gc.freeze()  # both together: what was made now counts as old,
            gc.unfreeze()  # and the next search for young garbage leaves it out
        if enabled:
            gc.enable()


def _write(request: Request, run: Run, prompt_sha256: str) -> Extraction:
    """Write the four files, the record last."""
    to_activations, to_unembedding, to_labels, to_record = request.outputs
    activations = Activations(
        model_id=request.model_id,
        precision=request.precision,
        layers=request.layers,
        positions=range(len(run.tokens)),
        values=run.values,
        layout=request.layout,
    )
    vocab_size, hidden_dim = run.runner.unembedding.weight.shape
    rows = run.runner.unembedding_rows()
    labels_kept = is_edited(to_labels)
    with StagedFiles() as staged:
        stage_activations(staged, to_activations, activations)
        stage_unembedding(staged, to_unembedding, (vocab_size, hidden_dim), rows)
        if not labels_kept:
            staged.write(to_labels, labels_stub(len(run.tokens)))
        written = [
            WrittenFile(path.name, sha256_file(staged.temporary(path)))
            for path in (to_activations, to_unembedding)
        ]
        record = make_record(run.runner, prompt_sha256, run.tokens, *written)
        staged.write(to_record, record.to_json())
    # What an earlier corpus run left is of the activations that are replaced.
    rows_path(to_activations).unlink(missing_ok=True)
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


def is_edited(labels: Path) -> bool:
    """Whether something is there that is not a stub as it was written."""
    try:
        return not _STUB.fullmatch(read_bounded(labels))
    except TooLarge:
        return True
    except Unreadable:
        return os.path.lexists(labels)


def make_record(
    runner: Runner,
    prompt_sha256: str,
    tokens: tuple[Token, ...],
    activations: WrittenFile,
    unembedding: WrittenFile,
) -> Record:
    """The record of a run."""
    from geometry_of_trust.extraction import quantizing  # noqa: PLC0415 - heavy
    from geometry_of_trust.extraction.running import libraries  # noqa: PLC0415 - heavy

    opened = runner.opened
    request, anatomy = opened.request, opened.anatomy
    return Record(
        tool_version=__version__,
        model=request.model,
        model_id=request.model_id,
        revision=request.revision,
        commit=opened.source.commit,
        model_class=type(runner.loaded.model).__name__,
        blocks_path=anatomy.blocks_path,
        blocks_total=anatomy.blocks,
        blocks_loaded=runner.loaded.blocks,
        whole_because=runner.whole_because,
        unembedding_path=anatomy.unembedding_path,
        tied=runner.tied,
        bias=runner.unembedding.bias is not None,
        layers=request.layers,
        dtype=request.dtype,
        precision=request.precision,
        reproducible=request.reproducible,
        device=str(opened.device),
        attention=runner.attention,
        low_memory=request.low_memory,
        quantization=request.quantization,
        quantization_library=None if request.quantization is None else quantizing.version(),
        unproved=tuple(sorted(runner.unproved)),
        libraries=libraries(),
        activations=activations,
        unembedding=unembedding,
        prompt_sha256=prompt_sha256,
        tokens=tokens,
    )
