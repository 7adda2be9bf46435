"""What the readers of these formats share: objects, members that must have one value, base64."""

from __future__ import annotations

import base64
import binascii

from geometry_of_trust.errors import BadBundle


def json_object(tree: object, where: str) -> dict[str, object]:
    """The members of a JSON object.

    Raises:
        BadBundle: it is none.
    """
    if not isinstance(tree, dict):
        raise BadBundle(where, expected="a JSON object", found=type(tree).__name__)
    return tree


def expect(tree: dict[str, object], member: str, expected: str, where: str) -> None:
    """A member has this value.

    Raises:
        BadBundle: it is missing, or has another one.
    """
    found = tree.get(member)
    if found != expected:
        raise BadBundle(f"{where}, {member}", expected=expected, found=brief(found))


def optional_text(tree: dict[str, object], member: str, where: str) -> str:
    """A member that is a string; empty if it is missing or null, which mean the same here.

    Raises:
        BadBundle: it is something else.
    """
    found = tree.get(member)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise BadBundle(f"{where}, {member}", expected="a string", found=brief(found))
    return found


def decoded(tree: dict[str, object], member: str, where: str) -> bytes:
    """A member in base64 (RFC 4648 section 4), of which each byte string has one text.

    Raises:
        BadBundle: it is missing, or no such text.
    """
    text = tree.get(member)
    if isinstance(text, str):
        try:
            data = base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            data = None
        if data is not None and base64.b64encode(data).decode() == text:
            return data
    raise BadBundle(f"{where}, {member}", expected="base64, padded", found=brief(text))


def brief(value: object) -> str:
    """A value from a file for a message, cut."""
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
