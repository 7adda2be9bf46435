"""Extractions, their estimates and their records as text. Untrusted text is escaped."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from geometry_of_trust.documents.extraction_record import (
    EQUAL,
    NO_NORM,
    RISING,
    SCALED,
    TRANSFORMED,
    Check,
    Corpus,
    Record,
    RecordedAdapter,
    RecordedGguf,
    UnusedWeights,
)
from geometry_of_trust.documents.recorded_identity import RecordedIdentity
from geometry_of_trust.documents.token_choice import ALL
from geometry_of_trust.showing.text import SEES_LATER, table
from geometry_of_trust.terminal import bare_or_quoted, quoted

if TYPE_CHECKING:
    from geometry_of_trust.corpus.corpus_run import CorpusExtraction
    from geometry_of_trust.corpus.estimating import Estimate
    from geometry_of_trust.extraction.one_text import Extraction


def record_rows(record: Record) -> list[tuple[str, str]]:
    """What was run, in names and values; the record's own names are cut, each by itself."""
    blocks = f"{record.blocks_loaded} of {record.blocks_total} loaded"
    if record.whole_because:
        blocks += f" (no less: {bare_or_quoted(record.whole_because)})"
    ties = ["tied to the embedding" if record.tied else "untied"] + ["biased"] * record.bias
    versions = [f"{name} {bare_or_quoted(v)}" for name, v in record.libraries.items() if v]
    kept_in = bare_or_quoted(record.dtype)
    if record.quantization is not None:
        library = bare_or_quoted(record.quantization_library or "")
        kept_in = f"{bare_or_quoted(record.quantization)} ({library}), others in {kept_in}"
    elif record.gguf is not None:
        kept_in = f"gguf ({_types(record.gguf)}), computed in {kept_in}"
    elif record.stored is not None:
        kept_in = f"{bare_or_quoted(record.stored)}, computed in {kept_in}"
    elif record.low_memory:
        kept_in += ", left in their files"
    revision = record.commit or record.revision
    at = f" at {bare_or_quoted(revision)}" if revision else ""
    unproved = ", ".join(map(bare_or_quoted, record.unproved))
    ran_in = bare_or_quoted(record.dtype)
    if record.reproducible:
        ran_in = f"{bare_or_quoted(record.arithmetic or 'float64')} (reproducible)"
    attention = bare_or_quoted(record.attention) if record.attention else "not said"
    other_name = record.model_id if record.model_id != record.model else ""
    return [
        ("model", f"{bare_or_quoted(record.model)}{at}"),
        ("written as", other_name and bare_or_quoted(other_name)),
        ("file sha256", record.gguf.sha256 if record.gguf else ""),
        *_identity_rows(record.identity),
        ("adapter", _adapter(record.adapter) if record.adapter else ""),
        ("class", bare_or_quoted(record.model_class)),
        ("model of text", _tower(record)),
        ("left out", ", ".join(map(bare_or_quoted, record.left_out))),
        ("blocks", f"{blocks}, {bare_or_quoted(record.blocks_path)}"),
        ("unembedding", f"{', '.join(ties)}, {bare_or_quoted(record.unembedding_path)}"),
        ("layers", ", ".join(map(str, record.layers))),
        ("stream", f"{bare_or_quoted(record.stream)} of {record.streams}" if record.stream else ""),
        ("weights in", kept_in),
        ("ran in", f"{ran_in} on {bare_or_quoted(record.device)}, attention {attention}"),
        ("may differ", unproved and f"{unproved}: not proved"),
        ("bidirectional", SEES_LATER if record.bidirectional else ""),
        ("U reads it", _reads(record.unembedding_reads)),
        ("unused weights", _unused(record.unused_weights)),
        ("with", ", ".join(versions)),
        ("text sha256" if record.corpus is None else "corpus sha256", record.prompt_sha256),
        *([] if record.corpus is None else _corpus_rows(record.corpus)),
        ("positions", f"{record.positions}"),
        ("self-checks", "; ".join(map(_check, record.checks))),
    ]


def _identity_rows(identity: RecordedIdentity | None) -> list[tuple[str, str]]:
    """Which model it was."""
    if identity is None:
        return []
    count = len(identity.files)
    tensor = identity.unembedding
    matrix = "no tensor of the files as it is" if identity.tensor_root else "not compared"
    return [
        ("manifest root", f"{identity.manifest_root}  ({count} file{'s'[: count != 1]})"),
        ("tensor root", identity.tensor_root or "not read: the weights are pickled"),
        ("not covered", ", ".join(map(bare_or_quoted, identity.not_covered))),
        ("U is", bare_or_quoted(tensor.name) if tensor else matrix),
    ]


def _types(gguf: RecordedGguf) -> str:
    return ", ".join(
        f"{count} {bare_or_quoted(name)}" for name, count in sorted(gguf.types.items())
    )


def _adapter(adapter: RecordedAdapter) -> str:
    """Its kind and digest, and the model that its own configuration names."""
    base = f", made for {bare_or_quoted(adapter.base)}" if adapter.base else ""
    return f"{bare_or_quoted(adapter.kind)} {adapter.sha256}{base}"


def _tower(record: Record) -> str:
    if record.tower is None:
        return ""
    return f"{bare_or_quoted(record.tower.class_name)}, {bare_or_quoted(record.tower.path)}"


def _corpus_rows(corpus: Corpus) -> list[tuple[str, str]]:
    skipped = " (special tokens left out)" if corpus.skip_special_tokens else ""
    prompt = ", then the start of an answer" if corpus.add_generation_prompt else ""
    template = corpus.chat_template_sha256
    among = "each text"
    if corpus.tokens != ALL:
        among = f"{bare_or_quoted(corpus.tokens)} of each text"
    return [
        ("texts", f"{corpus.texts}"),
        ("chats", "" if template is None else f"by template {template}{prompt}"),
        ("date", bare_or_quoted(corpus.date) if corpus.date else ""),
        ("tokens kept", f"{bare_or_quoted(corpus.position)} of {among}{skipped}"),
        ("rows sha256", corpus.rows_sha256),
    ]


_GIVES = "norm(h)·Uᵀ gives the model's logits"
_READS = {
    EQUAL: _GIVES,
    SCALED: f"{_GIVES}, up to a scale",
    RISING: f"{_GIVES}, up to an increasing function",
    TRANSFORMED: "NOT THIS STATE: the model transforms it by more than a norm before U",
    NO_NORM: "NOT THIS STATE: no norm found between it and U",
}


def _reads(reads: str | None) -> str:
    """How the logits follow from the last block's state, in this program's words where they are."""
    if reads is None:
        return ""
    return _READS.get(reads) or quoted(reads)


def _unused(weights: UnusedWeights | None) -> str:
    """Weights that the model does not use, with the first names."""
    if weights is None:
        return ""
    more = ", ..." if weights.count > len(weights.first) else ""
    return f"{weights.count} in its files: {', '.join(map(bare_or_quoted, weights.first))}{more}"


def _check(check: Check) -> str:
    """A self-check: the words of this program, which a record may have changed, between quotes."""
    ended = "bit-equal"
    if not check.bit_equal:
        verdict = "" if check.passed else f": MORE THAN {check.bound:g}"
        ended = f"differ by {check.largest:.2g} of the largest value{verdict}"
    return f"{ended}: {quoted(check.name)}"


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
