"""The command line: parse, one call, print, exit code.

Heavy rooms are imported inside the command that needs them, so that `verify` of a document
starts in a fraction of a second. Answers go to stdout, talk and progress to stderr.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Group, Parameter

from geometry_of_trust import __version__
from geometry_of_trust.errors import BadPassphrase, GotError, MissingExtra, Unwritable, escaped
from geometry_of_trust.files import read_bounded, reason, write_file

OK, REFUSED, USAGE, UNREADABLE = 0, 1, 2, 3

_STEPS = Group("The six steps, in order", sort_key=0)
_MORE = Group("More", sort_key=1)
_Many = Parameter(consume_multiple=True, negative=())
_Switch = Parameter(negative=())

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
    group_commands=_MORE,
)


@contextlib.contextmanager
def _progress(what: str) -> Iterator[Callable[[str], None]]:
    """A spinner on stderr, only where stderr is a terminal; yields how to change its text."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console

    with Console(stderr=True).status(what) as status:
        yield lambda text: status.update(escaped(text))


def _talk(text: str) -> None:
    print(text, file=sys.stderr)


def _passphrase(file: Path | None, *, twice: bool = False) -> Callable[[], bytes]:
    """How to come by a passphrase: the first line of a file, or a question on the terminal."""

    def ask() -> bytes:
        if file is not None:
            return read_bounded(file, 4096).split(b"\n", 1)[0].rstrip(b"\r")
        if not sys.stdin.isatty():
            raise BadPassphrase("passphrase", expected="a terminal to ask on", found="none",
                                hint="Give --passphrase-file.")  # fmt: skip
        import getpass

        first = getpass.getpass("Passphrase: ")
        if twice and getpass.getpass("Again: ") != first:
            raise BadPassphrase("passphrase", expected="the same twice", found="two different")
        return first.encode()

    return ask


@app.command(group=_STEPS, sort_key=1)
def extract(
    *,
    model: str,
    input: str,  # noqa: A002 - the reference's name of the option
    layers: Annotated[list[int], _Many],
    output_activations: Path = Path("activations.gotact"),
    output_unembedding: Path = Path("unembedding.gotue"),
    device: str = "auto",
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    trust_remote_code: Annotated[bool, _Switch] = False,
    revision: str | None = None,
    model_id: str | None = None,
    gotact_layout: Literal["per-layer", "per-position"] = "per-layer",
) -> int:
    """1. Run a model on a text; write its residual stream and its unembedding matrix.

    Beside the activations it writes a labels stub (one 0 a token; edit it: that is step 2) and
    an extraction record.

    Parameters
    ----------
    model
        Hub name, local directory, or .gguf file.
    input
        The text.
    layers
        Blocks to read, 0-based: the residual stream after each of them.
    output_activations
        Where the activations go.
    output_unembedding
        Where the unembedding matrix goes.
    device
        auto, cpu, cuda, cuda:0 ...
    dtype
        What the model runs in; the file holds float32 always.
    trust_remote_code
        Run code that comes with the model. Only for models that you trust.
    revision
        Branch, tag or commit on the hub.
    model_id
        Name written into the file [default: what --model says].
    gotact_layout
        Where the layer index stands; see docs/formats.md.
    """
    try:
        from geometry_of_trust.extraction import extract as run
    except ModuleNotFoundError as error:
        raise MissingExtra("extract", expected=f"the package {error.name}", found="none",
                           hint="pip install 'geometry-of-trust[extract]'") from None  # fmt: skip
    if trust_remote_code:
        _talk("warning: --trust-remote-code runs code that comes with the model")
    with _progress("Loading") as progress:
        result = run(
            model,
            input,
            layers,
            output_activations=output_activations,
            output_unembedding=output_unembedding,
            device=device,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            revision=revision,
            model_id=model_id,
            layout=gotact_layout,
            progress=progress,
        )
    from geometry_of_trust import reports

    print(reports.extraction(result))
    return OK


@app.command(group=_STEPS, sort_key=3)
def keygen(
    *,
    output: Path,
    format: Literal["pem", "raw"] | None = None,  # noqa: A002 - the issue's name of the option
    encrypt: Annotated[bool, _Switch] = False,
    passphrase_file: Path | None = None,
) -> int:
    """3. Make a signing key: PATH (secret, mode 0600) and PATH.pub. Never overwrites.

    Parameters
    ----------
    output
        PATH of the secret key; the public key gets .pub appended.
    format
        pem (PKCS#8 and SubjectPublicKeyInfo) or raw (the reference's 32 bytes) [default: pem].
    encrypt
        Ask for a passphrase; writes an OpenSSH key encrypted with bcrypt.
    passphrase_file
        Take the passphrase from the first line of this file (implies --encrypt).
    """
    from geometry_of_trust.keys import generate_key_files

    locked = encrypt or passphrase_file is not None
    passphrase = _passphrase(passphrase_file, twice=True)() if locked else None
    secret, public, key = generate_key_files(output, format=format, passphrase=passphrase)
    print(f"secret key  {escaped(secret)}  (keep it; mode 0600)")
    print(f"public key  {escaped(public)}  (give it to whoever verifies)")
    print(f"key id      {key.key_id}")
    return OK


