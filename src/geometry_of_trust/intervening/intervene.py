"""From a model, a probe and texts to what comes of states that are moved along the probe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.arithmetic import ARITHMETIC
from geometry_of_trust.corpus.extracting import entries_of
from geometry_of_trust.corpus.options import CorpusOptions, RowOptions
from geometry_of_trust.corpus.partial import Partial
from geometry_of_trust.documents.interventions import (
    Intervention,
    InterventionTexts,
    ProbeUsed,
    Target,
)
from geometry_of_trust.documents.names import check_name
from geometry_of_trust.documents.probe_card import Figure
from geometry_of_trust.documents.recorded_identity import Weights
from geometry_of_trust.documents.token_choice import ALL
from geometry_of_trust.documents.trained_tokens import TrainedTokens
from geometry_of_trust.errors import (
    BadOption,
    ConstantState,
    DimensionMismatch,
    GeometryMismatch,
    LayerMissing,
    LimitExceeded,
    ModelMismatch,
    NotOneToken,
    OtherTokens,
    PrecisionMismatch,
    ProvenanceMissing,
)
from geometry_of_trust.extraction.identifying import Identifying
from geometry_of_trust.extraction.options import ExtractionOptions, utf8
from geometry_of_trust.extraction.quiet import running_model
from geometry_of_trust.extraction.request import Request
from geometry_of_trust.extraction.tokenizing import ids_alone
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.row_table import RowTable, groups_of, read_rows
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.outputs.temporary_files import scratch_folder
from geometry_of_trust.probing.array_types import Labels
from geometry_of_trust.probing.evaluating import evaluate, sample_of
from geometry_of_trust.probing.interventions import EDITS, Effects, edited, effects_of
from geometry_of_trust.probing.label_checks import check_label_column
from geometry_of_trust.probing.options import InterventionOptions
from geometry_of_trust.probing.probe_readings import read_each
from geometry_of_trust.probing.probes import Probe, ProbeSet, Training
from geometry_of_trust.probing.random_directions import Directions, directions, seed_of
from geometry_of_trust.probing.sources import ProbeSetFile, open_probe_set, same_weights
from geometry_of_trust.progress import Progress

if TYPE_CHECKING:
    from geometry_of_trust.corpus.planning import Plan
    from geometry_of_trust.extraction.intervening import Continuing
    from geometry_of_trust.extraction.running import Opened, Runner

LEAST_TEXTS, MOST_TEXTS, TEXTS = 8, 1024, 64
"""How many texts there must be, may be, and are run at most if nothing is said."""


@dataclass(frozen=True)
class _Chosen:
    """The probe that is used, of a set that says what it was trained on."""

    file: ProbeSetFile
    probe: Probe
    training: Training

    @property
    def probe_set(self) -> ProbeSet:
        return self.file.probe_set

    @classmethod
    def of(cls, path: PathLike, dimension: str | None) -> _Chosen:
        """Raises BadOption for a name that is none, or none of several; ProvenanceMissing."""
        file = open_probe_set(path)
        named = {probe.name: probe for probe in file.probe_set.probes}
        if dimension is None and len(named) == 1:
            dimension = next(iter(named))
        if dimension not in named:
            expected = f"one of {', '.join(map(repr, named))}"
            raise BadOption("--dimension", expected=expected, found=dimension or "none")
        if file.probe_set.training is None:
            raise ProvenanceMissing(
                path, expected="a training member, which says which model it is for", found="none",
                hint="Train the probe again with got-cli train.",
            )  # fmt: skip
        return cls(file, named[dimension], file.probe_set.training)

    def used(self, geometry: Geometry) -> ProbeUsed:
        """What is said of it."""
        verdicts = {card.dimension: card.verdict for card in self.training.cards}
        return ProbeUsed(
            self.file.sha256,
            self.probe.name,
            self.probe_set.layer,
            verdicts.get(self.probe.name),
            geometry.digest,
        )

    def check_model(self, opened: Opened) -> None:
        """What is seen before any weight is loaded.

        Raises:
            DimensionMismatch, PrecisionMismatch.
        """
        d = opened.anatomy.hidden_dim
        if self.probe.weights.size != d:
            raise DimensionMismatch(
                self.file.path, expected=f"{d} weights, as the model's states have",
                found=self.probe.weights.size,
            )  # fmt: skip
        if self.training.precision != opened.precision:
            raise PrecisionMismatch(
                self.file.path, expected=opened.precision, found=self.training.precision,
                hint="Say how the model was run: --dtype, --quantization.",
            )  # fmt: skip

    def check_weights(self, model_id: str, weights: Weights) -> None:
        """Raises ModelMismatch: it was trained on other weights."""
        if not same_weights(self.training, model_id, weights):
            theirs = self.training.weights or f"the model called {self.training.model_id!r}"
            raise ModelMismatch(
                self.file.path, expected=f"a probe trained on this model, {weights}",
                found=f"one trained on {theirs}",
                hint="A probe is valid for the weights that it was trained on: train on these.",
            )  # fmt: skip

    def check_tokens(self, rows: RowOptions) -> TrainedTokens:
        """Which token's state is moved; it is one of those trained on, if the set says so.

        Raises:
            OtherTokens: it is not. BadOption: not one token of each text.
        """
        place = rows.place
        if place.name in ("all", "mean"):
            raise BadOption("--position", expected="one token of each text", found=place.name)
        ours = TrainedTokens(rows.tokens, place.name, place.skip_special)
        trained = self.training.tokens
        if trained is not None and replace(trained, aggregate=None) != ours:
            every = trained.position == "all" and trained.chosen in (ALL, ours.chosen)
            if not every:
                raise OtherTokens(
                    self.file.path, expected=f"a probe of the token that is moved, {ours}",
                    found=f"one trained on {trained}", hint="Give --tokens and --position as then.",
                )  # fmt: skip
        return ours


def intervene(
    model: PathLike,
    probes: PathLike,
    corpus: PathLike | Iterable[str],
    targets: str | Sequence[str],
    *,
    dimension: str | None = None,
    how: InterventionOptions = InterventionOptions(),
    options: ExtractionOptions = ExtractionOptions(),
    row_options: RowOptions = RowOptions(),
    progress: Progress | None = None,
    cost: Callable[[str], None] | None = None,
) -> Intervention:
    """Move the states of texts along a probe's direction, and look what becomes of the next token.

    At the probe's layer the state of one token of each text, the last, has the direction added to
    it, taken away, and projected out; the model goes on from there. So it does along random
    directions as long and as varied. Which of them does how much says whether the probe DETECTS,
    STEERS and is NECESSARY (docs/intervene.md). The run is reproducible: the same bytes everywhere.

    Args:
        model: name on the hub, folder, or `.gguf` file. probes: the probe set.
        corpus: texts, as of `extract_corpus`; of more than `row_options.limit` the first so many.
        targets: two tokens, or their texts with a comma between: the first is what the probe's
            positive class predicts.
        dimension: the probe's name, if its set has several.
        how: how far, and how many random directions. options: how the model is run.
        row_options: which token of each text; with a label column DETECTS is of these texts.
        progress: told what is being done. cost: told once what it takes, before it does.

    Raises:
        BadOption: too few texts, not two targets, or a choice that makes no sense here.
        NotOneToken: a target that is more than one token, or none.
        LimitExceeded: too many texts.
        ModelMismatch, PrecisionMismatch, DimensionMismatch, GeometryMismatch, OtherTokens,
        ProvenanceMissing, LayerMissing: the probe is for another model, layer or token.
        ConstantState: the probe reads the same of each text.
        NonFinite: a logit is not finite. Others: as `extract_corpus`, of model and texts.
    """
    report = progress or (lambda message: None)
    chosen = _Chosen.of(probes, dimension)
    options = _reproducible(options)
    row_options = _limited(row_options)
    tokens_moved = chosen.check_tokens(row_options)
    entries = entries_of(corpus, row_options)
    with scratch_folder() as folder, running_model():
        request = Request.of(
            model, None, folder / "intervention.gotact", folder / "intervention.gotue", options
        )
        with Identifying(request) as identifying, Partial(request.activations) as partial:
            from geometry_of_trust.corpus import corpus_run  # noqa: PLC0415 - heavy
            from geometry_of_trust.extraction import first_text, running  # noqa: PLC0415 - heavy

            opened = _opened(running.open_model(request, report), chosen)
            words = _targets(opened, targets)
            report("Reading the corpus")
            run = corpus_run.prepare(
                opened, entries, partial, CorpusOptions(**vars(row_options), batch_size=1)
            )
            texts = _Texts.of(run.plan, row_options, tokens_moved, partial.file("rows"))
            report("Loading the model")
            runner = running.load(opened, opened.anatomy.blocks, once=False)
            weights = identifying.of(opened.source).weights
            chosen.check_weights(request.model_id, weights)
            report("Checking")
            first_text.look(runner, texts.ids[0])
            return _intervention(runner, weights, chosen, texts, words, how, report, cost)


def _intervention(  # noqa: PLR0917 - all of these make one result
    runner: Runner,
    weights: Weights,
    chosen: _Chosen,
    texts: _Texts,
    words: tuple[Target, ...],
    how: InterventionOptions,
    report: Progress,
    cost: Callable[[str], None] | None,
) -> Intervention:
    """The result, of a model that is loaded; raises as `intervene`."""
    from geometry_of_trust.extraction.intervening import Continuing  # noqa: PLC0415 - heavy

    probe, layer = chosen.probe, chosen.probe_set.layer
    geometry = _geometry(runner, chosen, report)
    going_on = Continuing(runner, layer, [word.id for word in words])
    report("Reading the states")
    states = going_on.states(texts.ids)
    seed = seed_of(chosen.file.sha256, probe.name, texts.said.sha256)
    found = directions(probe.weights, geometry, states, how.directions, seed)
    effects = measured(
        going_on,
        texts.ids,
        states,
        found,
        how.delta,
        labels=texts.labels,
        report=report,
        cost=cost,
    )
    request = runner.opened.request
    return Intervention(
        arithmetic=ARITHMETIC,
        model_id=request.model_id,
        precision=runner.opened.precision,
        weights=weights,
        probe=chosen.used(geometry),
        texts=texts.said,
        targets=words,
        delta=how.delta,
        difference=effects.difference,
        gain=effects.gain,
        effect=effects.of_each[0],
        random=effects.of_each[1:],
        auroc=texts.auroc(probe, geometry, states),
    )


def measured(
    going_on: Continuing,
    texts: Sequence[Sequence[int]],
    states: NDArray[np.float32],
    found: Directions,
    delta: float,
    *,
    labels: Labels | None = None,
    report: Progress = lambda message: None,
    cost: Callable[[str], None] | None = None,
) -> Effects:
    """What comes of the states of texts, (texts, d), along directions.

    Raises:
        ConstantState: the probe reads the same of each. Others: as `Continuing.effects`.
    """
    if not found.projections[0].any():
        raise ConstantState("texts", expected="states that the probe tells apart", found="none")
    logits, divergences, begun = [], [], time.perf_counter()
    for n, (ids, state) in enumerate(zip(texts, states, strict=True)):
        report(f"Text {n + 1} of {len(texts)}")
        others = edited(state, found.projections[:, n], found, delta)
        one, apart = going_on.effects(ids, state, others, f"text {n + 1}")
        logits.append(one)
        divergences.append(apart)
        if n == 0 and cost is not None:
            cost(_cost(len(texts), len(found.units), time.perf_counter() - begun))
    return effects_of(found, logits, divergences, labels)


@dataclass(frozen=True)
class _Texts:
    """The texts, each up to the token whose state is moved.

    Attributes:
        ids: tokens of each. said: what the result says of them. rows: the row table, if they have
            labels.
    """

    ids: tuple[list[int], ...]
    said: InterventionTexts
    rows: RowTable | None

    @classmethod
    def of(cls, plan: Plan, rows: RowOptions, moved: TrainedTokens, table: Path) -> _Texts:
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
        """0 or 1 of each; None if they have none."""
        return None if self.rows is None else next(iter(self.rows.labels.values()))

    def auroc(self, probe: Probe, geometry: Geometry, states: NDArray[np.float32]) -> Figure | None:
        """Of the probe's readings of the states, by group; None without labels."""
        labels = self.labels
        if self.rows is None or labels is None:
            return None
        readings = read_each(probe, geometry, states)
        columns = [read.raw for read in readings], [read.confidence for read in readings]
        return evaluate(probe.name, columns, sample_of(labels, groups_of(self.rows)), None).auroc


