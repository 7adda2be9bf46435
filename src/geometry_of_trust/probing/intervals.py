"""95 % intervals: of a share, and what an interval says of the standard error."""

from __future__ import annotations

import math

from geometry_of_trust.documents.probe_card import Figure

NORMAL_97_5 = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


def wilson_interval(share: float, draws: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a probability seen as `share` in so many independent draws.

    Args:
        share: from 0 to 1. draws: at least one.

    Returns:
        Its lower and its upper end, within 0 and 1.
    """
    z2 = NORMAL_97_5**2 / draws
    centre = (share + z2 / 2) / (1 + z2)
    half = NORMAL_97_5 / (1 + z2) * math.sqrt(share * (1 - share) / draws + z2 / (4 * draws))
    return max(0.0, centre - half), min(1.0, centre + half)


def standard_error(figure: Figure) -> float:
    """The standard error by the lower half of the interval, as the upper one may end at 1."""
    return (figure.value - figure.low) / NORMAL_97_5
