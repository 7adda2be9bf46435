"""The binding: one JSON object that names and digests all that a reading came from.

Its digest is the attestation's `probe_commitment`, and so under the signature. Strings and
integers only, so that its RFC 8785 form needs no agreement about floats.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import rfc8785

from geometry_of_trust.documents.bound_interventions import BOUND_INTERVENTION, BoundIntervention
from geometry_of_trust.documents.codes import (
    LAYOUTS,
    MODES,
    VERDICTS,
    InnerProduct,
    Layout,
    Mode,
    Verdict,
)
from geometry_of_trust.documents.evaluations import EVALUATION, Evaluation
from geometry_of_trust.documents.extraction_record import Record
from geometry_of_trust.documents.positions import EVERY
from geometry_of_trust.documents.recorded_identity import Weights
from geometry_of_trust.documents.schema import (
    BOOL,
    DIGEST,
    FLOAT,
    INNER_PRODUCT,
    PRECISION,
    STRING,
    U16,
    U32,
    choice,
    decimal,
    hexadecimal,
    integer,
    member,
    optional,
    record,
    vector,
)
from geometry_of_trust.documents.thresholds import Thresholds, thresholds
from geometry_of_trust.documents.token_choice import ALL

BINDING_VERSION = 1
BINDING_DOMAIN = b"GOT-BINDING-V1\0"


@dataclass(frozen=True)
class BoundActivations:
    """The activations file: its digest, and what its header says; `positions` counts them."""

    sha256: str
    model_id: str
    precision: str
    hidden_dim: int
    layout: Layout
    layers: tuple[int, ...]
    positions: int


@dataclass(frozen=True)
class BoundUnembedding:
    """The unembedding file: its digest and shape."""

    sha256: str
    vocab_size: int
    hidden_dim: int


@dataclass(frozen=True)
class BoundGeometry:
    """The inner product, what was added to the diagonal of Φ (a decimal), and Φ's digest."""

    inner_product: InnerProduct
    epsilon: str
    sha256: str


@dataclass(frozen=True)
class BoundProbeSet:
    """A probe-set file, where it was read, and what its probes are called and worth.

    Attributes:
        sha256: of the file. layer: index of the layer.
        position: `last`, `first`, `mean`, a number, or `every` for a reading of every row by
            itself; `position_index` the row that this was, None for the mean and for every row.
            `all` of a text whose readings are aggregated.
        dimensions, verdicts: one a probe.
        other_weights: whether it was trained on those of another model, which was allowed.
        unknown_training: whether it does not say what it was trained on; it has no verdicts then.
        other_tokens: whether it was read at other tokens than it was trained on, which was allowed.
        outside: whether each reading, or the state that was read, is far from what its probe was
            fitted on; empty where none is, and where that range is not known.
        aggregate: how the readings of a text's tokens became one, as of `Aggregate.parse`, or None.
        rows: the rows of that text, from the first to before the last; None of one position.
        thresholds: of each probe, if it has some.
    """

    sha256: str
    layer: int
    position: str
    position_index: int | None
    dimensions: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    other_weights: bool = False
    unknown_training: bool = False
    other_tokens: bool = False
    outside: tuple[bool, ...] = ()
    aggregate: str | None = None
    rows: tuple[int, ...] | None = None
    thresholds: tuple[Thresholds, ...] = ()

    @property
    def reads_texts(self) -> bool:
        """Whether every text is read, by an aggregate."""
        return self.position == EVERY and self.aggregate is not None and self.rows is None


@dataclass(frozen=True)
class BoundModel:
    """Which model it was.

    Attributes:
        manifest_root, tensor_root: as of `Weights`.
        commit: of the version on the hub, 40 hex digits; None of a folder.
        not_covered: what else was in its folder.
    """

    manifest_root: str
    tensor_root: str | None
    commit: str | None
    not_covered: tuple[str, ...]

    @classmethod
    def of(cls, record: Record) -> BoundModel | None:
        """What is bound of the model's identity in a record; None if that has none."""
        identity = record.identity
        if identity is None:
            return None
        roots = identity.manifest_root, identity.tensor_root
        return cls(*roots, record.commit, identity.not_covered)

    @property
    def weights(self) -> Weights:
        """Its roots."""
        return Weights(self.manifest_root, self.tensor_root)


@dataclass(frozen=True)
class BoundRecord:
    """The extraction record: its digest, of the text that its mode says (`Record.digest`).

    Attributes:
        arithmetic: that of a reproducible run; None of a fast one, and of those in float64.
        bidirectional: whether states depend on later tokens too.
        stored: what the weights had been rounded to in the model's own files, as of `Record`.
        adapter: digest of what was put into the model, or None.
        stream: which of several residual streams was read; None where there is one.
        tokens: which tokens gave rows, as of `TokenChoice.parse`.
        date: what day it was for a chat template, if that was said.
    """

    sha256: str
    mode: Mode
    arithmetic: str | None
    bidirectional: bool = False
    stored: str | None = None
    adapter: str | None = None
    stream: str | None = None
    tokens: str = ALL
    date: str | None = None


@dataclass(frozen=True)
class BoundCorpus:
    """The corpus whose every row was read, as its extraction record says.

    Attributes:
        texts: how many. texts_sha256: of the texts with their lengths (`Record.prompt_sha256`).
        rows_sha256: digest of the row table's content.
    """

    texts: int
    texts_sha256: str
    rows_sha256: str

    @classmethod
    def of(cls, record: Record) -> BoundCorpus | None:
        """What is bound of the corpus in a record; None of a record of one text."""
        corpus = record.corpus
        if corpus is None:
            return None
        return cls(corpus.texts, record.prompt_sha256, corpus.rows_sha256)


