"""Extractions, their estimates and their records as text. Untrusted text is escaped."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from geometry_of_trust.documents.extraction_record import Check, Corpus, Record
from geometry_of_trust.showing.text import table

if TYPE_CHECKING:
    from geometry_of_trust.corpus.corpus_run import CorpusExtraction
    from geometry_of_trust.corpus.estimating import Estimate
    from geometry_of_trust.extraction.one_text import Extraction


def record_rows(record: Record) -> list[tuple[str, str]]:
    """What was run, in names and values."""
    blocks = f"{record.blocks_path}, {record.blocks_loaded} of {record.blocks_total} loaded"
    if record.whole_because:
        blocks += f" (whole model: {record.whole_because})"
    ties = ["tied to the embedding" if record.tied else "untied"] + ["biased"] * record.bias
    versions = ", ".join(f"{name} {v}" for name, v in record.libraries.items() if v)
    kept_in = record.dtype + (", left in their files" if record.low_memory else "")
    if record.quantization is not None:
        kept_in = f"{record.quantization} ({record.quantization_library}), others in {record.dtype}"
    revision = record.commit or record.revision
    return [
        ("model", record.model + (f" at {revision}" if revision else "")),
        ("written as", record.model_id if record.model_id != record.model else ""),
        ("class", record.model_class),
        ("blocks", blocks),
        ("unembedding", f"{record.unembedding_path}, {', '.join(ties)}"),
        ("layers", ", ".join(map(str, record.layers))),
        ("weights in", kept_in),
        (
            "ran in",
            f"{'float64 (reproducible)' if record.reproducible else record.dtype} "
            f"on {record.device}, attention {record.attention or 'not said'}",
        ),
        ("may differ", ", ".join(record.unproved) and f"{', '.join(record.unproved)}: not proved"),
        ("with", versions),
        ("text sha256" if record.corpus is None else "corpus sha256", record.prompt_sha256),
        *([] if record.corpus is None else _corpus_rows(record.corpus)),
        ("positions", f"{record.positions}"),
        ("self-checks", "; ".join(f"{check.name}: {_check(check)}" for check in record.checks)),
    ]


def _corpus_rows(corpus: Corpus) -> list[tuple[str, str]]:
    skipped = " (special tokens left out)" if corpus.skip_special_tokens else ""
    prompt = ", then the start of an answer" if corpus.add_generation_prompt else ""
    return [
        ("texts", f"{corpus.texts}"),
        (
            "chats",
            ""
            if corpus.chat_template_sha256 is None
            else f"by template {corpus.chat_template_sha256}{prompt}",
        ),
        ("tokens kept", f"{corpus.position} of each text{skipped}"),
        ("rows sha256", corpus.rows_sha256),
    ]


def _check(check: Check) -> str:
    if check.bit_equal:
        return "bit-equal"
    verdict = "" if check.passed else f": MORE THAN {check.bound:g}"
    return f"differ by {check.largest:.2g} of the largest value{verdict}"


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
