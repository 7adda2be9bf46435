"""What a verification found, step by step, and the one line that says no more than was checked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NoReturn

from geometry_of_trust.documents.row_proofs import RowProof
from geometry_of_trust.errors import GotError, LegacyDocument
from geometry_of_trust.signing.attestation import Attestation
from geometry_of_trust.signing.keys import PublicKey
from geometry_of_trust.verifying.supplied_files import LABELS, MODEL, READINGS, ROWS

STEPS = ("format", "structure", "signature", "binding", "files", "readings")
PROPERTIES = {
    "signature": "GOT_SIGNATURE",
    "binding": "GOT_BINDING",
    "readings": "GOT_READINGS_RECOMPUTED",
}
"""What a step that passed lets a verifier say to others."""
MODEL_IDENTITY = "GOT_MODEL_IDENTITY"
"""The same of a model that is bound and was compared, which is a part of a step."""
EVALUATION = "GOT_EVALUATION_RECOMPUTED"
"""The same of an evaluation that is bound."""
MADE_AGAIN = "evaluation"
"""What stands for it among what was not checked."""
NEEDED = ("activations", "unembedding", "probes")
"""What readings are recomputed from."""
Outcome = Literal["passed", "failed", "not run"]


@dataclass(frozen=True)
class Step:
    """One numbered check and how it ended."""

    number: int
    name: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True)
class Verdict:
    """What was checked, and passed. Only `verify` makes one; a refusal raises `Refused`.

    It is neither true nor false: a verdict that is not `complete` says what nobody looked at.

    Attributes:
        attestation: what the document holds.
        steps: the six steps, in order.
        not_checked: what nobody looked at, in words; empty only for `VERIFIED` without more.
        unsigned: members that no signature covers (legacy documents only).
        signer: the key that signed.
        sha256: of the document's file; of evidence, of the one that is in it.
        row: of the readings beside the document, the one that was checked alone.
    """

    attestation: Attestation
    steps: tuple[Step, ...]
    not_checked: tuple[str, ...]
    signer: PublicKey
    sha256: str
    unsigned: tuple[str, ...] = ()
    legacy: bool = False
    row: RowProof | None = None

    def __bool__(self) -> NoReturn:
        """Raise TypeError: a partial verdict must not pass for a complete one."""
        raise TypeError("a Verdict is neither true nor false: look at .complete")

    @property
    def complete(self) -> bool:
        """Every step ran, over everything the binding names."""
        return not self.not_checked and not self.legacy

    @property
    def properties(self) -> tuple[str, ...]:
        """What holds of the document, in the names that stand in a verification result.

        Raises:
            LegacyDocument: of a document without a binding they would say more than was checked.
        """
        if self.legacy:
            raise LegacyDocument(
                "verification result", expected="a document with a binding", found="one without"
            )
        passed = [step.name for step in self.steps if step.outcome == "passed"]
        found = [PROPERTIES[name] for name in passed if name in PROPERTIES]
        if self.attestation.bound().model is not None and MODEL not in self.not_checked:
            found.append(MODEL_IDENTITY)
        if self.attestation.bound().evaluation is not None and not self._lacks(
            ROWS, LABELS, READINGS, MADE_AGAIN
        ):
            found.append(EVALUATION)
        return (*found, "GOT_COMPLETE") if self.complete else tuple(found)

    def _lacks(self, *names: str) -> bool:
        """Whether one of these was not looked at."""
        return any(name in self.not_checked for name in names)

    @property
    def line(self) -> str:
        """The one line that an auditor reads."""
        if self.complete:
            return "VERIFIED"
        missing = f"not checked: {', '.join(self.not_checked)}"
        if not self.legacy:
            return f"VERIFIED, {self._checked}: {missing}"
        covers = f"no signature covers {', '.join(self.unsigned)}; " if self.unsigned else ""
        return f"VERIFIED, LEGACY SIGNATURE ONLY: {covers}{missing}"

    @property
    def _checked(self) -> str:
        """What was checked, by the steps that passed."""
        passed = {step.name for step in self.steps if step.outcome == "passed"}
        if "readings" in passed:
            return "SIGNATURE, BINDING, FILES AND READINGS"
        bound = self.attestation.bound().readings
        nothing_else = {*NEEDED, READINGS} <= {*self.not_checked}
        if self.row is not None and bound is not None and nothing_else:
            return f"SIGNATURE, BINDING AND ROW {self.row.row} OF {bound.rows} ONLY"
        if "files" in passed:
            return "SIGNATURE, BINDING AND FILES SUPPLIED ONLY"
        return "SIGNATURE AND BINDING ONLY"


class Refused(GotError):
    """A verification that failed.

    Attributes:
        steps: those that ran; the last one failed. step: its number.
        cause: the error of that step, which is also `__cause__`.
    """

    def __init__(self, steps: tuple[Step, ...], cause: GotError) -> None:
        super().__init__(cause.where, expected=cause.expected, found=cause.found, hint=cause.hint)
        self.steps = steps
        self.step = steps[-1].number
        self.exit_code = cause.exit_code
        self.cause = self.__cause__ = cause

    @property
    def line(self) -> str:
        """The one line that an auditor reads."""
        return f"REFUSED at step {self.step}: {self}"


@dataclass
class Run:
    """The steps so far."""

    steps: list[Step] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[Callable[[str], None]]:
        """Run a step, which passes when it says what was seen; its error becomes a refusal.

        Raises:
            Refused: the step raised an error, which is its cause.
        """
        try:
            yield lambda detail: self._end(number, "passed", detail)
        except GotError as error:
            self._end(number, "failed", str(error))
            raise Refused(tuple(self.steps), error) from error

    def skip(self, number: int, detail: str) -> None:
        """A step that cannot run."""
        self._end(number, "not run", detail)

    def _end(self, number: int, outcome: Outcome, detail: str) -> None:
        self.steps.append(Step(number, STEPS[number - 1], outcome, detail))
