"""One file into another: which kinds they are, and what the options may say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geometry_of_trust.converting import npy, tensors, vllm
from geometry_of_trust.converting.exchange import Convertible, Names, float32_pieces
from geometry_of_trust.converting.tensorfile import TensorFile, read_tensors
from geometry_of_trust.documents.names_beside import record_path, rows_path
from geometry_of_trust.errors import BadOption, UnknownKind, WrongKind
from geometry_of_trust.extras import optional
from geometry_of_trust.files import FileBytes, PathLike
from geometry_of_trust.formats.arrays import Activations, Layout, Unembedding
from geometry_of_trust.formats.gotact import read_activations, stage_activations
from geometry_of_trust.formats.gotue import read_unembedding, stage_unembedding
from geometry_of_trust.outputs.places import check_outputs
from geometry_of_trust.outputs.staged_files import StagedFiles

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

    A source of up to 64 MiB is copied into memory first; a larger one is mapped, and a few MB of it
    are in memory at a time. What cannot be mapped as float32 (Parquet, half precision) is
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
        FileChanged: the source was written to meanwhile; nothing was written.
    """
    given = Names(model_id, precision, None if layers is None else tuple(layers))
    file = FileBytes.of(source)
    kinds = _source_kind(file), _suffix(destination)
    _check_options(source, destination, kinds[1], layout, rows)
    tensor_file = read_tensors(file) if kinds[0] == ".safetensors" else None
    exported = tensor_file is not None and vllm.recognised(tensor_file)
    if exported:
        check_outputs([rows_path(destination)], [source])
    if exported and kinds[1] != ".gotact":
        raise WrongKind(destination, expected="a .gotact for what vLLM exported", found=kinds[1],
                        hint="Convert to .gotact first; that keeps the token ids.")  # fmt: skip
    content = _read(file, kinds[0], tensor_file, given, destination)
    _check_agreement(content, given)
    with StagedFiles() as staged:
        beside = rows_path(source) if rows else None
        _stage(staged, destination, kinds[1], content, layout=layout, rows=beside)
        files = [Path(destination)]
        if exported and tensor_file is not None:
            vllm.stage_rows(staged, destination, vllm.token_ids(tensor_file))
            files.append(rows_path(destination))
        file.check_unchanged()  # before anything appears
    return Converted(tuple(files), content.values.shape)


def _source_kind(file: FileBytes) -> str:
    magic = file.read(0, 4)
    return _MAGIC[magic] if magic in _MAGIC else _suffix(file)


def _suffix(path: PathLike) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UnknownKind(path, expected=", ".join(SUFFIXES), found=suffix or "no suffix")
    return suffix


def _check_options(
    source: PathLike, destination: PathLike, kind: str, layout: Layout | None, rows: bool
) -> None:
    check_outputs([destination], [source, rows_path(source), record_path(source)])
    if layout is not None and kind != ".gotact":
        raise BadOption("--gotact-layout", expected="a .gotact destination", found=kind)
    if rows and kind != ".parquet":
        raise BadOption("--rows", expected="a .parquet destination", found=kind)


def _read(
    file: FileBytes, kind: str, tensor_file: TensorFile | None, given: Names, near: PathLike
) -> Convertible:
    if tensor_file is not None:
        reader = vllm.read if vllm.recognised(tensor_file) else tensors.read
        return reader(tensor_file, given, near)
    if kind == ".npy":
        return npy.read(file, given, near)
    if kind == ".parquet":
        with optional():
            from geometry_of_trust.converting import tables  # noqa: PLC0415 - of an extra
        return tables.read(file, given, near)
    return read_activations(file) if kind == ".gotact" else read_unembedding(file)


def _check_agreement(content: Convertible, given: Names) -> None:
    """BadOption if an option says other than the source: a conversion renames nothing."""
    for option, said, wanted in (
        ("--model-id", getattr(content, "model_id", None), given.model_id),
        ("--precision", getattr(content, "precision", None), given.precision),
        ("--layers", getattr(content, "layers", None), given.layers),
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
    content: Convertible,
    *,
    layout: Layout | None,
    rows: PathLike | None,
) -> None:
    if rows is not None and isinstance(content, Unembedding):
        raise BadOption("--rows", expected="activations", found="an unembedding")
    if kind == ".safetensors":
        tensors.stage(staged, path, content)
    elif kind == ".npy":
        npy.stage(staged, path, content)
    elif kind == ".parquet":
        with optional():
            from geometry_of_trust.converting import tables  # noqa: PLC0415 - of an extra
        tables.stage(staged, path, content, rows)
    elif kind == ".gotact" and isinstance(content, Activations):
        stage_activations(staged, path, content, layout)
    elif kind == ".gotue" and isinstance(content, Unembedding):
        stage_unembedding(staged, path, content.values.shape, float32_pieces(content.values))
    else:
        found = "activations" if isinstance(content, Activations) else "an unembedding"
        raise WrongKind(
            path,
            expected=f"a destination for {found}",
            found=kind,
            hint="An array of two dimensions is an unembedding; of three, activations.",
        )
