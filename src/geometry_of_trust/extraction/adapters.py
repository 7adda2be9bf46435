"""Adapters: small weights, in a folder of their own, that change what modules of a model compute.

peft puts them into the model, beside its weights: to add them to those would round. They are
float32 whatever the model runs in, as peft has them. No adapter is applied that was not named
(docs/decisions/0016-adapters.md).
"""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import nn
from transformers.utils.hub import cached_file

from geometry_of_trust.documents import extraction_record
from geometry_of_trust.errors import AdapterNotNamed, BadAdapter, GotError, brief
from geometry_of_trust.extraction.architectures import Anatomy, untyped
from geometry_of_trust.extraction.model_files import Source, few_modules
from geometry_of_trust.extraction.panics import panics_as_errors
from geometry_of_trust.extraction.quantizing import unlogged
from geometry_of_trust.extras import optional
from geometry_of_trust.files import read_bounded, sha256_file

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PICKLED = "adapter_model.bin"

KINDS = ("LORA", "IA3", "LOHA", "LOKR", "HRA")
"""Kinds that replace modules by others, whose operations all have one value."""

PROMPTS = ("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT")
"""Kinds that add tokens or keys instead, so that positions are no longer those of the text."""

# How a LoRA's weights may have begun. Other ways alter the model's own weights as they begin.
_PLAIN_BEGINNINGS = (None, True, False, "gaussian", "orthogonal", "eva")
# Settings with which an adapter is more than modules in the place of others.
_MORE = (
    "alora_invocation_tokens", "arrow_config", "kasa_config", "layer_replication",
    "megatron_config", "monteclora_config", "use_bdlora", "use_qalora", "velora_config",
)  # fmt: skip
_MERGE = "Merge it with peft (merge_and_unload), save that model, and extract from it."
_NAME, _PREFIX = "default", "base_model.model."


