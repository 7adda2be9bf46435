"""Write docs/models.md: which models run, what is shown of each, and which are refused and why.

It is the table of families (`tests/family_table.py`, `tests/families/`) in words; every line of it
is a row that a test runs. A test holds that the page is what this writes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from family_table import CAUSAL, EXPECTATIONS, RUNS, WRAPPERS, Row  # noqa: E402

PAGE = ROOT / "docs" / "models.md"
HEAD = """\
# Which models run

By what the configuration calls them (`model_type` in `config.json`): all {all} kinds that
transformers {version} loads as a causal language model, or only as a model that takes images, sound
or video, too. Of these **{run} run**, {option} of them with an option that says what is meant, and
{refused} are refused.

| | run | with an option | refused |
|---|--:|--:|--:|
{counts}

Each is a row of the table of families in [`tests/families/`](../tests/families): a model of a few
small blocks with random weights, made of its configuration, saved, and extracted. So this page says
of a kind that its code is read rightly, not that a checkpoint of it was run. What runs was held to
this:

- `--fast`: the states of a model whose last block is left out are, bit for bit, those that hooks on
  the whole model get in plain transformers, and the unembedding is the weight of its head;
- by default, with the same bytes on every machine: the states are within 10⁻⁵ of the largest of
  those of plain transformers, and no operation is named as unproved{but};
- for {portable} of them, between them every kind of block: the plain form of the kernels gives the
  same bytes as the processor's own.

This page is written by `python scripts/models_page.py`. `make models` runs the table with the
newest transformers and names the rows that differ, and the kinds that have no row yet.
"""
READING = {
    "scaled": "The logits are a multiple of the final norm's state times U:",
    "rising": "They are an increasing function of it, such as a soft-cap:",
    "transformed": "The state is transformed by more than a norm before U, so that **U does not "
    "read the residual stream**; train with `--inner-product euclidean`:",
    "no norm": "No norm of the stream is found before U, as several streams become one there:",
}
TASKS = {"causal language models": CAUSAL, "with images, sound or video": WRAPPERS}


def version() -> str:
    """Of transformers, as constraints.txt pins it."""
    found = re.search(r"^transformers==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert found
    return found[1]


def optional(row: Row) -> bool:
    """Whether it is refused unless an option is given."""
    return row.expect != RUNS and EXPECTATIONS[row.expect].options is not None


def refused(row: Row) -> bool:
    """Whether it never runs."""
    return row.expect != RUNS and EXPECTATIONS[row.expect].options is None


def head() -> str:
    """What the page begins with."""
    rows = [*CAUSAL.values(), *WRAPPERS.values()]

    def count(rows: list[Row]) -> tuple[int, int, int]:
        types = {row.model_type: row for row in reversed(rows) if "/" not in row.name}
        out = sum(map(refused, types.values()))
        return len(types) - out, sum(map(optional, types.values())), out

    run, option, out = count(rows)
    parts = {name: count(list(part.values())) for name, part in TASKS.items()}
    lines = [f"| {name} | {a - b} | {b} | {c} |" for name, (a, b, c) in parts.items()]
    names = [f"`{row.name}` has {', '.join(row.unproved)}" for row in rows if row.unproved]
    return HEAD.format(
        all=run + out,
        version=version(),
        run=run,
        option=option,
        refused=out,
        counts="\n".join(lines),
        but=f" (but {', '.join(names)})" if names else "",
        portable=sum(row.portable for row in rows),
    )


def listed(rows: list[Row]) -> str:
    """Model types with their classes."""
    return " · ".join(
        f"`{row.name}` {row.model_class}" + (f" ({row.streams} streams)" if row.streams > 1 else "")
        for row in rows
    )


def by_kinds(rows: list[Row]) -> Iterator[str]:
    """Rows under what their blocks are made of, the most common first."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(row.kinds, []).append(row)
    for kinds, group in sorted(groups.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        yield f"**{' + '.join(kinds)}** ({len(group)})\n\n{listed(group)}\n"


def wrappers(rows: list[Row]) -> Iterator[str]:
    """A line each: where in the class the blocks are that are run, and what of."""
    yield "| `model_type` | class | its blocks | made of |"
    yield "|---|---|---|---|"
    for row in rows:
        kinds = " + ".join(row.kinds)
        yield f"| `{row.name}` | {row.model_class} | `{row.blocks}` | {kinds} |"
    yield ""


def page() -> str:
    """The whole page."""
    causal = [row for row in CAUSAL.values() if row.expect == RUNS]
    others = [row for row in WRAPPERS.values() if row.expect == RUNS]
    rows = [*CAUSAL.values(), *WRAPPERS.values()]
    parts = [
        head(),
        "## Causal language models\n\nBy what their blocks are made of. What stands behind a slash "
        "is another setting of the same kind.\n",
        *by_kinds(causal),
        "## Text towers of models that take images, sound or video\n\nOf these the decoder of text "
        "is loaded and run, and nothing else.\n",
        "\n".join(wrappers(others)),
    ]
    parts.append(
        "## What the unembedding reads\n\nOf all others the logits are the final norm's state "
        "times U. An extraction looks, and its record says so.\n"
    )
    for reads, sentence in READING.items():
        parts.append(f"{sentence} {listed([row for row in rows if row.reads == reads])}\n")
    for title, chosen in (("With an option", optional), ("Refused", refused)):
        parts.append(f"## {title}\n")
        for name, expectation in EXPECTATIONS.items():
            group = [row for row in rows if row.expect == name and chosen(row)]
            if group:
                parts.append(f"**{expectation.title}** {expectation.why}\n\n{listed(group)}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
