"""Extractions, records and trained probes as text or JSON. Untrusted text is escaped."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

from geometry_of_trust.documents.extraction_record import Check, Corpus, Record
from geometry_of_trust.documents.strictjson import shortest_float32
from geometry_of_trust.errors import escaped
from geometry_of_trust.extraction.one_text import Extraction
from geometry_of_trust.files import PathLike
from geometry_of_trust.probing.calibration_report import Calibration, CalibrationReport
from geometry_of_trust.probing.probes import Training
from geometry_of_trust.probing.training import TrainingResult
from geometry_of_trust.showing import cards as cardview
from geometry_of_trust.showing import verdicts
from geometry_of_trust.showing.verdicts import as_json, table
from geometry_of_trust.verifying.reproduce import Reproduction

if TYPE_CHECKING:
    from geometry_of_trust.corpus.corpus_run import CorpusExtraction
    from geometry_of_trust.corpus.estimating import Estimate


def record_rows(held: Record) -> list[tuple[str, str]]:
    """What was run, in names and values."""
    blocks = f"{held.blocks_path}, {held.blocks_loaded} of {held.blocks_total} loaded"
    if held.whole_because:
        blocks += f" (whole model: {held.whole_because})"
    ties = ["tied to the embedding" if held.tied else "untied"] + ["biased"] * held.bias
    versions = ", ".join(f"{name} {v}" for name, v in held.libraries.items() if v)
    held_in = held.dtype + (", left in their files" if held.low_memory else "")
    if held.quantization is not None:
        held_in = f"{held.quantization} ({held.quantization_library}), others in {held.dtype}"
    revision = held.commit or held.revision
    return [
        ("model", held.model + (f" at {revision}" if revision else "")),
        ("written as", held.model_id if held.model_id != held.model else ""),
        ("class", held.model_class),
        ("blocks", blocks),
        ("unembedding", f"{held.unembedding_path}, {', '.join(ties)}"),
        ("layers", ", ".join(map(str, held.layers))),
        ("weights in", held_in),
        (
            "ran in",
            f"{'float64 (reproducible)' if held.reproducible else held.dtype} on {held.device}, "
            f"attention {held.attention or 'not said'}",
        ),
        ("may differ", ", ".join(held.unproved) and f"{', '.join(held.unproved)}: not proved"),
        ("with", versions),
        ("text sha256" if held.corpus is None else "corpus sha256", held.prompt_sha256),
        *([] if held.corpus is None else _corpus_rows(held.corpus)),
        ("positions", f"{held.positions}"),
        ("self-checks", "; ".join(f"{check.name}: {_check(check)}" for check in held.checks)),
    ]


def _corpus_rows(held: Corpus) -> list[tuple[str, str]]:
    skipped = " (special tokens left out)" if held.skip_special_tokens else ""
    prompt = ", then the start of an answer" if held.add_generation_prompt else ""
    return [
        ("texts", f"{held.texts}"),
        (
            "chats",
            ""
            if held.chat_template_sha256 is None
            else f"by template {held.chat_template_sha256}{prompt}",
        ),
        ("tokens kept", f"{held.position} of each text{skipped}"),
        ("rows sha256", held.rows_sha256),
    ]


def _check(held: Check) -> str:
    if held.bit_equal:
        return "bit-equal"
    verdict = "" if held.passed else f": MORE THAN {held.bound:g}"
    return f"differ by {held.largest:.2g} of the largest value{verdict}"


def extraction(result: Extraction) -> str:
    """What `extract` prints."""
    vocab_size, hidden_dim = result.unembedding_shape
    layers, positions, _ = result.activations.values.shape
    labels = "kept: it was edited" if result.labels_kept else "a stub of zeros: edit it"
    return "\n".join(
        (
            table(record_rows(result.record)),
            "",
            table(
                [
                    (
                        os.fspath(result.activations_path),
                        f"{layers} layers x {positions} positions x {hidden_dim}",
                    ),
                    (os.fspath(result.unembedding_path), f"{vocab_size} x {hidden_dim}"),
                    (os.fspath(result.labels_path), f"one label a position ({labels})"),
                    (os.fspath(result.record_path), "what was run"),
                ]
            ),
        )
    )


def corpus_extraction(result: CorpusExtraction) -> str:
    """What `extract` prints of a corpus."""
    vocab_size, hidden_dim = result.unembedding_shape
    layers, rows, _ = result.activations.values.shape
    labels = "from the corpus" if result.label_columns else "a stub of zeros: edit it"
    if result.labels_kept:
        labels = "NOT OF THIS RUN: an edited file was there and is kept"
        if result.label_columns:
            labels += "; this run's are in the row table, for train --label-column"
    resumed = f" ({result.resumed_rows} of them by the run resumed)" if result.resumed_rows else ""
    files = [
        (result.activations_path, f"{layers} layers x {rows} rows x {hidden_dim}{resumed}"),
        (result.unembedding_path, f"{vocab_size} x {hidden_dim}"),
        (result.labels_path, f"one label a row ({labels})"),
        (result.rows_path, "text, group and token of each row"),
        (result.record_path, "what was run"),
    ]
    return "\n".join(
        (
            table(record_rows(result.record)),
            "",
            table([(os.fspath(path), what) for path, what in files]),
        )
    )


def size(count: int) -> str:
    """Bytes for a reader, with all digits: "692.5 kB (692475 bytes)"."""
    scaled = float(count)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if scaled < 999.95 or unit == "TB":
            break
        scaled /= 1000
    return f"{count} bytes" if unit == "bytes" else f"{scaled:.1f} {unit} ({count} bytes)"


def duration(seconds: float) -> str:
    """Seconds for a reader, to two digits or so: "about 3 min"."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return (
                f"about {seconds / length:.2g} {unit}"
                if seconds < 100 * length
                else (f"about {seconds / length:.0f} {unit}")
            )
    return f"about {seconds:.2g} s" if seconds < 100 else f"about {seconds:.0f} s"


