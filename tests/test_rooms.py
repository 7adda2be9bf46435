"""The house: which room may import which, which file inside a room, and who uses which library.

When a file, an import or a room is added or goes, the tables below are to be brought up to date:
they say exactly what is there, no more and no less.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import geometry_of_trust

NAME = geometry_of_trust.__name__
PACKAGE = Path(geometry_of_trust.__file__).parent

ROOMS: dict[str, set[str]] = {
    "version": set(),
    "terminal": set(),
    "errors": {"terminal"},
    "extras": {"errors"},
    "steady_files": {"errors"},
    "files": {"errors", "steady_files"},
    "ownership": {"errors", "files"},
    "outputs": {"errors", "files", "ownership"},
    "memory": {"errors"},
    "progress": set(),
    "hash_tree": set(),
    "option_types": {"errors"},
    "documents": {"terminal", "errors", "files", "hash_tree"},
    "signing": {"errors", "files", "ownership", "outputs", "documents"},
    "evidence": {"version", "errors", "files", "documents", "signing"},
    "formats": {"errors", "extras", "files", "outputs", "hash_tree", "documents"},
    "geometry": {"errors", "files", "memory", "progress", "documents", "formats"},
    "identity": {
        "errors", "extras", "files", "ownership", "hash_tree", "documents", "evidence", "formats",
    },
    "arithmetic": {"errors"},
    "extraction": {
        "version", "errors", "extras", "files", "outputs", "memory", "progress", "option_types",
        "documents", "formats", "identity", "arithmetic",
    },
    "corpus": {
        "version", "errors", "extras", "files", "ownership", "outputs", "option_types", "documents",
        "formats", "identity", "extraction",
    },
    "converting": {"errors", "extras", "files", "outputs", "documents", "formats"},
    "probing": {
        "version", "errors", "files", "outputs", "progress", "option_types", "documents", "formats",
        "geometry",
    },
    "intervening": {
        "errors", "files", "outputs", "progress", "documents", "formats", "geometry", "arithmetic",
        "extraction", "corpus", "probing",
    },
    "attesting": {
        "version", "errors", "files", "outputs", "hash_tree", "documents", "signing", "formats",
        "geometry", "probing",
    },
    "verifying": {
        "terminal", "errors", "extras", "files", "outputs", "progress", "documents", "signing",
        "evidence", "formats", "geometry", "identity", "arithmetic", "extraction", "corpus",
        "probing", "intervening", "attesting",
    },
    "showing": {
        "terminal", "errors", "files", "documents", "signing", "evidence", "formats", "geometry",
        "identity", "extraction",
        "corpus", "converting", "probing", "verifying",
    },
    "plotting": {
        "terminal", "errors", "extras", "files", "documents", "geometry", "probing", "showing",
    },
    "cli": {
        "version", "terminal", "errors", "extras", "files", "outputs", "documents", "signing",
        "evidence", "geometry", "identity", "extraction",
        "corpus", "converting", "probing", "intervening", "attesting", "verifying", "showing",
        "plotting",
    },
    "__main__": {"cli"},
}  # fmt: skip
"""The rooms from the ground up, and the rooms that each one imports, all of them further down."""

FLOORS: dict[str, str] = {
    "outputs": "interruptions ledger places temporary_files folder_locks commits staged_files",
    "documents": """
        names names_beside strictjson codes token_choice recorded_identity extraction_record schema
        extraction_record_reading thresholds probe_card probe_card_reading positions evaluations
        aggregates trained_tokens model_names row_proofs interventions
        bound_interventions
    """,
    "signing": """
        ed25519_points secret_files unlocking_costs core_dumps keys binding reference_members
        signed_bytes attestation evaluation_checks intervention_checks checks keyrings histories
        key_making
    """,
    "evidence": """
        reading envelopes statements attested verification_results transfer_statements
    """,
    "formats": """
        mapped_arrays arrays labels thrift_compact parquet_layout parquet_table table_rows
        label_tables row_writer row_table readings_file binary_file gotact activations_file gotue
        gotgeo unembedding_file stored_tensors safetensors_file gguf_file
    """,
    "geometry": "exact gram inner_product spectrum drift checkpoints",
    "identity": """
        tensor_tree digest_cache model_folder digesting model_identity matrix hub_cache
        model_signature
    """,
    "arithmetic": "library threads checks products functions rows attention sequences",
    "extraction": """
        page_release panics architectures deterministic_operations float32
        weights model_files quantizing adapters loading options request gguf_header stored
        preparing quiet capture tokenizing running first_text costs recording identifying one_text
        intervening
    """,
    "corpus": """
        choosing inspect_logs sources entries chats turns token_choosing partial engines checking
        options planning settings memory corpus_run estimating worker cluster extracting
        shifts shifting
    """,
    "converting": "tensorfile exchange in_memory npy tensors tables vllm conversion",
    "probing": """
        array_types fitted_range probes sources drifts probe_readings row_origins token_readings
        counted_random splits
        score_histogram intervals reliability_bins resampling metrics logistic penalty
        layer_choice held_out_figures evaluating cross_validation label_checks surface_features
        equal_rows word_classifier split_rows judged_units permutation_null controls fresh_rows
        options causal_probe card_making shift_falls other_rows training other_files probe_set_files
        training_files calibration_report layer_sweep
        similarity alignment paired_rows survival survival_files transfer_matrix
        random_directions interventions
    """,
    "intervening": "chosen_probe moved_texts intervene",
    "attesting": "drifts mismatches assemble row_files evaluations interventions attest",
    "verifying": """
        model_files differences supplied_files file_contents trusted_keys verdict remarks verify
        history signers token_differences reproduction signed_run comparing reproduce
    """,
    "showing": """
        text verdicts evidence histories keyrings cards probes drifts conversions extractions
        reproductions
        sweeps transfers token_readings identities interventions any_file
    """,
    "plotting": "image_files panels pictures",
    "cli": """
        signals layer_spelling places streams common evidence_files extract keygen train attest
        verify reproduce export prove show read calibration_report sweep convert checkpoint drift
        keyring model transfer intervene
    """,
}
"""The files of each room with several, from its ground up: each imports only files before it.

