"""Models of text and other things: their model of text is read, and nothing else is loaded."""

from __future__ import annotations

import dataclasses
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from geometry_of_trust import errors
from geometry_of_trust.documents.extraction_record import Tower, UnusedWeights
from geometry_of_trust.documents.extraction_record_reading import read_record
from geometry_of_trust.extraction import costs, running
from geometry_of_trust.extraction.one_text import Extraction, extract
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.extraction.request import Request
from geometry_of_trust.formats.gotue import read_unembedding
from geometry_of_trust.showing.extractions import record_rows
from tiny_models import COMMON, LAYERS, TEXT, hooked, save_model

pytestmark = pytest.mark.usefixtures("quickly")

VISION = {
    "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_hidden_layers": 2,
    "image_size": 28, "patch_size": 14, "projection_dim": 16,
}  # fmt: skip
AUDIO = {
    "d_model": 32, "encoder_ffn_dim": 48, "encoder_attention_heads": 4, "encoder_layers": 2,
    "num_mel_bins": 16, "max_source_positions": 32,
}  # fmt: skip
MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}


def llava() -> Any:
    config = transformers.LlavaConfig(
        text_config=COMMON | {"model_type": "llama", "num_key_value_heads": 2},
        vision_config=VISION | {"model_type": "clip_vision_model"},
        image_token_index=310,
    )
    return transformers.LlavaForConditionalGeneration(config)


def emu3() -> Any:
    """One whose configuration AutoModelForCausalLM has another class for."""
    config = transformers.Emu3Config(
        text_config=COMMON | {"num_key_value_heads": 2},
        vq_config={
            "base_channels": 32, "channel_multiplier": [1, 1], "latent_channels": 4,
            "hidden_size": 32, "num_attention_heads": 1, "codebook_size": 16,
        },
        vocabulary_map={"<image>": 310},
    )  # fmt: skip
    return transformers.Emu3ForConditionalGeneration(config)


def thinker() -> Any:
    kind: Any = transformers.Qwen2_5OmniThinkerConfig
    config = kind(
        text_config=COMMON | {"num_key_value_heads": 2, "rope_parameters": MROPE},
        vision_config={
            "hidden_size": 32, "out_hidden_size": 32, "depth": 2, "num_heads": 4,
            "intermediate_size": 48,
        },
        audio_config=AUDIO | {"output_dim": 32, "n_window": 4},
        pad_token_id=1,
        vision_start_token_id=311,
    )  # fmt: skip
    return transformers.Qwen2_5OmniThinkerForConditionalGeneration(config)


def qwen2_audio() -> Any:
    """One whose code asks the audio tower where it is, also of a text."""
    config = transformers.Qwen2AudioConfig(
        text_config=COMMON | {"model_type": "qwen2", "num_key_value_heads": 2},
        audio_config=AUDIO | {"model_type": "qwen2_audio_encoder"},
    )
    return transformers.Qwen2AudioForConditionalGeneration(config)


def run(model: Path, to: Path, layers: list[int] | None, **options: Any) -> Extraction:
    chosen: dict[str, Any] = {"device": "cpu", "model_id": "m", "reproducible": False} | options
    return extract(
        model, TEXT, layers, options=ExtractionOptions(**chosen),
        output_activations=to / "a.gotact", output_unembedding=to / "u.gotue",
    )  # fmt: skip


def ids_of(extraction: Extraction) -> list[int]:
    return [token.id for token in extraction.record.tokens]


@pytest.mark.parametrize(
    ("make", "tower", "left_out"),
    [
        (
            llava,
            Tower("LlamaModel", "model.language_model"),
            ("model.multi_modal_projector", "model.vision_tower"),
        ),
        (emu3, Tower("Emu3TextModel", "model.text_model"), ("model.vqmodel",)),
    ],
)
def test_the_model_of_text_is_read_as_in_the_whole_model(
    make: Any, tower: Tower, left_out: tuple[str, ...], tmp_path: Path
) -> None:
    model = make()
    folder = save_model(model, tmp_path / "model")
    whole = run(folder, tmp_path, None)
    record = whole.record
    assert (record.model_class, record.tower) == (type(model).__name__, tower)
    assert (record.left_out, record.whole_because) == (left_out, None)
    assert record.blocks_path == f"{tower.path}.layers"
    outputs = hooked(type(model).from_pretrained(folder), record.blocks_path, ids_of(whole))
    for layer, output in enumerate(outputs):
        np.testing.assert_array_equal(whole.activations.values[layer], output[0].numpy())
    weight = model.get_output_embeddings().weight.detach().numpy()
    np.testing.assert_array_equal(read_unembedding(whole.unembedding_path).values, weight)
    assert read_record(whole.record_path) == record
    rows = dict(record_rows(record))
    assert rows["model of text"] == f"{tower.class_name}, {tower.path}"
    assert rows["left out"] == ", ".join(left_out)
    cut = run(folder, tmp_path, [1])
    assert cut.record.blocks_loaded == 2
    np.testing.assert_array_equal(cut.activations.values[0], whole.activations.values[1])


