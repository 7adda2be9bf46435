"""The logit above which a probe calls something positive: set once, on texts without the property.

Needs no numpy. The rule and its proof: docs/mathematics.md, section 7.
"""

from __future__ import annotations

from dataclasses import dataclass

from geometry_of_trust.documents.schema import BOOL, DIGEST, U32, Kind, member, record
from geometry_of_trust.errors import Inconsistent

ONE_PERCENT, TENTH_PERCENT = 100, 1000
"""One false positive in so many."""


def least_groups(one_in: int) -> int:
    """How many groups it takes to set a threshold that one in `one_in` others exceeds."""
    return one_in - 1


def exceeding(groups: int, one_in: int) -> int:
    """How many of so many groups exceed a threshold that one in `one_in` others does at most.

    On average; below 0 where there are too few groups to say that.
    """
    return (groups + 1) // one_in - 1


@dataclass(frozen=True)
class Thresholds:
    """Logits of a probe that few groups of texts without the property exceed.

    A reading is above one if it is greater. Of a group its greatest reading counts, so that rows of
    one text, or texts that resemble each other, are not taken for independent ones.

    Attributes:
        benign: whether they are of texts that only serve this (`train --benign`); else of the rows
            labelled 0 that were trained on, each as it was held out.
        groups: how many groups there were, at least one.
        one_percent: at most 1 % of other groups are above it, on average; float32 value. Of fewer
            than 99 groups, held out, the greatest reading of all.
        tenth_percent: the same of 0.1 %; None where there are too few groups.
        activations_sha256: of the file of the benign texts, if they are of one.
    """

    benign: bool
    groups: int
    one_percent: float
    tenth_percent: float | None = None
    activations_sha256: str | None = None

    @property
    def share(self) -> str:
        """How many groups like these are above `one_percent` at most."""
        if exceeding(self.groups, ONE_PERCENT) < 0:
            return f"1 false positive in {self.groups + 1}"
        return "1 % false positives"

    @property
    def on(self) -> str:
        """On what they were set."""
        kind = "independent benign texts" if self.benign else "groups of negatives held out"
        return f"on {self.groups} {kind}"

    def said_of(self, logit: float) -> str:
        """What a reading is, held against them."""
        if self.tenth_percent is not None and logit > self.tenth_percent:
            return f"above its threshold for 0.1 % false positives {self.on}"
        word = "above" if logit > self.one_percent else "not above"
        return f"{word} its threshold for {self.share} {self.on}"


def thresholds(number: Kind[float]) -> Kind[Thresholds]:
    """Thresholds, their logits written as this kind."""
    plain = record(
        Thresholds,
        member("benign", BOOL),
        member("groups", U32),
        member("one_percent", number),
        member("tenth_percent", number, default=None, omitted=True),
        member("activations_sha256", DIGEST, default=None, omitted=True),
    )

    def read(value: object, where: str) -> Thresholds:
        found = plain.read(value, where)
        least = least_groups(ONE_PERCENT) if found.benign else 1
        if found.tenth_percent is not None:
            least = least_groups(TENTH_PERCENT)
        if found.groups < least:
            raise Inconsistent(f"{where}.groups", expected=f"at least {least}", found=found.groups)
        if found.tenth_percent is not None and found.tenth_percent < found.one_percent:
            raise Inconsistent(
                f"{where}.tenth_percent", expected=f"at least {found.one_percent}",
                found=found.tenth_percent,
            )  # fmt: skip
        if found.activations_sha256 is not None and not found.benign:
            raise Inconsistent(
                f"{where}.activations_sha256", expected="none, of negatives held out", found="one"
            )
        return found

    return Kind(read, plain.write)
