"""Texts as tokens: their ids, what of the text each covers, and which of them are special."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geometry_of_trust.documents.extraction_record import Token
from geometry_of_trust.errors import EmptyText, TextTooLong, TokenizerFailed, brief
from geometry_of_trust.extraction.panics import panics_as_errors

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    Tokenizer = PreTrainedTokenizerBase


MAX_CHARACTERS = 2**20
"""Of one text: a tokenizer needs some 500 bytes for each before a context can be asked for."""


@dataclass(frozen=True)
class Encoded:
    """A text as tokens.

    Attributes:
        ids: at least one.
        spans: the characters that each token covers, from start to before end; None for none.
        special: whether each is one of the tokenizer's special tokens.
    """

    ids: list[int]
    spans: list[tuple[int, int] | None]
    special: list[bool]


def begins_twice(tokens: Sequence[tuple[int, bool]]) -> bool:
    """Whether the same special token stands first and second.

    So it is where a chat template has written it into the text, and the tokenizer puts it before.

    Args:
        tokens: the id of each, and whether it is special.
    """
    return len(tokens) > 1 and tokens[0] == tokens[1] and tokens[0][1]


def check_characters(text: str, where: str) -> None:
    """A text is one that a tokenizer can take.

    Raises:
        TextTooLong: it has more than `MAX_CHARACTERS`.
    """
    if len(text) > MAX_CHARACTERS:
        raise TextTooLong(
            where, expected=f"at most {MAX_CHARACTERS} characters", found=len(text),
            hint="Give it in parts.",
        )  # fmt: skip


def encode(
    tokenizer: Tokenizer, texts: Sequence[str], *, add_special: bool = True
) -> list[Encoded]:
    """The tokens of texts, special ones added as the tokenizer does by default, or not at all.

    Raises:
        TokenizerFailed: the tokenizer stopped with an error.
    """
    try:
        with panics_as_errors():
            encoding = tokenizer(
                list(texts),
                add_special_tokens=add_special,
                return_offsets_mapping=tokenizer.is_fast,
                return_special_tokens_mask=True,
                verbose=False,
            )
    except Exception as error:  # whatever the files of the tokenizer make it raise
        raise TokenizerFailed("text", expected="its tokens", found=brief(error)) from None
    special = set(tokenizer.all_special_ids)
    encoded = []
    for n, ids in enumerate(encoding["input_ids"]):
        spans = encoding["offset_mapping"][n] if tokenizer.is_fast else [(0, 0)] * len(ids)
        mask = encoding["special_tokens_mask"][n]
        encoded.append(
            Encoded(
                ids=ids,
                spans=[(start, end) if start < end else None for start, end in spans],
                special=[
                    bool(added) or number in special
                    for added, number in zip(mask, ids, strict=True)
                ],
            )
        )
    return encoded


def ids_alone(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a text's tokens, with no special ones added; quicker than `encode`.

    Raises:
        TokenizerFailed: the tokenizer stopped with an error.
    """
    try:
        with panics_as_errors():
            return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    except Exception as error:  # as above
        raise TokenizerFailed("text", expected="its tokens", found=brief(error)) from None


def token_text(tokenizer: Tokenizer, number: int) -> str:
    """A token decoded alone.

    Raises:
        TokenizerFailed: the tokenizer stopped with an error.
    """
    try:
        with panics_as_errors():
            return str(tokenizer.decode([number], clean_up_tokenization_spaces=False))
    except Exception as error:  # as above
        where = f"token {number}"
        raise TokenizerFailed(where, expected="its text", found=brief(error)) from None


def tokenize(tokenizer: Tokenizer, text: str) -> tuple[Token, ...]:
    """The tokens of one text.

    Raises:
        EmptyText: there are none.
        TextTooLong: as `check_characters`.
        TokenizerFailed: as `encode` and `token_text`.
    """
    check_characters(text, "text")
    (encoded,) = encode(tokenizer, [text])
    if not encoded.ids:
        raise EmptyText("text", expected="at least one token", found="none")
    return tuple(
        Token(number, token_text(tokenizer, number), span, special)
        for number, span, special in zip(encoded.ids, encoded.spans, encoded.special, strict=True)
    )
