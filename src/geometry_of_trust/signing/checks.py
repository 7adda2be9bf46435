"""Limits and inner agreement of an attestation, before it is signed and when it is verified.

The numbers beside the checks are those of docs/verification.md.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import time

from geometry_of_trust.documents.aggregates import Aggregate
from geometry_of_trust.documents.names import check_name
from geometry_of_trust.documents.positions import EVERY, position_index
from geometry_of_trust.documents.strictjson import shortest_float32
from geometry_of_trust.errors import (
    BadOption,
    BindingMismatch,
    GotError,
    Inconsistent,
    LimitExceeded,
    TimestampInFuture,
)
from geometry_of_trust.files import PathLike
from geometry_of_trust.signing.attestation import Attestation
from geometry_of_trust.signing.binding import BINDING_VERSION, Binding, BoundProbeSet
from geometry_of_trust.signing.evaluation_checks import check_bound_evaluation
from geometry_of_trust.signing.intervention_checks import check_bound_interventions
from geometry_of_trust.signing.keys import PublicKey, SecretKey
from geometry_of_trust.signing.signed_bytes import ByteLayout

CLOCK_TOLERANCE_S = 300
MAX_ROWS = 1024
MAX_READINGS = 65536


def stated_time(timestamp: int | None, option: str = "--timestamp") -> int:
    """Unix seconds: those given, else SOURCE_DATE_EPOCH if that is set, else the clock.

    Raises:
        BadOption: not from 0 to 2⁶⁴ − 1, or SOURCE_DATE_EPOCH is no number.
    """
    if timestamp is not None:
        if not 0 <= timestamp < 1 << 64:
            raise BadOption(option, expected="Unix seconds", found=timestamp)
        return timestamp
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        return int(time.time())
    if not (epoch.isascii() and epoch.isdigit() and len(epoch) < 20):
        raise BadOption("SOURCE_DATE_EPOCH", expected="Unix seconds", found=repr(epoch))
    return int(epoch)


def sign(attestation: Attestation, key: SecretKey) -> Attestation:
    """An attestation with the signature of `key`.

    Raises:
        LimitExceeded, BadText, TimestampInFuture, Inconsistent: it must not be signed
            (`check_structure`).
        NonFinite: a float is NaN or infinite.
    """
    check_structure(attestation, "attestation")
    return dataclasses.replace(attestation, signature=key.sign(attestation.signed_bytes()).hex())


def check_structure(attestation: Attestation, where: PathLike, now: float | None = None) -> None:
    """Limits and inner agreement (step 2 of a verification; also before signing).

    Args:
        now: the clock, in Unix seconds; default the real one.

    Raises:
        LimitExceeded: a limit of reference.md 6.1, or of a name that is bound.
        BadText: a name that cannot be written in UTF-8.
        TimestampInFuture: more than 300 s ahead of the clock.
        Inconsistent: lengths disagree, or a flag does not follow from the others.
    """
    # 2.1 Names and versions are short, bound ones too.
    for name in ("model_id", "corpus_version", "probe_version"):
        check_name(getattr(attestation, name), f"{where}.{name}")
    if attestation.binding is not None:
        _check_bound_names(attestation.binding, f"{where}.binding")
    # 2.2 Not too many rows, nor readings.
    count = sum(map(len, attestation.layer_readings))
    for limit, found, what in (
        (MAX_ROWS, len(attestation.layer_readings), "rows"),
        (MAX_READINGS, count, "readings"),
    ):
        if found > limit:
            raise LimitExceeded(
                f"{where}.layer_readings", expected=f"at most {limit} {what}", found=found
            )
    # 2.3 Not from the future.
    latest = int(time.time() if now is None else now) + CLOCK_TOLERANCE_S
    if attestation.timestamp > latest:
        raise TimestampInFuture(
            f"{where}.timestamp", expected=f"at most {latest}", found=attestation.timestamp
        )
    # 2.4 One confidence and one coverage flag a reading.
    for name in ("confidence", "coverage_flags"):
        length = len(getattr(attestation, name))
        if length != count:
            raise Inconsistent(
                f"{where}.{name}", expected=f"{count} values, one a reading", found=length
            )
    # 2.5 The divergence flag follows from the coverage flags.
    if attestation.divergence_flag != any(attestation.coverage_flags):
        raise Inconsistent(
            f"{where}.divergence_flag",
            expected=f"{any(attestation.coverage_flags)}, from the coverage flags",
            found=attestation.divergence_flag,
        )
    # 2.6 Confidences are probabilities.
    for i, value in enumerate(attestation.confidence):
        if not 0 <= value <= 1:
            raise Inconsistent(f"{where}.confidence[{i}]", expected="0 to 1", found=value)
    _check_causal(attestation, where)


def _check_bound_names(binding: Binding, where: str) -> None:
    check_name(binding.tool, f"{where}.tool")
    for i, bound in enumerate(binding.probe_sets):
        for j, dimension in enumerate(bound.dimensions):
            check_name(dimension, f"{where}.probe_sets[{i}].dimensions[{j}]")
    for i, labels in enumerate([] if binding.evaluation is None else binding.evaluation.labels):
        if labels.column is not None:
            check_name(labels.column, f"{where}.evaluation.labels[{i}].column")
    for i, bound_one in enumerate(binding.interventions):
        for j, target in enumerate(bound_one.targets):
            check_name(target, f"{where}.interventions[{i}].targets[{j}]")


def _check_causal(attestation: Attestation, where: PathLike) -> None:
    # 2.7 The causal members are all there or all absent, and agree (reference.md 6.3).
    scores = attestation.causal_scores
    expected = all(score.is_causal for score in scores) if scores else None
    delta_missing = (attestation.intervention_delta is None) == bool(scores)
    if attestation.causal_flag != expected or delta_missing:
        raise Inconsistent(
            f"{where}.causal_flag",
            expected="causal_scores, intervention_delta and causal_flag that agree",
            found=f"{len(scores)} scores, delta {attestation.intervention_delta}, "
            f"flag {attestation.causal_flag}",
        )


def check_no_binding(attestation: Attestation, layout: ByteLayout, where: PathLike) -> None:
    """A document without a binding never had one (step 4).

    Args:
        layout: what is signed.

    Raises:
        BindingMismatch: the digest of one is signed.
    """
    # 4.14 What is signed as `probe_commitment`, if anything, is what the reference writes there.
    signed = None if layout == "short" else attestation.probe_commitment
    count = sum(map(len, attestation.layer_readings))
    if signed not in (None, reference_commitment(count)):
        raise BindingMismatch(
            f"{where}.binding", expected=f"the one whose digest is signed, {signed}",
            found="none: it was cut off",
            hint="Ask the signer for the whole document.",
        )  # fmt: skip


def reference_commitment(count: int) -> str:
    """What the reference signs as `probe_commitment` (reference.md 5.5): SHA-256 of 0 … count-1."""
    numbers = b"".join(number.to_bytes(8, "little") for number in range(count))
    return hashlib.sha256(numbers).hexdigest()


def check_binding(attestation: Attestation, key: PublicKey, where: PathLike) -> None:
    """The binding is the signed one, and says what the attestation says (step 4).

    Raises:
        LegacyDocument: there is none.
        BindingMismatch: naming the member, what the attestation holds and what the binding says.
    """
    # 4.1 There is one.
    binding = attestation.bound(where)
    bound, geometry, tag = binding.activations, binding.geometry, attestation.inner_product
    sets = binding.probe_sets
    for name, expected, found in (
        # 4.2 It is the one whose digest was signed.
        ("probe_commitment", attestation.probe_commitment, binding.digest),
        # 4.3 It is of this version.
        ("binding.version", BINDING_VERSION, binding.version),
        # 4.4 Its activations are those attested, and of the unembedding's dimension.
        ("binding.activations.sha256", attestation.input_hash, bound.sha256),
        ("binding.activations.model_id", attestation.model_id, bound.model_id),
        ("binding.activations.precision", attestation.precision, bound.precision),
        ("binding.unembedding.hidden_dim", bound.hidden_dim, binding.unembedding.hidden_dim),
        # 4.5 Its geometry is the one attested.
        ("binding.geometry.inner_product", tag.name, geometry.inner_product),
        ("binding.geometry.epsilon", shortest_float32(tag.epsilon or 0.0), geometry.epsilon),
        ("binding.geometry.sha256", attestation.geometry_hash, geometry.sha256),
        # 4.6 Its key is the one that signed.
        ("binding.key_id", key.key_id, binding.key_id),
        # 4.7 It has a probe set for each row.
        ("binding.probe_sets", len(attestation.layer_readings), len(sets)),
    ):
        if expected != found:
            raise BindingMismatch(f"{where}.{name}", expected=expected, found=found)
    # 4.8 What was added to the diagonal is not below zero.
    if tag.epsilon is not None and tag.epsilon < 0:
        raise BindingMismatch(f"{where}.inner_product", expected="0 or more", found=tag.epsilon)
    # 4.9 Layers ascend.
    for before, after in itertools.pairwise(bound.layers):
        if before >= after:
            raise BindingMismatch(
                f"{where}.binding.activations.layers",
                expected=f"a layer above {before}", found=after,
            )  # fmt: skip
    # 4.15 A bound geometry reference has a drift, and one for each probe, by its name.
    if binding.geometry_reference is not None:
        names = [name for bound_set in sets for name in bound_set.dimensions]
        drifts = [drift.probe_name for drift in attestation.directional_drifts]
        if attestation.geometry_drift is None or names != drifts:
            raise BindingMismatch(
                f"{where}.binding.geometry_reference",
                expected=f"geometry_drift, and directional_drifts of {names}",
                found=f"{attestation.geometry_drift}, and {drifts}",
            )
    # 4.16 A bound model is the one whose manifest root is signed.
    if binding.model is not None and binding.model.manifest_root != attestation.model_hash:
        raise BindingMismatch(
            f"{where}.binding.model.manifest_root",
            expected=attestation.model_hash, found=binding.model.manifest_root,
        )  # fmt: skip
    # 4.18 A bound corpus is that of a bound record, and every row of it was read.
    if binding.corpus is not None and (
        binding.extraction_record is None or not binding.reads_every_row
    ):
        raise BindingMismatch(
            f"{where}.binding.corpus",
            expected="none, without an extraction record and a reading of every row",
            found=f"{binding.corpus.texts} texts",
        )
    check_bound_evaluation(binding, f"{where}.binding.evaluation")
    check_bound_interventions(attestation, binding, str(where))
    _check_bound_readings(binding, f"{where}.binding.readings")
    layers = frozenset(bound.layers)
    for i, (row, bound_set) in enumerate(zip(attestation.layer_readings, sets, strict=True)):
        here = f"{where}.binding.probe_sets[{i}]"
        units = 0 if binding.readings is not None else binding.units_of(bound_set)
        _check_bound_set(bound_set, len(row), (bound.positions, units), here)
        # 4.13 Its layer is one that the activations have.
        if bound_set.layer not in layers:
            raise BindingMismatch(
                f"{here}.layer", expected=f"one of {list(bound.layers)}", found=bound_set.layer
            )


def _check_bound_readings(binding: Binding, where: str) -> None:
    """What is said of readings beside the document is of all that was read, row by row.

    Raises:
        BindingMismatch: it is not.
    """
    if binding.readings is None:
        return
    found, sets = binding.readings, binding.probe_sets
    most = found.rows * len(binding.dimensions)
    # 4.22 Readings beside the document are of every row, or every text, of each probe; none stands
    # in the document (4.11), and no more of them are flagged or outside than there are.
    for name, expected, is_so in (
        ("rows", "of a reading of every row", {x.position for x in sets} == {EVERY}),
        ("rows", "of rows, or of texts", len({x.reads_texts for x in sets}) == 1),
        ("rows", "as many as were read", {binding.units_of(x) for x in sets} == {found.rows}),
        ("flagged", f"at most {most}", found.flagged <= most),
        ("outside", f"at most {most}", found.outside <= most),
    ):
        if not is_so:
            raise BindingMismatch(f"{where}.{name}", expected=expected, found=getattr(found, name))


def _check_rows(bound: BoundProbeSet, positions: int, where: str) -> None:
    """What is said of the rows of a text makes sense.

    Raises:
        BadOption, Inconsistent: it does not.
    """
    Aggregate.parse(bound.aggregate or "", f"{where}.aggregate")
    if bound.position != "all":
        raise Inconsistent(f"{where}.position", expected="all", found=bound.position)
    rows = bound.rows or ()
    if len(rows) != 2 or not 0 <= rows[0] < rows[1] <= positions:
        raise Inconsistent(
            f"{where}.rows", expected=f"a first and an end within {positions}", found=list(rows)
        )


def _check_bound_set(
    bound: BoundProbeSet, readings: int, counts: tuple[int, int], where: str
) -> None:
    """One entry of `probe_sets`, of which so many readings are attested.

    Args:
        counts: the rows of the activations, and what is read of them.
    """
    positions, units = counts
    # 4.10 Its position is one that the activations have; or it is all of the rows of a text.
    try:
        if bound.reads_texts:
            index = None
            Aggregate.parse(bound.aggregate or "", f"{where}.aggregate")
        elif bound.aggregate is None and bound.rows is None:
            index = position_index(bound.position, positions, f"{where}.position")
        else:
            index = None
            _check_rows(bound, positions, where)
    except GotError as error:
        raise BindingMismatch(error.where, expected=error.expected, found=error.found) from None
    count = len(bound.dimensions)
    for name, expected, found in (
        # 4.11 It has a name and a verdict for each reading, or for each of a row or text if every
        # one is read; of unknown training no verdict.
        ("dimensions", readings, count * units),
        ("verdicts", 0 if bound.unknown_training else count, len(bound.verdicts)),
        # 4.23 Of all of its probes thresholds are bound, or of none.
        ("thresholds", count if bound.thresholds else 0, len(bound.thresholds)),
        # 4.17 What is far outside of its range is said of each reading, or of none.
        ("outside", readings if any(bound.outside) else 0, len(bound.outside)),
        # 4.12 The row is the one that the position names.
        ("position_index", index, bound.position_index),
    ):
        if expected != found:
            raise BindingMismatch(f"{where}.{name}", expected=expected, found=found)
