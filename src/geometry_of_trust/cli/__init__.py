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
from geometry_of_trust.errors import GotError, Unwritable
from geometry_of_trust.extras import optional
from geometry_of_trust.files import reason

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
    try:
        with optional():
            result = app(
                sys.argv[1:] if argv is None else list(argv),
                exit_on_error=False,
                print_error=False,
                result_action="return_value",
            )
        sys.stdout.flush()
    except CycloptsError as error:
        return _fail(f"{str(error).strip()} Try: got-cli --help", USAGE)
    except GotError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        # The reader of our output left, which is its right; keep the interpreter from complaining.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        failure = Unwritable(error.filename or "output", expected="no error", found=reason(error))
        return _fail(str(failure), failure.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted; nothing was written", 130)
    return result if isinstance(result, int) else OK


def _fail(line: str, code: int) -> int:
    print(f"got-cli: {' '.join(line.split())}", file=sys.stderr)
    return code
