"""The command line: parse, one call, print, exit code.

Heavy rooms are imported inside the command that needs them, so that `verify` of a document
starts in a fraction of a second. Answers go to stdout, talk and progress to stderr.
"""

from __future__ import annotations

import dataclasses
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from cyclopts import CycloptsError

from geometry_of_trust.cli import (
    attest,
    calibration_report,
    checkpoint,
    convert,
    drift,
    export,
    extract,
    intervene,
    keygen,
    keyring,
    model,
    prove,
    read,
    reproduce,
    show,
    sweep,
    train,
    transfer,
    verify,
)
from geometry_of_trust.cli.common import OK, UNREADABLE, USAGE, app
from geometry_of_trust.cli.places import check_places
from geometry_of_trust.cli.signals import as_interrupts
from geometry_of_trust.cli.streams import Outlet, guarded_streams
from geometry_of_trust.errors import BadOption, GotError, Interrupted, Unwritable, brief
from geometry_of_trust.extras import optional
from geometry_of_trust.files import reason
from geometry_of_trust.outputs.ledger import keeping_a_ledger
from geometry_of_trust.terminal import escaped

__all__ = [
    "app",
    "attest",
    "calibration_report",
    "checkpoint",
    "convert",
    "drift",
    "export",
    "extract",
    "intervene",
    "keygen",
    "keyring",
    "main",
    "model",
    "prove",
    "read",
    "reproduce",
    "show",
    "sweep",
    "train",
    "transfer",
    "verify",
]

_GIVE_VERDICTS = (verify.verify, reproduce.reproduce)
"""Commands whose exit code is their answer, whether or not anybody reads what they print."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit code. `argv` is without the program's name.

    Whatever ends a command is one line on stderr and an exit code, and nothing that happens to
    the output changes an exit code that is not 0, nor one that is a verdict. What was written
    before is told.
    """
    with as_interrupts() as ending, keeping_a_ledger() as ledger, guarded_streams() as answers:
        try:
            code = _run(sys.argv[1:] if argv is None else list(argv), answers)
        except BaseException as error:
            line, code = _ended_by(error)
            if isinstance(error, KeyboardInterrupt):
                line = f"interrupted; {ledger}"
            elif ledger.told:
                line += ledger.told
            if isinstance(error, KeyboardInterrupt | Interrupted):
                code = ending.exit_code
        else:
            if answers.abandoned and ledger.told:
                _say(f"the reader of standard output left{ledger.told}")
            return code
        # Here, where the error and all that it holds on to are gone: memory may be short.
        _say(line)
        return code


def _say(line: str) -> None:
    print(f"got-cli: {escaped(' '.join(line.split()), _LONGEST_LINE)}", file=sys.stderr)


def _run(argv: list[str], answers: Outlet) -> int:
    with optional():
        command, bound, _ = app.parse_args(argv, exit_on_error=False, print_error=False)
        _check_text(bound.arguments)
        check_places(bound.arguments)
        if command in _GIVE_VERDICTS:
            return int(command(*bound.args, **bound.kwargs))
        _check_answers(answers)
        result = command(*bound.args, **bound.kwargs)
        answers.flush()
        _check_answers(answers, "All else was done.")
    return result if isinstance(result, int) else OK


def _check_answers(answers: Outlet, hint: str = "") -> None:
    """What a command prints can arrive; a reader that leaves has what it wants.

    Raises:
        Unwritable: it cannot.
    """
    if answers.failure is not None and not answers.abandoned:
        raise Unwritable("standard output", expected="one to write to", found=answers.failure,
                         hint=hint)  # fmt: skip


def _check_text(values: Mapping[str, object]) -> None:
    """Values of options that are not paths are text.

    Raises:
        BadOption: one has bytes that are not UTF-8, which Python keeps as lone surrogates.
    """
    for name, value in values.items():
        if dataclasses.is_dataclass(value):
            _check_text(vars(value))
        for text in value if isinstance(value, list | tuple) else (value,):
            if isinstance(text, str) and any("\ud800" <= c <= "\udfff" for c in text):
                option = f"--{name.replace('_', '-')}"
                raise BadOption(option, expected="text in UTF-8", found=text)


# --- how a command ends otherwise -------------------------------------------------------------

_LONGEST_LINE = 4000
_PACKAGE = Path(__file__).parents[1]


def _ended_by(error: BaseException) -> tuple[str, int]:
    """The line that is printed of an error, and the exit code."""
    if isinstance(error, CycloptsError):
        return f"{str(error).strip()} Try: got-cli --help", USAGE
    if isinstance(error, GotError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", 130
    if isinstance(error, MemoryError):
        return "memory: expected enough for this input, found none left", UNREADABLE
    if isinstance(error, RecursionError):
        return "input: expected a depth that can be handled, found more", UNREADABLE
    if isinstance(error, OSError):
        where = str(error.filename or "input or output")
        return str(Unwritable(where, expected="no error", found=reason(error))), UNREADABLE
    return f"unforeseen {brief(error)}{_place(error)}. Please report this.", UNREADABLE


def _place(error: BaseException) -> str:
    """The last line of this package that an error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    last = [frame for frame in frames if _PACKAGE in Path(frame.filename).parents][-1]
    return f", at {Path(last.filename).relative_to(_PACKAGE)}:{last.lineno}"