@app.command(group=_STEPS, sort_key=4)
def train(
    *,
    activations: Path,
    labels: Path,
    unembedding: Path,
    layer: int,
    output: Path,
    dimension: str = "unnamed",
    epsilon: float = 1e-6,
    l2: float | None = None,
    inner_product: Literal["causal", "euclidean"] = "causal",
    corpus_version: str = "unversioned",
    json: Annotated[bool, _Switch] = False,
) -> int:
    """4. Train a linear probe on labelled activations, with held-out quality and calibration.

    Parameters
    ----------
    activations
        The .gotact file.
    labels
        One 0 or 1 a position.
    unembedding
        The .gotue file, for the inner product.
    layer
        Which of the layers in the file.
    output
        Where the probe set (JSON) goes.
    dimension
        What the probe reads, e.g. place_name.
    epsilon
        Added to the diagonal of a singular Gram matrix, relative to its mean.
    l2
        Strength of the L2 penalty [default: chosen by cross-validation].
    inner_product
        causal (the unembedding's Gram matrix) or euclidean.
    corpus_version
        Name of the labelled data, kept in the probe set.
    json
        Print the result as JSON.
    """
    from geometry_of_trust import reports
    from geometry_of_trust.training import train_files

    with _progress("Training") as progress:
        result = train_files(
            activations=activations,
            labels=labels,
            unembedding=unembedding,
            layer=layer,
            dimension=dimension,
            epsilon=epsilon,
            l2=l2,
            inner_product=inner_product,
            corpus_version=corpus_version,
            progress=progress,
        )
        write_file(output, result.probe_set.to_json())
    print(reports.training_json(result, output) if json else reports.training(result, output))
    return OK


@app.command(group=_STEPS, sort_key=5)
def attest(
    *,
    activations: Path,
    probes: Annotated[list[Path], _Many],
    unembedding: Path,
    key: Path,
    output: Path,
    model_id: str | None = None,
    corpus_version: str = "unversioned",
    position: str = "last",
    timestamp: int | None = None,
    epsilon: float = 1e-6,
    passphrase_file: Path | None = None,
    json: Annotated[bool, _Switch] = False,
) -> int:
    """5. Read the probes and sign the readings, bound to everything they came from.

    Parameters
    ----------
    activations
        The .gotact file to read.
    probes
        Probe sets, one or more.
    unembedding
        The .gotue file, for the inner product.
    key
        The secret key.
    output
        Where the attestation (JSON) goes.
    model_id
        Must be the activations' own [default: that].
    corpus_version
        Name of the data, signed as it is.
    position
        Token to read: last, first, mean (of all) or a number.
    timestamp
        Unix seconds [default: SOURCE_DATE_EPOCH, else now].
    epsilon
        As given to train.
    passphrase_file
        First line: the passphrase of an encrypted key.
    json
        Print the result as JSON.
    """
    from geometry_of_trust import printing
    from geometry_of_trust.attestation import write_attestation
    from geometry_of_trust.attesting import attest as sign
    from geometry_of_trust.keys import load_secret_key

    secret = load_secret_key(key, _passphrase(passphrase_file))
    with _progress("Reading the probes"):
        attestation = sign(
            activations=activations,
            probes=probes,
            unembedding=unembedding,
            key=secret,
            model_id=model_id,
            corpus_version=corpus_version,
            position=position,
            timestamp=timestamp,
            epsilon=epsilon,
        )
        write_attestation(output, attestation)
    print(
        printing.attestation_json(attestation)
        if json
        else f"{printing.attestation(attestation)}\nwrote {escaped(output)}"
    )
    return OK


@app.command(group=_STEPS, sort_key=6)
def verify(
    *,
    attestation: Path,
    pubkey: Path,
    activations: Path | None = None,
    unembedding: Path | None = None,
    probes: Annotated[list[Path] | None, _Many] = None,
    allow_legacy: Annotated[bool, _Switch] = False,
    allow_reformatted: Annotated[bool, _Switch] = False,
    json: Annotated[bool, _Switch] = False,
) -> int:
    """6. Check an attestation: with a public key alone, or by recomputing everything.

    Parameters
    ----------
    attestation
        The attestation (JSON).
    pubkey
        The public key of the signer that you expect.
    activations
        Check this .gotact file against its digest.
    unembedding
        Check this .gotue file against its digest.
    probes
        Check these probe sets, in the order signed. With all three, recompute the readings.
    allow_legacy
        Accept documents without a binding, as the reference makes them.
    allow_reformatted
        Accept another spelling of the same JSON.
    json
        Print the result as JSON.
    """
    from geometry_of_trust import printing
    from geometry_of_trust.verification import Refused
    from geometry_of_trust.verification import verify as check

    try:
        verdict = check(
            attestation,
            pubkey,
            activations=activations,
            unembedding=unembedding,
            probes=probes or (),
            allow_legacy=allow_legacy,
            allow_reformatted=allow_reformatted,
        )
    except Refused as refused:
        print(printing.refusal_json(refused) if json else printing.refusal(refused))
        return refused.exit_code
    print(printing.verdict_json(verdict) if json else printing.verdict(verdict))
    return OK


@app.command
def show(file: Path, /) -> int:
    """Print what is inside a .gotact, .gotue, .labels, probe set, attestation or record.

    Parameters
    ----------
    file
        The file. For a labels file beside its activations, the tokens next to their labels.
    """
    from geometry_of_trust.show import describe

    for line in describe(file):
        print(line)
    return OK


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit code. `argv` is without the program's name."""
    try:
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
