"""How a corpus is read and run, as a user says it: values that are checked where they are made.

As in `extraction.options`: the command line's options are these fields, with their help.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import date
from typing import TYPE_CHECKING, Literal, Self, get_args

from geometry_of_trust.corpus.choosing import Position
from geometry_of_trust.documents.token_choice import ALL, TokenChoice
from geometry_of_trust.errors import BadOption
from geometry_of_trust.option_types import check_choice, check_types

if TYPE_CHECKING:
    from geometry_of_trust.corpus.entries import Columns

EngineName = Literal["local", "ray"]


@dataclass(frozen=True, kw_only=True)
class RowOptions:
    """Which rows a corpus gives, with which labels: what the record of a run says of it.

    Attributes:
        tokens: Tokens that position picks among: all, assistant, user, system, last-assistant,
            thinking (of chats), after:STRING, between:A:B, or chars (of the column that
            --chars-column names); see docs/transcripts.md.
        position: Tokens that give rows: all, last, first, mean (of all, one row) or a number
            [default: all of one text, last of each of a corpus].
        skip_special_tokens: Special tokens give no rows, nor count for a position or a mean.
        text_column: Column of the texts, or of chats (lists of role and content).
        label_columns: Columns of 0 and 1.
        group_column: Column that says what belongs together; no split of training will part it.
        split: Of a dataset [default: train].
        chars_column: Column of stretches of characters, for tokens chars; labels may be theirs.
        limit: Only the first so many texts.
        add_generation_prompt: End a chat with what makes the assistant's turn begin.
        date: What day it is for a chat template that writes the date: YYYY-MM-DD.

    Raises:
        BadOption: no such tokens or position, a limit below 1, no date, or a value of another type.
    """

    tokens: str = ALL
    position: str | None = None
    skip_special_tokens: bool = False
    text_column: str = "text"
    label_columns: tuple[str, ...] = ()
    group_column: str | None = None
    split: str | None = None
    chars_column: str = "chars"
    limit: int | None = None
    add_generation_prompt: bool = False
    date: str | None = None

    def __post_init__(self) -> None:
        columns: object = self.label_columns
        if isinstance(columns, list):  # as a user may write it; the value must stay as it is
            object.__setattr__(self, "label_columns", tuple(columns))
        check_types(self)
        _ = self.choice, self.place  # which refuse what is none
        if self.date is not None and not is_date(self.date):
            raise BadOption("--date", expected="a date, as YYYY-MM-DD", found=self.date)
        if self.limit is not None and self.limit < 1:
            raise BadOption("--limit", expected="1 or more", found=self.limit)

    @property
    def choice(self) -> TokenChoice:
        """Which tokens of each text there are to pick among."""
        return TokenChoice.parse(self.tokens)

    @property
    def place(self) -> Position:
        """Which of these give rows."""
        return Position(
            "last" if self.position is None else self.position, self.skip_special_tokens
        )

    @property
    def columns(self) -> Columns:
        """What the columns of a table mean."""
        from geometry_of_trust.corpus.entries import Columns  # noqa: PLC0415 - heavy

        spans = self.chars_column if self.choice.kind == "chars" else None
        return Columns(self.text_column, tuple(self.label_columns), self.group_column, spans)

    def of_one_text(self) -> Self | None:
        """How one text is read: if tokens of it are chosen, as a corpus of one; else None.

        None stands for `extract`, which gives a row for every token. So the same three options,
        `tokens`, `position` and `skip_special_tokens`, choose tokens of one text and of a corpus.

        Raises:
            BadOption: an option that only a corpus has, or tokens that only chats or files have.
        """
        if self.choice.of_chats or self.choice.kind == "chars":
            raise BadOption(
                "--tokens",
                expected="all, after:STRING or between:A:B, of one text",
                found=self.tokens,
                hint="Give chats, or texts with their stretches of characters, with --input-file.",
            )
        for field in fields(self):
            chooses = field.name in ("tokens", "position", "skip_special_tokens")
            if not chooses and getattr(self, field.name) != field.default:
                raise BadOption(
                    "--input",
                    expected="no option that is for a corpus",
                    found=field.name.replace("_", " "),
                    hint="Options on columns, parts of a corpus, chats, batches and Ray go with "
                    "--input-file.",
                )
        if self.position is None and not self.skip_special_tokens and self.choice.kind == ALL:
            return None
        return replace(self, position="all" if self.position is None else self.position)


@dataclass(frozen=True, kw_only=True)
class CorpusOptions(RowOptions):
    """How a corpus is read, and how it is run.

    Attributes:
        batch_size: Texts that run together; auto: as many as memory allows. The last bits of a
            fast run depend on it.
        resume: Go on where an interrupted run ended.
        strict: Refuse to go on when a self-check exceeds its bound.
        engine: local, or ray: workers on several machines, to the same bytes.
        ray_address: A running Ray cluster [default: one of its own on this machine].
        workers: How many workers of Ray hold the model [default: one a machine].

    Raises:
        BadOption: as `RowOptions`; an unknown engine, options of Ray without it, or a count below
            1.
    """

    batch_size: Literal["auto"] | int = "auto"
    resume: bool = False
    strict: bool = False
    engine: EngineName = "local"
    ray_address: str | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size != "auto" and self.batch_size < 1:
            raise BadOption("--batch-size", expected="auto, or 1 or more", found=self.batch_size)
        check_choice("--engine", self.engine, get_args(EngineName))
        if self.workers is not None and self.workers < 1:
            raise BadOption("--workers", expected="1 or more", found=self.workers)
        for name, value in (("--ray-address", self.ray_address), ("--workers", self.workers)):
            if value is not None and self.engine != "ray":
                raise BadOption(
                    name, expected="--engine ray with it", found=f"--engine {self.engine}"
                )


def is_date(text: str) -> bool:
    """Whether it is a day, in the one spelling YYYY-MM-DD."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _unheard(*_: object) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Listener:
    """Who is told how a long run goes on.

    Attributes:
        say: told what is being done. advance: told rows done and rows in all.
    """

    say: Callable[[str], None] = _unheard
    advance: Callable[[int, int], None] = _unheard