The room itself, its `__init__`, stands above them.
"""

NO_NUMPY = {
    "version", "terminal", "errors", "extras", "files", "steady_files", "ownership", "outputs",
    "memory", "progress", "hash_tree", "option_types", "documents", "signing", "evidence", "cli",
}  # fmt: skip
"""Folders that import no numpy, whatever files they hold."""

ALSO_WITHOUT_NUMPY = {
    "verifying.verdict", "verifying.remarks", "verifying.verify", "verifying.history",
    "showing.verdicts", "showing.histories",
    "showing.keyrings", "showing.evidence", "showing.any_file", "showing.identities",
    "identity.model_identity", "identity.model_signature", "identity.hub_cache",
    "attesting.interventions", "showing.interventions",
}  # fmt: skip
"""What those of other folders are that the check of a document runs, or `show` of one."""

USERS: dict[str, set[str]] = {
    "bitsandbytes": {"extraction"},
    "cryptography": {"identity", "signing", "steady_files"},
    "cyclopts": {"cli"},
    "datasets": {"corpus"},
    "inspect_ai": {"corpus"},
    "huggingface_hub": {"corpus", "extraction", "identity"},
    "matplotlib": {"plotting"},
    "numpy": {
        "attesting", "formats", "geometry", "identity", "arithmetic", "extraction", "corpus",
        "converting", "probing", "intervening", "verifying", "showing", "plotting",
    },
    "pandas": {"converting"},
    "peft": {"extraction"},
    "psutil": {"cli", "corpus"},
    "pyarrow": {"converting", "corpus", "formats"},
    "ray": {"corpus"},
    "rfc8785": {"signing"},
    "rich": {"cli"},
    "safetensors": {"extraction"},
    "scipy": {"probing"},
    "sklearn": {"probing"},
    "threadpoolctl": {"geometry", "probing"},
    "tokenizers": {"extraction"},
    "torch": {"arithmetic", "converting", "extraction"},
    "transformers": {"extraction"},
}  # fmt: skip
"""The libraries of others, and the rooms that import each."""


def dotted(path: Path) -> str:
    """`probing.probes`, of a file in the package; of an `__init__`, its folder."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


FILES = {
    dotted(path): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path != PACKAGE / "__init__.py"
}  # fmt: skip


def room_of(name: str) -> str:
    return name.partition(".")[0]


@cache
def imports(name: str) -> frozenset[str]:
    """Full names of all that a file imports, anywhere in it, for annotations too."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            module = node.module or ""
            folder = PACKAGE / module.removeprefix(NAME).replace(".", "/").strip("/")
            if room_of(module) == NAME and folder.is_dir():
                found |= {f"{module}.{alias.name}" for alias in node.names}
            else:
                found.add(module)
    return frozenset(found)


def ours(name: str) -> set[str]:
    """What a file imports of the package, without the package's name."""
    parts = {module.removeprefix(f"{NAME}.") for module in imports(name) if room_of(module) == NAME}
    return {part if part in FILES else part.rpartition(".")[0] for part in parts}


def test_rooms_are_listed_from_the_ground_up() -> None:
    assert {room_of(name) for name in FILES} == set(ROOMS)
    below: set[str] = set()
    for room, allowed in ROOMS.items():
        assert allowed <= below, f"{room} stands below {sorted(allowed - below)}"
        below.add(room)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_these_rooms_and_no_others(room: str) -> None:
    used = {room_of(other) for name in FILES if room_of(name) == room for other in ours(name)}
    assert used - {room} == ROOMS[room]


def test_rooms_with_several_files_have_floors() -> None:
    listed = {room: sorted(files.split()) for room, files in FLOORS.items()}
    there: dict[str, list[str]] = {room: [] for room in FLOORS}
    for name in FILES:
        room, _, file = name.partition(".")
        if file:
            there.setdefault(room, []).append(file)
    assert listed == {room: sorted(files) for room, files in there.items() if len(files) > 1}


@pytest.mark.parametrize("room", FLOORS)
def test_files_of_a_room_import_only_files_before_them(room: str) -> None:
    below: set[str] = set()
    for file in FLOORS[room].split():
        inside = {other for other in ours(f"{room}.{file}") if room_of(other) == room}
        assert inside <= below, f"{file} stands below {sorted(inside - below)}"
        below.add(f"{room}.{file}")


def test_libraries_are_imported_in_these_rooms_and_no_others() -> None:
    users: dict[str, set[str]] = {}
    for name in FILES:
        for module in imports(name):
            library = room_of(module)
            if library != NAME and library not in sys.stdlib_module_names:
                users.setdefault(library, set()).add(room_of(name))
    assert users == USERS


def test_folders_without_numpy() -> None:
    assert not NO_NUMPY & USERS["numpy"]
    modules = [n for n in FILES if room_of(n) in NO_NUMPY or n in ALSO_WITHOUT_NUMPY]
    assert {room_of(name) for name in modules} >= NO_NUMPY
    assert set(modules) >= ALSO_WITHOUT_NUMPY
    code = "import sys, importlib\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    code += "sys.exit(int('numpy' in sys.modules))"
    names = [f"{NAME}.{name}" for name in modules]
    assert subprocess.run([sys.executable, "-c", code, *names], check=False).returncode == 0
