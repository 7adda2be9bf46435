"""Identities of models as text or JSON. Untrusted text is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from geometry_of_trust.identity.model_identity import CoveredFile, ModelIdentity
from geometry_of_trust.identity.model_signature import SignedModel
from geometry_of_trust.showing.text import as_json, table
from geometry_of_trust.terminal import bare_or_quoted

NAMES_SHOWN = 100

_ORIGINS = {
    "bytes": "",
    "name": "  taken from the name in the hub's cache (--rehash computes it)",
    "remembered": "  computed earlier (--rehash computes it again)",
}


def identity(
    found: ModelIdentity,
    signed: SignedModel | None = None,
    only_signed: Mapping[str, bool] = MappingProxyType({}),
) -> str:
    """What a model is, for a person.

    Args:
        signed: a signature that was verified and covers all its files.
        only_signed: what else it covers, by name: whether it is there.
    """
    if found.tensor_root is None or found.tensors is None:
        tensors = "not read: the weights are pickled"
    else:
        tensors = f"{found.tensor_root}  ({_count(len(found.tensors), 'tensor')})"
    rows = [
        ("repository", bare_or_quoted(found.repository) if found.repository else ""),
        ("commit", f"{found.commit}  (as the cache has it)" if found.commit else ""),
        ("manifest root", f"{found.manifest_root}  ({_count(len(found.files), 'file')})"),
        ("tensor root", tensors),
        *(("file", _line(file)) for file in found.files),
    ]
    if found.tensors_remembered:
        rows.append(("tensors of", f"{_names(found.tensors_remembered)}: digested earlier"))
    rows.append(("not covered", _names(found.not_covered) or "nothing"))
    if signed is not None:
        rows += [
            ("signed", f"all files above, by key {signed.key}, as {bare_or_quoted(signed.name)}"),
            ("signed root", signed.root),
            ("signed, not covered", _names(_those(only_signed, there=True)) or "nothing"),
            ("signed, missing", _names(_those(only_signed, there=False)) or "nothing"),
            ("not checked", "certificates; whose the key is"),
        ]
    return table(rows)


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _line(file: CoveredFile) -> str:
    return f"{file.sha256}  {bare_or_quoted(file.name)}{_ORIGINS[file.origin]}"


def _those(only_signed: Mapping[str, bool], *, there: bool) -> tuple[str, ...]:
    return tuple(name for name, is_there in only_signed.items() if is_there is there)


def _names(names: tuple[str, ...]) -> str:
    shown = ", ".join(map(bare_or_quoted, names[:NAMES_SHOWN]))
    more = len(names) - NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def identity_json(
    found: ModelIdentity,
    signed: SignedModel | None = None,
    only_signed: Mapping[str, bool] = MappingProxyType({}),
) -> str:
    """`model --json`: with every tensor; arguments as of `identity`."""
    tree: dict[str, object] = {
        "repository": found.repository,
        "commit": found.commit,
        "manifest_root": found.manifest_root,
        "tensor_root": found.tensor_root,
        "files": [dict(vars(file)) for file in found.files],
        "tensors": None if found.tensors is None else [
            {"name": t.name, "dtype": t.dtype, "shape": list(t.shape), "sha256": t.sha256}
            for t in found.tensors
        ],
        "tensors_remembered": list(found.tensors_remembered),
        "not_covered": list(found.not_covered),
    }  # fmt: skip
    if signed is not None:
        tree["signature"] = {
            "name": signed.name,
            "root": signed.root,
            "key": signed.key,
            "not_covered": list(_those(only_signed, there=True)),
            "missing": list(_those(only_signed, there=False)),
        }
    return as_json(tree)
