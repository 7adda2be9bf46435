"""A history of attestations, each naming the one before it: all of them checked, and the links.

The numbers beside the checks are those of docs/verification.md. Needs no numpy.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from geometry_of_trust.errors import (
    BadOption,
    GotError,
    HistoryFork,
    HistoryGap,
    LegacyDocument,
    Unreadable,
)
from geometry_of_trust.files import PathLike, reason
from geometry_of_trust.signing.attestation import Attestation
from geometry_of_trust.signing.histories import check_follows
from geometry_of_trust.verifying.trusted_keys import Trust, TrustedKeys
from geometry_of_trust.verifying.verdict import Refused, Verdict
from geometry_of_trust.verifying.verify import verify

NOT_PROVED = "that no later document was left off at the end"


@dataclass(frozen=True)
class HistoryLink:
    """A document of a history that was checked, alone (steps 1 to 4) and after the one before it.

    Attributes:
        path: of the file. digest: its attestation hash.
        attestation: what it holds. signer: the key that signed, in words.
    """

    path: str
    digest: str
    attestation: Attestation
    signer: str


@dataclass(frozen=True)
class History:
    """A history that was checked, and passed. Only `verify_history` makes one.

    Attributes:
        links: its documents, the first one first.
        legacy: whether one of them has no binding.
    """

    links: tuple[HistoryLink, ...]
    legacy: bool

    def __bool__(self) -> NoReturn:
        """Raise TypeError: as of a `Verdict`."""
        raise TypeError("a History is neither true nor false: verify_history refuses a bad one")

    @property
    def line(self) -> str:
        """The one line that an auditor reads."""
        count = len(self.links)
        checked = "SIGNATURES AND LINKS ONLY" if self.legacy else "SIGNATURES, BINDINGS AND LINKS"
        return (
            f"VERIFIED HISTORY of {count} document{'s'[: count != 1]}, {checked}: not checked: "
            f"files and readings of each; not proved: {NOT_PROVED}"
        )


class HistoryRefused(GotError):
    """A history that failed.

    Attributes:
        links: the documents that passed before, in order.
        cause: the error, which is also `__cause__`.
    """

    def __init__(self, links: tuple[HistoryLink, ...], cause: GotError) -> None:
        super().__init__(cause.where, expected=cause.expected, found=cause.found, hint=cause.hint)
        self.links = links
        self.exit_code = cause.exit_code
        self.cause = self.__cause__ = cause

    @property
    def line(self) -> str:
        """The one line that an auditor reads."""
        return f"REFUSED HISTORY: {self}"


@dataclass(frozen=True)
class _Checked:
    """A document that passed on its own."""

    path: str
    verdict: Verdict
    digest: str

    @property
    def attestation(self) -> Attestation:
        """What it holds."""
        return self.verdict.attestation


def documents_of(paths: Sequence[PathLike]) -> list[Path]:
    """The files that are given, or of a folder those right inside that have `.json` in the name.

    In any case and with more after it, as a copy of a document under a name like `3.json~` may be
    the one that somebody put out of sight.

    Raises:
        BadOption: a folder holds none.
        Unreadable: a folder that cannot be listed.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not os.path.isdir(path):
            found.append(path)
            continue
        try:
            inside = sorted(file for file in path.iterdir() if ".json" in file.name.casefold())
        except OSError as error:
            raise Unreadable(path, expected="a readable folder", found=reason(error)) from None
        if not inside:
            raise BadOption(path, expected="a folder with attestations (.json)", found="none")
        found += inside
    return found


def verify_history(
    documents: Sequence[PathLike],
    public_key: Trust,
    *,
    allow_legacy: bool = False,
    allow_reformatted: bool = False,
    now: float | None = None,
) -> History:
    """Check every document of a history on its own, and that each follows the one before it.

    Args:
        documents: files, or folders of which every file with `.json` in its name is one of them;
            in any order.
        public_key: as of `verify`: one key, several of which any may sign, or a keyring.
        allow_legacy: accept documents without a binding, which still sign their place.
        allow_reformatted, now: as of `verify`.

    Raises:
        HistoryRefused: a document or a link failed; its `cause` says how.
        BadOption: no document, or no key. Unreadable: a folder cannot be listed.
        BadKey, WrongKeyKind, LowOrderKey: of a key.
    """
    trusted = TrustedKeys.of(public_key)
    paths = documents_of(documents)
    if not paths:
        raise BadOption("--chain", expected="at least one attestation", found="none")
    links: list[HistoryLink] = []
    try:
        checked = []
        for path in paths:
            verdict = verify(
                path,
                trusted.keyring or trusted.keys,
                allow_legacy=allow_legacy,
                allow_reformatted=allow_reformatted,
                now=now,
                alone=True,
            )
            checked.append(_placed(path, verdict))
        by_parent = _by_parent(checked)
        before: _Checked | None = None
        while by_parent:
            after = _next(by_parent, before)
            check_follows(
                None if before is None else before.attestation, after.attestation, after.path
            )
            links.append(_link(after, trusted))
            before = after
    except GotError as error:
        cause = error.cause if isinstance(error, Refused) else error
        raise HistoryRefused(tuple(links), cause) from cause
    return History(tuple(links), any(item.verdict.legacy for item in checked))


def _placed(path: PathLike, verdict: Verdict) -> _Checked:
    """A document that passed steps 1 to 4, once it is seen to sign its place."""
    # 7.1 Each document passes steps 1 to 4, over all members.
    where = os.fspath(path)
    if "sequence_number" in verdict.unsigned:
        raise LegacyDocument(
            where, expected="a place in a history that is signed",
            found="a signature over members 1 to 13 only",
        )  # fmt: skip
    return _Checked(where, verdict, verdict.attestation.digest)


def _by_parent(checked: Sequence[_Checked]) -> dict[str | None, _Checked]:
    """Each document by the hash of the one that it follows, None of the first."""
    seen: dict[str, str] = {}
    by_parent: dict[str | None, _Checked] = {}
    for item in checked:
        # 7.2 No document is there twice, and no two follow the same one, or none.
        if item.digest in seen:
            raise HistoryFork(item.path, expected="each document once",
                              found=f"the one of {seen[item.digest]}")  # fmt: skip
        seen[item.digest] = item.path
        parent = item.attestation.parent_attestation_hash
        if parent in by_parent:
            after = "begins a history" if parent is None else f"follows {seen.get(parent, parent)}"
            raise HistoryFork(
                item.path, expected="one history",
                found=f"a fork: {by_parent[parent].path} {after}, too",
            )  # fmt: skip
        by_parent[parent] = item
    return by_parent


def _next(by_parent: dict[str | None, _Checked], before: _Checked | None) -> _Checked:
    """The document after this one, taken out of those that are left."""
    after = by_parent.pop(None if before is None else before.digest, None)
    if after is None:
        # 7.3 Every document that another one follows is there.
        there = {item.digest for item in by_parent.values()}
        parent, orphan = next(pair for pair in by_parent.items() if pair[0] not in there)
        raise HistoryGap(
            orphan.path, expected=f"the document before it, {parent}",
            found="none of that attestation hash",
            hint="Give every document of the history, from its first one on.",
        )  # fmt: skip
    return after


def _link(item: _Checked, trusted: TrustedKeys) -> HistoryLink:
    attestation = item.attestation
    signer = trusted.described(item.verdict.signer, attestation.timestamp, item.path)
    return HistoryLink(item.path, item.digest, attestation, signer)
