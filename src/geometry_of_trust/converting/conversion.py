"""One file into another: which kinds they are, and what the options may say."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geometry_of_trust.converting import npy, tensors, vllm
from geometry_of_trust.converting.exchange import Held, Names, pieces
from geometry_of_trust.converting.tensorfile import TensorFile, read_tensors
from geometry_of_trust.documents.names_beside import rows_path
from geometry_of_trust.errors import BadOption, UnknownKind, WrongKind
from geometry_of_trust.extras import optional
from geometry_of_trust.files import PathLike, StagedFiles, opened
from geometry_of_trust.formats.arrays import Activations, Layout, Unembedding
from geometry_of_trust.formats.binary import (
    read_activations,
    read_unembedding,
    stage_activations,
    stage_unembedding,
)

SUFFIXES = (".gotact", ".gotue", ".safetensors", ".npy", ".parquet")
_MAGIC = {b"GOTA": ".gotact", b"GOTU": ".gotue", b"\x93NUM": ".npy", b"PAR1": ".parquet"}


@dataclass(frozen=True)
class Converted:
    """What a conversion wrote.

    Attributes:
        files: the destination first; beside it, from vLLM's export, its row table.
        shape: (layers, P, d) of activations, (V, d) of an unembedding.
    """

    files: tuple[Path, ...]
    shape: tuple[int, ...]


def convert(
    source: PathLike,
    destination: PathLike,
    *,
    model_id: str | None = None,
    precision: str | None = None,
    layers: Sequence[int] | None = None,
    layout: Layout | None = None,
    rows: bool = False,
) -> Converted:
    """Write what `source` holds to `destination`, whose suffix says as what.

    A few MB are in memory at a time. What cannot be mapped as float32 (Parquet, half precision) is
    first written to a file without a name in the destination's folder.

    Args:
        source: `.gotact`, `.gotue`, `.safetensors` (ours, or vLLM's export), `.npy`, `.parquet`.
        destination: one of these; it is replaced.
        model_id, precision, layers: what the source does not say itself.
        layout: of a `.gotact` destination; the source's if None.
        rows: join the row table beside the source to each row of a `.parquet` destination.

    Raises:
        UsageError: UnknownKind, WrongKind, NotNamed, BadOption; MissingExtra for `.parquet`.
        MalformedInput: the source, as its reader says, or the destination cannot be written.
    """
    given = Names(model_id, precision, None if layers is None else tuple(layers))
    kinds = _source_kind(source), _suffix(destination)
    _check_options(source, destination, kinds[1], layout, rows)
    tensor_file = read_tensors(source) if kinds[0] == ".safetensors" else None
    exported = tensor_file is not None and vllm.recognised(tensor_file)
    if exported and kinds[1] != ".gotact":
        raise WrongKind(destination, expected="a .gotact for what vLLM exported", found=kinds[1],
                        hint="Convert to .gotact first; that keeps the token ids.")  # fmt: skip
    held = _read(source, kinds[0], tensor_file, given, destination)
    _check_agreement(held, given)
    with StagedFiles() as staged:
        beside = rows_path(source) if rows else None
        _stage(staged, destination, kinds[1], held, layout=layout, rows=beside)
        files = [Path(destination)]
        if exported and tensor_file is not None:
            vllm.stage_rows(staged, destination, vllm.token_ids(tensor_file))
            files.append(rows_path(destination))
    return Converted(tuple(files), held.values.shape)


def _source_kind(path: PathLike) -> str:
    with opened(path) as handle:
        magic = handle.read(4)
    return _MAGIC[magic] if magic in _MAGIC else _suffix(path)


def _suffix(path: PathLike) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UnknownKind(path, expected=", ".join(SUFFIXES), found=suffix or "no suffix")
    return suffix


def _check_options(
    source: PathLike, destination: PathLike, kind: str, layout: Layout | None, rows: bool
) -> None:
    if os.path.exists(destination) and os.path.samefile(source, destination):
        raise BadOption(destination, expected="another file than the source", found="the same")
    if layout is not None and kind != ".gotact":
        raise BadOption("--gotact-layout", expected="a .gotact destination", found=kind)
    if rows and kind != ".parquet":
        raise BadOption("--rows", expected="a .parquet destination", found=kind)


def _read(
    source: PathLike, kind: str, file: TensorFile | None, given: Names, near: PathLike
) -> Held:
    if file is not None:
        reader = vllm.read if vllm.recognised(file) else tensors.read
        return reader(file, given, near)
    if kind == ".npy":
        return npy.read(source, given, near)
    if kind == ".parquet":
        with optional():
            from geometry_of_trust.converting import tables  # noqa: PLC0415 - of an extra
        return tables.read(source, given, near)
    return read_activations(source) if kind == ".gotact" else read_unembedding(source)


def _check_agreement(held: Held, given: Names) -> None:
    """BadOption if an option says other than the source: a conversion renames nothing."""
    for option, said, wanted in (
        ("--model-id", getattr(held, "model_id", None), given.model_id),
        ("--precision", getattr(held, "precision", None), given.precision),
        ("--layers", getattr(held, "layers", None), given.layers),
    ):
        if wanted is not None and said != wanted:
            raise BadOption(
                option,
                expected="nothing for an unembedding" if said is None else f"{said}, as the source",
                found=wanted,
            )


def _stage(
    staged: StagedFiles,
    path: PathLike,
    kind: str,
    held: Held,
    *,
    layout: Layout | None,
    rows: PathLike | None,
) -> None:
    if rows is not None and isinstance(held, Unembedding):
        raise BadOption("--rows", expected="activations", found="an unembedding")
    if kind == ".safetensors":
        tensors.stage(staged, path, held)
    elif kind == ".npy":
        npy.stage(staged, path, held)
    elif kind == ".parquet":
        with optional():
            from geometry_of_trust.converting import tables  # noqa: PLC0415 - of an extra
        tables.stage(staged, path, held, rows)
    elif kind == ".gotact" and isinstance(held, Activations):
        stage_activations(staged, path, held, layout)
    elif kind == ".gotue" and isinstance(held, Unembedding):
        stage_unembedding(staged, path, held.values.shape, pieces(held.values))
    else:
        found = "activations" if isinstance(held, Activations) else "an unembedding"
        raise WrongKind(
            path,
            expected=f"a destination for {found}",
            found=kind,
            hint="An array of two dimensions is an unembedding; of three, activations.",
        )