def estimate(result: Estimate) -> str:
    """What `extract --dry-run` prints."""
    seen = "in the model's files" if result.from_files else "by the model's shapes"
    checks, later = result.weights_checks, result.memory_running
    rows = [
        ("texts", f"{result.texts}"),
        ("tokens", f"{result.tokens}"),
        ("batches", f"{result.batches}"),
        ("rows", f"{result.rows}, of {result.layers} layers x {result.hidden_dim}"),
        (
            "weights read",
            f"{size(result.weights)} {seen}, {result.blocks} of {result.blocks_total} blocks",
        ),
        ("for self-checks", f"{size(checks)} more" if checks else ""),
        ("peak memory", size(result.memory)),
        ("after self-checks", size(later) if later < result.memory else ""),
        ("time", f"{duration(result.seconds)} on this machine, as busy as it is"),
    ]
    files = [
        (os.fspath(file.path), size(file.size) if file.exact else f"about {file.size} bytes")
        for file in result.files
    ]
    together = ("together", f"{size(result.size)}, nearly")
    return "\n".join((table(rows), "", table([*files, together]), "", "A dry run: nothing written"))


def training_rows(held: Training) -> list[tuple[str, str]]:
    """What probes were trained on, in names and values; how well they do stands on their cards."""
    added = f", {shortest_float32(held.epsilon)} added to the diagonal" if held.epsilon else ""
    phi = held.spectrum
    share = (
        "" if phi.mean_share is None else f", mean row {100 * phi.mean_share:.3g} % of the trace"
    )
    count = len(held.cards)
    spread = held.effective_dimension / count
    word = (
        "fully spread" if spread > 0.8 else
        "partially collapsed" if spread > 0.4 else "severely collapsed"
    )  # fmt: skip
    return [
        ("trained on", f"{held.model_id} ({held.precision}), layer {held.layer}, {held.rows} rows"),
        ("inner product", held.inner_product + added),
        ("its spectrum", f"condition number {phi.condition:.4g}, "
                         f"effective rank {phi.effective_rank:.4g}{share}"),
        ("probes span", f"{held.effective_dimension:.4g} of {count} dimensions ({word})"
                        if count > 1 else ""),
        ("activations", held.activations_sha256 or ""),
        ("unembedding", held.unembedding_sha256 or ""),
        ("labels", held.labels_sha256 or ""),
        ("rows", held.rows_digest or ""),
        ("made with", ", ".join(f"{name} {v}" for name, v in held.versions.items())),
    ]  # fmt: skip


