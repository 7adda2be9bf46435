"""Trained probe sets as files: what each is called, and that all of them appear or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from geometry_of_trust.errors import BadOption
from geometry_of_trust.files import PathLike
from geometry_of_trust.outputs.places import check_outputs
from geometry_of_trust.outputs.staged_files import StagedFiles
from geometry_of_trust.probing.training import TrainingResult


def write_probe_sets(
    results: Sequence[TrainingResult],
    output: PathLike,
    *,
    by_layer: bool,
    beside: Mapping[Path, bytes] | None = None,
    inputs: Iterable[PathLike] = (),
) -> tuple[Path, ...]:
    """Write a probe set a layer, all together or none.

    Args:
        output: the file of a single probe set, or what the names of several are made from.
        by_layer: put the layer into each name (see `layer_path`), even if there is but one.
        beside: other files that belong to them, to be written with them.
        inputs: what must not be replaced, as the probes came from it.

    Returns:
        The files of the probe sets, in the order of the results.

    Raises:
        Unwritable: nothing was written.
        BadOption: two outputs are one file, or `output` ends in no name.
        OutputIsInput, OutputExists, NotAFile, UnsafeFolder: as `check_outputs`.
    """
    paths = tuple(
        layer_path(output, result.probe_set.layer) if by_layer else Path(output)
        for result in results
    )
    check_outputs([*paths, *(beside or {})], inputs)
    with StagedFiles() as staged:
        for result, path in zip(results, paths, strict=True):
            staged.write(path, result.probe_set.to_json())
        for path, data in (beside or {}).items():
            staged.write(path, data)
    return paths


def layer_path(output: PathLike, layer: int) -> Path:
    """Where the probe set of one of several layers goes: `p.json` → `p.layer8.json`.

    Raises:
        BadOption: the path ends in no name.
    """
    path = Path(output)
    if not path.name:
        raise BadOption(path, expected="the name of a file", found="a folder")
    return path.with_name(f"{path.stem}.layer{layer}{path.suffix}")
