"""The texts and the targets of an intervention, as tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.corpus.options import RowOptions
from geometry_of_trust.documents.interventions import (
    LEAST_TEXTS,
    MOST_TEXTS,
    InterventionTexts,
    Target,
)
from geometry_of_trust.documents.names import check_name
from geometry_of_trust.documents.probe_card import Figure
from geometry_of_trust.documents.trained_tokens import TrainedTokens
from geometry_of_trust.errors import (
    BadOption,
    LimitExceeded,
    NotOneToken,
)
from geometry_of_trust.extraction.options import utf8
from geometry_of_trust.extraction.tokenizing import ids_alone
from geometry_of_trust.formats.row_table import RowTable, groups_of, read_rows
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.array_types import Labels
from geometry_of_trust.probing.evaluating import evaluate, sample_of
from geometry_of_trust.probing.label_checks import check_label_column
from geometry_of_trust.probing.probe_readings import read_each
from geometry_of_trust.probing.probes import Probe

if TYPE_CHECKING:
    from geometry_of_trust.corpus.planning import Plan
    from geometry_of_trust.extraction.running import Opened


TEXTS = 64
"""How many texts are run at most if nothing is said."""


@dataclass(frozen=True)
class MovedTexts:
    """The texts, each up to the token whose state is moved.

    Attributes:
        ids: tokens of each. said: what the result says of them. rows: the row table, if they have
            labels.
    """

    ids: tuple[list[int], ...]
    said: InterventionTexts
    rows: RowTable | None

    @classmethod
    def of(cls, plan: Plan, rows: RowOptions, moved: TrainedTokens, table: Path) -> MovedTexts:
        """Those of a plan; raises OneClass of labels, and as `_check_count`."""
        count, tokens = len(plan.lengths), plan.tokens()
        _check_count(count)
        of_each = (tokens.text(n) for n in range(count))
        ids = tuple(ids[: kept[0] + 1] for ids, kept in of_each)
        said = InterventionTexts(
            count,
            plan.corpus_sha256,
            moved,
            rows.add_generation_prompt,
            rows.date,
            rows.text_column,
            rows.label_columns[0] if rows.label_columns else None,
            rows.group_column,
            rows.split,
            rows.chars_column,
        )
        labelled = None
        if rows.label_columns:
            labelled, name = read_rows(table), rows.label_columns[0]
            check_label_column(name, labelled.label(name), len(labelled))
        return cls(ids, said, labelled)

    @property
    def labels(self) -> Labels | None:
        """0 or 1 of each, shape (n,); None if they have none."""
        return None if self.rows is None else next(iter(self.rows.labels.values()))

    def auroc(self, probe: Probe, geometry: Geometry, states: NDArray[np.float32]) -> Figure | None:
        """Of the probe's readings of the states, shape (n, d), by group; None without labels."""
        labels = self.labels
        if self.rows is None or labels is None:
            return None
        readings = read_each(probe, geometry, states)
        columns = [read.raw for read in readings], [read.confidence for read in readings]
        return evaluate(probe.name, columns, sample_of(labels, groups_of(self.rows)), None).auroc


def limited(rows: RowOptions) -> RowOptions:
    """The options, with a limit of texts.

    Raises:
        BadOption: several label columns.
    """
    if len(rows.label_columns) > 1:
        raise BadOption("--label-column", expected="one", found=len(rows.label_columns))
    return rows if rows.limit is not None else replace(rows, limit=TEXTS)


def _check_count(count: int) -> None:
    if count < LEAST_TEXTS:
        raise BadOption("--input-file", expected=f"at least {LEAST_TEXTS} texts", found=count)
    if count > MOST_TEXTS:
        raise LimitExceeded("--limit", expected=f"at most {MOST_TEXTS} texts", found=count)


def targets_of(opened: Opened, targets: str | Sequence[str]) -> tuple[Target, ...]:
    """The tokens of two texts.

    Raises:
        BadOption: not two, or the same twice. NotOneToken: one is not one token.
    """
    words = targets.split(",") if isinstance(targets, str) else list(targets)
    if len(words) != 2:
        raise BadOption(
            "--targets", expected="two tokens, such as ' yes, no': a comma, and no space that is "
            "not part of a token", found=f"{len(words)} in {targets!r}",
        )  # fmt: skip
    found = []
    for word in words:
        utf8(word, "--targets")
        check_name(word, "--targets")
        ids = ids_alone(opened.tokenizer, word) if word else []
        if len(ids) != 1:
            pieces = [opened.tokenizer.decode([number]) for number in ids]
            raise NotOneToken(
                "--targets", expected="one token each",
                found=f"{word!r}, which is {len(ids)}: {pieces}" if ids else f"{word!r}, no token",
                hint="Name a token: a word often is one with the space before it, such as ' yes'.",
            )  # fmt: skip
        found.append(Target(word, ids[0]))
    if found[0].id == found[1].id:
        raise BadOption("--targets", expected="two different tokens", found=repr(words[0]))
    return tuple(found)
