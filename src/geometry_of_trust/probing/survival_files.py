"""Survival from files: probes, and states of the same texts under old and new weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.documents.evaluations import labels_digest
from geometry_of_trust.documents.strictjson import float32
from geometry_of_trust.documents.thresholds import Thresholds
from geometry_of_trust.errors import BadOption, ModelMismatch, TooFewOfClass
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.activations_file import ActivationsFile, open_activations
from geometry_of_trust.formats.arrays import check_not_zero
from geometry_of_trust.formats.row_table import RowTable, groups_of
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing.alignment import Pairs
from geometry_of_trust.probing.array_types import Array, Indices, Labels
from geometry_of_trust.probing.calibration_report import at_other_tokens, labels_by_probe
from geometry_of_trust.probing.equal_rows import joined_groups, standing_in, text_groups
from geometry_of_trust.probing.evaluating import sample_of
from geometry_of_trust.probing.judged_units import labels_of_texts, texts_of
from geometry_of_trust.probing.paired_rows import check_paired
from geometry_of_trust.probing.probe_readings import Reading, read_probe_set_at_each
from geometry_of_trust.probing.probes import ProbeSet
from geometry_of_trust.probing.row_origins import refused_tokens
from geometry_of_trust.probing.similarity import FEWEST_ROWS, debiased_cka
from geometry_of_trust.probing.sources import (
    ProbeSetFile,
    Sources,
    check_agreement,
    open_sources,
    trained_geometry,
)
from geometry_of_trust.probing.splits import blind_folds
from geometry_of_trust.probing.survival import (
    MARGIN,
    Judge,
    ProbeSurvival,
    StatesRead,
    survival_verdict,
)
from geometry_of_trust.probing.training import check_inputs
from geometry_of_trust.probing.training_files import named_labels
from geometry_of_trust.progress import Progress

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class JudgedFiles:
    """What a report was made of, by SHA-256.

    Attributes:
        old, new, unembedding: of the files. unlabelled: of two files, or none.
        row_table: digest of that of the old states, or None.
        labels: by dimension, of labels as a `.labels` file has them.
    """

    old: str
    new: str
    unembedding: str
    row_table: str | None
    labels: Mapping[str, str]
    unlabelled: tuple[str, ...]


@dataclass(frozen=True)
class LayerSurvival:
    """What becomes of the probes of one set.

    Attributes:
        path, sha256: of the file. layer: that they read.
        trained_on: whether the old states are those that the probes were trained on.
        cka: similarity of old and new states, whatever their bases (`similarity.debiased_cka`).
        cka_ridge: of the old states and the new ones after the ridge map; after the rotation it is
            `cka`, which no rotation changes. None where all rows are alike.
        pairs: how many pairs of rows the maps were fitted to, at least.
        left_out: how many of other pairs were not used, as they stand among the rows, too.
        probes: one entry a probe.
    """

    path: str
    sha256: str
    layer: int
    trained_on: bool
    cka: float | None
    cka_ridge: float | None
    pairs: int
    left_out: int
    probes: tuple[ProbeSurvival, ...]


@dataclass(frozen=True)
class SurvivalReport:
    """What becomes of probes when the weights change.

    Attributes:
        old_model, new_model: names. old_precision, new_precision: tags of the states.
        same_weights: whether records say that both have the same weights; None: they do not say.
        other_tokens: whether some rows are of other tokens than probes were trained on.
        rows: how many. hidden_dim: d. margin: what a probe may lose.
        unlabelled: whether the maps were fitted to pairs of other texts.
        layers: one entry a probe set. files: what it was made of.
    """

    old_model: str
    new_model: str
    old_precision: str
    new_precision: str
    same_weights: bool | None
    other_tokens: bool
    rows: int
    hidden_dim: int
    margin: float
    unlabelled: bool
    layers: tuple[LayerSurvival, ...]
    files: JudgedFiles

    @property
    def nothing_changed(self) -> bool:
        """Whether both states are of one model that ran in one precision."""
        return self.same_weights is True and self.old_precision == self.new_precision

    def signed_part(self) -> dict[str, object]:
        """What a statement says of it, as JSON has it: what follows exactly from the files.

        Of the maps, which a library's last digits have a part in, only whether the probe holds.
        """
        return {
            **asdict(self.files),
            "rows": self.rows,
            "margin": self.margin,
            "probe_sets": [
                {
                    "sha256": layer.sha256,
                    "layer": layer.layer,
                    "trained_on": layer.trained_on,
                    "probes": [probe.signed_part(self.margin) for probe in layer.probes],
                }
                for layer in self.layers
            ],
        }


def measure_survival(
    *,
    activations: PathLike,
    to: PathLike,
    probes: Sequence[PathLike],
    unembedding: PathLike,
    labels: PathLike | None = None,
    label_columns: Sequence[str] = (),
    unlabelled: Sequence[PathLike] = (),
    threshold: float | None = None,
    margin: float = MARGIN,
    anyway: bool = False,
    progress: Progress | None = None,
) -> SurvivalReport:
    """Whether probes of one model read the same texts as well under other weights.

    The reading is the frozen one: wᵀΦh + b with the Φ of the weights trained on.

    Args:
        activations: the old states, of the weights that the probes were trained on.
        to: states of the same rows under other weights.
        probes: probe sets. unembedding: that they were trained with.
        labels, label_columns: as of `calibration_report`.
        unlabelled: two activations files, old and new, of texts to fit maps to; none: of the rows
            themselves, by group.
        threshold: probability from which a row is called positive; None: above the probe's own
            threshold for 1 % false positives, or if it has none from one half.
        margin: what a probe may lose and still be as good.
        anyway: also take rows of other tokens than the probes were trained on.

    Raises:
        NotPaired: the rows of two files are not of the same tokens.
        BadOption: a margin, a threshold, or not two files of unlabelled texts.
        TooFewOfClass: all rows are of one group, or there are fewer than four.
        LayerMissing, NonFinite, ZeroState: states that cannot be used.
        Others: as `calibration_report`.
    """
    margin = float32(margin)
    if not 0 <= margin < 0.5:
        raise BadOption("--margin", expected="a number from 0 to below 0.5", found=margin)
    chosen = None if threshold is None else float32(threshold)
    if chosen is not None and not 0 <= chosen <= 1:
        raise BadOption("--threshold", expected="a probability, 0 to 1", found=threshold)
    sources, new = open_sources(activations, probes, unembedding), open_activations(to)
    old, record = sources.activations_file, sources.own_record()
    check_agreement(sources, weights=None if record is None else record.weights)
    check_paired(old, new)
    pool = _pool(old, new, unlabelled)
    columns = named_labels(labels, label_columns, None, old.rows)
    layers = list(dict.fromkeys(each.layer for each in sources.probe_sets))
    d = sources.unembedding.hidden_dim
    check_inputs(old.activations, columns, d, layers=layers, rows=old.rows)
    for file in (new, *pool):
        for layer in layers:
            check_not_zero(f"{file.activations.source}, layer {layer}",
                           file.activations.layer(layer))  # fmt: skip
    other = [
        _other_tokens(replace(sources, probe_files=(each,)), columns, anyway=anyway)
        for each in sources.probe_files
    ]
    reader = _Reader(old, new, pool, columns, trained_geometry(sources, progress), chosen, margin)
    found = []
    for each in sources.probe_files:
        if progress is not None:
            progress(f"Layer {each.probe_set.layer}")
        found.append(reader.layer(each))
    sources.check_unchanged()
    for file in (new, *pool):
        file.file.check_unchanged()
    return SurvivalReport(
        old_model=old.activations.model_id,
        new_model=new.activations.model_id,
        old_precision=old.activations.precision,
        new_precision=new.activations.precision,
        same_weights=_same_weights(old, new),
        other_tokens=any(other),
        rows=len(old.activations.positions),
        hidden_dim=d,
        margin=margin,
        unlabelled=bool(pool),
        layers=tuple(found),
        files=JudgedFiles(
            old=old.sha256,
            new=new.sha256,
            unembedding=sources.unembedding_file.sha256,
            row_table=None if old.rows is None else old.rows.digest(),
            labels={
                name: labels_digest(column.astype(np.int8).tobytes())
                for name, column in columns.items()
            },
            unlabelled=tuple(file.sha256 for file in pool),
        ),
    )


@dataclass(frozen=True)
class _Reader:
    """What all probe sets share; `pool` holds files of other pairs to fit maps to, or none."""

    old: ActivationsFile
    new: ActivationsFile
    pool: tuple[ActivationsFile, ...]
    columns: Mapping[str, Labels]
    geometry: Geometry
    threshold: float | None
    margin: float

    def layer(self, file: ProbeSetFile) -> LayerSurvival:
        """What becomes of one probe set."""
        probe_set, training = file.probe_set, file.probe_set.training
        old, new = (each.activations.layer(probe_set.layer) for each in (self.old, self.new))
        if len(old) < FEWEST_ROWS:
            raise TooFewOfClass("rows", expected=f"at least {FEWEST_ROWS}", found=len(old))
        pairs = Pairs(old, new, _folds(old, self.old.rows))
        others, left_out = self._others(old, probe_set.layer)
        weights = np.array([probe.weights for probe in probe_set.probes], np.float64)
        turned, ridged = pairs.mapped(self.geometry.apply(weights).T, others)
        kinds = (old, new, turned, ridged)
        read = [self._read(probe_set, states.astype(np.float32)) for states in kinds]
        columns = labels_by_probe(self.columns, probe_set.probes)
        return LayerSurvival(
            path=file.path,
            sha256=file.sha256,
            layer=probe_set.layer,
            trained_on=training is not None and training.activations_sha256 == self.old.sha256,
            cka=debiased_cka(old, new),
            cka_ridge=debiased_cka(old, ridged),
            pairs=pairs.fewest_outside if others is None else len(others.old),
            left_out=left_out,
            probes=tuple(
                self._probe(probe_set, i, columns[probe.name], [
                    StatesRead(states, readings[i :: len(probe_set.probes)])
                    for states, readings in zip(kinds, read, strict=True)
                ])
                for i, probe in enumerate(probe_set.probes)
            ),
        )  # fmt: skip

    def _read(self, probe_set: ProbeSet, states: NDArray[np.float32]) -> tuple[Reading, ...]:
        """The readings of all probes for the first row, or text, then for the next."""
        texts = None
        if probe_set.aggregate is not None and self.old.rows is not None:
            texts = [(span.start, span.stop) for span in self.old.rows.text_rows()]
        aggregate = probe_set.aggregate
        return read_probe_set_at_each(probe_set, self.geometry, states, texts, aggregate)

    def _probe(
        self, probe_set: ProbeSet, i: int, labels: Labels, read: Sequence[StatesRead]
    ) -> ProbeSurvival:
        """What becomes of the probe of this index."""
        name = probe_set.probes[i].name
        y, groups, rows = labels, groups_of(self.old.rows), self.old.rows
        if rows is not None and len(read[0].readings) < len(rows):
            y = labels_of_texts(name, labels, rows)
            groups = None if groups is None else groups[[span.start for span in rows.text_rows()]]
        called_from = self._called_from(probe_set, i)
        judge = Judge(name, called_from, self.geometry, sample_of(y, groups), labels)
        count = int(judge.sample.groups.max()) + 1
        if count < 2:
            raise TooFewOfClass("groups", expected="two or more", found="1 in all")
        old, new, *mapped = read
        before, frozen = judge.evaluation(old), judge.after(old, new)
        rotated, ridge = (judge.after(old, each) for each in mapped)
        maps = (("a rotation", rotated), ("a ridge map", ridge))
        verdict, reason = survival_verdict(before, frozen, maps, self.margin)
        return ProbeSurvival(
            dimension=name,
            groups=count,
            threshold=None if isinstance(called_from, Thresholds) else called_from,
            own=called_from if isinstance(called_from, Thresholds) else None,
            before=before,
            frozen=frozen,
            rotated=rotated,
            ridge=ridge,
            outside=sum(one.outside for one in new.readings),
            verdict=verdict,
            reason=reason,
        )

    def _called_from(self, probe_set: ProbeSet, i: int) -> float | Thresholds:
        """From which probability a row is called positive, or the probe's own thresholds."""
        if self.threshold is not None:
            return self.threshold
        training = probe_set.training
        own = None if training is None else training.cards[i].thresholds
        return DEFAULT_THRESHOLD if own is None else own

    def _others(self, old: Array, layer: int) -> tuple[Pairs | None, int]:
        """Pairs of other texts, and how many rows of these stand among the rows, too."""
        if not self.pool:
            return None, 0
        first, second = (file.activations.layer(layer) for file in self.pool)
        known = standing_in(first, self.pool[0].rows, old, self.old.rows)
        fresh = ~known
        folds = _folds(first, self.pool[0].rows)[fresh]
        if len(set(folds.tolist())) < 2:
            raise TooFewOfClass(
                "--unlabelled", expected="two groups or more besides the texts that are judged",
                found=f"{int(fresh.sum())} rows",
            )  # fmt: skip
        dense = np.unique(folds, return_inverse=True)[1]
        return Pairs(first[fresh], second[fresh], dense), int(known.sum())


