"""How a corpus is read: which tokens of each text give rows, and how texts are batched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from geometry_of_trust.documents.positions import MANY_ROWS, check_position, numbered
from geometry_of_trust.errors import EmptyText

WINDOW = 4096
"""Texts among which batches are looked for; so many lengths are sorted at a time."""

LEAST_FULL = 0.875
"""A padded batch has no text shorter than this share of its longest."""


@dataclass(frozen=True)
class Position:
    """Which tokens of a text give rows.

    Attributes:
        name: `all` (a row a token), `last`, `first`, `mean` (of all tokens, one row) or a number.
        skip_special: leave the tokenizer's special tokens out, also of the counting.

    Raises:
        BadOption: a name outside the grammar of `documents.positions`.
    """

    name: str = "last"
    skip_special: bool = False

    def __post_init__(self) -> None:
        check_position(self.name, MANY_ROWS)

    @property
    def mean(self) -> bool:
        """Whether the states of the tokens are averaged."""
        return self.name == "mean"

    def kept(
        self, special: Sequence[bool], where: str, among: Iterable[int] | None = None
    ) -> list[int]:
        """Indices of the tokens kept, of a text whose special tokens are given.

        Args:
            among: indices, ascending, of the tokens that were chosen before; None: all.

        Raises:
            EmptyText: none is left.
            PositionMissing: the text is too short.
        """
        chosen = range(len(special)) if among is None else among
        tokens = [t for t in chosen if not (self.skip_special and special[t])]
        if not tokens:
            raise EmptyText(where, expected="at least one token", found="none that is not special")
        if self.name in ("all", "mean"):
            return tokens
        if self.name in ("last", "first"):
            return [tokens[-1 if self.name == "last" else 0]]
        return [tokens[numbered(self.name, len(tokens), where)]]


@dataclass(frozen=True)
class Batching:
    """How many texts run together.

    Attributes:
        texts: at most so many; None: as many as `tokens` allow.
        tokens: at most so many, padding included; a longer text runs alone.
        padded: texts of nearly one length may be padded to one. Otherwise all are of one length,
            and each comes out as it would alone.
    """

    texts: int | None
    tokens: int
    padded: bool

    def units(self, lengths: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """Indices of the texts of each batch, given the number of tokens of each text.

        The same lengths give the same batches, in the same order.
        """
        for start in range(0, len(lengths), WINDOW):
            window = range(start, min(start + WINDOW, len(lengths)))
            batch: list[int] = []
            # Longest first, so that memory is at its peak early, where running out costs least.
            for n in sorted(window, key=lambda n: (-lengths[n], n)):
                if batch and not self._fits(lengths[batch[0]], lengths[n], len(batch)):
                    yield tuple(batch)
                    batch = []
                batch.append(n)
            yield tuple(batch)

    def _fits(self, longest: int, length: int, count: int) -> bool:
        """Whether one more text goes into a batch."""
        if length < longest and not (self.padded and length >= LEAST_FULL * longest):
            return False
        full = self.texts is not None and count >= self.texts
        return not full and (count + 1) * longest <= self.tokens

    def to_tree(self) -> dict[str, Any]:
        """As JSON."""
        return dict(vars(self))
