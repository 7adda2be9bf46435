"""Results of interventions, held against the probes that are read, and what is bound of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from geometry_of_trust.attesting.mismatches import first_apart
from geometry_of_trust.documents.bound_interventions import BoundIntervention
from geometry_of_trust.documents.interventions import Intervention, read_intervention
from geometry_of_trust.documents.model_names import same_model
from geometry_of_trust.errors import ContentMismatch, Inconsistent
from geometry_of_trust.files import PathLike
from geometry_of_trust.signing.binding import Binding


def bound_interventions(
    paths: Sequence[PathLike], binding: Binding
) -> tuple[BoundIntervention, ...]:
    """What is bound of results, in the order of the probes.

    Args:
        paths: of the files. binding: without them: of the probes that are read.

    Raises:
        ContentMismatch: a result is of none of these probes, or of another model or inner product.
        Inconsistent: two are of one probe, or they have several deltas.
        Others: as `read_intervention`.
    """
    found: dict[int, BoundIntervention] = {}
    for path in paths:
        result, sha256 = read_intervention(path)
        number = probe_number(result, binding, path)
        if number in found:
            raise Inconsistent(path, expected="one intervention a probe", found="another")
        found[number] = BoundIntervention.of(result, sha256, number)
        deltas = {bound.delta for bound in found.values()}
        if len(deltas) > 1:
            raise Inconsistent(path, expected="one delta for all", found=sorted(deltas))
    return tuple(found[number] for number in sorted(found))


def probe_number(result: Intervention, binding: Binding, where: PathLike) -> int:
    """Which of all probes that are read a result is of, once it is seen to fit.

    Raises:
        ContentMismatch: it is of none of them, or of another model or inner product.
    """
    for name, signed, found in _model(result, binding):
        if signed != found:
            raise ContentMismatch(f"{where}, {name}", expected=signed, found=found)
    probe, number = result.probe, 0
    for bound in binding.probe_sets:
        if bound.sha256 == probe.sha256 and probe.dimension in bound.dimensions:
            index = bound.dimensions.index(probe.dimension)
            verdict = bound.verdicts[index] if index < len(bound.verdicts) else None
            for name, read, said in (
                ("layer", bound.layer, probe.layer),
                ("verdict", verdict, probe.verdict),
            ):
                if read != said:
                    raise ContentMismatch(f"{where}, probe.{name}", expected=read, found=said)
            return number + index
        number += len(bound.dimensions)
    raise ContentMismatch(
        f"{where}, probe", expected="one of the probes that are read",
        found=f"{probe.dimension!r} of probe set {probe.sha256}",
    )  # fmt: skip


def _model(result: Intervention, binding: Binding) -> Iterator[tuple[str, object, object]]:
    """Of each thing its name, what it must be, and what it is."""
    yield "precision", binding.activations.precision, result.precision
    yield "probe.geometry_sha256", binding.geometry.sha256, result.probe.geometry_sha256
    weights = binding.weights
    if weights is None:
        signed = binding.activations.model_id
        same = same_model(signed, result.model_id)
        yield "model_id", signed, signed if same else result.model_id
    else:
        same = weights.are(result.weights)
        yield "weights", str(weights), str(weights if same else result.weights)
    record = binding.extraction_record
    if record is not None and record.arithmetic is not None:
        yield "arithmetic", record.arithmetic, result.arithmetic


def check_interventions(paths: Sequence[PathLike], binding: Binding) -> int:
    """Results are those that are bound; returns how many, one that is given twice once.

    Raises:
        ContentMismatch: one is not. Others: as `read_intervention`.
    """
    signed, seen = {bound.sha256: bound for bound in binding.interventions}, set()
    for path in paths:
        result, sha256 = read_intervention(path)
        # 5.24 Each result of an intervention is one that is bound, which says what is bound of it.
        bound = signed.get(sha256)
        if bound is None:
            raise ContentMismatch(
                path, expected=f"one of the {len(signed)} results that are bound", found=sha256
            )
        ours = BoundIntervention.of(result, sha256, probe_number(result, binding, path))
        if ours != bound:
            name, found, said = first_apart("", ours, bound)
            where = f"{path}, {name.removeprefix('.')}"
            raise ContentMismatch(where, expected=f"{said}, as signed", found=found)
        seen.add(sha256)
    return len(seen)