def repeated(
    result: Intervention,
    model: PathLike,
    probes: PathLike,
    corpus: PathLike | Iterable[str],
    *,
    options: ExtractionOptions,
    progress: Progress | None = None,
) -> Intervention:
    """The same intervention again: all but model, probe set and texts is as the result says.

    Raises:
        As `intervene`.
    """
    texts = result.texts
    return intervene(
        model,
        probes,
        corpus,
        [target.text for target in result.targets],
        dimension=result.probe.dimension,
        how=InterventionOptions(delta=result.delta, directions=len(result.random)),
        options=options,
        row_options=RowOptions(
            tokens=texts.tokens.chosen,
            position=texts.tokens.position,
            skip_special_tokens=texts.tokens.skip_special_tokens,
            text_column=texts.text_column,
            label_columns=() if texts.label_column is None else (texts.label_column,),
            group_column=texts.group_column,
            split=texts.split,
            chars_column=texts.chars_column,
            limit=texts.count,
            add_generation_prompt=texts.add_generation_prompt,
            date=texts.date,
        ),
        progress=progress,
    )


def _reproducible(options: ExtractionOptions) -> ExtractionOptions:
    """Raises BadOption: the run is to be fast, or of a model that sees later tokens."""
    if options.reproducible is False:
        raise BadOption("--reproducible", expected="no fast run: an auditor is to make it again",
                        found="one")  # fmt: skip
    if options.allow_bidirectional:
        raise BadOption("--allow-bidirectional", expected="a causal model", found="another")
    return replace(options, reproducible=True)


