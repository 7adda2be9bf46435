"""How the readings of a text's tokens are made one: one grammar for `--aggregate` and for files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Self

from geometry_of_trust.errors import BadOption

WORDS = ("mean", "max")
_SIZED = re.compile("(top-k-mean|max-of-rolling-means):([1-9][0-9]{0,5})")
_GRAIN = 2**149
"""The least float32 above 0 is one part in so many: float32 values are whole numbers of it."""


@dataclass(frozen=True)
class Aggregate:
    """One number of a text's readings.

    Attributes:
        kind: `mean` and `max` of all; `top-k-mean`, the mean of the k greatest;
            `max-of-rolling-means`, the greatest of the means of so many tokens in a row.
        size: k, or the number of tokens in a row; of a text with fewer all of its tokens. 0 of the
            others.
    """

    kind: str
    size: int = 0

    @classmethod
    def parse(cls, name: str, where: str = "--aggregate") -> Self:
        """The aggregate of this name: a word, or `top-k-mean:K` or `max-of-rolling-means:N`.

        Raises:
            BadOption: none of these.
        """
        if name in WORDS:
            return cls(name)
        found = _SIZED.fullmatch(name)
        if found is None:
            expected = "mean, max, top-k-mean:K or max-of-rolling-means:N, of so many tokens"
            raise BadOption(where, expected=expected, found=name[:80])
        return cls(found[1], int(found[2]))

    def __str__(self) -> str:
        return f"{self.kind}:{self.size}" if self.size else self.kind

    def of(self, readings: Sequence[float]) -> Fraction:
        """That of some readings, exactly: over the reals, in whatever order sums are made.

        Args:
            readings: float32 values, at least one, in the order of the tokens.
        """
        grains = [numerator * (_GRAIN // denominator)
                  for numerator, denominator in map(float.as_integer_ratio, readings)]  # fmt: skip
        count = len(grains)
        if self.kind == "max":
            return Fraction(max(grains), _GRAIN)
        if self.kind == "mean":
            return Fraction(sum(grains), count * _GRAIN)
        size = min(self.size, count)
        if self.kind == "top-k-mean":
            return Fraction(sum(sorted(grains)[-size:]), size * _GRAIN)
        sums = [0, *accumulate(grains)]
        windows = (after - before for before, after in zip(sums, sums[size:], strict=False))
        return Fraction(max(windows), size * _GRAIN)
