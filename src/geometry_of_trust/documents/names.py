"""How long a name may be that is signed, or that a probe is trained under."""

from __future__ import annotations

from geometry_of_trust.errors import BadText, LimitExceeded
from geometry_of_trust.terminal import MAX_NAME_BYTES


def check_name(name: str, where: str, hint: str = "") -> None:
    """A name, of a model, a version or a dimension, is short enough to be signed and shown.

    Raises:
        LimitExceeded: more than 256 bytes of UTF-8.
        BadText: it cannot be written in UTF-8.
    """
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        raise BadText(where, expected="Unicode text", found="a lone surrogate") from None
    if size > MAX_NAME_BYTES:
        raise LimitExceeded(
            where, expected=f"at most {MAX_NAME_BYTES} bytes", found=size, hint=hint
        )
