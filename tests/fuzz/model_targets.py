"""What a stranger's model is made of, as targets: configuration, tokenizer, index, GGUF file.

The libraries are imported when the first input is read: they take seconds.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from geometry_of_trust.errors import GotError

CONFIGURATION = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 40,
    "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 32, "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "dtype": "float32",
    "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 1,
}  # fmt: skip
OTHERS: tuple[dict[str, object], ...] = (
    {"model_type": "gpt2", "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 32},
    {"model_type": "qwen2_moe", "num_experts": 4, "moe_intermediate_size": 4},
    {"model_type": "gemma2", "head_dim": 4, "sliding_window": 4},
    {"model_type": "falcon", "alibi": True},
)
SPLIT = {
    "type": "Split", "pattern": {"Regex": "\\w+|\\s"}, "behavior": "Isolated", "invert": False,
}  # fmt: skip
TOKENIZER = {
    "version": "1.0", "truncation": None, "padding": None,
    "added_tokens": [{"id": 0, "content": "<s>", "single_word": False, "lstrip": False,
                      "rstrip": False, "normalized": False, "special": True}],
    "normalizer": {"type": "NFC"}, "pre_tokenizer": SPLIT,
    "post_processor": {"type": "TemplateProcessing",
                       "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                                  {"Sequence": {"id": "A", "type_id": 0}}],
                       "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
                       "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
    "decoder": {"type": "BPEDecoder", "suffix": "</w>"},
    "model": {"type": "BPE", "dropout": None, "unk_token": "<s>",
              "vocab": {"<s>": 0, "a": 1, "b": 2, "ab": 3}, "merges": [["a", "b"]]},
}  # fmt: skip
INDEX = {"metadata": {"total_size": 8}, "weight_map": {"a": "part-1.safetensors", "b": "x/2"}}
TEXT = "ab a" + 40 * "a" + "! é\u202e\0"


def _folder(**texts: object) -> Path:
    """A folder of a model with these files."""
    folder = Path(_folders.name)
    for path in folder.iterdir():
        path.unlink()
    files = {"config.json": CONFIGURATION, "tokenizer.json": TOKENIZER} | texts
    files["model.safetensors"] = bytes(2**16)  # its size counts, and nothing else of it
    for name, content in files.items():
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / name).write_bytes(data)
    return folder


_folders = tempfile.TemporaryDirectory(prefix="fuzz-models-")


def read_configuration(data: bytes) -> None:
    _open(_folder(**{"config.json": data}))


def read_tokenizer(data: bytes) -> None:
    loading = _loading()
    from geometry_of_trust.extraction.tokenizing import tokenize

    folder = _folder(**{"tokenizer.json": data})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = loading.find_model(str(folder), revision=None, trust=False)
        tokenize(loading.load_tokenizer(source), TEXT)


def read_index(data: bytes) -> None:
    loading = _loading()
    from geometry_of_trust.extraction.model_files import weight_files

    folder = _folder(**{"model.safetensors.index.json": data})
    source = loading.find_model(str(folder), revision=None, trust=False)
    for name in weight_files(source):
        assert name is None or Path(name).resolve().is_relative_to(folder.resolve())


def read_gguf(data: bytes) -> None:
    path = _folder() / "x.gguf"
    path.write_bytes(data)
    _open(path)


def _loading() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from geometry_of_trust.extraction import loading
    return loading


def _open(model: Path) -> None:
    """All that comes before the weights."""
    loading = _loading()
    from geometry_of_trust.extraction import architectures, model_files

    with warnings.catch_warnings(), loading.silence():
        warnings.simplefilter("ignore")
        source = loading.find_model(str(model), revision=None, trust=False)
        config = loading.load_config(source)
        architectures.check_promised(config, str(model))
        skeleton = loading.skeleton(source, config)
        architectures.find(skeleton, str(model))
        architectures.context_length(skeleton)
        model_files.check_weights(source, skeleton)


def configurations() -> Iterable[bytes]:
    found = [json.dumps(CONFIGURATION | other).encode() for other in ({}, *OTHERS)]
    for data in found:
        with contextlib.suppress(GotError):
            read_configuration(data)  # imports its kind's code, which counts for no input
    return found


def tokenizers() -> Iterable[bytes]:
    _loading()
    level = {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}}
    word = {"type": "WordPiece", "unk_token": "<s>", "vocab": {"<s>": 0, "a": 1, "##b": 2}}
    wordpiece = {"model": word | {"continuing_subword_prefix": "##", "max_input_chars_per_word": 9}}
    unigram = {"model": {"type": "Unigram", "unk_id": 0, "vocab": [["<s>", 0.0], ["a", -1.0]]}}
    return [json.dumps(TOKENIZER | other).encode() for other in ({}, level, wordpiece, unigram)]


def indexes() -> Iterable[bytes]:
    _loading()
    return [json.dumps(INDEX).encode()]


def gguf_files() -> Iterable[bytes]:
    """The header of a file, and a little of its tensors."""
    _loading()
    from gguf_files import write_gguf

    path = _folder() / "x.gguf"
    write_gguf(path)
    return [path.read_bytes()]
