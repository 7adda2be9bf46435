"""The command keygen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from geometry_of_trust.cli.common import (
    OK,
    STEPS,
    Switch,
    app,
    passphrase_from,
)
from geometry_of_trust.terminal import escaped

_LONGEST_PATH = 4096


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
    from geometry_of_trust.signing.core_dumps import forbid_core_dumps
    from geometry_of_trust.signing.key_making import generate_key_files

    forbid_core_dumps()
    locked = encrypt or passphrase_file is not None
    passphrase = passphrase_from(passphrase_file, twice=True)() if locked else None
    secret, public, key = generate_key_files(output, format=format, passphrase=passphrase)
    print(f"secret key  {escaped(secret, _LONGEST_PATH)}  (keep it; mode 0600)")
    print(f"public key  {escaped(public, _LONGEST_PATH)}  (give it to whoever verifies)")
    print(f"key id      {key.key_id}")
    return OK
