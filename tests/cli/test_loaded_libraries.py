"""Which libraries each command loads: none that it does not use, as each costs time and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tiny_models
from geometry_of_trust.attesting.row_files import prove_row
from pipeline import KEY, TIMESTAMP, Files, build

WATCHED = ("numpy", "scipy", "sklearn", "pyarrow", "pandas", "torch", "transformers", "matplotlib",
           "datasets", "ray", "psutil", "threadpoolctl")  # fmt: skip

RUN = """
import contextlib, io, json, sys
from geometry_of_trust.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    code = main(sys.argv[2:])
print(json.dumps([code, [name for name in sys.argv[1].split() if name in sys.modules]]))
"""

PEER = """
import json, sys, transformers
model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[2])
transformers.AutoTokenizer.from_pretrained(sys.argv[2])
print(json.dumps([0, [name for name in sys.argv[1].split() if name in sys.modules]]))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    made = build(tmp_path_factory.mktemp("loaded"))
    folder = made.labels.parent
    (folder / "key").write_bytes(bytes(range(1, 33)))
    (folder / "key").chmod(0o600)
    (folder / "key.pub").write_bytes(KEY.public.raw)
    (folder / "signed.json").write_bytes(made.attest().to_json())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geometry_of_trust.attesting.attest.MAX_READINGS", 1)
        every = made.attest(position="every", readings=folder / "readings")
    (folder / "every.json").write_bytes(every.to_json())
    proof = prove_row(every, folder / "readings", 3)
    (folder / "every.row-3.proof").write_bytes(proof.to_json())
    tiny_models.build(tiny_models.FAMILIES["llama"], folder / "model")
    return made


def loaded(code: str, *arguments: object) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, " ".join(WATCHED), *map(str, arguments)],
        capture_output=True, text=True, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    exit_code, names = json.loads(done.stdout.splitlines()[-1])
    assert exit_code == 0, done.stderr
    return set(names)


NUMBERS = {"numpy", "threadpoolctl"}
CHECK = "verify --attestation {in}/signed.json --pubkey {in}/key.pub"
SOURCES = (
    "--activations {in}/a.gotact --unembedding {in}/u.gotue --probes {in}/p1.json {in}/p4.json"
)
SIGN = f"attest --key {{in}}/key --timestamp {TIMESTAMP} --output {{out}}/t"

COMMANDS: dict[str, tuple[set[str], str]] = {
    "--help": (set(), "--help"),
    "train --help": (set(), "train --help"),
    "keygen": (set(), "keygen --output {out}/k"),
    "verify, the document alone": (set(), CHECK),
    "verify, one row": (set(), f"{CHECK.replace('signed', 'every')} --row 3"),
    "verify, with files": (NUMBERS, f"{CHECK} {SOURCES}"),
    "attest": (NUMBERS, f"{SIGN} {SOURCES}"),
    "model": (set(), "model {in}/model"),
    "show an attestation": (set(), "show {in}/signed.json"),
    "show labels": ({"numpy"}, "show {in}/a.labels"),
    "show activations": ({"numpy"}, "show {in}/a.gotact"),
    "show an unembedding": ({"numpy"}, "show {in}/u.gotue"),
    "show a probe set": (NUMBERS, "show {in}/p1.json"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_loads_these_and_no_others(name: str, files: Files, tmp_path: Path) -> None:
    libraries, command = COMMANDS[name]
    places = {"in": files.labels.parent, "out": tmp_path}
    assert loaded(RUN, *command.format_map(places).split()) == libraries


def test_extract_loads_what_transformers_does_and_no_others(files: Files, tmp_path: Path) -> None:
    """Transformers itself imports scipy, and scikit-learn, for models that have nothing of them."""
    model = files.labels.parent / "model"
    ours = loaded(
        RUN, "extract", "--model", model, "--input", "The river", "--layers", 1,
        "--output-activations", tmp_path / "a.gotact", "--output-unembedding", tmp_path / "u.gotue",
    )  # fmt: skip
    assert ours - loaded(PEER, model) <= {"psutil"}
    assert loaded(RUN, "show", tmp_path / "a.record.json") == set()
