"""The models of the table of families: built, saved, and run by plain transformers."""

from __future__ import annotations

import dataclasses
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch

from family_table import USUAL, Row
from tiny_models import randomise

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # importing transformers warns about others' deprecations
    import transformers
    from transformers import CONFIG_MAPPING, AutoConfig


def configuration(row: Row) -> Any:
    """The configuration of a row's tiny model."""
    config_class: Any = CONFIG_MAPPING[row.model_type]
    return config_class(**members(config_class, row.config))


def members(config_class: Any, given: dict[str, Any]) -> dict[str, Any]:
    """What a configuration is made of: what is given, else the usual sizes; parts of it, too."""
    names = {field.name for field in dataclasses.fields(config_class)}
    usual = {config_class.attribute_map.get(name, name): value for name, value in USUAL.items()}
    filled = {name: value for name, value in usual.items() if name in names} | given
    for name, part_class in config_class.sub_configs.items():
        if name in given:
            part = given[name]
            kind = CONFIG_MAPPING[part["model_type"]] if part_class is AutoConfig else part_class
            filled[name] = members(kind, part)
    return filled


def save(row: Row, tokenizer: Path, folder: Path) -> Path:
    """A folder with a tokenizer and the row's tiny model, every parameter random.

    Nothing but its configuration, if the row has no blocks.
    """
    shutil.copytree(tokenizer, folder)
    config = configuration(row)
    if not row.blocks:
        config.architectures = [row.model_class]
        config.save_pretrained(folder)
        return folder
    torch.manual_seed(20240601)
    model = getattr(transformers, row.model_class)(config)
    randomise(model)
    stored = model.state_dict()
    for name, buffer in model.named_buffers():
        if "bias" in name and name in stored and buffer.is_floating_point():  # as routers have
            buffer.add_(torch.randn_like(buffer) * 0.1)
    model.save_pretrained(folder)
    if row.part:
        torch.save({}, folder / "spk_dict.pt")  # no voices; Qwen2.5-Omni is not read without
    return folder


class Plain:
    """A saved model as a user of transformers runs it, with hooks of this module's own.

    Attributes:
        states: what each block gives for the text.
        unembedding: the weight of its head.
    """

    def __init__(self, row: Row, folder: Path, ids: list[int]) -> None:
        model: Any = getattr(transformers, row.model_class).from_pretrained(folder)
        self.states: list[torch.Tensor] = []

        def keep(module: Any, arguments: Any, output: Any) -> None:
            state = output if isinstance(output, torch.Tensor) else output[0]
            self.states.append(state.detach().clone())

        blocks = model.get_submodule(row.blocks)
        for block in blocks:
            block.register_forward_hook(keep)
        with torch.no_grad():
            part = model.eval().get_submodule(row.part)
            part(input_ids=torch.tensor([ids]), use_cache=False)
        assert len(self.states) == len(blocks)
        self.unembedding: torch.Tensor = head(part).weight.detach()


def head(model: Any) -> Any:
    """The output embeddings of a model, or of the outermost part of it that has some."""
    for part in model.modules():
        if hasattr(part, "get_output_embeddings") and part.get_output_embeddings() is not None:
            return part.get_output_embeddings()
    raise AssertionError(type(model))