def _folds(states: Array, rows: RowTable | None) -> Indices:
    """Folds that no labels have a part in; rows that resemble each other are in one.

    Raises:
        TooFewOfClass: all rows are of one group.
    """
    groups = np.unique(joined_groups(states, text_groups(rows)), return_inverse=True)[1]
    if not groups.any():
        raise TooFewOfClass("groups", expected="two or more", found="1 in all")
    return blind_folds(groups)


def _pool(
    old: ActivationsFile, new: ActivationsFile, unlabelled: Sequence[PathLike]
) -> tuple[ActivationsFile, ...]:
    """The files of other pairs, of the same two models.

    Raises:
        BadOption: not two. ModelMismatch: of other models. Others: as `check_paired`.
    """
    if not unlabelled:
        return ()
    if len(unlabelled) != 2:
        raise BadOption("--unlabelled", expected="two files, of the old and of the new weights",
                        found=len(unlabelled))  # fmt: skip
    files = tuple(open_activations(path) for path in unlabelled)
    check_paired(*files)
    for ours, other in zip((old, new), files, strict=True):
        if not (
            _same_weights(ours, other) or ours.activations.model_id == other.activations.model_id
        ):
            raise ModelMismatch(
                other.activations.source,
                expected=f"states of the weights of {ours.activations.source}",
                found=f"model {other.activations.model_id!r}",
            )
    return files


def _same_weights(one: ActivationsFile, other: ActivationsFile) -> bool | None:
    """Whether records say that the states are of the same weights; None: they do not say."""
    if one.record is None or other.record is None:
        return None
    ours, theirs = one.record.weights, other.record.weights
    if ours is None or theirs is None:
        return None
    ours_run, theirs_run = (
        (record.adapter, record.quantization) for record in (one.record, other.record)
    )
    return ours.are(theirs) and ours_run == theirs_run


def _other_tokens(sources: Sources, columns: Mapping[str, Labels], *, anyway: bool) -> bool:
    """Whether some rows are of other tokens than one probe set was trained on.

    Raises:
        OtherTokens: they are, and that was not allowed. Others: as `texts_of`.
    """
    (file,), texts = sources.probe_files, None
    probe_set, trained = file.probe_set, file.probe_set.trained_tokens
    if probe_set.aggregate is not None:
        own = labels_by_probe(columns, probe_set.probes)
        states = sources.activations.layer(probe_set.layer)
        texts = texts_of(probe_set.aggregate, sources.activations_file.rows, own, states)
    other = at_other_tokens(sources, texts)
    if other and trained is not None and not anyway:
        raise refused_tokens(file.path, trained, "other tokens among the rows")
    return other
