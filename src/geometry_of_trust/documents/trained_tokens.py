"""Which tokens of their texts a probe was trained on: what makes a reading one of its own kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from geometry_of_trust.documents.aggregates import Aggregate
from geometry_of_trust.documents.extraction_record import Record
from geometry_of_trust.documents.positions import MANY_ROWS, check_position
from geometry_of_trust.documents.schema import BOOL, STRING, Kind, member, record, wrong_type
from geometry_of_trust.documents.token_choice import ALL, TokenChoice
from geometry_of_trust.errors import BadOption, Inconsistent


@dataclass(frozen=True)
class TrainedTokens:
    """Which tokens gave the rows of a training.

    Attributes:
        chosen: which tokens of each text, as of `TokenChoice.parse`.
        position: which of these: `all`, `last`, `first`, `mean` or a number.
        skip_special_tokens: whether special tokens were left out, also of the counting.
        aggregate: how the readings of a text's tokens are made one, as of `Aggregate.parse`; None
            if each counts by itself.
    """

    chosen: str = ALL
    position: str = "all"
    skip_special_tokens: bool = False
    aggregate: str | None = None

    @classmethod
    def of(cls, record: Record) -> Self:
        """Those that gave the rows of an extraction, by its record: of one text all."""
        corpus = record.corpus
        if corpus is None:
            return cls()
        return cls(corpus.tokens, corpus.position, corpus.skip_special_tokens)

    def __str__(self) -> str:
        of = "" if self.chosen == ALL else f" of {self.chosen}"
        how = "" if self.aggregate is None else f"{self.aggregate} of "
        return f"{how}{self.position}{of}{', special ones left out' * self.skip_special_tokens}"


def named(check: Callable[[str, str], object]) -> Kind[str]:
    """A string that an option takes, too; `check` raises BadOption for others."""

    def read(value: object, where: str) -> str:
        name = STRING.read(value, where)
        try:
            check(name, where)
        except BadOption as error:
            raise wrong_type(where, error.expected, value) from None
        return name

    return Kind(read, str)


def _check_position(name: str, where: str) -> None:
    check_position(name, MANY_ROWS, where)


AGGREGATE = named(Aggregate.parse)
_UNCHECKED = record(
    TrainedTokens,
    member("chosen", named(TokenChoice.parse)),
    member("position", named(_check_position)),
    member("skip_special_tokens", BOOL),
    member("aggregate", AGGREGATE, default=None, omitted=True),
)


def _read_tokens(value: object, where: str) -> TrainedTokens:
    tokens = _UNCHECKED.read(value, where)
    if tokens.aggregate is not None and tokens.position != "all":
        raise Inconsistent(
            f"{where}.position", expected="all, of which there is an aggregate",
            found=tokens.position,
        )  # fmt: skip
    return tokens


TRAINED_TOKENS = Kind(_read_tokens, _UNCHECKED.write)
