"""Models by name in the local cache of the hub; nothing is downloaded."""

from __future__ import annotations

import os
import re

from geometry_of_trust.errors import BadOption, UnknownModel, brief
from geometry_of_trust.extras import optional

_GGUF = re.compile(r"([^/]+/[^/]+)/(.+\.gguf)")


def locate(model: str, revision: str | None = None) -> tuple[str, str | None]:
    """The folder of a model, and the GGUF file in it that is the model, if one is.

    Args:
        model: a folder or `.gguf` file; else a name on the hub, perhaps with a `.gguf` file's.
        revision: of a name: branch, tag or commit.

    Raises:
        UnknownModel: nothing of it is on this machine.
        BadOption: a revision of a folder.
        MissingExtra: it is a name, and what reads the hub's cache is not installed.
    """
    if os.path.exists(model):
        if revision is not None:
            raise BadOption("revision", expected="a name on the hub, not a path", found=model)
        if os.path.isdir(model):
            return model, None
        folder, name = os.path.split(model)
        if not name.endswith(".gguf"):
            raise _unknown(model, "another file", f"Give its folder: {folder or '.'}")
        return folder or ".", name
    if not model:
        raise _unknown("MODEL", "an empty name", "Name one.")
    match = _GGUF.fullmatch(model)
    name, gguf = (match[1], match[2]) if match else (model, None)
    with optional():
        from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - for names alone
    file = gguf or "config.json"
    try:
        found = try_to_load_from_cache(name, file, revision=revision)
    except (ValueError, OSError) as error:
        # A name that the hub cannot have is a path that is not there, or misspelt.
        found, why = None, "no such path" if isinstance(error, ValueError) else brief(error)
    else:
        why = f"no {file} in the hub's cache"
    if not isinstance(found, str) and match is None and model.endswith(".gguf"):
        raise _unknown(model, "no such file", "Give the path of the file, or OWNER/NAME/FILE.gguf.")
    if not isinstance(found, str):
        raise _unknown(model, why)
    return found.removesuffix(file).rstrip("/\\"), gguf


def _unknown(
    model: str, found: str, hint: str = "Download it first (hf download NAME), or give its folder."
) -> UnknownModel:
    return UnknownModel(
        model,
        expected="a folder, a .gguf file, or a name in the hub's cache on this machine",
        found=found,
        hint=hint,
    )
