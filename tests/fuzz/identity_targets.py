"""What an identity is taken of, as targets: headers of weights, a folder's texts, a signature."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import model_signatures
from geometry_of_trust.errors import GotError
from geometry_of_trust.identity.model_folder import find_files
from geometry_of_trust.identity.model_identity import ModelIdentity, identity_of
from geometry_of_trust.identity.model_signature import check_model_signature
from geometry_of_trust.showing import identities
from gguf_files import write_gguf
from model_folders import TENSORS, safetensors, sharded

_folders = tempfile.TemporaryDirectory(prefix="fuzz-identity-")


def _folder() -> Path:
    """An empty folder."""
    folder = Path(_folders.name) / "m"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def read_weights(data: bytes) -> None:
    """As the weights of a model, all of it shown."""
    folder = _folder()
    (folder / "model.safetensors").write_bytes(data)
    found = identity_of(folder, threads=1)
    identities.identity(found).encode()
    identities.identity_json(found).encode()


def read_gguf(data: bytes) -> None:
    path = _folder() / "a.gguf"
    path.write_bytes(data)
    identities.identity_json(identity_of(path, threads=1)).encode()


def read_texts(data: bytes) -> None:
    """As configuration and as index, each in a folder that is whole otherwise."""
    refusals = []
    for name in ("config.json", "model.safetensors.index.json"):
        folder = _folder() / "n"
        sharded(folder)
        (folder / name).write_bytes(data)
        try:
            find_files(folder, code=True)
        except GotError as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]


def read_signature(data: bytes) -> None:
    """As a bundle, and as the payload of one that is signed."""
    folder = _folder()
    _, public = model_signatures.write_keys(folder, "k", model_signatures.SECRET)
    refusals = []
    for text in (data, json.dumps(model_signatures.bundle(data)).encode()):
        (folder / "model.sig").write_bytes(text)
        try:
            signed = check_model_signature(folder / "model.sig", public)
        except GotError as error:
            refusals.append(error)
        else:
            found = ModelIdentity((), None)
            identities.identity(found, signed, dict.fromkeys(signed.files, True)).encode()
    if len(refusals) == 2:
        raise refusals[1]


def weights() -> Iterable[bytes]:
    return (safetensors(TENSORS), safetensors(TENSORS, {"format": "pt"}), safetensors({}))


def gguf_files() -> Iterable[bytes]:
    path = _folder() / "a.gguf"
    write_gguf(path)
    data = path.read_bytes()
    path.unlink()
    return (data,)


def texts() -> Iterable[bytes]:
    folder = sharded(_folder() / "n")
    return (
        (folder / "model.safetensors.index.json").read_bytes(),
        b'{"auto_map": {"AutoModel": "a/b--c.D"}, "transformers_weights": "x.safetensors"}',
    )


def signatures() -> Iterable[bytes]:
    made = model_signatures.statement()
    return (json.dumps(model_signatures.bundle(made)).encode(), json.dumps(made).encode())
