"""Whether a model on this machine is the one that was signed, and whether others signed it too.

The numbers beside the checks are those of docs/verification.md. Needs no numpy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from geometry_of_trust.documents.extraction_record import Record
from geometry_of_trust.documents.recorded_identity import RecordedFile, RecordedIdentity, Weights
from geometry_of_trust.errors import BadOption, OtherModel
from geometry_of_trust.files import PathLike
from geometry_of_trust.identity.hub_cache import locate
from geometry_of_trust.identity.model_identity import CoveredFile, ModelIdentity, identity_of
from geometry_of_trust.identity.model_signature import (
    check_covered,
    check_model_signature,
    check_signed_files,
)
from geometry_of_trust.signing.binding import BoundModel
from geometry_of_trust.terminal import escaped

_NAMED = 5
"""How many files that differ are named."""


@dataclass(frozen=True)
class SuppliedModel:
    """What an auditor has of a model; None for what is missing.

    Attributes:
        model: a folder, a `.gguf` file, or a name in the hub's cache on this machine.
        adapter: the folder of the adapter that was in it.
        signature: a signature of the model (OpenSSF Model Signing). key: its signer's public key.

    Raises:
        BadOption: a signature without a key or a key without a signature; an adapter alone.
    """

    model: PathLike | None = None
    adapter: PathLike | None = None
    signature: PathLike | None = None
    key: PathLike | None = None

    def __post_init__(self) -> None:
        if (self.signature is None) != (self.key is None):
            raise BadOption(
                "--model-signature and --model-key", expected="both", found="one of them"
            )
        if self.adapter is not None and self.model is None:
            raise BadOption("--adapter", expected="--model, too", found="none")


NO_MODEL = SuppliedModel()


def check_model(bound: BoundModel | None, supplied: SuppliedModel, record: Record | None) -> str:
    """A model is the one that is bound, and its signature covers that; says so in words.

    No digest is trusted that was computed earlier, or that is a name in the hub's cache.

    Args:
        record: the signer's extraction record, if it is here and the one that is bound.

    Raises:
        OtherModel: it is another one, or not all of it is signed.
        BadOption: nothing is bound of a model; or the files of a signature cannot be compared.
        Others: as `identity_of`, `locate`, `check_model_signature`, `check_signed_files`.
    """
    if bound is None:
        raise BadOption(
            "--model", expected="a document that says which model it was", found="one that does not"
        )
    found, folder, said = None, "", []
    recorded = None if record is None else record.identity
    if supplied.model is not None:
        # 5.15 The model's files and tensors have the roots that are bound. Both: a signer may have
        # taken a file's digest from its name in the hub's cache, and the tensors' from its bytes.
        folder, gguf = locate(str(supplied.model), _revision(str(supplied.model), bound))
        found = _identify(folder, gguf, supplied.adapter, bound)
        if found.weights != bound.weights:
            raise _other(supplied.model, bound.weights, found, recorded)
        said.append(f"model ({len(found.files)} files)")
    if supplied.signature is not None and supplied.key is not None:
        # 5.16 Each of the files that are bound is covered by the signature of the model.
        signed = check_model_signature(supplied.signature, supplied.key)
        where = str(supplied.signature)
        if found is not None:
            check_signed_files(found, signed, folder, where)
        elif recorded is not None:
            check_covered(recorded.files, signed, where)
        elif signed.root != bound.manifest_root:
            raise BadOption(
                where, expected="the model (--model) or the signer's extraction record (--record), "
                "to compare file by file, as the signature's root is another one",
                found="neither",
            )  # fmt: skip
        said.append(f"signature of the model, by key {signed.key[:16]}…")
    return ", ".join(said)


def _revision(model: str, bound: BoundModel) -> str | None:
    """The version of a name on the hub that was signed; of a path none."""
    from os.path import exists  # noqa: PLC0415

    return None if exists(model) else bound.commit


def _identify(
    folder: str, gguf: str | None, adapter: PathLike | None, bound: BoundModel
) -> ModelIdentity:
    """The identity, with the model's own code if only so it is the one that is bound."""
    found = identity_of(folder, gguf=gguf, adapter=adapter, rehash=True)
    has_code = any(name.endswith((".py", "/")) for name in found.not_covered)
    if found.manifest_root == bound.manifest_root or gguf is not None or not has_code:
        return found
    with_code = identity_of(folder, code=True, adapter=adapter, rehash=True)
    return with_code if with_code.manifest_root == bound.manifest_root else found


def _other(
    where: PathLike, bound: Weights, found: ModelIdentity, recorded: RecordedIdentity | None
) -> OtherModel:
    if found.manifest_root == bound.manifest_root:
        return OtherModel(
            where, expected=f"tensors of root {bound.tensor_root}, as signed",
            found=f"the files that are signed, which have {found.weights}",
            hint="The signer's own file was not what it was called: extract again with --rehash.",
        )  # fmt: skip
    if recorded is None:
        differing = "with the signer's extraction record (--record) they are named"
    else:
        differing = ", ".join(files_apart(recorded.files, found.files))
    if None in (found.tensor_root, bound.tensor_root):
        tensors = "its tensors could not be compared, as pickled ones are not read"
    elif found.tensor_root == bound.tensor_root:
        tensors = "its tensors are those signed"
    else:
        tensors = "its tensors are others"
    return OtherModel(
        where, expected=f"files of manifest root {bound.manifest_root}, as signed",
        found=f"{tensors}; files that differ: {differing}; root {found.manifest_root}",
    )  # fmt: skip


def files_apart(
    signed: Sequence[RecordedFile], found: Sequence[RecordedFile | CoveredFile]
) -> list[str]:
    """In words, the files in which two models differ: the first few by name."""
    ours, theirs = _digests(found), _digests(signed)
    apart = []
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours:
            apart.append(f"{escaped(name)} (only signed)")
        elif name not in theirs:
            apart.append(f"{escaped(name)} (not signed)")
        elif ours[name] != theirs[name]:
            apart.append(escaped(name))
    more = len(apart) - _NAMED
    return [*apart[:_NAMED], f"{more} more"] if more > 0 else apart


def _digests(files: Sequence[RecordedFile | CoveredFile]) -> Mapping[str, str]:
    return {file.name: file.sha256 for file in files}