def cards(held: Training) -> str:
    """The cards of a probe set, one after the other."""
    return "\n\n".join(cardview.card(card, held.inner_product) for card in held.cards)


def training(result: TrainingResult, output: PathLike) -> str:
    """What `train` prints."""
    rows = training_rows(result.training)
    return f"{cards(result.training)}\n\n{table(rows)}\nwrote {escaped(output)}"


def training_tree(result: TrainingResult, output: PathLike) -> dict[str, Any]:
    """What `train --json` prints of a layer."""
    return {
        "output": os.fspath(output),
        "geometry_hash": result.probe_set.geometry_hash,
        "probes": [
            {
                "dimension": probe.name,
                "hidden_dim": probe.weights.size,
                "bias": probe.bias,
                "platt_scale": probe.platt_scale,
                "platt_shift": probe.platt_shift,
                "losses": [{"l2": l2, "held_out_log_loss": loss} for l2, loss in losses],
            }
            for probe, losses in zip(result.probe_set.probes, result.losses, strict=True)
        ],
        "training": dataclasses.asdict(result.training),
        "gradient": result.gradient,
        "iterations": list(result.iterations),
    }


def calibration(report: CalibrationReport) -> str:
    """What `calibration-report` prints."""
    notes = []
    if report.trained_on:
        notes.append("These are the rows that the probes were trained on: expect less elsewhere.")
    if not report.grouped:
        notes.append("No groups: the intervals take each row for an independent one.")
    return "\n\n".join([*(_calibrated(held) for held in report.probes), *notes])


def _calibrated(held: Calibration) -> str:
    filled = sum(bin_.rows > 0 for bin_ in held.bins)
    return "\n".join(
        [
            f"probe {escaped(repr(held.dimension))}: {held.positives} positive, "
            f"{held.negatives} negative rows in {held.groups} groups",
            *cardview.figures([("on these rows", held.quality)]),
            "",
            f"ECE {cardview.number(held.ece_before_platt)} before Platt scaling, "
            f"{cardview.number(held.quality.ece)} after",
            f"the interval of {filled - held.off} of {filled} bins contains the diagonal",
            *cardview.reliability(held.bins),
        ]
    )


def calibration_json(report: CalibrationReport) -> str:
    """What `calibration-report --json` prints."""
    tree = dataclasses.asdict(report)
    for entry, held in zip(tree["probes"], report.probes, strict=True):
        entry["bins_off_the_diagonal"] = held.off
        for shown, table_ in (("bins_before", held.bins_before), ("bins", held.bins)):
            for bin_, value in zip(entry[shown], table_, strict=True):
                bin_["contains_diagonal"] = value.calibrated if value.rows else None
    return as_json(tree)


def reproduction(result: Reproduction) -> str:
    """What `reproduce` prints: what the document says, a line a link, the outcome last."""
    lines = [
        f"{link.name:<18} {'equal' if link.equal else 'DIFFERS':<8} {escaped(link.detail, 400)}"
        for link in result.links
    ]
    if result.not_checked:
        lines += ["", f"taken as signed: {escaped('; '.join(result.not_checked), 2000)}"]
    said = verdicts.attestation(result.attestation)
    return "\n".join((said, "", *lines, "", escaped(result.line, 2000)))


def reproduction_json(result: Reproduction) -> str:
    """What `reproduce --json` prints."""
    return as_json(
        {
            "outcome": result.outcome,
            "detail": result.detail,
            "not_checked": list(result.not_checked),
            "links": [dict(vars(link)) for link in result.links],
            "attestation": verdicts.attestation_tree(result.attestation),
        }
    )
