"""Which tokens of their texts a probe was trained on: what makes a reading one of its own kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from geometry_of_trust.documents.extraction_record import Record
from geometry_of_trust.documents.positions import MANY_ROWS, check_position
from geometry_of_trust.documents.schema import BOOL, STRING, Kind, member, record, wrong_type
from geometry_of_trust.documents.token_choice import ALL, TokenChoice
from geometry_of_trust.errors import BadOption


@dataclass(frozen=True)
class TrainedTokens:
    """Which tokens gave the rows of a training.

    Attributes:
        chosen: which tokens of each text, as of `TokenChoice.parse`.
        position: which of these: `all`, `last`, `first`, `mean` or a number.
        skip_special_tokens: whether special tokens were left out, also of the counting.
    """

    chosen: str = ALL
    position: str = "all"
    skip_special_tokens: bool = False

    @classmethod
    def of(cls, record: Record) -> Self:
        """Those that gave the rows of an extraction, by its record: of one text all."""
        corpus = record.corpus
        if corpus is None:
            return cls()
        return cls(corpus.tokens, corpus.position, corpus.skip_special_tokens)

    def __str__(self) -> str:
        of = "" if self.chosen == ALL else f" of {self.chosen}"
        return f"{self.position}{of}{', special ones left out' * self.skip_special_tokens}"


def _read_chosen(value: object, where: str) -> str:
    name = STRING.read(value, where)
    try:
        TokenChoice.parse(name, where)
    except BadOption as error:
        raise wrong_type(where, error.expected, value) from None
    return name


def _read_position(value: object, where: str) -> str:
    name = STRING.read(value, where)
    try:
        check_position(name, MANY_ROWS, where)
    except BadOption as error:
        raise wrong_type(where, error.expected, value) from None
    return name


TRAINED_TOKENS = record(
    TrainedTokens,
    member("chosen", Kind(_read_chosen, str)),
    member("position", Kind(_read_position, str)),
    member("skip_special_tokens", BOOL),
)
