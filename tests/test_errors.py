"""Errors go where values go: they are copied, and pickled on the way from a worker."""

from __future__ import annotations

import copy
import pickle

import pytest

from geometry_of_trust import errors
from geometry_of_trust.errors import GotError
from geometry_of_trust.verifying.history import HistoryRefused
from geometry_of_trust.verifying.verdict import Refused, Step


def kinds(of: type[GotError]) -> list[type[GotError]]:
    return [of, *(kind for below in of.__subclasses__() for kind in kinds(below))]


def made(kind: type[GotError]) -> GotError:
    cause = errors.BadJson("a.json", expected="JSON", found="none")
    if issubclass(kind, HistoryRefused):
        return kind((), cause)
    if issubclass(kind, Refused):
        steps = (Step(1, "format", "passed", ""), Step(2, "structure", "failed", "why"))
        return kind(steps, cause)
    return kind("a.gotact", expected=1, found="é", hint="Do this.")


EVERY_KIND = sorted(set(kinds(GotError)), key=lambda kind: kind.__name__)


def test_every_kind_is_there() -> None:
    assert {Refused, HistoryRefused, errors.OneClass, errors.BadKey, errors.Interrupted} < set(
        EVERY_KIND
    )


@pytest.mark.parametrize("kind", EVERY_KIND, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))],  # noqa: S301
    ids=["copy", "deepcopy", "pickle"],
)
def test_an_error_survives(kind: type[GotError], again: object) -> None:
    assert callable(again)
    error = made(kind)
    copied = again(error)
    assert type(copied) is kind
    assert copied is not error
    assert str(copied) == str(error)
    assert copied.args == error.args
    assert copied.exit_code == error.exit_code
    for name in ("where", "expected", "found", "hint"):
        assert getattr(copied, name) == getattr(error, name)


def test_a_refusal_keeps_its_steps_and_its_cause() -> None:
    refused = made(Refused)
    assert isinstance(refused, Refused)
    for copied in (copy.deepcopy(refused), pickle.loads(pickle.dumps(refused))):  # noqa: S301
        assert (copied.steps, copied.step, copied.line) == (refused.steps, 2, refused.line)
        assert type(copied.cause) is type(copied.__cause__) is errors.BadJson
        assert copied.exit_code == 3


def test_what_is_not_ours_is_left_behind() -> None:
    """A cause of somebody else's may be anything, also what cannot be pickled."""

    class Foreign(Exception):
        pass

    error = errors.ModelFailed("model")
    error.__cause__ = Foreign()
    assert pickle.loads(pickle.dumps(error)).__cause__ is None  # noqa: S301
