"""One extraction: what it leaves out, what it writes, what it refuses."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from geometry_of_trust import errors
from geometry_of_trust.cli import main
from geometry_of_trust.documents.extraction_record_reading import read_record
from geometry_of_trust.extraction.one_text import Extraction, extract
from geometry_of_trust.files import sha256_file
from geometry_of_trust.formats.gotact import read_activations
from geometry_of_trust.formats.gotue import read_unembedding
from geometry_of_trust.formats.labels import read_labels
from options import arguments_of
from tiny_models import FAMILIES, HIDDEN, LAYERS, TEXT, VOCABULARY, Family, build

CODE = """
import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

class OwnConfig(PreTrainedConfig):
    model_type = "own"
    def __init__(self, n_layers=4, hidden_size=32, vocab_size=320, quirk="", **options):
        self.n_layers, self.hidden_size, self.vocab_size = n_layers, hidden_size, vocab_size
        self.quirk = quirk
        super().__init__(**options)

class Block(nn.Module):
    def __init__(self, size, experts):
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(size, size) for _ in range(experts)])
    def forward(self, x):
        return x + torch.tanh(sum(expert(x) for expert in self.experts))

class OwnModel(PreTrainedModel):
    config_class = OwnConfig
    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        blocks = [Block(config.hidden_size, config.n_layers) for _ in range(config.n_layers)]
        self.tower = nn.Sequential(*blocks) if config.quirk == "no list" else nn.ModuleList(blocks)
        self.head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()
    def get_input_embeddings(self):
        return self.embed
    def get_output_embeddings(self):
        return None if self.config.quirk == "no head" else self.head
    def forward(self, input_ids, **options):
        x = self.embed(input_ids)
        if self.config.quirk == "needs last":
            x = x + self.tower[self.config.n_layers - 1].experts[0].bias
        if self.config.quirk == "fails":
            raise ZeroDivisionError("on purpose")
        blocks = self.tower[1:] if self.config.quirk == "skips" else self.tower
        for block in [*blocks] * (2 if self.config.quirk == "loops" else 1):
            x = block(x)
            if self.config.quirk == "in place":
                kept = x
                x = x.clone()
                kept.fill_(7.0)
        return self.head(x)
"""

pytestmark = pytest.mark.usefixtures("quickly")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama that no test changes."""
    return build(FAMILIES["llama"], tmp_path_factory.mktemp("llama"))


@pytest.fixture
def llama(shared: Path, tmp_path: Path) -> Path:
    """A tiny Llama of the test's own."""
    return Path(shutil.copytree(shared, tmp_path / "llama"))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A model that comes with its own code, with a quirk."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "m"))

    def make(quirk: str) -> Path:
        folder = build(FAMILIES["llama"], tmp_path / f"own-{quirk.replace(' ', '-')}")
        folder.joinpath("own.py").write_text(CODE)
        auto = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
        config = {"model_type": "own", "auto_map": auto, "quirk": quirk, "dtype": "float32"}
        folder.joinpath("config.json").write_text(json.dumps(config))
        torch.manual_seed(1)
        weights = {"embed.weight": torch.randn(VOCABULARY, HIDDEN)}
        weights |= {"head.weight": torch.randn(VOCABULARY, HIDDEN), "head.bias": torch.randn(320)}
        for block in range(LAYERS):
            for expert in range(LAYERS):
                path = f"tower.{block}.experts.{expert}"
                weights[f"{path}.weight"] = torch.randn(HIDDEN, HIDDEN)
                weights[f"{path}.bias"] = torch.randn(HIDDEN)
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        return folder

    return make


def run(model: Path | str, layers: tuple[int, ...], to: Path, **options: Any) -> Extraction:
    names = {"output_activations": to / "a.gotact", "output_unembedding": to / "u.gotue"}
    text = options.pop("text", TEXT)
    return extract(model, text, layers, **arguments_of(**(names | options)))


def change_weights(model: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(model / "model.safetensors")
    change(weights)
    save_file(weights, model / "model.safetensors", {"format": "pt"})


def change_config(model: Path, **values: Any) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | values))


# --- only what is needed ------------------------------------------------------------------------


