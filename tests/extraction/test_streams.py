"""Models with several residual streams: which one is read is said, and said again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from geometry_of_trust import errors
from geometry_of_trust.cli import main
from geometry_of_trust.documents.extraction_record_reading import read_record
from geometry_of_trust.extraction.one_text import Extraction, extract
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.showing.extractions import record_rows
from tiny_models import COMMON, HIDDEN, TEXT, gemma3n, hooked, save_model

pytestmark = pytest.mark.usefixtures("quickly")


def hy_v4() -> Any:
    """Streams after the tokens: (texts, tokens, streams, d)."""
    config = transformers.HYV4Config(
        **COMMON, num_key_value_heads=4, q_lora_rank=24, kv_lora_rank=16, qk_nope_head_dim=8,
        qk_rope_head_dim=8, v_head_dim=8, index_head_dim=16, index_n_heads=4, index_topk=4,
        moe_intermediate_size=16, n_routed_experts=4, num_experts_per_tok=2,
        mlp_layer_types=["dense", "sparse"] * 2, indexer_types=["full", "shared"] * 2, hc_mult=3,
    )  # fmt: skip
    return transformers.HYV4ForCausalLM(config)


def qwen4_exp() -> Any:
    """Streams in the states: (texts, tokens, streams x d)."""
    config = transformers.Qwen4ExpTextConfig(
        **COMMON, num_key_value_heads=2, head_dim=8, hc_count=3, hc_lowrank=8,
        layer_types=["linear_attention", "indexed_attention"] * 2, indexer_n_heads=4,
        indexer_kv_heads=1, indexer_head_dim=16, indexer_budget=8, indexer_compress_ratio=2,
        linear_key_head_dim=8, linear_value_head_dim=8, linear_num_key_heads=2,
        linear_num_value_heads=4, moe_intermediate_size=16, shared_expert_intermediate_size=16,
        num_experts=4, num_experts_per_tok=2, ngram_vocab_size_base=512, ple_embed_dim=32,
        ple_layer_ids=[],
    )  # fmt: skip
    return transformers.Qwen4ExpForCausalLM(config)


MODELS = {"gemma3n": gemma3n, "hy_v4": hy_v4, "qwen4_exp": qwen4_exp}
STREAMS = 3


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name: str = request.param
    torch.manual_seed(1)
    return save_model(MODELS[name](), tmp_path_factory.mktemp("streams") / name)


def run(model: Path, to: Path, stream: str | None, **options: Any) -> Extraction:
    chosen: dict[str, Any] = {"device": "cpu", "reproducible": False, "stream": stream} | options
    return extract(
        model, TEXT, [1, -1], options=ExtractionOptions(**chosen),
        output_activations=to / "a.gotact", output_unembedding=to / "u.gotue",
    )  # fmt: skip


def streams_of(model: Path, extraction: Extraction) -> np.ndarray[Any, np.dtype[np.float32]]:
    """All streams after the layers of an extraction: (layers, tokens, streams, d)."""
    cls = getattr(transformers, extraction.record.model_class)
    ids = [token.id for token in extraction.record.tokens]
    outputs = hooked(cls.from_pretrained(model), extraction.record.blocks_path, ids)
    states = []
    for layer in extraction.record.layers:
        output = outputs[layer]
        if output.ndim == 4 and output.shape[0] == STREAMS:
            output = output.permute(1, 2, 0, 3)
        states.append(output.reshape(len(ids), STREAMS, HIDDEN))
    return torch.stack(states).numpy()


def test_each_stream_and_their_mean(model: Path, tmp_path: Path) -> None:
    first = run(model, tmp_path, "0")
    streams = streams_of(model, first)
    assert (streams[:, :, 0] != streams[:, :, 1]).any()
    np.testing.assert_array_equal(first.activations.values, streams[:, :, 0])
    last = run(model, tmp_path, "2")
    np.testing.assert_array_equal(last.activations.values, streams[:, :, 2])
    mean = run(model, tmp_path, "mean")
    exact = streams.astype(np.float64).mean(axis=2)
    np.testing.assert_allclose(mean.activations.values, exact, rtol=1e-6, atol=1e-6)
    assert (mean.record.streams, mean.record.stream) == (STREAMS, "mean")
    assert read_record(mean.record_path) == mean.record
    assert dict(record_rows(mean.record))["stream"] == f"mean of {STREAMS}"


def test_a_reproducible_run_reads_the_same_streams(model: Path, tmp_path: Path) -> None:
    names = [*map(str, range(STREAMS)), "mean"]
    runs = [run(model, tmp_path, name, reproducible=True) for name in names]
    *streams, mean = (one.activations.values.astype(np.float64) for one in runs)
    np.testing.assert_allclose(mean, np.mean(streams, axis=0), rtol=1e-6, atol=1e-6)
    first = run(model, tmp_path, "0").activations.values
    # Of the first layer asked for: a choice of experts or of tokens may tip over after it.
    np.testing.assert_allclose(streams[0][0], first[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("stream", [None, "3", "9999"])
def test_one_that_there_is_must_be_chosen(
    stream: str | None, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any weight is loaded."""
    monkeypatch.setattr("geometry_of_trust.extraction.loading.load_model", None)
    with pytest.raises(errors.WrongStream) as caught:
        run(model, tmp_path, stream)
    assert caught.value.expected.startswith("0 to 2, or mean")
    assert f"{STREAMS} residual streams" in caught.value.expected
    assert caught.value.found == (stream or "none")
    assert "--stream" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_model_with_one_stream_has_none_to_choose(tmp_path: Path, tiny_model: Any) -> None:
    with pytest.raises(errors.WrongStream) as caught:
        run(tiny_model("llama"), tmp_path, "0")
    assert caught.value.found == "0"


@pytest.mark.parametrize("stream", ["", "-1", "first", "1.0", "00000", "all"])
def test_what_is_no_name_of_a_stream(stream: str) -> None:
    with pytest.raises(errors.BadOption) as caught:
        ExtractionOptions(stream=stream)
    assert caught.value.where == "stream"


def test_a_corpus_is_read_in_one_stream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_model(gemma3n(), tmp_path / "model")
    (tmp_path / "texts.txt").write_text("The river\nSeine flows through Paris\n")
    arguments = ["extract", "--model", str(model), "--device", "cpu", "--layers", "1"]
    arguments += ["--input-file", str(tmp_path / "texts.txt"), "--position", "all"]
    to = ["--output-activations", str(tmp_path / "a.gotact")]
    to += ["--output-unembedding", str(tmp_path / "u.gotue")]
    assert main([*arguments, *to]) == 1
    assert "3 residual streams" in capsys.readouterr().err
    assert main([*arguments, *to, "--stream", "mean"]) == 0
    assert "mean of 3" in capsys.readouterr().out
    record = read_record(tmp_path / "a.record.json")
    assert [check.bit_equal for check in record.checks] == [True] * 3
