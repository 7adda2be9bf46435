"""Every reader of the package as a function of bytes, for fuzzing; docs/security.md says how.

A target reads its input and shows what it read, since a terminal is a reader too. It may raise
errors of ours and no others (`rule.py`).
"""

from __future__ import annotations

import atexit
import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import geometry_of_trust as got
from fuzz import identity_targets as identities
from fuzz import model_targets as models
from fuzz import seeds
from fuzz.mutating import Mutator, mutate_bytes, mutate_framed, mutate_json, mutate_parquet
from geometry_of_trust.converting.conversion import convert
from geometry_of_trust.corpus.entries import Columns, read_corpus
from geometry_of_trust.documents import strictjson
from geometry_of_trust.documents.probe_card_reading import CARD
from geometry_of_trust.errors import GotError
from geometry_of_trust.evidence.attested import parse_evidence
from geometry_of_trust.evidence.envelopes import Envelope
from geometry_of_trust.formats.label_tables import read_label_table
from geometry_of_trust.formats.readings_file import open_readings
from geometry_of_trust.formats.row_table import read_rows
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.showing import cards as shown_cards
from geometry_of_trust.showing import drifts as shown_drifts
from geometry_of_trust.showing import verdicts
from geometry_of_trust.showing.any_file import describe
from geometry_of_trust.signing.attestation import parse_document
from geometry_of_trust.signing.checks import check_binding, check_structure

CORPUS = Path(__file__).resolve().parent / "corpus"
"""A folder for each target: one small input for each place where the package refuses."""

FINDS = CORPUS.parent / "finds"
"""The same: inputs that broke the rule once."""

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))
"""Where inputs lie for what reads files."""
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)

