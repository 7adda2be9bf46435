"""The attestation of the demo's question, byte for byte as it was signed once and for all.

`tests/vectors/demo/` was written before the code that reads and writes it took its present shape.
Whoever changes one of these bytes changes what everybody has to compute.
"""

from __future__ import annotations

from pathlib import Path

from geometry_of_trust import ExtractionOptions, SecretKey, attest, extract
from places import EXAMPLES, VECTORS

DEMO = VECTORS / "demo"
KEY = SecretKey.from_seed(bytes([1]) * 32)


def test_the_demo_s_question_gives_the_same_attestation(smollm2: Path, tmp_path: Path) -> None:
    activations, unembedding = tmp_path / "question.gotact", tmp_path / "unembedding.gotue"
    extract(
        smollm2, (EXAMPLES / "question.txt").read_text("utf-8").rstrip("\n"), [8, 15],
        output_activations=activations, output_unembedding=unembedding,
        options=ExtractionOptions(model_id="smollm2-135m-instruct", device="cpu"),
    )  # fmt: skip
    signed = attest(
        activations=activations, unembedding=unembedding, probes=[DEMO / "probes.json"], key=KEY,
        timestamp=1_700_000_000,
    )  # fmt: skip
    assert signed.to_json() == (DEMO / "attestation.json").read_bytes()
