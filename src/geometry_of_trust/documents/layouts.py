"""The names of the two byte layouts of `.gotact`, for whoever must not load numpy."""

from __future__ import annotations

from typing import Literal

Layout = Literal["per-layer", "per-position"]
"""Where the layer index stands: before each layer, or before each of its positions."""
