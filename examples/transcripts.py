"""From transcripts to a signed evaluation: a monitor of the model's own answers, and its auditor.

60 short chats, of facts in `statements.jsonl`; half of the answers are false. A probe is trained on
the tokens of 40 answers, and reads each answer by an aggregate of its tokens' readings. The other
20 answers are an evaluation: read, judged by their labels at a threshold that was fixed beforehand,
and signed. An auditor verifies the document with the files, and makes it again from the model.

Run it from the repository's folder, after `make setup model`, with the folder for what it makes:

    .venv/bin/python examples/transcripts.py transcripts-output
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
from pathlib import Path

from geometry_of_trust.cli import main as got_cli

EXAMPLES = Path(__file__).resolve().parent
MODEL = EXAMPLES.parent / ".models" / "smollm2-135m-instruct"

MARKED_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['role'] == 'assistant' -%}
{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}
{%- else -%}
{{- message['content'] + '<|im_end|>' -}}
{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
"""A template that marks what the model generates, so that nothing is left to be found out."""


def write_chats(folder: Path) -> None:
    """`train.jsonl` with 40 chats and `test.jsonl` with 20, of other places."""
    lines = (EXAMPLES / "statements.jsonl").read_text("utf-8").splitlines()
    chats = []
    for statement in map(json.loads, lines[:60]):
        place = re.search(r"city of (.+?) is in", statement["text"])
        asked = f"Where is {place[1]}?" if place else "Tell me something that you know."
        messages = [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": statement["text"]},
        ]
        chats.append({"messages": messages, "true": statement["true"], "group": statement["group"]})
    for name, part in (("train", chats[:40]), ("test", chats[40:])):
        text = "".join(json.dumps(chat) + "\n" for chat in part)
        (folder / f"{name}.jsonl").write_text(text, "utf-8")


def with_marks(model: Path, folder: Path) -> Path:
    """The same model with a template that marks what is generated."""
    folder.mkdir()
    for path in model.iterdir():
        if path.name != "chat_template.jinja":
            (folder / path.name).symlink_to(path.resolve())
    (folder / "chat_template.jinja").write_text(MARKED_TEMPLATE, "utf-8")
    return folder


def run(command: str, *, code: int = 0) -> None:
    """Print a command of `got-cli` and run it; it must end with this exit code."""
    print(f"\n$ got-cli {command}", flush=True)
    ended = got_cli(shlex.split(command))
    if ended != code:
        raise SystemExit(f"expected exit code {code}, found {ended}")


def tamper(document: Path, other: Path) -> None:
    """A copy of a document, the first reading of which has another sign."""
    text = document.read_text("utf-8")
    first = json.loads(text, parse_float=str, parse_int=str)["layer_readings"][0][0]
    turned = first.removeprefix("-") if first.startswith("-") else f"-{first}"
    before, member, after = text.partition('"layer_readings"')
    other.write_text(before + member + after.replace(first, turned, 1), "utf-8")


def main() -> None:
    """All of it, for a template without marks and for one with them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, default=MODEL)
    arguments = parser.parse_args()
    model = arguments.model.resolve()
    arguments.folder.mkdir(parents=True)
    os.chdir(arguments.folder)
    write_chats(Path())
    run("keygen --output key")
    chosen = "--tokens assistant --position all --label-column true --group-column group"
    for name, at, aggregate in (
        ("plain", model, "mean"),
        ("marked", with_marks(model, Path("model-with-marks")), "max-of-rolling-means:4"),
    ):
        print(f"\n== {name}: {aggregate} of each answer's tokens")
        for part in ("train", "test"):
            run(
                f"extract --model {at} --model-id smollm2-{name} --input-file {part}.jsonl "
                f"--layers 15 {chosen} --output-activations {name}-{part}.gotact "
                f"--output-unembedding {name}.gotue"
            )
        run(
            f"train --activations {name}-train.gotact --unembedding {name}.gotue --layer 15 "
            f"--label-column true --aggregate {aggregate} --output {name}.json"
        )
        run(
            f"attest --activations {name}-test.gotact --unembedding {name}.gotue "
            f"--probes {name}.json --position every --label-column true --threshold 0.5 "
            f"--key key --output {name}-signed.json"
        )
        verify = f"verify --attestation {name}-signed.json --pubkey key.pub"
        files = (
            f"--activations {name}-test.gotact --unembedding {name}.gotue --probes {name}.json "
            f"--rows {name}-test.rows.parquet --model {at}"
        )
        run(f"{verify} {files}")
        run(
            f"reproduce --attestation {name}-signed.json --pubkey key.pub --model {at} "
            f"--input-file test.jsonl {chosen} --probes {name}.json"
        )
        tamper(Path(f"{name}-signed.json"), Path(f"{name}-tampered.json"))
        run(f"{verify.replace('-signed', '-tampered')} {files}", code=1)


if __name__ == "__main__":
    main()
