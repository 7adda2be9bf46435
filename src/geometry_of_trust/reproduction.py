"""From a model and a text back to a signed attestation, byte for byte, or to where it differs."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.attestation import Attestation
from geometry_of_trust.attesting import Sources, differences, open_sources, recomputed
from geometry_of_trust.binding import binding_digest
from geometry_of_trust.corpus.extracting import extract_corpus
from geometry_of_trust.errors import BadOption, DigestMismatch, ExtractionRefused, GotError, escaped
from geometry_of_trust.extraction import Extraction, extract
from geometry_of_trust.files import PathLike, sha256_file
from geometry_of_trust.formats import Activations, read_activations
from geometry_of_trust.keys import PublicKey
from geometry_of_trust.verification import verify

if TYPE_CHECKING:
    from geometry_of_trust.corpus.pipeline import CorpusExtraction

DTYPES = {"Fp32": "float32", "Fp16": "float16", "Bfloat16": "bfloat16", "Int8": "float32"}
Outcome = Literal["MATCH", "MISMATCH", "UNVERIFIABLE"]


@dataclass(frozen=True)
class Link:
    """One thing compared: a name, whether it is equal, and what was compared."""

    name: str
    equal: bool
    detail: str


@dataclass(frozen=True)
class Reproduction:
    """How an attempt to reproduce an attestation ended.

    Attributes:
        outcome: `MATCH` (the same document, byte for byte), `MISMATCH` or `UNVERIFIABLE`.
        links: what was compared, in order; the last one is the first that differs, if any.
        detail: where it differs and by how much, or what is missing.
    """

    outcome: Outcome
    links: tuple[Link, ...]
    detail: str = ""

    @property
    def line(self) -> str:
        """The one line that an auditor reads."""
        joint = {"MATCH": "", "MISMATCH": " at ", "UNVERIFIABLE": ": "}[self.outcome]
        return f"{self.outcome}{joint}{self.detail}" if self.detail else self.outcome


@dataclass(frozen=True)
class Distance:
    """How far two arrays of float32 are apart, in units in the last place (float32 steps).

    Attributes:
        differing: how many values differ. first: index of the first, or None.
        largest, median: of the distances of those that differ; 0 if none does.
    """

    differing: int
    first: tuple[int, ...] | None
    largest: int
    median: float

    def __str__(self) -> str:
        if not self.differing:
            return "no value differs"
        steps = "unit" if self.largest == 1 else "units"
        return (
            f"{self.differing} values differ, by up to {self.largest} {steps} in the last place "
            f"(median {self.median:g})"
        )


def distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> Distance:
    """Compare two arrays of equal shape; −0 and +0 are the same value."""
    steps = np.abs(_ordinal(a) - _ordinal(b))
    apart = steps[steps > 0]
    if not apart.size:
        return Distance(0, None, 0, 0.0)
    first = tuple(int(i) for i in np.argwhere(steps)[0])
    return Distance(int(apart.size), first, int(apart.max()), float(np.median(apart)))


def _ordinal(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Integers in the order of the float32 values, one apart where these are neighbours."""
    bits = np.ascontiguousarray(values, np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def reproduce(
    attestation: PathLike,
    public_key: PathLike | PublicKey,
    *,
    model: PathLike,
    text: str | None = None,
    corpus: PathLike | Iterable[str] | None = None,
    reading: Mapping[str, Any] | None = None,
    probes: Sequence[PathLike] = (),
    activations: PathLike | None = None,
    device: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    low_memory: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Reproduction:
    """Extract again, recompute everything, and compare every link with what was signed.

    Args:
        attestation: the document; it must verify on its own (steps 1 to 4).
        public_key: the signer's.
        model, text, device, revision, trust_remote_code, low_memory: as for `extract`.
        corpus: instead of a text, as for `extract_corpus`.
        reading: how it gave rows: those of its arguments `columns`, `split`, `limit`, `position`,
            `skip_special_tokens` and `add_generation_prompt` that the signer gave.
        probes: the signer's probe sets, in the order signed.
        activations: the signer's activations, if you have them: a mismatch is then located to
            layer, position and units in the last place.
        progress: called with what is being done.

    Raises:
        Refused: the document itself does not verify.
        BadOption: not one of text and corpus.
        GotError: a file cannot be read.
    """
    if (text is None) == (corpus is None):
        found = "neither" if text is None else "both"
        raise BadOption("--input", expected="a text or a corpus", found=found)
    verdict = verify(attestation, public_key)
    held = verdict.attestation
    bound: Any = held.binding
    links = [Link("attestation", True, "steps 1 to 4 of verify passed")]
    missing = _missing(held, probes)
    if missing:
        return Reproduction("UNVERIFIABLE", tuple(links), missing)
    if activations is not None and sha256_file(activations) != held.input_hash:
        raise DigestMismatch(
            activations, expected=f"the signed activations, {held.input_hash}", found="others"
        )
    for i, (path, entry) in enumerate(zip(probes, bound["probe_sets"], strict=True)):
        if not _compare(links, f"probe set {i}", sha256_file(path), entry["sha256"]):
            return Reproduction("MISMATCH", tuple(links), f"{links[-1].name}: {links[-1].detail}")
    with tempfile.TemporaryDirectory(prefix="got-reproduce-") as folder:
        options: dict[str, Any] = {
            "output_activations": Path(folder, "activations.gotact"),
            "output_unembedding": Path(folder, "unembedding.gotue"),
            "device": device,
            "dtype": DTYPES[held.precision],
            "trust_remote_code": trust_remote_code,
            "revision": revision,
            "model_id": held.model_id,
            "layout": bound["activations"]["layout"],
            "reproducible": True,
            "low_memory": low_memory,
            "quantization": "int8" if held.precision == "Int8" else None,
        }
        layers = bound["activations"]["layers"]
        again: Extraction | CorpusExtraction
        try:
            if text is not None:
                again = extract(model, text, layers, **options, progress=progress)
            else:
                assert corpus is not None  # noqa: S101 - one of the two
                options |= reading or {}
                again = extract_corpus(model, corpus, layers, **options, say=progress)
        except ExtractionRefused as error:
            return Reproduction("UNVERIFIABLE", tuple(links), f"cannot extract: {error}")
        return _compared(held, links, again, probes, activations)


def _missing(held: Attestation, probes: Sequence[PathLike]) -> str:
    """Why nothing can be reproduced; empty if it can."""
    bound: Any = held.binding
    record = bound["extraction_record"]
    if record is None:
        return "no extraction record was bound: nothing signed says how the text was run"
    if record["mode"] != "reproducible":
        return (
            "the activations were extracted with the fast path, whose last bits depend on the "
            "machine; ask for an attestation of a reproducible extraction"
        )
    if len(probes) != len(bound["probe_sets"]):
        return f"probe sets: {len(bound['probe_sets'])} needed (--probes), {len(probes)} given"
    return ""


def _compare(links: list[Link], name: str, ours: object, signed: object) -> bool:
    equal = ours == signed
    links.append(Link(name, equal, f"{ours}" if equal else f"signed {signed}, found {ours}"))
    return equal


def _compared(
    held: Attestation,
    links: list[Link],
    again: Extraction | CorpusExtraction,
    probes: Sequence[PathLike],
    original: PathLike | None,
) -> Reproduction:
    """Compare an extraction with what was signed, link by link, up to the first that differs."""
    bound: Any = held.binding
    sources = open_sources(again.activations_path, probes, again.unembedding_path)
    equal = _compare(
        links, "unembedding", sources.unembedding_sha256, bound["unembedding"]["sha256"]
    ) and _compare(links, "activations", sources.activations_sha256, held.input_hash)
    if not equal:
        where = f"{links[-1].name}: {_how_far(held, sources, original)}"
        return Reproduction("MISMATCH", tuple(links), where)
    record = again.record
    if not _compare(
        links, "extraction record", record.digest, bound["extraction_record"]["sha256"]
    ):
        return Reproduction("MISMATCH", tuple(links), f"{links[-1].name}: {links[-1].detail}")
    members, binding = recomputed(held, sources)
    for name, ours, signed in differences(held, members, binding):
        links.append(Link(name, False, f"signed {signed}, found {ours}"))
        where = f"{name}: {_how_far(held, sources, original)}"
        return Reproduction("MISMATCH", tuple(links), where)
    links.append(Link("geometry", True, members["geometry_hash"]))
    links.append(Link("readings", True, f"{len(held.confidence)}, equal bit for bit"))
    whole = {**binding, **{name: bound[name] for name in ("tool", "extraction_record", "key_id")}}
    rebuilt = dataclasses.replace(
        held, **members, binding=whole, probe_commitment=binding_digest(whole)
    ).to_json()
    document = held.to_json()  # what step 1 compared the file with
    links.append(Link("document", rebuilt == document, f"{len(document)} bytes"))
    if rebuilt != document:
        return Reproduction("MISMATCH", tuple(links), "document: members that nothing here makes")
    return Reproduction("MATCH", tuple(links))


def _how_far(held: Attestation, sources: Sources, original: PathLike | None) -> str:
    """Where two runs differ and by how much, as far as what is at hand can tell."""
    bound: Any = held.binding
    ours, signed = sources.activations, bound["activations"]
    if len(ours.positions) != signed["positions"]:
        return (
            f"{len(ours.positions)} positions, {signed['positions']} signed: "
            "another text or tokenizer"
        )
    if ours.hidden_dim != signed["hidden_dim"]:
        return f"hidden dimension {ours.hidden_dim}, {signed['hidden_dim']} signed: another model"
    if original is not None:
        return _located(ours, read_activations(original))
    try:
        members, _ = recomputed(held, sources)
    except GotError as error:
        return f"readings cannot be compared: {escaped(error)}"
    apart = distance(_flat(members["layer_readings"]), _flat(held.layer_readings))
    return (
        f"of {len(held.confidence)} readings, {apart}; "
        "with the signer's --activations this names layer and position"
    )


def _flat(rows: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    return np.array([value for row in rows for value in row], np.float32)


def _located(ours: Activations, theirs: Activations) -> str:
    apart = distance(ours.values, theirs.values)
    if apart.first is None:
        return f"equal activations in {os.fspath(theirs.source)}"
    layer, position, index = apart.first
    mine, yours = ours.values[apart.first], theirs.values[apart.first]
    step = distance(np.array([mine]), np.array([yours])).largest
    return (
        f"layer {ours.layers[layer]}, position {position}, index {index}: {mine!s} for {yours!s} "
        f"signed, {step} units in the last place; in all, {apart}"
    )
