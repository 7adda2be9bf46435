"""What the commands share: the application, kinds of options, progress, passphrases."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App, Group, Parameter

from geometry_of_trust.corpus.options import CorpusOptions, Listener
from geometry_of_trust.errors import BadOption, BadPassphrase, brief
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.terminal import escaped
from geometry_of_trust.version import __version__

if TYPE_CHECKING:
    from geometry_of_trust.signing.keyrings import Keyring

OK, REFUSED, USAGE, UNREADABLE = 0, 1, 2, 3

STEPS = Group("The six steps, in order", sort_key=0)
MORE = Group("More", sort_key=1)
Many = Parameter(consume_multiple=True, negative=())
Switch = Parameter(negative=())
Dropped = Parameter(negative=(), show=False)
"""A switch that did something in an earlier version: accepted, and not in the help."""
_SPELT = {"layout": "gotact-layout", "label_columns": "label-column"}
Flat = Parameter(
    name="*",
    negative=(),
    consume_multiple=True,
    name_transform=lambda field: _SPELT.get(field, field.replace("_", "-")),
    show_default=lambda default: None if default in (None, ()) else str(default),
)
"""A value whose fields are options: named, explained and checked where the value is declared."""

app = App(
    name="got-cli",
    version=__version__,
    help=(
        "Measure what a language model represents, and sign the measurement.\n\n"
        "Six steps: 1 extract, 2 edit the .labels file by hand, 3 keygen, 4 train, 5 attest, "
        "6 verify.\n\n"
        "Exit codes: 0 done or verified, 1 refused, 2 usage, 3 unreadable or malformed input."
    ),
    help_format="plaintext",
    suppress_keyboard_interrupt=False,  # main reports it
    group_commands=MORE,
)


@contextlib.contextmanager
def progress_on(what: str) -> Iterator[Callable[[str], None]]:
    """A spinner on stderr, only where stderr is a terminal; yields how to change its text."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(what) as status:
        yield lambda text: status.update(Text(escaped(text)))


@contextlib.contextmanager
def bar_on(what: str) -> Iterator[Listener]:
    """A bar with rate, remaining time and memory on stderr, only where that is a terminal."""
    if not sys.stderr.isatty():
        yield Listener()
        return
    import psutil
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        SpinnerColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    process = psutil.Process()

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:.1f} rows/s")

    class Memory(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{process.memory_info().rss / 2**20:.0f} MB")

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        Memory(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(escaped(what), total=None)

        def say(text: str) -> None:
            progress.update(task, description=escaped(text))

        def advance(done: int, total: int) -> None:
            if progress.tasks[0].total is None:  # rows of an interrupted run took no time
                progress.reset(task, completed=done, total=total, description="Running")
            progress.update(task, completed=done)

        yield Listener(say, advance)


def arithmetic(options: ExtractionOptions, *, fast: bool) -> ExtractionOptions:
    """The options with `--fast`, which is short for a run that is not reproducible.

    Raises:
        BadOption: --reproducible too; or a model id that is no name.
    """
    if options.model_id is not None and (not options.model_id or options.model_id[0] in "/~"):
        # A path is the affair of one machine, and may tell whose; it would be signed. Documents of
        # such models that were signed before are still made again.
        found = repr(options.model_id)
        raise BadOption("--model-id", expected="a name, not a path", found=found)
    if not fast:
        return options
    if options.reproducible:
        raise BadOption("--fast", expected="it or --reproducible", found="both")
    return replace(options, reproducible=False)


def warn(options: ExtractionOptions, corpus_options: CorpusOptions) -> None:
    """Say what a user may not expect of a run."""
    if options.trust_remote_code:
        talk("warning: --trust-remote-code runs code that comes with the model")
    if corpus_options.engine == "ray" and not options.computes_exactly:
        talk(
            "warning: the last bits depend on the machine, and Ray may use several; --reproducible"
        )


def warn_of_rows(begun_twice: int, texts: int, dated: int) -> None:
    """Say what a user may not expect of the texts that were read.

    Args:
        begun_twice: how many of so many texts begin with the same special token twice.
        dated: in how many chats the template wrote today's date.
    """
    if begun_twice:
        of = "the text, which has" if texts == 1 else f"{begun_twice} of {texts} texts, which have"
        talk(
            f"warning: the tokenizer puts its first token before {of} it already, so that it "
            "stands there twice: take it out of the text, or give chats as messages"
        )
    if dated:
        talk(
            f"warning: the chat template wrote today's date into {dated} of {texts} texts; "
            "tomorrow they will be others: give --date"
        )


def warn_of_low_memory(given: bool) -> None:
    """Say that `--low-memory` does nothing, if it is given; the version after this refuses it."""
    if given:
        talk("note: --low-memory does nothing any more: weights always stay in their files")


def opened_keyring(keyring: Path | None, key: Path | None) -> Keyring | None:
    """The keyring that the options name, signed by the key that they name; None without.

    Raises:
        BadOption: one of the two options alone. Others: as `load_keyring`.
    """
    if keyring is None and key is None:
        return None
    if keyring is None or key is None:
        name = "--keyring" if keyring is None else "--keyring-key"
        raise BadOption(name, expected="--keyring and --keyring-key, or neither", found="none")
    from geometry_of_trust.signing.keyrings import load_keyring

    return load_keyring(keyring, key)


def talk(text: str) -> None:
    """Say something that is not the answer."""
    print(text, file=sys.stderr)


def passphrase_from(file: Path | None, *, twice: bool = False) -> Callable[[], bytes]:
    """How to come by a passphrase: the first line of a file, or a question on the terminal.

    The file is as a secret key must be (`read_passphrase`).
    """

    def ask() -> bytes:
        if file is not None:
            from geometry_of_trust.signing.secret_files import read_passphrase

            return read_passphrase(file)
        if not sys.stdin.isatty():
            raise BadPassphrase("passphrase", expected="a terminal to ask on", found="none",
                                hint="Give --passphrase-file.")  # fmt: skip
        first = _asked("Passphrase: ")
        if twice and _asked("Again: ") != first:
            raise BadPassphrase("passphrase", expected="the same twice", found="two different")
        return first.encode("utf-8", "surrogateescape")

    return ask


def _asked(question: str) -> str:
    """What a user answers on the terminal, unseen.

    Raises:
        BadPassphrase: nothing, or no text.
    """
    import getpass

    try:
        return getpass.getpass(question)
    except (EOFError, UnicodeError, OSError) as error:
        found = "the end of input" if isinstance(error, EOFError) else brief(error)
        raise BadPassphrase("passphrase", expected="an answer", found=found) from None
