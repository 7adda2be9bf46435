"""Conversions as text. Untrusted text is escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geometry_of_trust.terminal import escaped

if TYPE_CHECKING:
    from geometry_of_trust.converting.conversion import Converted


def conversion(converted: Converted) -> str:
    """What `convert` prints."""
    axes = "layers, positions, d" if len(converted.shape) == 3 else "tokens, d"
    return "\n".join(
        [
            f"({axes}) = ({', '.join(map(str, converted.shape))})",
            *(f"wrote {escaped(path)}" for path in converted.files),
        ]
    )
