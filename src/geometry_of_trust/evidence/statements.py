"""in-toto Statements v1: what is said, of which bytes."""

from __future__ import annotations

from collections.abc import Iterable

from geometry_of_trust.documents.strictjson import loads
from geometry_of_trust.evidence.reading import expect, json_object

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"


def statement(
    subjects: Iterable[tuple[str, str]], predicate_type: str, predicate: object
) -> dict[str, object]:
    """A statement as a JSON object; of each subject its name and SHA-256."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in subjects],
        "predicateType": predicate_type,
        "predicate": predicate,
    }


def read_statement(
    payload: bytes, where: str, predicate_type: str | None = None
) -> dict[str, object]:
    """The members of a statement; `subject` and `predicate` are for the caller to read.

    Args:
        predicate_type: the only one that is taken; None: any.

    Raises:
        TooLarge, BadText, BadJson, DuplicateMember: not strict JSON.
        BadBundle: not a statement of this version, or one of another predicate type.
    """
    tree = json_object(loads(payload, where), where)
    expect(tree, "_type", STATEMENT_TYPE, where)
    if predicate_type is not None:
        expect(tree, "predicateType", predicate_type, where)
    return tree
