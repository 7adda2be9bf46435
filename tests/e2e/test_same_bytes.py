"""The attestation of the demo's question, byte for byte as it was signed once and for all.

Whoever changes a byte of `tests/vectors/demo/` changes what everybody has to compute:
`attestation-float32.json` by docs/arithmetic.md; `attestation.json`, with the same probes, by
0.1.0, whose arithmetic had no name.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from geometry_of_trust import (
    ExtractionOptions,
    SecretKey,
    attest,
    extract,
    read_record,
    verify,
)
from geometry_of_trust.arithmetic import library
from geometry_of_trust.documents.names_beside import record_path
from geometry_of_trust.signing.attestation import read_attestation
from places import EXAMPLES, VECTORS

DEMO = VECTORS / "demo"
TENSOR_ROOT = "2752bcf36f74da38de89a495df68b29dc174d03cf56d862d328f0d5bf65b2d43"
"""Of SmolLM2 as `make model` converts it."""

KEY = SecretKey.from_seed(bytes([1]) * 32)


@pytest.mark.parametrize("kernels", sorted({library.forms()[0], "portable"}))
def test_the_demo_s_question_gives_the_same_attestation(
    kernels: str, smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(library.VARIABLE, kernels)
    activations, unembedding = tmp_path / "question.gotact", tmp_path / "unembedding.gotue"
    extract(
        smollm2, (EXAMPLES / "question.txt").read_text("utf-8").rstrip("\n"), [8, 15],
        output_activations=activations, output_unembedding=unembedding,
        options=ExtractionOptions(model_id="smollm2-135m-instruct", device="cpu"),
    )  # fmt: skip
    record = read_record(record_path(activations))
    assert record.weights is not None
    assert record.weights.tensor_root == TENSOR_ROOT
    # The files beside the weights are as the version of transformers writes them.
    record_path(activations).write_bytes(replace(record, identity=None).to_json())
    signed = attest(
        activations=activations, unembedding=unembedding, probes=[DEMO / "probes.json"], key=KEY,
        timestamp=1_700_000_000,
    )  # fmt: skip
    assert signed.to_json() == (DEMO / "attestation-float32.json").read_bytes()


def test_two_arithmetics_differ_in_the_last_digits() -> None:
    old, new = (read_attestation(DEMO / f"attestation{name}.json") for name in ("", "-float32"))
    for signed in (old, new):
        verify(signed.to_json(), KEY.public)
    assert new.layer_readings[0] == pytest.approx(old.layer_readings[0], rel=1e-5)
    assert new.input_hash != old.input_hash
    assert new.bound().probe_sets == old.bound().probe_sets
    assert new.bound().unembedding == old.bound().unembedding
