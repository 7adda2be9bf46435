"""Inner agreement of interventions that are bound, and with the document that has them.

The numbers beside the checks are those of docs/verification.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from geometry_of_trust.documents.bound_interventions import BoundIntervention
from geometry_of_trust.documents.interventions import (
    LEAST_DIRECTIONS,
    LEAST_TEXTS,
    MOST_DIRECTIONS,
    MOST_TEXTS,
)
from geometry_of_trust.errors import BindingMismatch
from geometry_of_trust.signing.attestation import Attestation
from geometry_of_trust.signing.binding import Binding
from geometry_of_trust.signing.reference_members import CausalScore


def causal_score(bound: BoundIntervention) -> CausalScore:
    """What is signed of an intervention in the reference's members."""
    return CausalScore(bound.plus, bound.minus, bound.consistency, bound.steers == "YES")


def check_bound_interventions(attestation: Attestation, binding: Binding, where: str) -> None:
    """What is said of interventions is of the probes that were read, and follows from its counts.

    Raises:
        BindingMismatch: naming the member.
    """
    for name, expected, found in _compared(attestation, binding):
        if expected != found:
            raise BindingMismatch(f"{where}.{name}", expected=expected, found=found)


def _compared(attestation: Attestation, binding: Binding) -> Iterator[tuple[str, object, object]]:
    """Of each thing its name, what it must be, and what it is."""
    bound = binding.interventions
    if not bound:
        return
    # 4.24 Interventions are of different probes among those read, in their order.
    count = sum(len(entry.dimensions) for entry in binding.probe_sets)
    numbers = [entry.probe for entry in bound]
    ascending = all(a < b for a, b in itertools.pairwise(numbers)) and numbers[-1] < count
    yield (
        "binding.interventions",
        f"probes below {count}, ascending",
        (f"probes below {count}, ascending" if ascending else f"probes {numbers}"),
    )
    for i, entry in enumerate(bound):
        here = f"binding.interventions[{i}]"
        # 4.25 Each has enough texts and directions, two targets, and steers if counts and signs
        # say so.
        yield f"{here}.texts", True, LEAST_TEXTS <= entry.texts <= MOST_TEXTS
        yield f"{here}.directions", True, LEAST_DIRECTIONS <= entry.directions <= MOST_DIRECTIONS
        yield f"{here}.as_great", True, entry.as_great <= entry.directions
        yield f"{here}.targets", (2, 2), (len(entry.targets), len(set(entry.targets)))
        yield f"{here}.steers", True, entry.holds
        yield f"{here}.delta", True, entry.delta > 0
        yield f"{here}.delta", attestation.intervention_delta, entry.delta
    # 4.26 The causal members are those of the interventions.
    yield "causal_scores", tuple(map(causal_score, bound)), attestation.causal_scores
