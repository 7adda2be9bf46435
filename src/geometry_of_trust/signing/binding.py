"""The binding: one JSON object that names and digests all that a reading came from.

Its digest is the attestation's `probe_commitment`, and so under the signature. Strings and
integers only, so that its RFC 8785 form needs no agreement about floats.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import rfc8785

from geometry_of_trust.documents.probe_card import VERDICTS
from geometry_of_trust.documents.schema import (
    DIGEST,
    INNER_PRODUCT_CODES,
    PRECISION,
    STRING,
    U16,
    U32,
    Member,
    choice,
    structure,
    vector,
)

BINDING_VERSION = 1
BINDING_DOMAIN = b"GOT-BINDING-V1\0"
RECORD_MODES = {"fast": 0, "reproducible": 1}

BINDING = structure(
    Member("version", U16),
    Member("tool", STRING),
    Member(
        "activations",
        structure(
            Member("sha256", DIGEST),
            Member("model_id", STRING),
            Member("precision", PRECISION),
            Member("hidden_dim", U32),
            Member("layout", choice({"per-layer": 0, "per-position": 1})),
            Member("layers", vector(U32)),
            Member("positions", U32),
        ),
    ),
    Member(
        "unembedding",
        structure(Member("sha256", DIGEST), Member("vocab_size", U32), Member("hidden_dim", U32)),
    ),
    Member(
        "geometry",
        structure(
            Member("inner_product", choice(INNER_PRODUCT_CODES)),
            Member("epsilon", STRING),
            Member("sha256", DIGEST),
        ),
    ),
    Member(
        "probe_sets",
        vector(
            structure(
                Member("sha256", DIGEST),
                Member("layer", U32),
                Member("position", STRING),
                Member("position_index", U32, "absent", None),
                Member("dimensions", vector(STRING)),
                Member("verdicts", vector(choice(VERDICTS))),
            )
        ),
    ),
    Member(
        "extraction_record",
        structure(Member("sha256", DIGEST), Member("mode", choice(RECORD_MODES))),
        "absent",
        None,
    ),
    Member("key_id", DIGEST),
)
"""What a reading came from, as one JSON object of strings and integers."""


def binding_digest(binding: Mapping[str, Any]) -> str:
    """SHA-256 of `GOT-BINDING-V1`, a zero byte and the RFC 8785 form; 64 hex digits."""
    return hashlib.sha256(BINDING_DOMAIN + rfc8785.dumps(BINDING.write(binding))).hexdigest()
