"""The commands that make something: extract, keygen, attest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from geometry_of_trust.cli.common import (
    OK,
    STEPS,
    Many,
    Switch,
    app,
    passphrase_from,
    progress_on,
    talk,
)
from geometry_of_trust.errors import BadOption, escaped


@app.command(group=STEPS, sort_key=1)
def extract(
    *,
    model: str,
    input: str,  # noqa: A002 - the reference's name of the option
    layers: Annotated[list[int], Many],
    output_activations: Path = Path("activations.gotact"),
    output_unembedding: Path = Path("unembedding.gotue"),
    device: str = "auto",
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    trust_remote_code: Annotated[bool, Switch] = False,
    revision: str | None = None,
    model_id: str | None = None,
    gotact_layout: Literal["per-layer", "per-position"] = "per-layer",
    reproducible: Annotated[bool, Switch] = False,
    fast: Annotated[bool, Switch] = False,
    low_memory: Annotated[bool, Switch] = False,
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
    reproducible
        Compute in 64 bits and round once: the same bytes on every machine. The default for
        float32.
    fast
        Compute in --dtype itself. The last bits then depend on the machine.
    low_memory
        Read each block from disk when it is needed, for a model that memory does not hold.
    """
    if reproducible and fast:
        raise BadOption("--fast", expected="it or --reproducible", found="both")
    from geometry_of_trust import reports
    from geometry_of_trust.extraction import extract as run

    if trust_remote_code:
        talk("warning: --trust-remote-code runs code that comes with the model")
    with progress_on("Loading") as progress:
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
            reproducible=True if reproducible else False if fast else None,
            low_memory=low_memory,
            progress=progress,
        )
    print(reports.extraction(result))
    return OK


@app.command(group=STEPS, sort_key=3)
def keygen(
    *,
    output: Path,
    format: Literal["pem", "raw"] | None = None,  # noqa: A002 - the issue's name of the option
    encrypt: Annotated[bool, Switch] = False,
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
    passphrase = passphrase_from(passphrase_file, twice=True)() if locked else None
    secret, public, key = generate_key_files(output, format=format, passphrase=passphrase)
    print(f"secret key  {escaped(secret)}  (keep it; mode 0600)")
    print(f"public key  {escaped(public)}  (give it to whoever verifies)")
    print(f"key id      {key.key_id}")
    return OK


@app.command(group=STEPS, sort_key=5)
def attest(
    *,
    activations: Path,
    probes: Annotated[list[Path], Many],
    unembedding: Path,
    key: Path,
    output: Path,
    model_id: str | None = None,
    corpus_version: str = "unversioned",
    position: str = "last",
    timestamp: int | None = None,
    epsilon: float = 1e-6,
    passphrase_file: Path | None = None,
    json: Annotated[bool, Switch] = False,
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

    secret = load_secret_key(key, passphrase_from(passphrase_file))
    with progress_on("Reading the probes"):
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
    for entry in printing.readings(attestation):
        if entry["verdict"] == "INSUFFICIENT":
            name = escaped(repr(entry["dimension"]))
            talk(f"warning: probe {name} is INSUFFICIENT by its own card; see got-cli show")
    print(
        printing.attestation_json(attestation)
        if json
        else f"{printing.attestation(attestation)}\nwrote {escaped(output)}"
    )
    return OK
