"""What the first text shows: causality, states that follow the text, U that reads them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from geometry_of_trust import errors
from geometry_of_trust.cli import main
from geometry_of_trust.corpus.extracting import extract_corpus
from geometry_of_trust.corpus.options import CorpusOptions
from geometry_of_trust.documents.extraction_record import (
    EQUAL,
    NO_NORM,
    RISING,
    SCALED,
    TRANSFORMED,
    UnusedWeights,
)
from geometry_of_trust.documents.extraction_record_reading import read_record
from geometry_of_trust.extraction.one_text import Extraction, extract
from geometry_of_trust.extraction.options import ExtractionOptions
from options import arguments_of
from tiny_models import (
    COMMON,
    FAMILIES,
    HIDDEN,
    LAYERS,
    TEXT,
    VOCABULARY,
    Family,
    TinyModel,
    build,
    save_model,
)

pytestmark = pytest.mark.usefixtures("quickly")

SHORT = "The river"
BIDIRECTIONAL = {
    "bert": Family("bert", {"is_decoder": False}),
    "roberta": Family("roberta", {"is_decoder": False}),
    "gemma3": Family(
        "gemma3_text",
        {"use_bidirectional_attention": True, "head_dim": 16, "num_key_value_heads": 2}
        | {"sliding_window": 5, "query_pre_attn_scalar": 16},
    ),
}


def run(
    model: Path, to: Path, layers: tuple[int, ...] | None = None, text: str = TEXT, **options: Any
) -> Extraction:
    chosen: dict[str, Any] = {
        "output_activations": to / "a.gotact", "output_unembedding": to / "u.gotue", "model_id": "m"
    }  # fmt: skip
    return extract(model, text, layers, **arguments_of(**(chosen | options)))


@pytest.fixture(scope="module", params=BIDIRECTIONAL)
def bidirectional(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(BIDIRECTIONAL[request.param], tmp_path_factory.mktemp("both") / request.param)


@pytest.fixture
def llama(tiny_model: TinyModel, tmp_path: Path) -> Path:
    """A tiny Llama of the test's own."""
    return Path(shutil.copytree(tiny_model("llama"), tmp_path / "llama"))


def change_weights(model: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(model / "model.safetensors")
    change(weights)
    save_file(weights, model / "model.safetensors", {"format": "pt"})


# --- causality --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "layers", "options"),
    [
        (TEXT, None, {}),
        (TEXT, None, {"dtype": "bfloat16"}),
        (SHORT, (1,), {"reproducible": False}),
        ("a", (2, 3), {}),
    ],
    ids=["long", "half precision", "short", "one token"],
)
def test_a_model_whose_states_depend_on_later_tokens(
    bidirectional: Path,
    text: str,
    layers: tuple[int, ...] | None,
    options: dict[str, Any],
    tmp_path: Path,
) -> None:
    with pytest.raises(errors.NotCausal) as caught:
        run(bidirectional, tmp_path, layers, text, **options)
    layer, position = caught.value.where.split(", position ")
    assert int(layer.removeprefix("layer ")) in (layers or range(LAYERS))
    assert int(position) < 15
    assert "--allow-bidirectional" in caught.value.hint
    assert not list(tmp_path.glob("a.*"))
    record = run(bidirectional, tmp_path, layers, text, allow_bidirectional=True, **options).record
    assert record.bidirectional
    assert read_record(tmp_path / "a.record.json") == record


def test_a_prefix_that_sees_itself(tmp_path: Path) -> None:
    """PaliGemma's mask hides no token of a text without an answer from another."""
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 4, "image_size": 28, "patch_size": 14}
    config = transformers.PaliGemmaConfig(
        text_config=COMMON | {"model_type": "gemma", "num_key_value_heads": 2, "head_dim": 8},
        vision_config=vision | {"model_type": "siglip_vision_model"},
        projection_dim=32, image_token_index=310,
    )  # fmt: skip
    model = save_model(transformers.PaliGemmaForConditionalGeneration(config), tmp_path / "model")
    with pytest.raises(errors.NotCausal):
        run(model, tmp_path)
    assert run(model, tmp_path, allow_bidirectional=True).record.bidirectional


