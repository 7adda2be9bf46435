"""How an attempt to reproduce a document ended, and what was compared until then."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Literal, NoReturn

from geometry_of_trust.attesting.row_files import check_readings_file
from geometry_of_trust.documents.names_beside import readings_path
from geometry_of_trust.files import FileBytes, PathLike
from geometry_of_trust.geometry.checkpoints import Checkpoint, open_checkpoint
from geometry_of_trust.identity.model_signature import SignedModel, check_model_signature
from geometry_of_trust.signing.attestation import Attestation
from geometry_of_trust.terminal import escaped
from geometry_of_trust.verifying.model_files import SuppliedModel
from geometry_of_trust.verifying.signers import Signers
from geometry_of_trust.verifying.verdict import MODEL_IDENTITY, PROPERTIES

Outcome = Literal["MATCH", "MISMATCH", "UNVERIFIABLE"]


@dataclass(frozen=True)
class Link:
    """One thing compared: a name, whether it is equal, and what was compared."""

    name: str
    equal: bool
    detail: str


@dataclass(frozen=True)
class Reproduction:
    """How an attempt to reproduce an attestation ended.

    Attributes:
        attestation: what the document holds; its signature and binding are good.
        outcome: `MATCH` (the same document, byte for byte), `MISMATCH` or `UNVERIFIABLE`.
        links: what was compared, in order; the last one is the first that differs, if any, but
            that another model is compared to the end.
        detail: where it differs and by how much, or what is missing.
        not_checked: what a `MATCH` takes as it was signed, in words.
    """

    attestation: Attestation
    outcome: Outcome
    links: tuple[Link, ...]
    detail: str = ""
    not_checked: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Of the document's file, which is the one text of the attestation."""
        return hashlib.sha256(self.attestation.to_json()).hexdigest()

    @property
    def properties(self) -> tuple[str, ...]:
        """What holds of the document, in the names that stand in a verification result."""
        found = [PROPERTIES["signature"], PROPERTIES["binding"]]
        if self.outcome == "MATCH":
            found.append("GOT_REPRODUCED")
            if any(link.name == "model" for link in self.links):
                found.append(MODEL_IDENTITY)
        return tuple(found)

    def __bool__(self) -> NoReturn:
        """Raise TypeError: a reproduction that is not a `MATCH` must not pass for one."""
        raise TypeError("a Reproduction is neither true nor false: look at .outcome")

    @property
    def line(self) -> str:
        """The one line that an auditor reads."""
        joint = {"MATCH": "", "MISMATCH": " at ", "UNVERIFIABLE": ": "}[self.outcome]
        return f"{self.outcome}{joint}{self.detail}" if self.detail else self.outcome


class Compared:
    """The links so far; an outcome when one of them differs."""

    def __init__(self, attestation: Attestation, signers: Signers) -> None:
        self.attestation = attestation
        self.bound = attestation.bound()
        self.signers = signers
        self.links = [Link("attestation", True, "steps 1 to 4 of verify passed")]
        self.reference: Checkpoint | None = None
        self.signed_model: SignedModel | None = None
        self.labels: PathLike | None = None
        self.interventions: tuple[tuple[PathLike, PathLike], ...] = ()
        self.readings: PathLike | None = None

    def equal(self, name: str, ours: object, signed: object) -> bool:
        """Add a link: whether a value is as signed."""
        same = ours == signed
        found = escaped(ours)
        detail = found if same else f"signed {escaped(signed)}, found {found}"
        self.links.append(Link(name, same, detail))
        return same

    def takes_reference(self, path: PathLike) -> bool:
        """Measure drift from a checkpoint, if it is the one that is bound."""
        self.reference = open_checkpoint(path, epsilon=None)
        bound = self.bound.geometry_reference
        return self.equal("geometry reference", self.reference.sha256, bound or "none")

    def takes_signature(self, path: PathLike | None, key: PathLike | None) -> None:
        """Read what others signed of the model, to compare the model with it."""
        supplied = SuppliedModel(model="", signature=path, key=key)
        if supplied.signature is not None and supplied.key is not None:
            self.signed_model = check_model_signature(supplied.signature, supplied.key)

    def takes_readings(self, path: PathLike | None, document: PathLike) -> None:
        """Compare readings beside the document with those of a file, if they are those signed."""
        beside = readings_path(document)
        if path is None and self.bound.readings is not None and os.path.lexists(beside):
            path = beside
        if path is not None:
            self.readings = FileBytes.of(path)
            check_readings_file(self.attestation, self.readings)

    def ends(self, outcome: Outcome, detail: str = "", *not_checked: str) -> Reproduction:
        """The reproduction, with the links so far."""
        return Reproduction(self.attestation, outcome, tuple(self.links), detail, not_checked)
