"""The result of an intervention: what comes of a state that is moved along a probe's direction.

The file has what was measured of the probe's direction and of each random one; p-values and
verdicts follow from that, here, without numpy. Numbers are float32 values. Rules and formulas:
docs/intervene.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from geometry_of_trust.documents.codes import VERDICTS, Verdict
from geometry_of_trust.documents.names import check_name
from geometry_of_trust.documents.probe_card import Figure
from geometry_of_trust.documents.recorded_identity import Weights
from geometry_of_trust.documents.schema import (
    BOOL,
    DIGEST,
    FLOAT,
    PRECISION,
    STRING,
    U32,
    choice,
    member,
    optional,
    real,
    record,
    vector,
    wrong_type,
)
from geometry_of_trust.documents.strictjson import dumps, loads
from geometry_of_trust.documents.trained_tokens import TRAINED_TOKENS, TrainedTokens
from geometry_of_trust.errors import Inconsistent, LimitExceeded, NotOurSpelling
from geometry_of_trust.files import FileBytes, PathLike, read_bounded

FORMAT = "geometry-of-trust intervention"
VERSION = 1
LEAST_DIRECTIONS, MOST_DIRECTIONS = 99, 9999
LEAST_TEXTS, MOST_TEXTS = 8, 1024
LEVEL = Fraction(5, 100)
"""A p-value up to this one counts."""

Answer = Literal["YES", "NO", "UNKNOWN"]
ANSWERS: tuple[Answer, ...] = ("YES", "NO", "UNKNOWN")


@dataclass(frozen=True)
class Target:
    """A token whose logit is watched: its text as it was given, and its number."""

    text: str
    id: int


@dataclass(frozen=True)
class InterventionTexts:
    """The texts that were run.

    Attributes:
        count: how many. sha256: of the texts, each with its length before it, as of a corpus.
        tokens: which token's state of each was another one.
        add_generation_prompt, date, text_column, group_column, split, chars_column: as of
            `RowOptions`. label_column: of the labels that `auroc` is of.
    """

    count: int
    sha256: str
    tokens: TrainedTokens
    add_generation_prompt: bool = False
    date: str | None = None
    text_column: str = "text"
    label_column: str | None = None
    group_column: str | None = None
    split: str | None = None
    chars_column: str = "chars"


@dataclass(frozen=True)
class ProbeUsed:
    """The probe: the SHA-256 of its set's file, its name, layer and card's verdict, if it has one.

    `geometry_sha256` is the digest of the inner product.
    """

    sha256: str
    dimension: str
    layer: int
    verdict: Verdict | None
    geometry_sha256: str


@dataclass(frozen=True)
class Effect:
    """What comes of one direction, on average over the texts.

    The logit difference is that of the first target less that of the second.

    Attributes:
        plus, minus: by how much it changes where δ standard deviations are added, or taken away.
        added_kl: KL of the next token's distribution, of both.
        fall: what of its gain goes where the direction is projected out. removed_kl: KL then.
        deviation: the standard deviation of the projection on this direction.
    """

    plus: float
    minus: float
    added_kl: float
    fall: float
    removed_kl: float
    deviation: float

    @property
    def steering(self) -> float:
        """Half of what lies between adding and taking away."""
        return (self.plus - self.minus) / 2


MEASURES: dict[str, Callable[[Effect], float]] = {
    "steering": lambda effect: effect.steering,
    "added_kl": lambda effect: effect.added_kl,
    "fall": lambda effect: effect.fall,
    "removed_kl": lambda effect: effect.removed_kl,
}
"""What the probe's direction is held against the random ones by, each one-sided."""


@dataclass(frozen=True)
class Intervention:
    """The result of an intervention.

    Attributes:
        arithmetic: that of the run. model_id, precision, weights: of the model.
        delta: how many standard deviations of the probe's projection are added.
        difference: the mean of the logit difference of the states as they are.
        gain: what it gains from texts of label 0 to those of label 1, on average; without labels
            with each standard deviation of the projection, by least squares.
        effect: of the probe's direction. random: of each random one.
        auroc: of the probe's readings of these states, if the texts have labels.
        unproved: operations of the run that may differ between machines, by name.
    """

    arithmetic: str
    model_id: str
    precision: str
    weights: Weights
    probe: ProbeUsed
    texts: InterventionTexts
    targets: tuple[Target, ...]
    delta: float
    difference: float
    gain: float
    effect: Effect
    random: tuple[Effect, ...]
    auroc: Figure | None = None
    unproved: tuple[str, ...] = ()
    format: str = FORMAT
    version: int = VERSION

    def as_great(self, measure: str) -> int:
        """How many random directions do as much as the probe's, or more."""
        of = MEASURES[measure]
        return sum(of(effect) >= of(self.effect) for effect in self.random)

    def p(self, measure: str) -> Fraction:
        """One-sided: the share of all directions, the probe's among them, that do as much."""
        return Fraction(1 + self.as_great(measure), 1 + len(self.random))

    @property
    def detects(self) -> Answer:
        """DETECTS: the probe ranks these texts if they have labels, and its card says so.

        Without labels the card decides; without a card the texts do, which it may be trained on.
        """
        if self.probe.verdict == "INSUFFICIENT":
            return "NO"
        if self.auroc is not None:
            return "YES" if self.auroc.low > 0.5 else "NO"
        return "UNKNOWN" if self.probe.verdict is None else "YES"

    @property
    def steers(self) -> Answer:
        """STEERS: adding raises the logit difference and taking away lowers it, beyond chance."""
        signed = self.effect.plus > 0 > self.effect.minus
        return "YES" if signed and self.p("steering") <= LEVEL else "NO"

    @property
    def necessary(self) -> Answer:
        """NECESSARY: the logit difference gains with the labels, and less so without it."""
        signed = self.gain > 0 and self.effect.fall > 0
        return "YES" if signed and self.p("fall") <= LEVEL else "NO"

    def to_json(self) -> bytes:
        """The one text of this result: pretty-printed, no trailing newline."""
        return dumps(_INTERVENTION.write(self))

    @property
    def sha256(self) -> str:
        """Of that text."""
        return hashlib.sha256(self.to_json()).hexdigest()


