"""What a run leaves beside its arrays: the record of what was run, and labels that are kept."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from geometry_of_trust.arithmetic import ARITHMETIC
from geometry_of_trust.documents.extraction_record import (
    Record,
    Token,
    Tower,
    UnusedWeights,
    WrittenFile,
)
from geometry_of_trust.documents.recorded_identity import RecordedIdentity
from geometry_of_trust.errors import TooLarge, Unreadable
from geometry_of_trust.files import read_bounded
from geometry_of_trust.formats.gotue import stage_unembedding
from geometry_of_trust.identity.matrix import MatrixFinder
from geometry_of_trust.identity.model_identity import ModelIdentity
from geometry_of_trust.outputs.staged_files import StagedFiles
from geometry_of_trust.version import __version__

if TYPE_CHECKING:
    from geometry_of_trust.extraction.first_text import Findings
    from geometry_of_trust.extraction.running import Runner

_STUB = re.compile(rb"(0\r?\n)*0(\r?\n)?")


def is_edited(labels: Path) -> bool:
    """Whether something is there that is not a stub as it was written."""
    try:
        return not _STUB.fullmatch(read_bounded(labels))
    except TooLarge:
        return True
    except Unreadable:
        return os.path.lexists(labels)


def stage_arrays(
    staged: StagedFiles,
    runner: Runner,
    identity: ModelIdentity,
    *,
    activations: Path,
    unembedding: Path,
) -> tuple[list[WrittenFile], RecordedIdentity]:
    """Write the unembedding beside staged activations: what is recorded of both, and of the model.

    Which tensor of the model the unembedding is, is digested while the two files are.
    """
    shape = runner.weight.shape[0], runner.weight.shape[1]
    with MatrixFinder(identity, shape) as finder:
        stage_unembedding(staged, unembedding, shape, finder.seen(runner.unembedding_rows()))
        written = [WrittenFile(x.name, staged.sha256(x)) for x in (activations, unembedding)]
        name = runner.opened.anatomy.unembedding_path.rpartition(".")[2]
        return written, identity.recorded(finder.proof(f"{name}.weight"))


def make_record(
    runner: Runner,
    findings: Findings,
    prompt_sha256: str,
    tokens: tuple[Token, ...],
    written: Sequence[WrittenFile],
) -> Record:
    """The record of a run.

    Args:
        written: the activations and the unembedding.
    """
    from geometry_of_trust.extraction import quantizing  # noqa: PLC0415 - heavy
    from geometry_of_trust.extraction.running import libraries  # noqa: PLC0415 - heavy

    opened = runner.opened
    request, options, anatomy = opened.request, opened.request.options, opened.anatomy
    tower = None
    if anatomy.beside:
        decoder = opened.skeleton.get_submodule(anatomy.decoder_path)
        tower = Tower(type(decoder).__name__, anatomy.decoder_path)
    return Record(
        tool_version=__version__,
        model=request.model,
        model_id=request.model_id,
        revision=options.revision,
        commit=opened.source.commit,
        model_class=type(runner.loaded.model).__name__,
        blocks_path=anatomy.blocks_path,
        blocks_total=anatomy.blocks,
        blocks_loaded=runner.loaded.blocks,
        whole_because=runner.whole_because,
        tower=tower,
        left_out=runner.left_out,
        unembedding_path=anatomy.unembedding_path,
        tied=runner.tied,
        bias=runner.unembedding.bias is not None,
        layers=opened.layers,
        dtype=options.dtype,
        precision=opened.precision,
        reproducible=request.reproducible,
        arithmetic=ARITHMETIC if request.reproducible else None,
        streams=None if anatomy.streams is None else anatomy.streams.count,
        stream=None if opened.stream is None else opened.stream.name,
        device=str(opened.device),
        attention=runner.attention,
        quantization=options.quantization,
        quantization_library=None if options.quantization is None else quantizing.version(),
        unproved=tuple(sorted(runner.unproved)),
        libraries=libraries(),
        activations=written[0],
        unembedding=written[1],
        prompt_sha256=prompt_sha256,
        tokens=tokens,
        bidirectional=findings.bidirectional,
        unembedding_reads=findings.unembedding_reads,
        unused_weights=UnusedWeights.of(runner.loaded.unused),
        stored=opened.stored,
        adapter=None if opened.adapter is None else opened.adapter.recorded,
        gguf=None if opened.gguf is None else opened.gguf.recorded,
    )
