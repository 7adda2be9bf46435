"""The command line: parse, one call, print, exit code.

Heavy rooms are imported inside the command that needs them, so that `verify` of a document
starts in a fraction of a second. Answers go to stdout, talk and progress to stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import CycloptsError

from geometry_of_trust.cli import (
    attest,
    calibration_report,
    convert,
    extract,
    keygen,
    read,
    reproduce,
    show,
    sweep,
    train,
    verify,
)
from geometry_of_trust.cli.common import OK, USAGE, app
from geometry_of_trust.cli.places import check_places
from geometry_of_trust.cli.signals import Ending, as_interrupts
from geometry_of_trust.errors import GotError, Interrupted, Unwritable
from geometry_of_trust.extras import optional
from geometry_of_trust.files import reason
from geometry_of_trust.outputs.ledger import Ledger, keeping_a_ledger

__all__ = [
    "app",
    "attest",
    "calibration_report",
    "convert",
    "extract",
    "keygen",
    "main",
    "read",
    "reproduce",
    "show",
    "sweep",
    "train",
    "verify",
]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit code. `argv` is without the program's name."""
    if sys.stdout is None:  # it was closed by whoever started us
        return _fail("standard output: expected one to write to, found none", Unwritable.exit_code)
    with as_interrupts() as ending, keeping_a_ledger() as ledger:
        return _run(sys.argv[1:] if argv is None else list(argv), ending, ledger)


def _run(argv: list[str], ending: Ending, ledger: Ledger) -> int:
    try:
        with optional():
            command, bound, _ = app.parse_args(argv, exit_on_error=False, print_error=False)
            check_places(bound.arguments)
            result = command(*bound.args, **bound.kwargs)
        sys.stdout.flush()
    except CycloptsError as error:
        return _fail(f"{str(error).strip()} Try: got-cli --help", USAGE)
    except GotError as error:
        code = ending.exit_code if isinstance(error, Interrupted) else error.exit_code
        return _fail(f"{error}{ledger.told}", code)
    except BrokenPipeError:
        # The reader of our output left, which is its right; keep the interpreter from complaining.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if ledger.told:
            print(f"got-cli: the reader of standard output left{ledger.told}", file=sys.stderr)
        return OK
    except OSError as error:
        failure = Unwritable(error.filename or "output", expected="no error", found=reason(error))
        return _fail(f"{failure}{ledger.told}", failure.exit_code)
    except KeyboardInterrupt:
        return _fail(f"interrupted; {ledger}", ending.exit_code)
    return result if isinstance(result, int) else OK


def _fail(line: str, code: int) -> int:
    print(f"got-cli: {' '.join(line.split())}", file=sys.stderr)
    return code
