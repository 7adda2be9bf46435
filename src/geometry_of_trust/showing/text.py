"""What all kinds of values share when they are shown: JSON for programs, two columns for people."""

from __future__ import annotations

import json

from geometry_of_trust.terminal import escaped_line

SEES_LATER = "each state depends on the tokens after it, too"
"""What a bidirectional run means to a reader."""


def as_json(tree: object) -> str:
    """JSON for programs: ASCII, indented."""
    return json.dumps(tree, indent=2)


def spread(dimension: float, count: int) -> str:
    """How many dimensions so many probes span, in a word of the reference's."""
    share = dimension / count
    word = (
        "fully spread" if share > 0.8 else
        "partially collapsed" if share > 0.4 else "severely collapsed"
    )  # fmt: skip
    return f"{dimension:.4g} of {count} dimensions ({word})"


def table(rows: list[tuple[str, str]]) -> str:
    """Names and values in two columns; both are escaped and whole, empty values left out.

    Who makes a value of names from a file cuts these, each by itself (`terminal.quoted`).
    """
    shown = [(escaped_line(name), escaped_line(value)) for name, value in rows if value]
    width = max(len(name) for name, _ in shown)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in shown)