KEY = got.SecretKey.from_seed(bytes([1]) * 32).public


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        read: reads an input, of any bytes.
        made: seeds that are made by code.
        mutate: how an input becomes another one.
        largest: bytes of an input, at most.
    """

    read: Callable[[bytes], None]
    made: Callable[[], Iterable[bytes]]
    mutate: Mutator
    largest: int = 20_000


def placed(name: str, data: bytes, mode: int = 0o600) -> Path:
    """The input in a file of this name."""
    path = FOLDER / name
    path.write_bytes(data)
    path.chmod(mode)
    return path


@contextlib.contextmanager
def each(*, one: bool = False) -> Iterator[Callable[[Callable[[], object]], None]]:
    """Do several things with an input, whatever the others end in, then raise the first refusal.

    Args:
        one: only if none of them went well.
    """
    refusals: list[GotError] = []
    done = 0

    def attempt(action: Callable[[], object]) -> None:
        nonlocal done
        try:
            action()
            done += 1
        except GotError as error:
            refusals.append(error)

    yield attempt
    if refusals and not (one and done):
        raise refusals[0]


def shown(path: Path) -> None:
    """All lines of `show`, which a terminal must be able to take."""
    for line in describe(path):
        line.encode()


def read_strictjson(data: bytes) -> None:
    strictjson.loads(data, "input")


def read_attestation(data: bytes) -> None:
    document = parse_document(data, "input", reformatted=True, wrapped=True)
    signed = document.attestation
    with each() as attempt:
        attempt(lambda: check_structure(signed, "input", 1.8e9))
        attempt(lambda: check_binding(signed, KEY, "input") if signed.binding else None)
        attempt(lambda: signed.signed_bytes("full"))
        attempt(lambda: signed.signed_bytes("short"))
        attempt(lambda: verdicts.attestation(signed).encode())
        attempt(lambda: verdicts.attestation_json(signed).encode())
        attempt(lambda: shown(placed("a.json", data)))
        attempt(lambda: got.verify(data, KEY, now=1.8e9))


def read_probe_set(data: bytes) -> None:
    path = placed("p.json", data)
    with each() as attempt:
        attempt(lambda: got.read_probe_set(path))
        attempt(lambda: shown(path))


def read_card(data: bytes) -> None:
    card = CARD.read(strictjson.loads(data, "input"), "card")
    shown_cards.card(card, "Causal").encode()


def read_record(data: bytes) -> None:
    path = placed("r.json", data)
    with each() as attempt:
        attempt(lambda: got.read_record(path).digest)
        attempt(lambda: shown(path))


def read_gotact(data: bytes) -> None:
    path = placed("a.gotact", data)
    opened = got.read_activations(path)
    with each() as attempt:
        for layer in opened.layers[:2]:
            attempt(partial(opened.row, layer, 0))
            attempt(partial(opened.layer, layer))
        attempt(lambda: shown(path))


def read_gotue(data: bytes) -> None:
    path = placed("u.gotue", data)
    opened = got.read_unembedding(path)
    with each() as attempt:
        attempt(lambda: list(opened.blocks(7)))
        attempt(lambda: shown(path))
        attempt(lambda: Geometry.from_unembedding(opened).digest)


def read_gotgeo(data: bytes) -> None:
    path = placed("g.gotgeo", data)
    with each() as attempt:
        attempt(lambda: got.open_checkpoint(path, None))
        attempt(lambda: shown(path))
        attempt(lambda: shown_drifts.report(got.measure_drift(path, path)).encode())


def read_keyring(data: bytes) -> None:
    path = placed("k.json", data)
    with each() as attempt:
        attempt(lambda: shown(path))
        attempt(lambda: got.load_keyring(path, KEY))


def read_evidence(data: bytes) -> None:
    """As an envelope or a bundle, and as the payload of one."""
    with each(one=True) as attempt:
        for text in (data, Envelope(data, bytes(64)).to_json()):
            attempt(partial(parse_evidence, text, "input", reformatted=True))
            attempt(partial(shown, placed("e.json", text)))
            attempt(partial(got.verify, text, KEY, now=1.8e9))


def read_labels(data: bytes) -> None:
    path = placed("a.labels", data)
    with each() as attempt:
        attempt(lambda: got.read_labels(path))
        attempt(lambda: shown(path))


def read_row_table(data: bytes) -> None:
    path = placed("r.parquet", data)
    with each() as attempt:
        attempt(lambda: read_rows(path).digest())
        attempt(lambda: shown(path))


def read_readings(data: bytes) -> None:
    path = placed("a.readings.parquet", data)
    with each() as attempt, open_readings(path, 3, 2) as parts:
        attempt(lambda: [list(part.leaves(0)) for part in parts])
        attempt(lambda: shown(path))


def read_row_proof(data: bytes) -> None:
    path = placed("a.row-0.proof", data)
    with each() as attempt:
        attempt(lambda: got.read_row_proof(path).root(3))
        attempt(lambda: shown(path))


def read_labels_of(suffix: str, data: bytes) -> None:
    path = placed(f"l{suffix}", data)
    with each() as attempt:
        attempt(lambda: read_label_table(path))
        attempt(lambda: read_label_table(path, ["a"]))


def read_corpus_of(suffix: str, data: bytes) -> None:
    path = placed(f"c{suffix}", data)
    with each() as attempt:
        attempt(lambda: list(read_corpus(path, columns=Columns(labels=("true",)))))
        attempt(lambda: list(read_corpus(path, columns=Columns(group="group"))))


named = partial(convert, model_id="m", precision="Fp32", layers=(1, 2))


def convert_from(suffix: str, data: bytes) -> None:
    """Without names and with them, to either kind."""
    source = placed(f"s{suffix}", data)
    with each(one=True) as attempt:
        for to in ("t.gotact", "t.gotue"):
            attempt(partial(convert, source, FOLDER / to))
            attempt(partial(named, source, FOLDER / to))


def read_public_key(data: bytes) -> None:
    got.load_public_key(placed("key.pub", data))


def read_secret_key(data: bytes) -> None:
    got.load_secret_key(placed("secret", data), lambda: b"passphrase").sign(b"message")


def vectors(*kinds: str) -> Callable[[], Iterable[bytes]]:
    return partial(seeds.of_vectors, *kinds)


def every_document() -> Iterable[bytes]:
    return seeds.of_vectors("attestation", "probe-set", "record")[::5]


TARGETS: dict[str, Target] = {
    "strictjson": Target(read_strictjson, every_document, mutate_bytes),
    "attestation": Target(read_attestation, vectors("attestation"), mutate_json),
    "probe-set": Target(read_probe_set, vectors("probe-set"), mutate_json),
    "card": Target(read_card, seeds.cards, mutate_json),
    "record": Target(read_record, vectors("record"), mutate_json),
    "gotact": Target(read_gotact, vectors("gotact"), mutate_bytes),
    "gotue": Target(read_gotue, vectors("gotue"), mutate_bytes, 4096),
    "gotgeo": Target(read_gotgeo, seeds.checkpoints, mutate_bytes),
    "keyring": Target(read_keyring, seeds.keyrings, mutate_json),
    "evidence": Target(read_evidence, seeds.evidence, mutate_json),
    "labels": Target(read_labels, vectors("labels"), mutate_bytes),
    "row-table": Target(read_row_table, seeds.row_tables, mutate_parquet),
    "readings": Target(read_readings, seeds.readings, mutate_parquet),
    "row-proof": Target(read_row_proof, vectors("row-proof"), mutate_json),
    "label-parquet": Target(
        partial(read_labels_of, ".parquet"), seeds.label_tables, mutate_parquet
    ),
    "label-csv": Target(partial(read_labels_of, ".csv"), seeds.label_csv, mutate_bytes),
    "corpus-jsonl": Target(partial(read_corpus_of, ".jsonl"), seeds.corpora, mutate_json),
    "corpus-csv": Target(partial(read_corpus_of, ".csv"), seeds.corpora, mutate_bytes),
    "corpus-parquet": Target(
        partial(read_corpus_of, ".parquet"), seeds.corpus_tables, mutate_parquet
    ),
    "safetensors": Target(partial(convert_from, ".safetensors"), seeds.safetensors, mutate_framed),
    "npy": Target(partial(convert_from, ".npy"), seeds.npy, mutate_bytes),
    "states-parquet": Target(
        partial(convert_from, ".parquet"), seeds.states_tables, mutate_parquet
    ),
    "public-key": Target(read_public_key, vectors("key"), mutate_bytes),
    "secret-key": Target(read_secret_key, vectors("key"), mutate_bytes),
    "model-config": Target(models.read_configuration, models.configurations, mutate_json),
    "model-tokenizer": Target(models.read_tokenizer, models.tokenizers, mutate_json),
    "model-index": Target(models.read_index, models.indexes, mutate_json),
    "model-gguf": Target(models.read_gguf, models.gguf_files, mutate_bytes, 300_000),
    "identity-weights": Target(identities.read_weights, identities.weights, mutate_framed),
    "identity-gguf": Target(identities.read_gguf, identities.gguf_files, mutate_bytes, 300_000),
    "identity-texts": Target(identities.read_texts, identities.texts, mutate_json),
    "model-signature": Target(identities.read_signature, identities.signatures, mutate_json),
}  # fmt: skip


def seeds_of(name: str) -> list[bytes]:
    """What is made by code and what is kept, each once, none too long."""
    target = TARGETS[name]
    found = dict.fromkeys([*target.made(), *seeds.kept(CORPUS / name), *seeds.kept(FINDS / name)])
    return [data for data in found if len(data) <= target.largest]