def test_weights_of_other_parts_are_not_loaded(tmp_path: Path) -> None:
    """They need not even be there: a model without them gives the same files."""
    folder = save_model(llava(), tmp_path / "model")
    before = run(folder, tmp_path, [1, -1], reproducible=True)
    weights = load_file(folder / "model.safetensors")
    text = {
        name: x for name, x in weights.items() if "vision" not in name and "projector" not in name
    }
    assert len(text) < len(weights)
    save_file(text, folder / "model.safetensors", {"format": "pt"})
    after = run(folder, tmp_path, [1, -1], reproducible=True)
    assert after.record.measured_digest == before.record.measured_digest
    assert after.record.weights != before.record.weights, "they are the model's all the same"


def test_weights_that_nothing_uses_are_not_those_of_other_parts(tmp_path: Path) -> None:
    """Whatever a part that was left out calls them."""
    folder = save_model(llava(), tmp_path / "model")
    assert run(folder, tmp_path, [0]).record.unused_weights is None
    weights = load_file(folder / "model.safetensors")
    (tower,) = {name.partition("vision_tower.")[0] for name in weights if "vision_tower" in name}
    weights |= {f"{tower}vision_tower.patchifier.weight": torch.ones(2), "b.c": torch.ones(2)}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert run(folder, tmp_path, [0]).record.unused_weights == UnusedWeights(1, ("b.c",))


def test_costs_are_of_what_is_loaded(tmp_path: Path) -> None:
    model = llava()
    folder = save_model(model, tmp_path / "model")
    options = ExtractionOptions(device="cpu")
    request = Request.of(folder, None, tmp_path / "a.gotact", tmp_path / "u.gotue", options)
    sizes = costs.sizes(running.open_model(request, lambda text: None))
    parts = (model.model.language_model, model.lm_head)
    numbers = sum(p.numel() for part in parts for p in part.parameters())
    assert sizes.read(LAYERS) == sizes.in_memory(LAYERS) == 4 * numbers
    assert sizes.rows == 2 * model.lm_head.weight.numel()


def test_a_part_that_the_code_asks_for_is_loaded_and_said(tmp_path: Path) -> None:
    folder = save_model(qwen2_audio(), tmp_path / "model")
    record = run(folder, tmp_path, [1]).record
    assert record.left_out == ()
    assert record.tower == Tower("Qwen2Model", "model.language_model")
    assert record.blocks_loaded == 2
    assert record.whole_because
    assert "model.audio_tower" in record.whole_because
    assert "no less" in dict(record_rows(record))["blocks"]


def test_a_frame_around_models_is_read_by_the_one_that_takes_text(tmp_path: Path) -> None:
    """Qwen2.5-Omni: a thinker, a talker and a vocoder, which as one run nothing."""
    model = thinker()
    folder = save_model(model, tmp_path / "model")
    alone = run(folder, tmp_path, [1, -1])
    weights = load_file(folder / "model.safetensors")
    framed = {f"thinker.{name}": x for name, x in weights.items()}
    save_file(framed, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    frame = transformers.Qwen2_5OmniConfig(
        thinker_config=config, architectures=["Qwen2_5OmniModel"]
    )
    frame.save_pretrained(folder)
    again = run(folder, tmp_path, [1, -1]).record
    assert dataclasses.replace(again, identity=alone.record.identity) == alone.record


def test_a_text_model_has_no_tower(tmp_path: Path, tiny_model: Any) -> None:
    record = run(tiny_model("llama"), tmp_path, [1]).record
    assert (record.tower, record.left_out) == (None, ())
    assert b'"tower"' not in record.to_json()
    assert b'"left_out"' not in record.to_json()


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    if find_spec("timm") is not None:
        pytest.skip("it is not missing")
    transformers.Gemma3nConfig(
        text_config=COMMON | {"num_kv_shared_layers": 0},
        architectures=["Gemma3nForConditionalGeneration"],
    ).save_pretrained(tmp_path)
    with pytest.raises(errors.UnsupportedArchitecture) as caught:
        run(tmp_path, tmp_path, [0])
    assert "timm" in caught.value.found
    assert "Install" in caught.value.hint


def test_a_record_keeps_what_it_says_of_a_tower(tmp_path: Path) -> None:
    """The tower is what was measured; what is left out is of the environment."""
    record = run(save_model(llava(), tmp_path / "model"), tmp_path, [1]).record
    kept = dataclasses.replace(record, left_out=())
    assert kept.measured_digest == record.measured_digest
    assert dataclasses.replace(record, tower=None).measured_digest != record.measured_digest
