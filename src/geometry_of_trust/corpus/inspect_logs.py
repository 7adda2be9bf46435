"""The samples of an evaluation log of Inspect (`.eval`), by Inspect's own reader.

A sample of each epoch is a row: `messages`, `id`, `epoch`, and `SCORER.value` for each of its
scores, where `C` and `I`, as Inspect writes correct and incorrect, are 1 and 0.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from geometry_of_trust.errors import BadCorpus, brief
from geometry_of_trust.extras import optional
from geometry_of_trust.files import PathLike, opened
from geometry_of_trust.formats.table_rows import Row

if TYPE_CHECKING:
    # Without the library, which is of an extra, these are of any type.
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ChatMessage

ENDING = ".eval"
GROUP = "id"
"""The column of what belongs together: the epochs of one sample."""

_LABELS = {"C": 1, "I": 0}


def rows(path: PathLike) -> Iterator[Row]:
    """The samples of a log, in its order, one at a time.

    Raises:
        Unreadable: there is no such file. MissingExtra: inspect_ai is not installed.
        BadCorpus: Inspect cannot read it, the evaluation or a sample did not end well, or a
            message holds something else than text, reasoning and calls of tools.
    """
    with opened(path):
        pass  # Inspect's own error for a missing file is of its file system
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with optional():
            from inspect_ai.log import (  # noqa: PLC0415 - takes a second
                read_eval_log,
                read_eval_log_samples,
            )
    name = os.fspath(path)
    try:
        status: str = read_eval_log(name, header_only=True).status
    except Exception as error:  # whatever a damaged file makes the library raise
        raise BadCorpus(path, expected="a log of Inspect", found=brief(error)) from None
    if status != "success":
        raise BadCorpus(path, expected="the log of an evaluation that succeeded", found=status)
    samples = iter(read_eval_log_samples(name, resolve_attachments=True))
    number = 0
    while True:
        number += 1
        try:
            sample = next(samples, None)
        except Exception as error:  # as above
            where = f"{path}, sample {number}"
            raise BadCorpus(where, expected="a sample of Inspect", found=brief(error)) from None
        if sample is None:
            return
        where = f"{path}, sample {sample.id} of epoch {sample.epoch}"
        if sample.error is not None:
            raise BadCorpus(
                where,
                expected="a sample that ran to its end",
                found=brief(sample.error.message),
                hint="Run it again (inspect eval-retry), or take it out of the log.",
            )
        yield where, _row(sample, where)


def _row(sample: EvalSample, where: str) -> Mapping[str, object]:
    scores: dict[str, object] = {}
    for scorer, score in (sample.scores or {}).items():
        parts = score.value.items() if isinstance(score.value, dict) else [(None, score.value)]
        for part, value in parts:
            name = f"{scorer}.value" if part is None else f"{scorer}.value.{part}"
            scores[name] = _LABELS.get(value, value) if isinstance(value, str) else value
    messages = [_message(message, where) for message in sample.messages]
    return {"messages": messages, GROUP: str(sample.id), "epoch": sample.epoch, **scores}


def _message(message: ChatMessage, where: str) -> dict[str, Any]:
    """A message as chat templates take them.

    Raises:
        BadCorpus: it holds pictures or other things.
    """
    parts = [] if isinstance(message.content, str) else message.content
    others = {part.type for part in parts} - {"text", "reasoning"}
    if others:
        raise BadCorpus(where, expected="messages of text", found=", ".join(sorted(others)))
    made: dict[str, Any] = {"role": message.role, "content": message.text}
    thoughts = [part for part in parts if part.type == "reasoning"]
    if any(part.redacted for part in thoughts):
        raise BadCorpus(where, expected="reasoning that can be read", found="redacted reasoning")
    if thoughts:
        made["reasoning_content"] = "\n".join(part.reasoning for part in thoughts)
    if message.role == "assistant" and message.tool_calls:
        made["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.role == "tool":
        called = {"tool_call_id": message.tool_call_id, "name": message.function}
        made |= {name: value for name, value in called.items() if value is not None}
    return made
