"""Models that are not read, or not all of their blocks: the refusal says why and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from geometry_of_trust import errors
from geometry_of_trust.extraction.one_text import Extraction, extract
from geometry_of_trust.extraction.options import ExtractionOptions
from tiny_models import COMMON, LAYERS, TEXT, build_tokenizer, hooked, save_model

pytestmark = pytest.mark.usefixtures("quickly")

ENCODER_DECODER = {
    "vocab_size": 320, "d_model": 32, "encoder_layers": 2, "decoder_layers": LAYERS,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48, "max_position_embeddings": 128, "pad_token_id": 1, "bos_token_id": 0,
    "eos_token_id": 1, "decoder_start_token_id": 0,
}  # fmt: skip
LONGCAT = {
    "num_layers": LAYERS, "num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16,
    "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8, "head_dim": 8,
    "ffn_hidden_size": 48, "expert_ffn_hidden_size": 16, "n_routed_experts": 4,
    "zero_expert_num": 2, "moe_topk": 2,
}  # fmt: skip


def make(name: str, **config: Any) -> Any:
    """A model of transformers' class of that name."""
    torch.manual_seed(1)
    cls = getattr(transformers, name)
    return cls(cls.config_class(**config))


def run(model: Path, to: Path, layers: list[int] | None = None) -> Extraction:
    return extract(
        model, TEXT, layers, options=ExtractionOptions(device="cpu", reproducible=False),
        output_activations=to / "a.gotact", output_unembedding=to / "u.gotue",
    )  # fmt: skip