def test_what_a_bidirectional_run_says(
    bidirectional: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "extract", "--model", str(bidirectional), "--input", TEXT, "--layers", "1",
        "--output-activations", str(tmp_path / "a.gotact"),
        "--output-unembedding", str(tmp_path / "u.gotue"),
    ]  # fmt: skip
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("got-cli: layer 1, position ")
    assert main([*arguments, "--allow-bidirectional"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert " bidirectional each state depends on the tokens after it" in printed
    record = json.loads((tmp_path / "a.record.json").read_text())
    assert record["run"]["bidirectional"] is True


def test_leave_that_was_not_needed_is_not_recorded(tiny_model: TinyModel, tmp_path: Path) -> None:
    run(tiny_model("llama"), tmp_path)
    plain = (tmp_path / "a.record.json").read_bytes()
    run(tiny_model("llama"), tmp_path, allow_bidirectional=True)
    assert (tmp_path / "a.record.json").read_bytes() == plain
    assert b"bidirectional" not in plain


def test_a_corpus_of_a_bidirectional_model(bidirectional: Path, tmp_path: Path) -> None:
    def go(**options: Any) -> bool:
        extraction = extract_corpus(
            bidirectional, [SHORT, TEXT, "a"], [1], output_activations=tmp_path / "a.gotact",
            output_unembedding=tmp_path / "u.gotue", options=ExtractionOptions(**options),
            corpus_options=CorpusOptions(batch_size=3, strict=True),
        )  # fmt: skip
        assert all(check.passed for check in extraction.record.checks)
        return extraction.record.bidirectional

    for options in ({}, {"reproducible": False}):
        with pytest.raises(errors.NotCausal):
            go(**options)
        assert list(tmp_path.glob("*")) == []
        assert go(allow_bidirectional=True, **options)
        for path in tmp_path.glob("*"):
            path.unlink()


def test_experts_that_other_tokens_share(tmp_path: Path) -> None:
    """A fast run's kernels add in another order when another token has an expert."""
    sizes = {"num_local_experts": 8, "num_experts_per_tok": 2, "num_key_value_heads": 2}
    model = build(Family("mixtral", sizes), tmp_path / "model")
    for dtype in ("float32", "bfloat16"):
        record = run(model, tmp_path, reproducible=False, dtype=dtype).record
        assert not record.bidirectional


# --- states that do not depend on the text ----------------------------------------------------


def test_states_that_are_the_same_for_each_text(llama: Path, tmp_path: Path) -> None:
    def same(weights: dict[str, torch.Tensor]) -> None:
        weights["model.embed_tokens.weight"][:] = weights["model.embed_tokens.weight"][7].clone()

    change_weights(llama, same)
    fast, last = {"reproducible": False}, {TEXT: 15, SHORT: 3, "a": 1}
    for text, options in ((TEXT, {}), (TEXT, fast), (SHORT, fast), ("a", fast)):
        with pytest.raises(errors.ConstantState) as caught:
            run(llama, tmp_path, (0, 2), text, **options)
        assert caught.value.where == f"layer 2, position {last[text]}"
    with pytest.raises(errors.ConstantState):
        extract_corpus(
            llama, [TEXT], [0], output_activations=tmp_path / "a.gotact",
            output_unembedding=tmp_path / "u.gotue",
        )  # fmt: skip
    assert not list(tmp_path.glob("a.*"))


@pytest.mark.parametrize("shared", [2, 3])
def test_tokens_that_share_an_embedding(shared: int, llama: Path, tmp_path: Path) -> None:
    """As those do that nothing was learnt of: three others are tried."""
    ids = [token.id for token in run(llama, tmp_path, text="a").record.tokens]
    _start, last = ids

    def share(weights: dict[str, torch.Tensor]) -> None:
        table = weights["model.embed_tokens.weight"]
        # The start token, which is special, would be the last that is tried.
        table[last + 1 : last + 1 + shared] = table[last].clone()

    change_weights(llama, share)
    if shared == 2:
        assert run(llama, tmp_path, text="a").record.unembedding_reads == EQUAL
    else:
        with pytest.raises(errors.ConstantState):
            run(llama, tmp_path, text="a")


# --- the unembedding reads the last block's state ---------------------------------------------


@pytest.mark.parametrize(
    ("family", "reads"),
    [
        ("llama", EQUAL),
        ("gpt2", EQUAL),  # norm and dropout, tied
        ("gpt-j", EQUAL),  # a bias
        ("cohere", SCALED),
        ("granite", SCALED),
        ("gemma2", RISING),
    ],
)
@pytest.mark.parametrize("layers", [None, (1,)], ids=["whole", "cut"])
def test_norm_and_unembedding_against_the_logits(
    family: str, reads: str, layers: tuple[int, ...] | None, tiny_model: TinyModel, tmp_path: Path
) -> None:
    for reproducible in (True, False):
        record = run(tiny_model(family), tmp_path, layers, reproducible=reproducible).record
        assert record.unembedding_reads == reads


@pytest.mark.parametrize(
    ("family", "reads"),
    [
        (Family("bert", {"is_decoder": True}), TRANSFORMED),
        (Family("modernbert-decoder", {"local_attention": 8}), TRANSFORMED),
        (Family("openai-gpt"), EQUAL),  # which has no norm after its blocks
    ],
    ids=lambda family: getattr(family, "model_type", ""),
)
def test_what_lies_between_the_last_block_and_the_unembedding(
    family: Family, reads: str, tmp_path: Path
) -> None:
    assert run(build(family, tmp_path / "model"), tmp_path).record.unembedding_reads == reads


def test_training_on_states_that_the_unembedding_does_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bert = build(Family("bert", {"is_decoder": True}), tmp_path / "model")
    positions = len(run(bert, tmp_path, (1,)).record.tokens)
    (tmp_path / "a.labels").write_text("".join(f"{i % 2}\n" for i in range(positions)))
    arguments = [
        "train", "--activations", str(tmp_path / "a.gotact"), "--labels",
        str(tmp_path / "a.labels"), "--unembedding", str(tmp_path / "u.gotue"), "--layer", "1",
        "--output", str(tmp_path / "p.json"),
    ]  # fmt: skip
    warning = "warning: the unembedding does not read these states"
    capsys.readouterr()
    assert main(arguments) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(warning)
    assert line.endswith("--inner-product euclidean")
    assert main([*arguments, "--inner-product", "euclidean"]) == 0
    assert warning not in capsys.readouterr().err
    (tmp_path / "a.record.json").unlink()  # which nobody but it can say
    assert main(arguments) == 0
    assert warning not in capsys.readouterr().err


def test_half_precision(tiny_model: TinyModel, tmp_path: Path) -> None:
    for dtype in ("bfloat16", "float16"):
        record = run(tiny_model("llama"), tmp_path, dtype=dtype).record
        assert record.unembedding_reads == EQUAL


CODE = """
import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

class OwnConfig(PreTrainedConfig):
    model_type = "own"
    def __init__(self, n_layers=4, hidden_size=32, vocab_size=320, ending="", **options):
        self.n_layers, self.hidden_size, self.vocab_size = n_layers, hidden_size, vocab_size
        self.ending = ending
        super().__init__(**options)

class Block(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.inner = nn.Linear(size, size)
    def forward(self, x):
        return x + torch.tanh(self.inner(x)),

class OwnModel(PreTrainedModel):
    config_class = OwnConfig
    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList([Block(config.hidden_size) for _ in range(config.n_layers)])
        self.norm = nn.LayerNorm(config.hidden_size)
        self.head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()
    def get_input_embeddings(self):
        return self.embed
    def get_output_embeddings(self):
        return self.head
    def forward(self, input_ids, **options):
        x = self.embed(input_ids)
        for block in self.blocks:
            x, = block(x)
        match self.config.ending:
            case "fails":
                raise ZeroDivisionError("on purpose")
            case "no module":
                return self.head(nn.functional.layer_norm(x, x.shape[-1:])),
            case "no logits":
                return {"x": x}
            case "norm twice":
                return self.head(self.norm(self.norm(x) ** 3)),
            case "masked":
                logits = self.head(input=self.norm(x))
                logits[:, :, :300] = torch.finfo(logits.dtype).min
                return logits
            case "weight alone":
                return self.norm(x) @ self.head.weight.T + self.head.bias,
"""


@pytest.mark.parametrize(
    ("ending", "reads"),
    [
        ("fails", "not compared: ZeroDivisionError: on purpose"),
        ("no logits", "not compared: its code gives no logits"),
        ("no module", NO_NORM),
        ("norm twice", TRANSFORMED),
        ("masked", EQUAL),
        ("weight alone", EQUAL),
    ],
)
@pytest.mark.parametrize("reproducible", [False, True])
def test_code_of_ones_own(
    ending: str, reads: str, reproducible: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that it does after its blocks stops the run."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "m"))
    folder = build(FAMILIES["llama"], tmp_path / f"own-{ending.replace(' ', '-')}")
    folder.joinpath("own.py").write_text(CODE)
    auto = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    config = {"model_type": "own", "auto_map": auto, "ending": ending, "dtype": "float32"}
    folder.joinpath("config.json").write_text(json.dumps(config))
    torch.manual_seed(1)
    sizes = {"embed.weight": (VOCABULARY, HIDDEN), "norm.weight": (HIDDEN,), "norm.bias": (HIDDEN,)}
    sizes |= {"head.weight": (VOCABULARY, HIDDEN), "head.bias": (VOCABULARY,)}
    for k in range(LAYERS):
        sizes |= {f"blocks.{k}.inner.weight": (HIDDEN, HIDDEN), f"blocks.{k}.inner.bias": (HIDDEN,)}
    weights = {name: torch.randn(size) for name, size in sizes.items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    extraction = run(folder, tmp_path, (0, 1), trust_remote_code=True, reproducible=reproducible)
    assert extraction.record.unembedding_reads == reads
    assert extraction.record.unproved == ()  # whatever comes after the blocks
    np.testing.assert_allclose(
        extraction.activations.values[0],
        [
            weights["embed.weight"][token.id]
            + torch.tanh(
                weights["blocks.0.inner.weight"] @ weights["embed.weight"][token.id]
                + weights["blocks.0.inner.bias"]
            )
            for token in extraction.record.tokens
        ],
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip


BLOCKS = """
import torch
from transformers import LlamaForCausalLM

class BlocksForCausalLM(LlamaForCausalLM):
    def forward(self, input_ids=None, attention_mask=None, **options):
        part = torch.arange(input_ids.shape[1]) // self.config.size
        hidden = (part[:, None] < part).to(torch.float32) * torch.finfo(torch.float32).min
        mask = hidden[None, None].expand(len(input_ids), 1, -1, -1)
        return super().forward(input_ids=input_ids, attention_mask=mask, **options)
"""


@pytest.mark.parametrize("size", [2, 3, 5, 8, 15])
def test_tokens_that_see_all_of_their_own_block(
    size: int, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of the tokens that are tried may be the first of a block: nothing before sees it."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "m"))
    llama.joinpath("blocks.py").write_text(BLOCKS)
    config = json.loads(llama.joinpath("config.json").read_text())
    config |= {"size": size, "auto_map": {"AutoModelForCausalLM": "blocks.BlocksForCausalLM"}}
    config["architectures"] = ["BlocksForCausalLM"]
    llama.joinpath("config.json").write_text(json.dumps(config))
    with pytest.raises(errors.NotCausal):
        run(llama, tmp_path, (3,), trust_remote_code=True)


BATCHES = """
import torch
from transformers import LlamaForCausalLM

class BatchesForCausalLM(LlamaForCausalLM):
    def forward(self, input_ids=None, **options):
        if len(input_ids) > 1 and self.config.batches == "refused":
            raise ValueError("one text, please")
        embeddings = self.get_input_embeddings()(input_ids)
        if len(input_ids) > 1 and self.config.batches == "mixed":
            embeddings = embeddings + embeddings.mean(0)
        output = super().forward(inputs_embeds=embeddings, **options)
        if len(input_ids) > 1 and self.config.batches == "refused late":
            raise ValueError("one text, please")
        return output
"""


@pytest.mark.parametrize("batches", ["refused", "refused late", "mixed"])
def test_a_model_whose_texts_come_out_otherwise_in_a_batch(
    batches: str, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it is, its texts show alone."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "m"))
    llama.joinpath("batches.py").write_text(BATCHES)
    config = json.loads(llama.joinpath("config.json").read_text())
    config |= {
        "batches": batches,
        "auto_map": {"AutoModelForCausalLM": "batches.BatchesForCausalLM"},
    }
    config["architectures"] = ["BatchesForCausalLM"]
    llama.joinpath("config.json").write_text(json.dumps(config))
    for reproducible in (True, False):
        record = run(llama, tmp_path, trust_remote_code=True, reproducible=reproducible).record
        assert not record.bidirectional
        assert record.unembedding_reads == EQUAL


def test_a_model_of_one_token(tmp_path: Path) -> None:
    """There is no later token, and none is put behind it."""
    model = build(Family("gpt2", {"max_position_embeddings": 1}), tmp_path / "model")
    tokenizer = json.loads(model.joinpath("tokenizer.json").read_text())
    tokenizer["post_processor"] = None  # which puts a start token before
    model.joinpath("tokenizer.json").write_text(json.dumps(tokenizer))
    extraction = extract(
        model, "T", (-1,), output_activations=tmp_path / "a.gotact",
        output_unembedding=tmp_path / "u.gotue", options=ExtractionOptions(model_id="m"),
    )  # fmt: skip
    assert extraction.activations.values.shape == (1, 1, HIDDEN)
    assert extraction.record.unembedding_reads == EQUAL


# --- weights that the model does not use ------------------------------------------------------


def test_weights_that_the_model_does_not_use(
    llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Blocks that were left out are used by the whole model; others are as transformers says."""
    assert run(llama, tmp_path, (0,)).record.unused_weights is None
    frequencies = "model.layers.3.self_attn.rotary_emb.inv_freq"  # of older files, and ignored
    names = ["model.layers.3.self_attn.q_norm.weight", "a.weight", "z.weight", "mtp.0.weight"]

    def add(weights: dict[str, torch.Tensor]) -> None:
        weights.update({name: torch.ones(2) for name in [*names, frequencies]})

    change_weights(llama, add)
    for layers in ((0,), None):
        record = run(llama, tmp_path, layers).record
        assert record.unused_weights == UnusedWeights(4, tuple(sorted(names)[:3]))
    assert main(["show", str(tmp_path / "a.record.json")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f" unused weights 4 in its files: a.weight, {names[0]}, mtp.0.weight, ... " in shown


def test_a_model_without_its_head(llama: Path, tmp_path: Path) -> None:
    """Files of the inner model, whose names have no prefix."""

    def strip(weights: dict[str, torch.Tensor]) -> None:
        for name in list(weights):
            if name.startswith("model."):
                weights[name.removeprefix("model.")] = weights.pop(name)

    change_weights(llama, strip)
    assert run(llama, tmp_path, (0,)).record.unused_weights is None
