"""What this package computes, as digests: activations, Φ, a probe, an attestation."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys

from benchmarks.reproducing.work import Digests, Work, digest, sha256

from geometry_of_trust.attesting import attest
from geometry_of_trust.files import write_file
from geometry_of_trust.formats import read_activations, read_unembedding
from geometry_of_trust.geometry import Geometry
from geometry_of_trust.keys import SecretKey
from geometry_of_trust.training_files import train_files

KEY = SecretKey.from_seed(bytes([1]) * 32)
TIMESTAMP = 1_700_000_000
CHAIN_LAYER = 15


def prompts(work: Work) -> Digests:
    """The activations of each prompt, as `extract` writes them, with the model loaded once.

    The first is also run by `extract` itself; that must give the same.
    """
    from geometry_of_trust.extraction import capture, extract, loading, running
    from geometry_of_trust.extraction.request import Request

    folder = work.output / "first"
    folder.mkdir()
    written = extract(
        work.model, work.prompts[0], work.layers, device="cpu", reproducible=True,
        output_activations=folder / "a.gotact", output_unembedding=folder / "u.gotue",
    )  # fmt: skip
    request = Request(
        model=str(work.model), model_id="smollm2", text=work.prompts[0], layers=work.layers,
        activations=folder / "a", unembedding=folder / "u", device="cpu", dtype="float32",
        trust_remote_code=False, revision=None, layout="per-layer", reproducible=True,
        low_memory=False,
    )  # fmt: skip
    with loading.silence():
        first = running.run(request, lambda message: None)
    tokenizer = loading.load_tokenizer(first.source)
    blocks = first.loaded.model.get_submodule(first.anatomy.blocks_path)
    first.loaded.weights.bring(blocks)  # once for all prompts: exact, and by far the longest part
    digests, unproved = {}, set[str]()
    for i, text in enumerate(work.prompts):
        values = capture.residual_stream(
            first.loaded.model, blocks, work.layers,
            [token.id for token in loading.tokenize(tokenizer, text)],
            hidden_dim=first.anatomy.hidden_dim, pages=first.loaded.pages,
            weights=first.loaded.weights, unproved=unproved,
        )  # fmt: skip
        digests[f"{i}: {text}"] = digest(values)
    held = digest(read_activations(written.activations_path).values)
    shutil.rmtree(folder)  # it holds a whole unembedding
    if held != next(iter(digests.values())):
        raise RuntimeError("a model kept loaded gives other activations than extract()")
    if unproved:
        print("operations that are not proved to have one value:", *unproved, file=sys.stderr)
    return digests


def tiny(work: Work) -> Digests:
    """The `.gotact` files of tiny models, each with weights in two types."""
    from geometry_of_trust.extraction import extract

    digests = {}
    for model in work.tiny_models:
        for dtype in work.tiny_types:
            folder = work.output / f"{model.name}-{dtype}"
            folder.mkdir()
            extraction = extract(
                model, work.tiny_text, work.tiny_layers, model_id=model.name, device="cpu",
                dtype=dtype, reproducible=True, output_activations=folder / "a.gotact",
                output_unembedding=folder / "u.gotue",
            )  # fmt: skip
            digests[f"{model.name}, {dtype}"] = sha256(extraction.activations_path)
    return digests


def extract_chain(work: Work) -> None:
    """Activations of the labelled text, and the unembedding, into the output folder."""
    from geometry_of_trust.extraction import extract

    extract(
        work.model, work.chain_text.read_text(), [CHAIN_LAYER], model_id="smollm2",
        device="cpu", reproducible=True, output_activations=work.output / "a.gotact",
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
        layer=CHAIN_LAYER, dimension="place",
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