# --- blocks are counted where they are --------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("BartForCausalLM", ENCODER_DECODER),
        ("WhisperForCausalLM", ENCODER_DECODER | {"max_target_positions": 128}),
        (
            "LongcatFlashForCausalLM",
            {k: v for k, v in COMMON.items() if k != "num_hidden_layers"} | LONGCAT,
        ),
    ],
)
def test_blocks_are_those_that_there_are(
    name: str, config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A configuration's number of layers may be the encoder's, or of halves of blocks."""
    model = make(name, **config)
    assert model.config.num_hidden_layers != LAYERS
    folder = save_model(model, tmp_path / "model")
    extraction = run(folder, tmp_path)
    record = extraction.record
    assert (record.layers, record.blocks_total) == (tuple(range(LAYERS)), LAYERS)
    ids = [token.id for token in record.tokens]
    outputs = hooked(type(model).from_pretrained(folder), record.blocks_path, ids)
    for values, output in zip(extraction.activations.values, outputs, strict=True):
        assert values.tobytes() == output[0].numpy().tobytes()
    monkeypatch.setattr("geometry_of_trust.extraction.loading.load_model", None)
    with pytest.raises(errors.LayerOutOfRange) as caught:
        run(folder, tmp_path, [LAYERS])
    assert caught.value.expected.startswith(f"0 to {LAYERS - 1}")


# --- what is refused, before any weight is loaded ---------------------------------------------


@pytest.mark.parametrize(
    ("name", "config", "found"),
    [
        ("T5ForConditionalGeneration", {"num_layers": 2, "vocab_size": 320}, "encoder"),
        ("BartForConditionalGeneration", ENCODER_DECODER, "encoder"),
        ("AlbertForMaskedLM", {"num_hidden_layers": 2}, "AlbertForMaskedLM"),
        ("XLMWithLMHeadModel", {"n_layers": 2, "emb_dim": 32, "n_heads": 4}, "4: transformer."),
        ("HrmTextForCausalLM", COMMON | {"head_dim": 8}, "2: model.L_module.layers"),
        (
            "Blip2ForConditionalGeneration",
            {
                "text_config": COMMON | {"model_type": "opt", "word_embed_proj_dim": 32},
                "qformer_config": {"num_hidden_layers": 1},
            },
            "which needs pixel_values",
        ),
    ],
)
def test_models_of_another_make_are_refused_unloaded(
    name: str, config: dict[str, Any], found: str, tmp_path: Path
) -> None:
    cls = getattr(transformers, name)
    cls.config_class(**config, architectures=[name]).save_pretrained(tmp_path)
    build_tokenizer(tmp_path)
    with pytest.raises(errors.UnsupportedArchitecture) as caught:
        run(tmp_path, tmp_path)
    assert caught.value.where == str(tmp_path)
    assert found in caught.value.found
    assert caught.value.hint


def test_an_unembedding_of_two_halves_is_refused(tmp_path: Path) -> None:
    config = transformers.ReformerConfig(
        vocab_size=320, hidden_size=32, is_decoder=True, axial_pos_shape=[8, 8],
        axial_pos_embds_dim=[16, 16], attn_layers=["local", "local"], num_attention_heads=2,
        attention_head_size=8, feed_forward_size=48, architectures=["ReformerModelWithLMHead"],
    )  # fmt: skip
    config.save_pretrained(tmp_path)
    build_tokenizer(tmp_path)
    with pytest.raises(errors.DimensionMismatch) as caught:
        run(tmp_path, tmp_path)
    assert caught.value.found == "dimension 64"
    assert caught.value.hint


# --- what is refused once a block has run -----------------------------------------------------


@pytest.mark.parametrize(
    ("name", "config", "found"),
    [
        (
            "XLNetLMHeadModel",
            {"vocab_size": 320, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48},
            "axes are in another order",
        ),
        (
            "CpmAntForCausalLM",
            {
                "vocab_size": 320, "hidden_size": 32, "num_attention_heads": 4, "dim_head": 8,
                "dim_ff": 48, "num_hidden_layers": 2, "prompt_length": 4, "prompt_types": 4,
                "segment_types": 4,
            },
            "where the text has",
        ),
    ],
)  # fmt: skip
def test_states_that_are_not_one_for_each_token(
    name: str, config: dict[str, Any], found: str, tmp_path: Path
) -> None:
    folder = save_model(make(name, **config), tmp_path / "model")
    with pytest.raises(errors.UnsupportedArchitecture) as caught:
        run(folder, tmp_path)
    assert found in caught.value.found
    assert caught.value.hint


def test_blocks_that_need_an_image_are_refused_and_others_are_read(tmp_path: Path) -> None:
    model = make(
        "MllamaForCausalLM", **COMMON, num_key_value_heads=2, cross_attention_layers=[1, 3]
    )  # fmt: skip
    folder = save_model(model, tmp_path / "model")
    with pytest.raises(errors.UnsupportedArchitecture) as caught:
        run(folder, tmp_path)
    assert caught.value.found == "layers 1, 3 not run"
    assert "--layers 0 2" in caught.value.hint
    assert run(folder, tmp_path, [0, 2]).record.layers == (0, 2)


def test_a_text_so_long_that_big_bird_looks_ahead(tmp_path: Path) -> None:
    """Up to 5 blocks, without random ones, all tokens attend; beyond, some do to later ones."""
    model = make("BigBirdForCausalLM", **COMMON, is_decoder=True, block_size=2, num_random_blocks=0)
    folder = save_model(model, tmp_path / "model")
    with pytest.raises(errors.TextTooLong) as caught:
        run(folder, tmp_path)
    assert caught.value.expected == "at most 10 tokens"


def test_a_model_that_needs_an_image_is_refused_in_words(tmp_path: Path) -> None:
    config = transformers.Kosmos2Config(
        text_config={
            "vocab_size": 320, "embed_dim": 32, "layers": 2, "ffn_dim": 48, "attention_heads": 4,
            "max_position_embeddings": 128,
        },
        vision_config={
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 4, "image_size": 28, "patch_size": 14,
        },
        latent_query_num=4,
    )  # fmt: skip
    folder = save_model(transformers.Kosmos2ForConditionalGeneration(config), tmp_path / "model")
    with pytest.raises(errors.ModelFailed) as caught:
        run(folder, tmp_path)
    assert "pixel_values" in caught.value.found
    assert "text alone" in caught.value.hint
