"""What is bound of the result of an intervention, of which a causal score is signed.

Needs no numpy. Rules: docs/intervene.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from geometry_of_trust.documents.interventions import ANSWERS, LEVEL, Answer, Intervention
from geometry_of_trust.documents.schema import (
    DIGEST,
    FLOAT,
    STRING,
    U32,
    choice,
    decimal,
    member,
    real,
    record,
    vector,
)
from geometry_of_trust.documents.strictjson import float32


@dataclass(frozen=True)
class BoundIntervention:
    """What a binding says of a result, of which a `CausalScore` is signed.

    Attributes:
        sha256: of its file. probe: the index of the probe that it is of among all.
        texts, texts_sha256: how many there were, and their digest.
        targets: their texts. delta: as of `Intervention`.
        directions: how many random ones. as_great: how many of them steer as much.
        plus, minus: of the probe's direction.
        detects, steers, necessary: the verdicts.
    """

    sha256: str
    probe: int
    texts: int
    texts_sha256: str
    targets: tuple[str, ...]
    delta: float
    directions: int
    as_great: int
    plus: float
    minus: float
    detects: Answer
    steers: Answer
    necessary: Answer

    @classmethod
    def of(cls, result: Intervention, sha256: str, probe: int) -> BoundIntervention:
        """What is bound of a result with this digest."""
        return cls(
            sha256,
            probe,
            result.texts.count,
            result.texts.sha256,
            tuple(target.text for target in result.targets),
            result.delta,
            len(result.random),
            result.as_great("steering"),
            result.effect.plus,
            result.effect.minus,
            result.detects,
            result.steers,
            result.necessary,
        )

    @property
    def consistency(self) -> float:
        """1 − p of its steering, rounded to float32: the share of directions that do less."""
        return float32((self.directions - self.as_great) / (self.directions + 1))

    @property
    def holds(self) -> bool:
        """Whether `steers` follows from the counts and the signs."""
        p = Fraction(1 + self.as_great, 1 + self.directions)
        return (self.steers == "YES") == (self.plus > 0 > self.minus and p <= LEVEL)


_NUMBER = decimal(FLOAT)
BOUND_INTERVENTION = record(
    BoundIntervention,
    member("sha256", DIGEST),
    member("probe", U32),
    member("texts", U32),
    member("texts_sha256", DIGEST),
    member("targets", vector(STRING)),
    member("delta", decimal(real(0))),
    member("directions", U32),
    member("as_great", U32),
    member("plus", _NUMBER),
    member("minus", _NUMBER),
    member("detects", choice(ANSWERS)),
    member("steers", choice(ANSWERS)),
    member("necessary", choice(ANSWERS)),
)
"""What is bound of an intervention, as one JSON object of strings and integers."""
