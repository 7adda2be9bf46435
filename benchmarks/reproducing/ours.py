"""What this package computes, as digests: activations, Φ, a probe, an attestation."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from dataclasses import replace

import numpy as np
from benchmarks.reproducing.work import Digests, Work, digest, sha256

from geometry_of_trust.attesting.attest import attest
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.formats.gotact import read_activations
from geometry_of_trust.formats.gotue import read_unembedding
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.probing.options import TrainingOptions
from geometry_of_trust.probing.training_files import train_files
from geometry_of_trust.signing.keys import SecretKey

KEY = SecretKey.from_seed(bytes([1]) * 32)
TIMESTAMP = 1_700_000_000
CHAIN_LAYER = 15
REPRODUCIBLE = ExtractionOptions(device="cpu", reproducible=True)


def prompts(work: Work) -> Digests:
    """The activations of each prompt, as `extract` computes them, with the model loaded once.

    The base setting runs one text at a time, all others batches of 8, padded to the longest. The
    first is also run by `extract` itself; all must give the same.
    """
    from geometry_of_trust.extraction import capture, loading, running, tokenizing
    from geometry_of_trust.extraction.one_text import extract
    from geometry_of_trust.extraction.request import Request

    folder = work.output / "first"
    folder.mkdir()
    written = extract(
        work.model, work.prompts[0], work.layers, options=REPRODUCIBLE,
        output_activations=folder / "a.gotact", output_unembedding=folder / "u.gotue",
    )  # fmt: skip
    request = Request.of(work.model, work.layers, folder / "a", folder / "u", REPRODUCIBLE)
    with loading.silence():
        opened = running.open_model(request, lambda message: None)
        texts = [[token.id for token in tokenizing.tokenize(opened.tokenizer, text)]
                 for text in work.prompts]  # fmt: skip
        batch = capture.Batch.of_text(texts[0])
        runner, _ = running.start(opened, batch, lambda message: None, once=False)
    digests: Digests = {}
    for chosen in _batches(texts, 1 if work.output == work.base else 8):
        batch = capture.Batch([texts[i] for i in chosen], [range(len(texts[i])) for i in chosen])
        ends = np.cumsum([len(texts[i]) for i in chosen])[:-1]
        parts = np.split(runner.states(batch), ends, axis=1)
        digests |= {
            f"{i}: {work.prompts[i]}": digest(part) for i, part in zip(chosen, parts, strict=True)
        }
    alone = digest(read_activations(written.activations_path).values)
    shutil.rmtree(folder)  # it holds a whole unembedding
    if alone != digests[f"0: {work.prompts[0]}"]:
        raise RuntimeError("a model kept loaded gives other activations than extract()")
    if runner.unproved:
        print("operations that are not proved to have one value:", *runner.unproved,
              file=sys.stderr)  # fmt: skip
    return digests


def _batches(texts: list[list[int]], size: int) -> list[list[int]]:
    """Indices of texts of nearly one length, at most `size` together."""
    indices = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def tiny(work: Work) -> Digests:
    """The `.gotact` files of tiny models, each with weights in two types."""
    from geometry_of_trust.extraction.one_text import extract

    digests = {}
    for model in work.tiny_models:
        for dtype in work.tiny_types:
            folder = work.output / f"{model.name}-{dtype}"
            folder.mkdir()
            extraction = extract(
                model, work.tiny_text, work.tiny_layers,
                options=replace(REPRODUCIBLE, model_id=model.name, dtype=dtype),
                output_activations=folder / "a.gotact",
                output_unembedding=folder / "u.gotue",
            )  # fmt: skip
            digests[f"{model.name}, {dtype}"] = sha256(extraction.activations_path)
    return digests


def extract_chain(work: Work) -> None:
    """Activations of the labelled text, and the unembedding, into the output folder."""
    from geometry_of_trust.extraction.one_text import extract

    extract(
        work.model, work.chain_text.read_text(), [CHAIN_LAYER],
        options=replace(REPRODUCIBLE, model_id="smollm2"),
        output_activations=work.output / "a.gotact",
        output_unembedding=work.output / "u.gotue",
    )  # fmt: skip


def chain(work: Work) -> dict[str, Digests]:
    """From labelled activations to an attestation, each step from files of this setting.

    The attestation reads the probes of the base setting, as its file names the versions of
    libraries that trained it; `probe` is compared without them.
    """
    source = work.output if work.has_torch else work.base
    activations, unembedding = source / "a.gotact", source / "u.gotue"
    trained = train_files(
        activations=activations, labels=work.chain_labels, unembedding=unembedding,
        layer=CHAIN_LAYER, options=TrainingOptions(dimension="place"),
    ).probe_set.to_json()  # fmt: skip
    write_file(work.output / "p.json", trained)
    tree = json.loads(trained)
    del tree["training"]["versions"]
    attestation = attest(
        activations=activations, probes=[work.base / "p.json"], unembedding=unembedding, key=KEY,
        timestamp=TIMESTAMP,
    ).to_json()  # fmt: skip
    write_file(work.output / "t.json", attestation)
    return {
        "probe": {"journey": _of_bytes(json.dumps(tree).encode())},
        "attestation": {"journey": _of_bytes(attestation)},
        "files": {path.name: sha256(path) for path in (activations, unembedding)},
    }


def phi(work: Work) -> Digests:
    """Φ of SmolLM2 and of a random matrix, by the geometry hash."""
    matrices = {"SmolLM2": work.unembedding, "random": work.random}
    return {
        name: Geometry.from_unembedding(read_unembedding(path)).digest
        for name, path in matrices.items()
    }


def _of_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def all_of(work: Work) -> dict[str, Digests]:
    """Everything that can be computed here; without torch, from the base setting's files."""
    results: dict[str, Digests] = {}
    if work.has_torch:
        extract_chain(work)
        results["prompts"] = prompts(work)
        results["tiny"] = tiny(work)
    return results | {"phi": phi(work)} | chain(work)
