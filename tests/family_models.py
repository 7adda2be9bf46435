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


class Plain:
    """A row's tiny model, every parameter random, as a user of transformers has and runs it."""

    def __init__(self, row: Row) -> None:
        torch.manual_seed(20240601)
        self.row = row
        self.model: Any = getattr(transformers, row.model_class)(configuration(row))
        randomise(self.model)
        with torch.no_grad():  # buffers that checkpoints have, such as those of routers
            for name, buffer in self.model.named_buffers():
                if "bias" in name and buffer.is_floating_point():
                    buffer.add_(torch.randn_like(buffer) * 0.1)
        self.model.eval()

    def states(self, ids: list[int]) -> list[torch.Tensor]:
        """What each block gives for a text, by hooks of this module's own."""
        states: list[torch.Tensor] = []

        def keep(module: Any, arguments: Any, output: Any) -> None:
            state = output if isinstance(output, torch.Tensor) else output[0]
            states.append(state.detach().clone())

        blocks = self.model.get_submodule(self.row.blocks)
        handles = [block.register_forward_hook(keep) for block in blocks]
        with torch.no_grad():
            self.model(input_ids=torch.tensor([ids]), use_cache=False)
        for handle in handles:
            handle.remove()
        assert len(states) == len(blocks)
        return states

    @property
    def unembedding(self) -> torch.Tensor:
        """The weight of its head: of the model, or of the part of it that has one."""
        heads = (getattr(part, "get_output_embeddings", None) for part in self.model.modules())
        found = (head() for head in heads if head is not None)
        weight: torch.Tensor = next(head for head in found if head is not None).weight
        return weight.detach()


def save(row: Row, plain: Plain | None, tokenizer: Path, folder: Path) -> Path:
    """A folder with the model and a tokenizer; with no more than its configuration if it is None."""
    shutil.copytree(tokenizer, folder)
    if plain is not None:
        plain.model.save_pretrained(folder)
    else:
        config = configuration(row)
        config.architectures = [row.model_class]
        config.save_pretrained(folder)
    return folder
