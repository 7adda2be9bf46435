"""The six steps on a real model, typed as a user would type them, then three forgeries, refused.

Every command that is shown runs exactly as shown, in a shell at the root of the repository. Ends
with exit code 1 as soon as one of them does not do what the text beside it says.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "demo-output"
MADE = (
    "statements.gotact",
    "statements.labels",
    "statements.rows.parquet",
    "statements.record.json",
    "question.gotact",
    "question.labels",
    "question.record.json",
    "unembedding.gotue",
    "key",
    "key.pub",
    "other-key",
    "other-key.pub",
    "probes.json",
    "swapped-probes.json",
    "attestation.json",
    "tampered.json",
)

EXTRACT = """\
got-cli extract --model .models/smollm2-135m-instruct --model-id smollm2-135m-instruct \\
  {input} --layers 8 15 \\
  --output-activations demo-output/{output}.gotact \\
  --output-unembedding demo-output/unembedding.gotue"""
CORPUS = "--input-file examples/statements.jsonl --label-column true --group-column group"
QUESTION = '--input "$(cat examples/question.txt)"'
LABEL = """\
got-cli show demo-output/statements.rows.parquet"""
KEYGEN = "got-cli keygen --output demo-output/{name}"
TRAIN = """\
got-cli train --activations demo-output/statements.gotact \\
  --labels demo-output/statements.labels --unembedding demo-output/unembedding.gotue \\
  --layer 15 --dimension true --output demo-output/probes.json"""
ATTEST = """\
got-cli attest --activations demo-output/question.gotact --probes demo-output/probes.json \\
  --unembedding demo-output/unembedding.gotue --key demo-output/key \\
  --output demo-output/attestation.json"""
VERIFY = "got-cli verify --attestation demo-output/{attestation} --pubkey demo-output/{key}.pub"
FILES = """ \\
  --activations demo-output/question.gotact --unembedding demo-output/unembedding.gotue \\
  --probes demo-output/{probes}"""
MODEL = " --model .models/smollm2-135m-instruct"
SWAP = 'sed \'s/"true"/"honesty"/g\' demo-output/probes.json > demo-output/swapped-probes.json'


def run(command: str, *, exit_code: int = 0, verdict: str = ".*") -> None:
    """Show `command`, run it, print what it prints; end the demo if it ends otherwise than said.

    `verdict` is a regular expression for the whole last line of its output.
    """
    print("\n$ " + command.replace("\n", "\n  "), flush=True)
    # As with the environment activated: `got-cli` is the one installed beside this Python.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", command],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    print(done.stdout, end="", flush=True)
    if done.returncode != exit_code:
        sys.exit(f"demo failed: exit code {done.returncode}, expected {exit_code}")
    if not re.fullmatch(verdict, (done.stdout.splitlines() or [""])[-1]):
        sys.exit(f"demo failed: expected a last line like {verdict!r}")


def refuse(command: str, *, step: int) -> None:
    """Run a verification that has to be refused at `step`."""
    run(command, exit_code=1, verdict=f"REFUSED at step {step}: .*")


def title(text: str) -> None:
    """Print a heading."""
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


def clear_output() -> None:
    """Make `demo-output/`, or remove from it what an earlier run of this script made."""
    OUTPUT.mkdir(exist_ok=True)
    for name in MADE:
        (OUTPUT / name).unlink(missing_ok=True)


def tamper() -> None:
    """Write `tampered.json`: the attestation with the sign of its first reading turned."""
    text = (OUTPUT / "attestation.json").read_text(encoding="utf-8")
    before, member, after = text.partition('"layer_readings"')
    signed = json.loads(text, parse_float=str, parse_int=str)["layer_readings"][0][0]
    turned = signed.removeprefix("-") if signed.startswith("-") else f"-{signed}"
    (OUTPUT / "tampered.json").write_text(
        before + member + after.replace(signed, turned, 1), encoding="utf-8"
    )
    print(f"\n  demo-output/tampered.json: the reading {signed} becomes {turned}", flush=True)


def six_steps() -> None:
    """From texts to a verified attestation."""
    title("1. extract: what the model represents at the end of 200 statements, and of a new one")
    run(EXTRACT.format(input=CORPUS, output="statements"))
    run(EXTRACT.format(input=QUESTION, output="question"))
    title("2. label: the statements came with labels, 1 where they are true")
    run(LABEL)
    title("3. keygen: who signs")
    run(KEYGEN.format(name="key"))
    title("4. train: a probe that reads at layer 15 whether a statement is true")
    run(TRAIN)
    title("5. attest: read and sign the new statement, on a city that the probe never saw")
    run("cat examples/question.txt")
    run(ATTEST)
    title("6. verify: with the public key alone, then with every file and the model")
    document = VERIFY.format(attestation="attestation.json", key="key")
    run(document, verdict="VERIFIED, SIGNATURE AND BINDING ONLY: .*")
    run(document + FILES.format(probes="probes.json") + MODEL, verdict="VERIFIED")


def forgeries() -> None:
    """A tampered copy, a swapped probe file and a wrong key: each is refused."""
    title("A tampered copy is refused")
    tamper()
    refuse(VERIFY.format(attestation="tampered.json", key="key"), step=3)
    title("A swapped probe file is refused: the same numbers, said to read something else")
    run(SWAP)
    genuine = VERIFY.format(attestation="attestation.json", key="key")
    refuse(genuine + FILES.format(probes="swapped-probes.json"), step=5)
    title("A wrong key is refused")
    run(KEYGEN.format(name="other-key"))
    refuse(VERIFY.format(attestation="attestation.json", key="other-key"), step=3)


def main() -> None:
    """Run the demo."""
    started = time.monotonic()
    clear_output()
    print(
        "With the environment activated (source .venv/bin/activate), each command works as shown."
    )
    six_steps()
    forgeries()
    seconds = time.monotonic() - started
    print(f"\nAll as expected, in {seconds:.0f} s: verified once, three forgeries refused.")


if __name__ == "__main__":
    main()
