"""What a long calculation says of itself while it runs."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str], None]
"""Is told what is being done, in a few words, as often as that changes."""
