"""Chats as text: what the tokenizer's own template makes of messages, at a time that is fixed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date as day
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from geometry_of_trust.errors import BadChat, BadOption, brief

if TYPE_CHECKING:
    from geometry_of_trust.extraction.tokenizing import Tokenizer

Messages = Sequence[Mapping[str, object]]

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_CLOCK = "strftime_now"
"""The one clock that templates have."""

_DIRECTIVES = "aAbBcdfGHIjmMpSuUVwWxXyYZz"
"""Those of `strftime` that Python has on every system."""

_PADDED = "dHIjmMSyUW"
"""Those that a hyphen before them leaves without zeros in front."""

_MOMENTS = (datetime(2001, 2, 3, 4, 5, 6), datetime(2012, 11, 10, 19, 58, 57))
"""Two times without a directive that says the same of both."""


class ChatTemplate:
    """A tokenizer's chat template.

    Args:
        add_generation_prompt: a chat's text ends with what makes the assistant's turn begin.
        date: what day it is for the template, as YYYY-MM-DD; None: today.
        reproducible: a text with today's date in it is refused.

    Attributes:
        dated: how many texts so far have the date in them.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        add_generation_prompt: bool,
        date: str | None,
        reproducible: bool,
    ) -> None:
        self.dated = 0
        self._tokenizer = tokenizer
        self._add_generation_prompt = add_generation_prompt
        self._refused_today = reproducible and date is None
        # One time for all texts: a chat is rendered several times, and they must agree.
        self._now = datetime.now() if date is None else datetime.fromisoformat(date)

    def text(self, messages: Messages, where: str) -> str:
        """A chat's text.

        Raises:
            BadChat: there is no template, or it does not take these messages.
            BadOption: it writes today's date, which a reproducible run must not have.
        """
        if not getattr(self._tokenizer, "chat_template", None):
            raise BadChat(
                where,
                expected="a tokenizer with a chat template",
                found="none",
                hint="Give plain texts (--text-column).",
            )
        try:
            text = self.rendered(messages)
            one, other = (
                (self.rendered(messages, now=now) for now in _MOMENTS)
                if _CLOCK in self._source
                else (text, text)
            )
        except Exception as error:  # whatever the template raises
            expected = "messages that the chat template takes"
            raise BadChat(where, expected=expected, found=brief(error)) from None
        # The third moment is that of the run: a template may ask whether a day is past.
        if len({text, one, other}) > 1:
            self.dated += 1
            if self._refused_today:
                raise BadOption(
                    "--date",
                    expected="a date, as the chat template writes it into the text",
                    found="none: it would be that of the day of the run",
                    hint=f"Give --date {day.today().isoformat()}, or another one.",
                )
        return text

    def rendered(
        self, messages: Messages, *, prompt: bool | None = None, now: datetime | None = None
    ) -> str:
        """What the template makes of messages; raises whatever it raises.

        Args:
            prompt: whether it ends with what makes the assistant's turn begin; None: as all texts.
            now: the time, for the template.
        """
        # Roles and contents are texts; what else there is, is the template's affair.
        return str(
            self._tokenizer.apply_chat_template(
                cast("list[dict[str, str]]", list(map(dict, messages))),
                chat_template=_at(now or self._now, self._source),
                tokenize=False,
                add_generation_prompt=self._add_generation_prompt if prompt is None else prompt,
            )
        )

    def generated(self, messages: Messages) -> tuple[list[int], list[bool]] | None:
        """The ids of a chat's tokens, and which of them the template says the model generates.

        None if it does not say. Raises whatever it raises.
        """
        if not _GENERATION.search(self._source):
            return None
        encoding: Any = self._tokenizer.apply_chat_template(
            cast("list[dict[str, str]]", list(map(dict, messages))),
            chat_template=_at(self._now, self._source),
            add_generation_prompt=self._add_generation_prompt,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        return list(encoding["input_ids"]), list(map(bool, encoding["assistant_masks"]))

    @property
    def _source(self) -> str:
        return str(self._tokenizer.get_chat_template())


def _at(now: datetime, source: str) -> str:
    """A template for which it is a given time: a macro takes the place of its clock.

    The line break after the macro is trimmed, as the library's templates are set up, and the rest
    is read as if nothing stood before it.
    """
    if _CLOCK not in source:
        return source
    values = {code: now.strftime(f"%{code}") for code in _DIRECTIVES}
    values |= {f"-{code}": values[code].lstrip("0") or "0" for code in _PADDED}
    values |= {"e": f"{now.day:2}", "h": values["b"], "D": now.strftime("%m/%d/%y")}
    values |= {"F": now.strftime("%Y-%m-%d"), "T": now.strftime("%H:%M:%S")}
    values |= {"R": now.strftime("%H:%M")}
    says = "".join(f".replace({'%' + code!r}, {value!r})" for code, value in values.items())
    other = (
        "{% if '%' in said %}{{ raise_exception('a form of date not known: ' + said) }}{% endif %}"
    )
    return (
        f"{{%- macro {_CLOCK}(format) -%}}{{%- set said = format{says} -%}}{other}{{{{ said }}}}"
        f"{{%- endmacro %}}\n{source}"
    )