@dataclass(frozen=True)
class BoundReadings:
    """The readings of every row, where they are too many for the document and lie beside it.

    Attributes:
        rows: how many. flagged, outside: how many readings of them are that, as of `Reading`.
        root: over the rows (RFC 9162), 64 hex digits.
    """

    rows: int
    flagged: int
    outside: int
    root: str


@dataclass(frozen=True)
class Binding:
    """What readings came from, and who signed; `extraction_record` is None if there was none.

    `geometry_reference` is the digest of the checkpoint that drift was measured from, if it was;
    `model` says which model it was, if the record does; `corpus` which texts, where every row was
    read and the record is of a corpus; `evaluation` how the readings of every row agree with
    labels, where there were some; `readings` those of every row, where they lie beside the
    document; `interventions` what came of moving states along some probes.
    """

    version: int
    tool: str
    activations: BoundActivations
    unembedding: BoundUnembedding
    geometry: BoundGeometry
    probe_sets: tuple[BoundProbeSet, ...]
    extraction_record: BoundRecord | None
    key_id: str
    geometry_reference: str | None = None
    model: BoundModel | None = None
    corpus: BoundCorpus | None = None
    evaluation: Evaluation | None = None
    readings: BoundReadings | None = None
    interventions: tuple[BoundIntervention, ...] = ()

    @property
    def dimensions(self) -> list[str]:
        """The names of all probes, in the order of the readings of a row."""
        return [name for bound in self.probe_sets for name in bound.dimensions]

    @property
    def reads_every_row(self) -> bool:
        """Whether a probe set is read at every row."""
        return any(bound.position == EVERY for bound in self.probe_sets)

    def units_of(self, bound: BoundProbeSet) -> int:
        """What one of its probe sets reads: rows or texts, if it reads every one; else 1."""
        if bound.reads_texts:
            return 1 if self.corpus is None else self.corpus.texts
        return self.activations.positions if bound.position == EVERY else 1

    @property
    def weights(self) -> Weights | None:
        """The roots of the model that is bound; None if none is."""
        return None if self.model is None else self.model.weights

    @property
    def digest(self) -> str:
        """SHA-256 of `GOT-BINDING-V1`, a zero byte and the RFC 8785 form; 64 hex digits."""
        tree = BINDING.write(self)  # of strings and integers, which its type does not say
        canonical = rfc8785.dumps(tree)  # type: ignore[arg-type]
        return hashlib.sha256(BINDING_DOMAIN + canonical).hexdigest()


# --- members of the object, in order ----------------------------------------------------------

BINDING = record(
    Binding,
    member("version", U16),
    member("tool", STRING),
    member(
        "activations",
        record(
            BoundActivations,
            member("sha256", DIGEST),
            member("model_id", STRING),
            member("precision", PRECISION),
            member("hidden_dim", U32),
            member("layout", choice(LAYOUTS)),
            member("layers", vector(U32)),
            member("positions", U32),
        ),
    ),
    member(
        "unembedding",
        record(
            BoundUnembedding,
            member("sha256", DIGEST),
            member("vocab_size", U32),
            member("hidden_dim", U32),
        ),
    ),
    member(
        "geometry",
        record(
            BoundGeometry,
            member("inner_product", INNER_PRODUCT),
            member("epsilon", STRING),
            member("sha256", DIGEST),
        ),
    ),
    member(
        "probe_sets",
        vector(
            record(
                BoundProbeSet,
                member("sha256", DIGEST),
                member("layer", U32),
                member("position", STRING),
                member("position_index", U32, default=None, omitted=True),
                member("dimensions", vector(STRING)),
                member("verdicts", vector(choice(VERDICTS))),
                member("other_weights", BOOL, default=False, omitted=True),
                member("unknown_training", BOOL, default=False, omitted=True),
                member("other_tokens", BOOL, default=False, omitted=True),
                member("outside", vector(BOOL), default=(), omitted=True),
                member("aggregate", STRING, default=None, omitted=True),
                member("rows", vector(U32), default=None, omitted=True),
                member("thresholds", vector(thresholds(decimal(FLOAT))), default=(), omitted=True),
            )
        ),
    ),
    member(
        "extraction_record",
        record(
            BoundRecord,
            member("sha256", DIGEST),
            member("mode", choice(MODES)),
            member("arithmetic", STRING, default=None, omitted=True),
            member("bidirectional", BOOL, default=False, omitted=True),
            member("stored", STRING, default=None, omitted=True),
            member("adapter", DIGEST, default=None, omitted=True),
            member("stream", STRING, default=None, omitted=True),
            member("tokens", STRING, default=ALL, omitted=True),
            member("date", STRING, default=None, omitted=True),
        ),
        default=None,
        omitted=True,
    ),
    member("key_id", DIGEST),
    member("geometry_reference", DIGEST, default=None, omitted=True),
    member(
        "model",
        record(
            BoundModel,
            member("manifest_root", DIGEST),
            member("tensor_root", optional(DIGEST)),
            member("commit", optional(hexadecimal(20))),
            member("not_covered", vector(STRING)),
        ),
        default=None,
        omitted=True,
    ),
    member(
        "corpus",
        record(
            BoundCorpus,
            member("texts", U32),
            member("texts_sha256", DIGEST),
            member("rows_sha256", DIGEST),
        ),
        default=None,
        omitted=True,
    ),
    member("evaluation", EVALUATION, default=None, omitted=True),
    member(
        "readings",
        record(
            BoundReadings,
            member("rows", U32),
            member("flagged", integer(48)),
            member("outside", integer(48)),
            member("root", DIGEST),
        ),
        default=None,
        omitted=True,
    ),
    member("interventions", vector(BOUND_INTERVENTION), default=(), omitted=True),
)
"""What a reading came from, as one JSON object of strings and integers."""
