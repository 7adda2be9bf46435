"""The command model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from geometry_of_trust.cli.common import OK, Switch, app, progress_on
from geometry_of_trust.errors import BadOption


@app.command
def model(
    model: str,
    /,
    *,
    revision: str | None = None,
    adapter: Path | None = None,
    code: Annotated[bool, Switch] = False,
    rehash: Annotated[bool, Switch] = False,
    model_signature: Path | None = None,
    model_key: Path | None = None,
    json: Annotated[bool, Switch] = False,
) -> int:
    """Print which model it is: digests of its files and tensors, and the roots over them.

    Parameters
    ----------
    model
        A folder, a .gguf file, or a name in the hub's cache on this machine.
    revision
        Branch, tag or commit of a name on the hub.
    adapter
        The folder of an adapter that is put into the model.
    code
        Cover the model's own Python files, as for a run with --trust-remote-code. None is run here.
    rehash
        Compute every digest: trust no name in the hub's cache, and none computed earlier.
    model_signature
        Check this signature of the model (OpenSSF Model Signing, by key; no certificates).
    model_key
        The public key of the signer that you expect (ECDSA, PEM).
    json
        Print the result as JSON, with every tensor.
    """
    from geometry_of_trust.identity import model_signature as signatures
    from geometry_of_trust.identity.digest_cache import user_cache
    from geometry_of_trust.identity.hub_cache import locate
    from geometry_of_trust.identity.model_identity import identity_of
    from geometry_of_trust.showing import identities

    signed, only_signed = None, dict[str, bool]()
    if model_signature is not None and model_key is not None:
        signed = signatures.check_model_signature(model_signature, model_key)
    elif model_signature is not None or model_key is not None:
        raise BadOption("--model-signature and --model-key", expected="both", found="one of them")
    folder, gguf = locate(model, revision)
    with progress_on("Digesting"):
        # To check somebody's signature is to verify: what was computed earlier does not count.
        computed = rehash or signed is not None
        found = identity_of(
            folder,
            gguf=gguf,
            code=code,
            adapter=adapter,
            rehash=computed,
            cache=None if computed else user_cache(),
        )
    if signed is not None:
        only_signed = signatures.check_signed_files(found, signed, folder, model)
    shown = identities.identity_json if json else identities.identity
    print(shown(found, signed, only_signed))
    return OK