def test_later_blocks_are_not_loaded(llama: Path, tmp_path: Path) -> None:
    whole = run(llama, (0, 1), tmp_path / "before")

    def drop(weights: dict[str, torch.Tensor]) -> None:
        for name in list(weights):
            if name.startswith(("model.layers.2.", "model.layers.3.")):
                del weights[name]

    change_weights(llama, drop)
    cut = run(llama, (0, 1), tmp_path / "after")
    np.testing.assert_array_equal(cut.activations.values, whole.activations.values)
    with pytest.raises(errors.IncompleteModel):
        run(llama, (2,), tmp_path / "deeper")


def test_later_blocks_are_not_run(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

    calls: list[Any] = []
    for cls in (torch.nn.Linear, LlamaMLP, LlamaRMSNorm):

        def spy(self: Any, *arguments: Any, forward: Any = cls.forward, **options: Any) -> Any:
            calls.append(self)
            return forward(self, *arguments, **options)

        monkeypatch.setattr(cls, "forward", spy)
    run(shared, (1,), tmp_path)
    # Once on the text, once on a batch of its beginning: see `first_text`.
    assert sum(isinstance(call, LlamaMLP) for call in calls) == 2 * 2
    # Two a block, and once that after them.
    assert sum(isinstance(call, LlamaRMSNorm) for call in calls) == 2 * 4 + 1
    widths = [call.out_features for call in calls if isinstance(call, torch.nn.Linear)]
    assert len(widths) == 2 * 14
    assert VOCABULARY not in widths  # whose product is made in parts


def test_a_family_that_cannot_be_cut_is_run_whole(tmp_path: Path) -> None:
    sizes = {"mamba_d_state": 8, "mamba_ngroups": 1, "n_mamba_heads": 4, "mamba_headdim": 16}
    zamba = Family(
        "zamba2",
        sizes
        | {
            "layer_types": ["mamba", "hybrid"] * 2,
            "hybrid_layer_ids": [1, 3],
            "num_mem_blocks": 1,
            "chunk_size": 16,
        }
        | {"num_key_value_heads": 4, "attention_head_dim": 16, "attention_hidden_size": 64}
        | {"adapter_rank": 4, "tie_word_embeddings": True},
    )
    extraction = run(build(zamba, tmp_path / "model"), (1,), tmp_path)
    record = extraction.record
    assert record.blocks_loaded == record.blocks_total == LAYERS
    assert record.whole_because
    assert record.blocks_loaded == record.blocks_total


def test_a_model_that_stops_when_cut_is_run_whole(
    own: Callable[[str], Path], tmp_path: Path
) -> None:
    record = run(own("needs last"), (1,), tmp_path, trust_remote_code=True).record
    assert record.blocks_loaded == LAYERS
    assert record.whole_because
    assert "IndexError" in record.whole_because


# --- the general rule ---------------------------------------------------------------------------


def test_own_code_needs_trust(own: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(errors.UntrustedCode):
        run(own(""), (1,), tmp_path)
    assert not (tmp_path / "a.gotact").exists()


def test_own_code_follows_the_general_rule(own: Callable[[str], Path], tmp_path: Path) -> None:
    """Blocks in a list of another name, with lists of as many experts inside."""
    folder = own("")
    extraction = run(folder, (0, 1), tmp_path, trust_remote_code=True)
    weights = load_file(folder / "model.safetensors")
    x = weights["embed.weight"][[token.id for token in extraction.record.tokens]]
    for layer in range(2):
        parts = [f"tower.{layer}.experts.{expert}" for expert in range(LAYERS)]
        outputs = [x @ weights[f"{p}.weight"].T + weights[f"{p}.bias"] for p in parts]
        x = x + torch.tanh(sum(outputs[1:], outputs[0]))
        values = torch.from_numpy(extraction.activations.values[layer].copy())
        torch.testing.assert_close(values, x, rtol=1e-4, atol=1e-4)
    record = extraction.record
    assert (record.blocks_path, record.blocks_total, record.blocks_loaded) == ("tower", LAYERS, 2)
    assert (record.unembedding_path, record.tied, record.bias) == ("head", False, True)
    np.testing.assert_array_equal(
        read_unembedding(tmp_path / "u.gotue").values, weights["head.weight"].numpy()
    )


@pytest.mark.parametrize(
    ("quirk", "found"),
    [
        ("no list", f"{LAYERS}: tower.0.experts ({LAYERS} Linear), tower.1.experts"),
        ("no head", "none in OwnModel"),
        ("skips", "layers 0 not run"),
        ("loops", "this one once more"),
    ],
)
def test_where_the_general_rule_ends(
    quirk: str, found: str, own: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(errors.UnsupportedArchitecture) as caught:
        run(own(quirk), (0,), tmp_path, trust_remote_code=True)
    assert found in caught.value.found
    assert caught.value.hint
    assert list(tmp_path.glob("*.got*")) == []


def test_errors_of_the_model_are_refusals(own: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(errors.ModelFailed) as caught:
        run(own("fails"), (1,), tmp_path, trust_remote_code=True)
    assert "ZeroDivisionError" in caught.value.found


def test_projected_unembedding_is_refused(tmp_path: Path) -> None:
    opt = Family("opt", {"ffn_dim": 48, "word_embed_proj_dim": 16, "do_layer_norm_before": False})
    with pytest.raises(errors.DimensionMismatch) as caught:
        run(build(opt, tmp_path / "model"), (0,), tmp_path)
    assert "16" in caught.value.found


def test_not_a_causal_model(tmp_path: Path) -> None:
    from transformers import T5Config

    T5Config(num_layers=2).save_pretrained(tmp_path / "t5")
    build(FAMILIES["llama"], tmp_path / "llama")
    for file in (tmp_path / "llama").glob("tokenizer*"):
        shutil.copy(file, tmp_path / "t5")
    with pytest.raises(errors.UnsupportedArchitecture):
        run(tmp_path / "t5", (0,), tmp_path)


# --- capturing ----------------------------------------------------------------------------------


def test_later_operations_in_place_change_nothing(
    own: Callable[[str], Path], tmp_path: Path
) -> None:
    plain = run(own(""), (0, 1, 2), tmp_path, trust_remote_code=True)
    after = run(own("in place"), (0, 1, 2), tmp_path, trust_remote_code=True)
    np.testing.assert_array_equal(after.activations.values, plain.activations.values)


@pytest.mark.parametrize("fails", [False, True])
def test_hooks_are_removed(fails: bool) -> None:
    from geometry_of_trust.extraction.capture import Batch, residual_stream
    from geometry_of_trust.extraction.page_release import FilePages
    from geometry_of_trust.extraction.weights import Weights

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = torch.nn.ModuleList(torch.nn.Linear(3, 3) for _ in range(2))

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            x = self.blocks[0](torch.ones(1, input_ids.shape[1], 3))
            if fails:
                raise RuntimeError
            result: torch.Tensor = self.blocks[1](x)
            return result

    model = Model()

    def go() -> None:
        residual_stream(
            model,
            model.blocks,
            (0, 1),
            Batch.of_text([5, 6]),
            hidden_dim=3,
            pages=FilePages(),
            weights=Weights(),
        )

    if fails:
        with pytest.raises(errors.ModelFailed):
            go()
    else:
        go()
    assert all(not block._forward_hooks for block in model.blocks)


@pytest.mark.parametrize("layer", [0, 2])
def test_non_finite_activations(layer: int, own: Callable[[str], Path], tmp_path: Path) -> None:
    model = own("")  # its tokens do not see each other
    tokens = run(model, (0,), tmp_path / "first", trust_remote_code=True).record.tokens
    position = 5
    token = tokens[position].id
    assert token not in [other.id for other in tokens[:position]]

    def spoil(weights: dict[str, torch.Tensor]) -> None:
        weights["embed.weight"][token] = float("nan")

    change_weights(model, spoil)
    with pytest.raises(errors.NonFinite) as caught:
        run(model, (layer, 3), tmp_path / "second", trust_remote_code=True)
    assert caught.value.where == f"layer {layer}, position {position}"
    assert not (tmp_path / "second").exists()


def test_states_of_zeros(llama: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(llama, model)

    def empty(weights: dict[str, torch.Tensor]) -> None:
        weights["model.embed_tokens.weight"].zero_()

    change_weights(model, empty)
    with pytest.raises(errors.ZeroState) as caught:
        run(model, (0,), tmp_path / "out")
    assert caught.value.where == "layer 0, position 0"
    assert not (tmp_path / "out").exists()


def test_pages_of_a_checkpoint_are_given_back_and_no_others(llama: Path) -> None:
    from safetensors import safe_open

    from geometry_of_trust.extraction.page_release import FilePages

    path = llama / "model.safetensors"
    save_file({"w": torch.arange(1 << 20, dtype=torch.float32)}, path)
    with safe_open(path, "pt") as file:
        mapped = file.get_tensor("w")
    in_memory = mapped.clone()
    total = float(mapped.sum())
    pages = FilePages.of_process()

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[2]) * os.sysconf("SC_PAGESIZE")

    before = resident()
    pages.release(mapped)
    assert before - resident() > 3 * 2**20
    pages.release(in_memory)
    assert float(in_memory.sum()) == float(mapped.sum()) == total
    mapped[:] = 3.0  # copied by the kernel: no longer the file's
    FilePages.of_process().release(mapped)
    assert float(mapped.sum()) == 3 * len(mapped)


# --- what is written ----------------------------------------------------------------------------


def test_the_four_files(shared: Path, tmp_path: Path) -> None:
    to = tmp_path / "new" / "folder"
    extraction = run(shared, (2, 0), to, model_id="named", layout="per-position")
    names = ["a.gotact", "a.labels", "a.record.json", "u.gotue"]
    assert sorted(path.name for path in to.iterdir()) == names
    read = read_activations(to / "a.gotact")
    assert (read.model_id, read.layers, read.layout) == ("named", (0, 2), "per-position")
    np.testing.assert_array_equal(read.values, extraction.activations.values)
    assert read_labels(to / "a.labels").tolist() == [0] * len(read.positions)
    assert not extraction.labels_kept
    record = read_record(to / "a.record.json")
    assert record == extraction.record
    assert record.activations.sha256 == sha256_file(to / "a.gotact")
    assert record.unembedding.sha256 == sha256_file(to / "u.gotue")
    assert (record.activations.name, record.unembedding.name) == ("a.gotact", "u.gotue")
    assert (record.model, record.model_id) == (str(shared), "named")
    assert record.prompt_sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    assert (record.dtype, record.precision, record.device) == ("float32", "Fp32", "cpu")
    assert record.attention == "sdpa"
    assert record.model_class == "LlamaForCausalLM"
    assert record.libraries["torch"] == torch.__version__


def test_a_path_is_no_name(shared: Path, tmp_path: Path) -> None:
    run(shared, (0,), tmp_path)
    assert read_activations(tmp_path / "a.gotact").model_id == shared.name


@pytest.mark.parametrize(("text", "twice"), [("<s>The river", True), ("The <s><s> river", False)])
def test_a_text_that_has_its_first_token_already(
    text: str, twice: bool, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = ["--output-activations", str(tmp_path / "a.gotact"),
          "--output-unembedding", str(tmp_path / "u.gotue")]  # fmt: skip
    assert main(["extract", "--model", str(shared), "--input", text, "--layers", "0", *to]) == 0
    assert ("stands there twice" in capsys.readouterr().err) is twice


def test_tokens(shared: Path, tmp_path: Path) -> None:
    text = "café </s>x"
    extraction = run(shared, (0,), tmp_path, text=text)
    tokens = extraction.record.tokens
    assert (tokens[0].text, tokens[0].span, tokens[0].special) == ("<s>", None, True)
    plain = [token for token in tokens if not token.special]
    assert [token.text for token in tokens if token.special] == ["<s>", "</s>"]
    assert all(token.span is not None for token in plain)
    covered = {i for token in tokens[1:] if token.span for i in range(*token.span)}
    assert covered == set(range(len(text)))
    assert [token.text for token in plain][-1] == "x"
    assert extraction.token_texts == tuple(token.text for token in tokens)


def test_a_tokenizer_without_offsets() -> None:
    from transformers import ByT5Tokenizer

    from geometry_of_trust.extraction.tokenizing import tokenize

    tokenizer: Any = ByT5Tokenizer()
    assert not tokenizer.is_fast
    tokens = tokenize(tokenizer, "ab")
    assert [(token.text, token.span, token.special) for token in tokens] == [
        ("a", None, False),
        ("b", None, False),
        ("</s>", None, True),
    ]


def test_the_same_extraction_writes_the_same_bytes(shared: Path, tmp_path: Path) -> None:
    for name in "ab":
        run(shared, (0, 1), tmp_path / name)
    for file in ("a.gotact", "a.record.json", "u.gotue", "a.labels"):
        first, second = (tmp_path / name / file for name in "ab")
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b"0\n0\n", False),
        (b"0\r\n0", False),
        (b"0\n1\n", True),
        (b"0\n0 # a place\n", True),
        (b"", True),
        (b"\xff", True),
    ],
)
def test_edited_labels_are_kept(content: bytes, kept: bool, shared: Path, tmp_path: Path) -> None:
    labels = tmp_path / "a.labels"
    labels.write_bytes(content)
    extraction = run(shared, (0,), tmp_path)
    assert extraction.labels_kept is kept
    stub = b"0\n" * len(extraction.record.tokens)
    assert labels.read_bytes() == (content if kept else stub)


def test_nothing_is_left_after_a_failure(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "a.record.json").mkdir()  # the record comes last
    with pytest.raises(errors.Unwritable):
        run(shared, (0,), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.record.json"]


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "options", "error"),
    [
        ((0,), {"text": ""}, errors.EmptyText),
        ((0,), {"text": "\udce9"}, errors.BadText),
        ((1, 1), {}, errors.RepeatedLayers),
        ((), {}, errors.BadOption),
        ((0,), {"dtype": "float8"}, errors.BadOption),
        ((0,), {"layout": "other"}, errors.BadOption),
        ((0,), {"model_id": "x" * 4097}, errors.BadOption),
        ((0,), {"device": "toaster"}, errors.BadOption),
        ((0,), {"device": "meta"}, errors.BadOption),
        ((0,), {"device": "cuda:99"}, errors.NoDevice),
        ((0,), {"text": "word " * 200}, errors.TextTooLong),
        ((0,), {"text": " " * (2**20 + 1)}, errors.TextTooLong),
    ],
)
def test_refused_arguments(
    layers: tuple[int, ...],
    options: dict[str, Any],
    error: type[errors.GotError],
    shared: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(error) as caught:
        run(shared, layers, tmp_path, **options)
    assert type(caught.value) is error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("output", ["output_activations", "output_unembedding"])
def test_the_record_must_be_able_to_name_its_files(
    output: str, llama: Path, tmp_path: Path
) -> None:
    places: dict[str, Any] = {
        "output_activations": tmp_path / "a", "output_unembedding": tmp_path / "u",
    }  # fmt: skip
    with pytest.raises(errors.BadText):
        extract(llama, "Text.", (0,), **places | {output: tmp_path / "\udcff"})
    assert not list(tmp_path.glob("?"))


@pytest.mark.parametrize("layer", [-1 - LAYERS, LAYERS])
def test_layer_out_of_range_needs_no_weights(layer: int, llama: Path, tmp_path: Path) -> None:
    (llama / "model.safetensors").unlink()
    with pytest.raises(errors.LayerOutOfRange) as caught:
        run(llama, (0, layer), tmp_path / "out")
    assert caught.value.found == str(layer)
    assert caught.value.expected.startswith(f"0 to {LAYERS - 1}")


def test_too_long_needs_no_weights(llama: Path, tmp_path: Path) -> None:
    (llama / "model.safetensors").unlink()
    change_config(llama, max_position_embeddings=10)
    with pytest.raises(errors.TextTooLong) as caught:
        run(llama, (0,), tmp_path / "out")
    assert caught.value.expected == "at most 10 tokens"


def test_as_long_as_the_context(llama: Path, tmp_path: Path) -> None:
    length = len(run(llama, (0,), tmp_path / "out").record.tokens)
    change_config(llama, max_position_embeddings=length)
    run(llama, (0,), tmp_path / "out")


@pytest.mark.parametrize("name", ["no/such-model", "not a name!", "folder", "file.txt"])
def test_unknown_model(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").touch()
    model = str(tmp_path / name) if (tmp_path / name).exists() else name
    with pytest.raises(errors.UnknownModel) as caught:
        run(model, (0,), tmp_path)
    assert caught.value.where == model
    assert caught.value.hint


def test_unknown_kind_of_model(llama: Path, tmp_path: Path) -> None:
    change_config(llama, model_type="unheard-of")
    with pytest.raises(errors.UnsupportedArchitecture):
        run(llama, (0,), tmp_path)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_no_tokenizer(family: str, tmp_path: Path) -> None:
    model = build(FAMILIES[family], tmp_path / "model")
    for file in model.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(errors.NoTokenizer):
        run(model, (0,), tmp_path)


def test_tokenizer_of_another_model(tmp_path: Path) -> None:
    small = Family("llama", {"vocab_size": 40})
    with pytest.raises(errors.NoTokenizer):
        run(build(small, tmp_path / "model"), (0,), tmp_path)


@pytest.mark.parametrize("what", ["missing", "reshaped", "no file"])
def test_incomplete_weights(what: str, llama: Path, tmp_path: Path) -> None:
    def change(weights: dict[str, torch.Tensor]) -> None:
        weight = weights.pop("model.layers.0.mlp.up_proj.weight")
        if what == "reshaped":
            weights["model.layers.0.mlp.up_proj.weight"] = weight[:, :8].contiguous()

    change_weights(llama, change)
    if what == "no file":
        (llama / "model.safetensors").unlink()
    with pytest.raises(errors.IncompleteModel):
        run(llama, (0,), tmp_path / "out")


def test_broken_weights(llama: Path, tmp_path: Path) -> None:
    data = (llama / "model.safetensors").read_bytes()
    (llama / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(errors.ModelFailed):
        run(llama, (0,), tmp_path / "out")


@pytest.mark.parametrize("other", ["a.gotact", "a.labels", "a.record.json"])
def test_outputs_must_differ(other: str, shared: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.BadOption):
        run(shared, (0,), tmp_path, output_unembedding=tmp_path / other)


# --- in a process of its own --------------------------------------------------------------------

ALONE = """
import sys
from pathlib import Path
from geometry_of_trust.extraction.one_text import extract
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.documents.extraction_record_reading import read_record
assert not {"torch", "transformers"} & set(sys.modules)
model, to = sys.argv[1], Path(sys.argv[2])
outputs = {"output_activations": to / "a.gotact", "output_unembedding": to / "u.gotue"}
"""


def alone(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ALONE + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


def test_a_model_in_the_cache_of_the_hub_and_a_clean_terminal(llama: Path, tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "home" / "hub" / "models--some--llama"
    shutil.copytree(llama, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    done = alone(
        "extract(model, 'The river', [0], **outputs); assert 'bitsandbytes' not in sys.modules",
        "some/llama",
        tmp_path / "out",
        HF_HUB_OFFLINE="1",
        HF_HOME=str(tmp_path / "home"),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    record = read_record(tmp_path / "out" / "a.record.json")
    assert (record.model, record.commit, record.revision) == ("some/llama", commit, None)
    assert read_activations(tmp_path / "out" / "a.gotact").model_id == "some/llama"


def test_without_the_extra(shared: Path, tmp_path: Path) -> None:
    done = alone(
        """
from geometry_of_trust.errors import MissingExtra
sys.modules["torch"] = None
try:
    extract(model, "The river", [0], **outputs)
except MissingExtra as error:
    assert error.hint
    sys.exit(42)
""",
        shared,
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (42, "")


MEMORY = """
import re, threading
import torch, transformers

def anonymous():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\\s*(\\d+) kB", status)[1]) * 1024

def mapped():
    maps = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.M)
    rss = [re.search(r"Rss:\\s*(\\d+)", m)[1] for m in maps if "model.safetensors" in m]
    return sum(map(int, rss)) * 1024

def sample():
    while not done.wait(0.002):
        peak.append(anonymous())

before, peak, done = anonymous(), [0], threading.Event()
sampler = threading.Thread(target=sample)
sampler.start()
options = ExtractionOptions(device="cpu")
extraction = extract(model, "The Seine flows through Paris.", [8, 15], options=options, **outputs)
done.set()
sampler.join()
print(len(peak), max(peak) - before, mapped())
"""


@pytest.mark.skipif(not Path("/proc/self/smaps").is_file(), reason="reads /proc")
def test_less_memory_than_the_weights(smollm2: Path, tmp_path: Path) -> None:
    """Weights are mapped, and given back once a block has run and a row is written.

    Counted is memory of the process's own. Pages of the file are the kernel's to take, and it maps
    more or fewer of them at a time; so of those only what is left in the end, if there is any map.
    """
    done = alone(MEMORY, smollm2, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    samples, own, left = map(int, done.stdout.split())
    weights = (smollm2 / "model.safetensors").stat().st_size
    assert samples > 20
    assert own < weights * 3 // 4
    assert left < weights // 4
