"""From a model, a probe and texts to what comes of states that are moved along the probe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.arithmetic import ARITHMETIC
from geometry_of_trust.corpus.extracting import entries_of
from geometry_of_trust.corpus.options import CorpusOptions, RowOptions
from geometry_of_trust.corpus.partial import Partial
from geometry_of_trust.documents.interventions import (
    Intervention,
    Target,
)
from geometry_of_trust.documents.recorded_identity import Weights
from geometry_of_trust.errors import (
    BadOption,
    ConstantState,
)
from geometry_of_trust.extraction.identifying import Identifying
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.extraction.quiet import running_model
from geometry_of_trust.extraction.request import Request
from geometry_of_trust.files import PathLike
from geometry_of_trust.intervening.chosen_probe import ChosenProbe, geometry_of, opened_for
from geometry_of_trust.intervening.moved_texts import MovedTexts, limited, targets_of
from geometry_of_trust.outputs.temporary_files import scratch_folder
from geometry_of_trust.probing.array_types import Labels
from geometry_of_trust.probing.interventions import EDITS, Effects, edited, effects_of
from geometry_of_trust.probing.options import InterventionOptions
from geometry_of_trust.probing.random_directions import Directions, directions, seed_of
from geometry_of_trust.progress import Progress

if TYPE_CHECKING:
    from geometry_of_trust.extraction.intervening import Continuing
    from geometry_of_trust.extraction.running import Runner


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
    chosen = ChosenProbe.of(probes, dimension)
    options = _reproducible(options)
    row_options = limited(row_options)
    tokens_moved = chosen.check_tokens(row_options)
    entries = entries_of(corpus, row_options)
    with scratch_folder() as folder, running_model():
        request = Request.of(
            model, None, folder / "intervention.gotact", folder / "intervention.gotue", options
        )
        with Identifying(request) as identifying, Partial(request.activations) as partial:
            from geometry_of_trust.corpus import corpus_run  # noqa: PLC0415 - heavy
            from geometry_of_trust.extraction import first_text, running  # noqa: PLC0415 - heavy

            opened = opened_for(running.open_model(request, report), chosen)
            words = targets_of(opened, targets)
            report("Reading the corpus")
            run = corpus_run.prepare(
                opened, entries, partial, CorpusOptions(**vars(row_options), batch_size=1)
            )
            texts = MovedTexts.of(run.plan, row_options, tokens_moved, partial.file("rows"))
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
    chosen: ChosenProbe,
    texts: MovedTexts,
    words: tuple[Target, ...],
    how: InterventionOptions,
    report: Progress,
    cost: Callable[[str], None] | None,
) -> Intervention:
    """The result, of a model that is loaded; raises as `intervene`."""
    from geometry_of_trust.extraction.intervening import Continuing  # noqa: PLC0415 - heavy

    probe, layer = chosen.probe, chosen.probe_set.layer
    geometry = geometry_of(runner, chosen, report)
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
        unproved=tuple(sorted(runner.unproved)),
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

    The model's name, too: which model it is its weights say.

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
        options=replace(options, model_id=result.model_id),
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


def _cost(texts: int, count: int, seconds: float) -> str:
    """What it takes, in words; told when the first text has shown it."""
    total = seconds * texts
    span = f"{total / 60:.0f} minutes" if total > 90 else f"{total:.0f} seconds"
    return f"{texts} texts x {count} directions x {EDITS} = {texts * count * EDITS} states: {span}"