# --- members of the file, in order ------------------------------------------------------------

_FIGURE = record(
    Figure,
    member("value", real(0, 1)),
    member("low", real(0, 1)),
    member("high", real(0, 1)),
)
_EFFECT = record(
    Effect,
    member("plus", FLOAT),
    member("minus", FLOAT),
    member("added_kl", real(0)),
    member("fall", FLOAT),
    member("removed_kl", real(0)),
    member("deviation", real(0)),
)
_INTERVENTION = record(
    Intervention,
    member("format", choice((FORMAT,))),
    member("version", U32),
    member("arithmetic", STRING),
    member("model_id", STRING),
    member("precision", PRECISION),
    member(
        "weights",
        record(Weights, member("manifest_root", DIGEST), member("tensor_root", optional(DIGEST))),
    ),
    member(
        "probe",
        record(
            ProbeUsed,
            member("sha256", DIGEST),
            member("dimension", STRING),
            member("layer", U32),
            member("verdict", optional(choice(VERDICTS))),
            member("geometry_sha256", DIGEST),
        ),
    ),
    member(
        "texts",
        record(
            InterventionTexts,
            member("count", U32),
            member("sha256", DIGEST),
            member("tokens", TRAINED_TOKENS),
            member("add_generation_prompt", BOOL, default=False, omitted=True),
            member("date", STRING, default=None, omitted=True),
            member("text_column", STRING, default="text", omitted=True),
            member("label_column", STRING, default=None, omitted=True),
            member("group_column", STRING, default=None, omitted=True),
            member("split", STRING, default=None, omitted=True),
            member("chars_column", STRING, default="chars", omitted=True),
        ),
    ),
    member("targets", vector(record(Target, member("text", STRING), member("id", U32)))),
    member("delta", real(0)),
    member("difference", FLOAT),
    member("gain", FLOAT),
    member("effect", _EFFECT),
    member("random", vector(_EFFECT)),
    member("auroc", _FIGURE, default=None, omitted=True),
    member("unproved", vector(STRING), default=(), omitted=True),
)


def read_intervention(path: PathLike) -> tuple[Intervention, str]:
    """A result, and the SHA-256 of its file.

    Raises:
        Unreadable, TooLarge, BadText, BadJson and its kinds: it is none.
        LimitExceeded: too few or too many random directions or texts, or too long a name.
        Inconsistent: not two targets, or no distance.
        NotOurSpelling: other bytes than are written for it.
    """
    file = FileBytes.of(path)
    data = read_bounded(file)
    found = _INTERVENTION.read(loads(data, path), str(path))
    if found.version != VERSION:
        raise wrong_type(f"{path}.version", VERSION, found.version)
    if not LEAST_DIRECTIONS <= len(found.random) <= MOST_DIRECTIONS:
        raise LimitExceeded(
            f"{path}.random", expected=f"{LEAST_DIRECTIONS} to {MOST_DIRECTIONS} directions",
            found=len(found.random),
        )  # fmt: skip
    if not LEAST_TEXTS <= found.texts.count <= MOST_TEXTS:
        raise LimitExceeded(
            f"{path}.texts.count", expected=f"{LEAST_TEXTS} to {MOST_TEXTS} texts",
            found=found.texts.count,
        )  # fmt: skip
    different = len({target.id for target in found.targets})
    if (len(found.targets), different) != (2, 2):
        raise Inconsistent(f"{path}.targets", expected="two different targets", found=different)
    if not found.delta > 0:
        raise Inconsistent(f"{path}.delta", expected="a number above 0", found=found.delta)
    if found.to_json() != data:
        raise NotOurSpelling(path, expected="the text that is written for it", found="another")
    check_name(found.probe.dimension, f"{path}.probe.dimension")
    for i, target in enumerate(found.targets):
        check_name(target.text, f"{path}.targets[{i}]")
    return found, file.sha256