def _limited(rows: RowOptions) -> RowOptions:
    if len(rows.label_columns) > 1:
        raise BadOption("--label-column", expected="one", found=len(rows.label_columns))
    return rows if rows.limit is not None else replace(rows, limit=TEXTS)


def _check_count(count: int) -> None:
    if count < LEAST_TEXTS:
        raise BadOption("--input-file", expected=f"at least {LEAST_TEXTS} texts", found=count)
    if count > MOST_TEXTS:
        raise LimitExceeded("--limit", expected=f"at most {MOST_TEXTS} texts", found=count)


def _opened(opened: Opened, chosen: _Chosen) -> Opened:
    """A model whose states at the probe's layer are read.

    Raises:
        LayerMissing, and as `_Chosen.check_model`. BadOption: a model of several streams.
    """
    layer, blocks = chosen.probe_set.layer, opened.anatomy.blocks
    if layer >= blocks:
        raise LayerMissing(
            chosen.file.path, expected=f"a layer from 0 to {blocks - 1}", found=layer
        )
    if opened.stream is not None:
        raise BadOption("--model", expected="one with one residual stream", found="several")
    chosen.check_model(opened)
    return replace(opened, layers=(layer,))


def _targets(opened: Opened, targets: str | Sequence[str]) -> tuple[Target, ...]:
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


def _geometry(runner: Runner, chosen: _Chosen, progress: Progress) -> Geometry:
    """The inner product that the probe was trained under.

    Raises:
        GeometryMismatch: the model's unembedding gives another one.
    """
    euclidean = chosen.training.inner_product == "Euclidean"
    geometry = Geometry.from_unembedding(
        np.concatenate(list(runner.unembedding_rows())),
        inner_product="euclidean" if euclidean else "causal",
        added=chosen.training.epsilon,
        progress=progress,
    )
    if chosen.probe_set.geometry_hash != geometry.digest:
        raise GeometryMismatch(
            chosen.file.path, expected=f"geometry {geometry.digest}, that of the model",
            found=chosen.probe_set.geometry_hash,
            hint="Use the model whose unembedding the probe was trained with.",
        )  # fmt: skip
    return geometry


def _cost(texts: int, count: int, seconds: float) -> str:
    """What it takes, in words; told when the first text has shown it."""
    total = seconds * texts
    span = f"{total / 60:.0f} minutes" if total > 90 else f"{total:.0f} seconds"
    return f"{texts} texts x {count} directions x {EDITS} = {texts * count * EDITS} states: {span}"