@dataclass(frozen=True)
class Adapter:
    """An adapter as it was found.

    Attributes:
        folder: where it is. settings: what its configuration says, by peft's names.
    """

    folder: Path
    settings: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """What peft calls its kind."""
        return str(self.settings.get("peft_type"))

    @cached_property
    def sha256(self) -> str:
        """Of its two files, as `extraction_record.adapter_digest` has it.

        Raises:
            Unreadable: one cannot be read.
        """
        return extraction_record.adapter_digest(
            {name: sha256_file(self.folder / name) for name in (CONFIG, WEIGHTS)}
        )

    @property
    def recorded(self) -> extraction_record.RecordedAdapter:
        """What an extraction record says of it."""
        return extraction_record.RecordedAdapter(self.sha256, self.kind, _base(self.settings))

    def check(self, skeleton: PreTrainedModel, anatomy: Anatomy, where: str) -> None:
        """It fits a model, all of it, and leaves the unembedding a matrix of the model's.

        Args:
            skeleton: the whole model without weights.

        Raises:
            MissingExtra: peft is not installed.
            BadAdapter: it does not, or is of a kind that is not applied here.
            LimitExceeded: the model becomes one of too many modules.
        """
        config = self._config()
        tensors = {name: tensor.to("meta") for name, tensor in self._tensors().items()}
        with few_modules(where):
            self._put_on(copy.deepcopy(skeleton), anatomy, config, tensors, {})

    def apply(
        self,
        model: PreTrainedModel,
        anatomy: Anatomy,
        count: int,
        types: Mapping[torch.Tensor, torch.dtype],
    ) -> None:
        """Put it into a model that has the first `count` blocks; nothing of it runs as in training.

        Args:
            types: the model's type of each parameter, of any shape, that is held in another.

        Raises:
            BadAdapter: it does not fit.
        """
        list_name = anatomy.blocks_path.rpartition(".")[2]
        of_block = re.compile(rf"(?:^|\.){re.escape(list_name)}\.([0-9]+)\.")
        tensors = {
            name: tensor
            for name, tensor in self._tensors().items()
            if (match := of_block.search(name)) is None or int(match[1]) < count
        }
        if tensors:  # none: it changes later blocks only
            self._put_on(model, anatomy, self._config(), tensors, types)

    def _config(self) -> Any:
        """The configuration as peft has it.

        Raises:
            BadAdapter: it cannot be read, or asks for what is not done here.
        """
        peft, kind = _library(), self.kind
        if kind in PROMPTS:
            raise self._refused(
                "an adapter of modules, such as a LoRA", f"{kind}, which adds tokens to the text",
                hint="Its positions would not be those of the text: there is no way around.",
            )  # fmt: skip
        if kind not in KINDS:
            raise self._refused(f"one of {', '.join(KINDS)}", kind)
        known = peft.PEFT_TYPE_TO_CONFIG_MAPPING[kind]
        names = {field.name for field in dataclasses.fields(known)}
        for name, value in self.settings.items():
            if name not in names and value:
                raise self._refused(f"settings that peft {peft.__version__} knows", name,
                                    hint="Install a newer peft.")  # fmt: skip
            if name in _MORE and value:
                raise self._refused("modules in the place of others, and nothing else", name)
        if self.settings.get("init_lora_weights") not in _PLAIN_BEGINNINGS:
            raise self._refused(
                "one that leaves the model's own weights as they are",
                f"init_lora_weights {self.settings['init_lora_weights']}",
                hint="Save it as a plain LoRA (path_initial_model_for_weight_conversion of peft).",
            )
        known_settings = {name: self.settings[name] for name in self.settings if name in names}
        try:
            config = peft.PeftConfig.from_peft_type(**known_settings)
        except Exception as error:  # whatever the settings make the library raise
            raise self._refused("settings of peft's", brief(error)) from None
        config.inference_mode = True
        return config

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Its weights, by the names that the model has for its modules.

        Raises:
            BadAdapter: they cannot be read.
        """
        try:
            with panics_as_errors():
                tensors = load_file(self.folder / WEIGHTS)
        except Exception as error:  # whatever the file makes the library raise
            raise self._refused(WEIGHTS, brief(error)) from None
        return {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items()}

    def _put_on(
        self,
        model: PreTrainedModel,
        anatomy: Anatomy,
        config: Any,
        tensors: Mapping[str, torch.Tensor],
        types: Mapping[torch.Tensor, torch.dtype],
    ) -> None:
        """Let modules of a model be peft's, with these weights.

        Raises:
            BadAdapter: weights are missing, of other shapes, or match nothing; or the unembedding
                is no longer a matrix of the model's.
        """
        peft = _library()
        unembedding = anatomy.unembedding_of(model)
        before = {id(tensor) for tensor in _state(model).values()}
        on_meta = all(tensor.is_meta for tensor in tensors.values())
        try:
            config = copy.deepcopy(config)  # peft writes into it
            peft.inject_adapter_in_model(config, model, _NAME, low_cpu_mem_usage=on_meta)
            added = {name: x for name, x in _state(model).items() if id(x) not in before}
            for name, tensor in _state(model).items():
                if name in added and tensor.is_floating_point():
                    tensor.data = tensor.data.float()  # it was made in the type of the model's
                elif name in tensors:  # it has one for the model's own, whose file stays as it is
                    tensor.data = tensor.data.to(self._type(tensor, types), copy=True)
            saved = _saved_modules(model)
            for original, module in saved.values():
                for there, here in zip(original.parameters(), module.parameters(), strict=True):
                    here.data = here.data.to(self._type(there, types))
            report = peft.set_peft_model_state_dict(model, dict(tensors), _NAME)
        except GotError:
            raise
        except Exception as error:  # whatever the weights make the library raise
            first, *others = str(error).splitlines() or [""]
            found = others[0].strip() if first.endswith(":") and others else brief(error)
            raise self._refused(
                "one that fits this model", found.rstrip("."), hint="Was it made for this model?"
            ) from None
        path = anatomy.unembedding_path
        if path not in saved and anatomy.unembedding_of(model) is not unembedding:
            raise self._refused(
                "one that leaves the unembedding as it is, or saves it whole (modules_to_save)",
                f"{self.kind} on {path}",
            )
        self._check_all(report.unexpected_keys, "match nothing in the model")
        self._check_all(added.keys() & set(report.missing_keys), "are not in its file")
        for path, (_, module) in saved.items():
            model.set_submodule(path, module)
        untyped(model).eval()

    def _type(self, own: torch.Tensor, types: Mapping[torch.Tensor, torch.dtype]) -> torch.dtype:
        """The type that the model has one of its own weights in, whatever that is held in.

        Raises:
            BadAdapter: that is integers.
        """
        type_ = types.get(own, own.dtype)
        if not type_.is_floating_point:
            raise self._refused(
                "one that changes no weights in integers", "whole modules (modules_to_save)",
                hint="Leave out --quantization.",
            )  # fmt: skip
        return type_

    def _check_all(self, names: Iterable[str], what: str) -> None:
        wrong = sorted(names)
        if wrong:
            raise self._refused(
                "weights for the modules that it changes, and no others",
                f"{len(wrong)} that {what}, such as {wrong[0]}",
                hint="Was it made for this model?",
            )

    def _refused(self, expected: str, found: str, hint: str = _MERGE) -> BadAdapter:
        return BadAdapter(self.folder, expected=expected, found=found, hint=hint)


def find(folder: str) -> Adapter:
    """The adapter in a folder.

    Raises:
        BadAdapter: there is none, or its weights are pickled.
        TooLarge, Unreadable: of its configuration.
    """
    path = Path(folder)
    if not (path / CONFIG).is_file():
        raise BadAdapter(
            folder, expected=f"a folder with {CONFIG}", found="none",
            hint="One on the hub is downloaded with: hf download NAME --local-dir FOLDER.",
        )  # fmt: skip
    settings = _settings(path / CONFIG)
    if not (path / WEIGHTS).is_file():
        pickled = (path / PICKLED).is_file()
        raise BadAdapter(
            folder, expected=WEIGHTS, found=PICKLED if pickled else "none",
            hint="A pickle can run code: load it with peft where you trust it, and save it again."
            if pickled else "",
        )  # fmt: skip
    return Adapter(path, settings)


def refuse_unnamed(source: Source) -> None:
    """Refuse a model that has an adapter beside it, which nobody named.

    Raises:
        AdapterNotNamed.
    """
    try:
        file = None if source.gguf is not None else source.find(CONFIG)
    except OSError:  # no hub
        return
    if file is not None:
        raise AdapterNotNamed(
            source.argument,
            expected="a model alone, or --adapter with the folder of what is to be put into it",
            found=f"{CONFIG} beside its weights",
            hint=f"Name it (--adapter {os.path.dirname(file)}), or use a copy of the model "
            f"without {CONFIG}.",
        )


def refuse_alone(argument: str, revision: str | None) -> None:
    """Refuse what is an adapter and no model, naming the model that it was made for.

    Raises:
        AdapterNotNamed.
    """
    try:
        file = cached_file(argument, CONFIG, revision=revision)
    except (OSError, ValueError):
        return
    if file is not None:
        base = _base(_settings(Path(str(file)))) or "MODEL"
        raise AdapterNotNamed(
            argument,
            expected="a model",
            found=f"an adapter of {base}",
            hint=f"Extract with --model {base} --adapter {os.path.dirname(file)}.",
        )


def _settings(file: Path) -> Mapping[str, Any]:
    try:
        tree = json.loads(read_bounded(file))
    except (ValueError, RecursionError) as error:
        raise BadAdapter(file, expected="JSON", found=brief(error)) from None
    if not isinstance(tree, dict):
        raise BadAdapter(file, expected="an object", found=type(tree).__name__)
    return tree


def _base(settings: Mapping[str, Any]) -> str | None:
    name = settings.get("base_model_name_or_path")
    return name if isinstance(name, str) and name else None


def _library() -> Any:
    with optional(), unlogged():  # it imports bitsandbytes where that is
        import peft  # noqa: PLC0415 - optional, and slow to import
    return peft


def _state(model: nn.Module) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = model.state_dict(keep_vars=True)
    return state


def _saved_modules(model: nn.Module) -> dict[str, tuple[nn.Module, nn.Module]]:
    """By path, each module of which the adapter has a whole one of its own, and that one."""
    from peft.utils.other import ModulesToSaveWrapper  # noqa: PLC0415 - optional

    return {
        path: (module.original_module, module.modules_to_save[_NAME])
        for path, module in model.named_modules()
        if isinstance(module, ModulesToSaveWrapper)
    }
