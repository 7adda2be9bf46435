"""Find a model by name, folder or GGUF file, and load only what is needed of it."""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import huggingface_hub.utils as hub
import torch
import transformers
from torch import nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    MODEL_FOR_MULTIMODAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
)
from transformers.dynamic_module_utils import resolve_trust_remote_code
from transformers.utils.hub import cached_file

from geometry_of_trust.errors import (
    BadOption,
    GotError,
    IncompleteModel,
    ModelFailed,
    NoDevice,
    NoTokenizer,
    UnknownModel,
    UnsupportedArchitecture,
    UntrustedCode,
    brief,
)
from geometry_of_trust.extraction import adapters
from geometry_of_trust.extraction.architectures import (
    Anatomy,
    is_inside,
    reads_an_encoder,
    shortened,
    untyped,
)
from geometry_of_trust.extraction.model_files import (
    Source,
    check_configuration,
    check_growth,
    check_texts,
    check_weights,
    few_modules,
)
from geometry_of_trust.extraction.panics import panics_as_errors

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

DEVICE_TYPES = ("cpu", "cuda", "mps", "xpu")
_COMMIT = re.compile(r"/snapshots/([0-9a-f]{40})/")
_NOWHERE = ".no-adapter"
_HUB_GGUF = re.compile(r"([^/]+/[^/]+)/(.+\.gguf)")
_MAPPINGS = (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    MODEL_FOR_MULTIMODAL_LM_MAPPING,
)
"""Classes of models that have a language model, by configuration."""


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """No logging below errors and no progress bars of transformers and of the hub's client."""
    log, bars_of_hub = untyped(transformers.logging), untyped(hub)
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    hub_bars = not bars_of_hub.are_progress_bars_disabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    bars_of_hub.disable_progress_bars()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()
        if hub_bars:
            bars_of_hub.enable_progress_bars()


def find_device(name: str) -> torch.device:
    """The device of that name; for "auto" a GPU if there is one.

    Raises:
        BadOption: there is no device of such a name anywhere.
        NoDevice: this machine has none.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in DEVICE_TYPES:
        raise BadOption("device", expected=f"auto, {', '.join(DEVICE_TYPES)} or cuda:N", found=name)
    if device.type == "cpu":
        count = 1
    elif device.type == "mps":
        count = int(torch.backends.mps.is_available())
    else:
        count = getattr(torch, device.type).device_count()
    if (device.index or 0) >= count:
        raise NoDevice("device", expected=f"one of {count} {device.type} devices", found=name)
    return device


def find_model(argument: str, *, revision: str | None, trust: bool) -> Source:
    """Find a model: a folder, a `.gguf` file, else a name on the hub (or in its local cache).

    Raises:
        UnknownModel: there is none; or, offline, not on this machine.
        AdapterNotNamed: it is an adapter.
    """
    location, gguf = argument, None
    if os.path.isfile(argument) and argument.endswith(".gguf"):
        location, gguf = os.path.split(argument)
        location = location or "."
    elif not os.path.exists(argument) and (match := _HUB_GGUF.fullmatch(argument)):
        location, gguf = match.groups()
    try:
        file = cached_file(location, gguf or "config.json", revision=revision)
    except (OSError, ValueError) as error:
        file, found = None, brief(error)
    else:
        found = f"no {gguf or 'config.json'}"
    if file is None:
        adapters.refuse_alone(argument, revision)
        raise UnknownModel(
            argument,
            expected="a model on the hub, a folder with config.json, or a .gguf file",
            found=found,
            hint="Check the name, and the connection if it is a name on the hub.",
        )
    commit = None if os.path.exists(location) else _COMMIT.search(Path(str(file)).as_posix())
    return Source(argument, location, gguf, commit and commit[1], trust)


def load_config(source: Source) -> PreTrainedConfig:
    """The model's configuration.

    Raises:
        TooLarge: it, or another text beside it, is too large.
        LimitExceeded: it promises too many layers.
        UntrustedCode: it comes with its own code.
        UnsupportedArchitecture: transformers does not know its kind.
    """
    check_texts(source)
    check_configuration(source)
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(source.location, **source.options)
    except Exception as error:  # whatever the files make the library raise
        _refuse_untrusted(source, error)
        raise UnsupportedArchitecture(
            source.argument, expected="a configuration known to transformers", found=brief(error)
        ) from None
    return config


def _refuse_untrusted(source: Source, error: Exception) -> None:
    # transformers has no class of its own for this refusal, but one function that raises it.
    if not source.trust and _raised_by(error, resolve_trust_remote_code):
        raise UntrustedCode(
            source.argument,
            expected="a model that transformers knows",
            found="one that comes with its own code",
            hint="Read that code, then allow it with --trust-remote-code.",
        ) from None


def _raised_by(error: BaseException, function: Callable[..., object]) -> bool:
    """Whether the innermost function that an error came from is this one."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code is inspect.unwrap(function).__code__


def load_tokenizer(source: Source) -> PreTrainedTokenizerBase:
    """The model's tokenizer.

    Raises:
        NoTokenizer: there is none, or it cannot be read.
        LimitExceeded: it makes texts very much longer.
        UntrustedCode: it comes with its own code.
    """
    try:
        with panics_as_errors(), _tokenizer_place(source) as (location, options):
            tokenizer = AutoTokenizer.from_pretrained(location, **options)
    except Exception as error:  # whatever the files make the library raise
        _refuse_untrusted(source, error)
        raise NoTokenizer(source.argument, expected="a tokenizer", found=brief(error)) from None
    if tokenizer.is_fast:
        check_growth(source, tokenizer.backend_tokenizer)
    # Without files, transformers makes an empty tokenizer of the model's kind.
    if tokenizer.vocab_size <= len(tokenizer.all_special_ids):
        raise NoTokenizer(source.argument, expected="a tokenizer", found="no vocabulary")
    return tokenizer


@contextlib.contextmanager
def _tokenizer_place(source: Source) -> Iterator[tuple[str, dict[str, str | bool]]]:
    """Where a tokenizer is, and what its `from_pretrained` needs.

    A GGUF file is shown alone: transformers would rather take a tokenizer.json that lies beside it,
    which is no part of the model (docs/identity.md).
    """
    file = None if source.gguf is None else source.find(source.gguf)
    if file is None:
        yield source.location, source.options
        return
    with tempfile.TemporaryDirectory() as alone:
        os.symlink(os.path.abspath(file), os.path.join(alone, "model.gguf"))
        yield alone, {"trust_remote_code": source.trust, "gguf_file": "model.gguf"}


def skeleton(source: Source, config: PreTrainedConfig) -> PreTrainedModel:
    """The whole model without weights: its modules, on torch's `meta` device.

    It is of the class that the configuration's `architectures` names, if that is one of language
    models; else a causal language model; else one of images, sounds and text.

    Raises:
        UnsupportedArchitecture: no such model, one whose blocks read an encoder, or its code cannot
            be run here.
        UntrustedCode: it comes with its own code.
        LimitExceeded: it is made of too many modules.
    """
    try:
        with torch.device("meta"), few_modules(source.argument):
            return _make(source, config)
    except GotError:
        raise
    except ImportError as error:
        raise UnsupportedArchitecture(
            source.argument,
            expected="all packages that the model's code needs",
            found=brief(error),
            hint="Install the package that is named, and run again.",
        ) from None
    except Exception as error:  # whatever the model's code raises
        _refuse_untrusted(source, error)
        raise UnsupportedArchitecture(
            source.argument, expected="a causal language model", found=brief(error)
        ) from None


def _make(source: Source, config: PreTrainedConfig) -> PreTrainedModel:
    """The model of a configuration, with random weights.

    Raises:
        UnsupportedArchitecture: as `skeleton`.
    """
    options: dict[str, str | bool] = {"trust_remote_code": source.trust}
    if source.trust and source.commit is not None and getattr(config, "auto_map", None):
        options["code_revision"] = source.commit
    own_code = AutoModelForCausalLM.__name__ in (getattr(config, "auto_map", None) or ())
    made: PreTrainedModel
    if own_code and (source.trust or not any(_known(config))):
        # With that code, or with the refusal of it.
        made = untyped(AutoModelForCausalLM).from_config(config, **options)
        return made
    cls = _chosen(source, config)
    if untyped(cls).forward is nn.Module.forward:  # it runs nothing: a frame around models that do
        parts = [getattr(config, name) for name in config.sub_configs]
        config = next((part for part in parts if any(_known(part))), config)
        cls = _chosen(source, config)
    if cls.config_class is config.sub_configs.get("text_config"):
        quantized = getattr(config, "quantization_config", None)
        config = config.get_text_config()
        if quantized is not None:
            config.quantization_config = quantized
    made = untyped(cls)._from_config(config)
    return made


def _chosen(source: Source, config: PreTrainedConfig) -> type[PreTrainedModel]:
    """The class of a configuration's model.

    Raises:
        UnsupportedArchitecture: as `skeleton`.
    """
    known = _known(config)
    named: Sequence[str] = config.architectures or ()
    name = ", ".join(named) or type(config).__name__
    if reads_an_encoder(config) and not any(cls.__name__ in named for cls in known[0]):
        raise UnsupportedArchitecture(
            source.argument,
            expected="a model whose blocks read nothing but the text",
            found=f"{name}: a decoder that reads what an encoder makes of another input",
            hint="Use a causal language model.",
        )
    classes = [cls for kind in known for cls in kind]
    # Of a part of a model, transformers has classes that it does not list, and their names.
    others: list[Any] = [getattr(transformers, name, None) for name in named]
    parts = [cls for cls in others if getattr(cls, "config_class", None) is type(config)]
    fitting = [cls for cls in classes if cls.__name__ in named] + classes
    fitting += [cls for cls in parts if untyped(cls).can_generate()]
    if not fitting:
        raise UnsupportedArchitecture(
            source.argument,
            expected="a causal language model, or one of images, sounds and text that has one",
            found=f"{name}, which transformers {transformers.__version__} does not know as one",
            hint="If the model is newer than that, a newer transformers may know it.",
        )
    return fitting[0]


def _known(config: PreTrainedConfig) -> list[Sequence[type[PreTrainedModel]]]:
    """Classes of language models for such a configuration, by kind: causal ones first."""
    found = [untyped(mapping).get(type(config), ()) for mapping in _MAPPINGS]
    return [one if isinstance(one, list | tuple) else (one,) for one in found]


def load_model(
    source: Source,
    whole: PreTrainedModel,
    anatomy: Anatomy,
    *,
    count: int,
    left_out: Sequence[str] = (),
    dtype: torch.dtype,
    device: torch.device,
    more: Mapping[str, object] | None = None,
    unused: set[str] | None = None,
) -> PreTrainedModel:
    """The model with its first `count` blocks, in evaluation mode on `device`.

    Args:
        whole: the model's skeleton.
        left_out: paths of other parts that are not loaded.
        device: on `meta`, it says the types of the weights only.
        more: what else `from_pretrained` is to be given; a `device_map` instead of the device.
        unused: is given the names of weights in the files that the whole model does not use.

    Raises:
        OutsideOfModel: its weights are to be files outside of its folder.
        IncompleteModel: weights are missing, or of other shapes.
        NotEnoughMemory: of `check_weights`.
        ModelFailed: loading stopped with another error.
    """
    cls = type(whole)
    if count < anatomy.blocks or left_out:
        cls = shortened(cls, anatomy.blocks_path, count, left_out)
    options = dict(more or {}) | ({"device_map": "meta"} if device.type == "meta" else {})
    try:
        check_weights(source, whole, left_out)
        with panics_as_errors():
            loaded: tuple[PreTrainedModel, dict[str, Any]] = untyped(cls).from_pretrained(
                source.location,
                config=whole.config,
                dtype=dtype,
                **options,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # reported below instead
                adapter_kwargs={"subfolder": _NOWHERE},  # else one beside it would be applied
                **source.options,
            )
    except GotError:
        raise
    except OSError as error:
        raise IncompleteModel(
            source.argument, expected="the model's weights", found=brief(error)
        ) from None
    except Exception as error:  # whatever the files and the model's code raise
        raise ModelFailed(source.argument, expected="a model", found=brief(error)) from error
    model, report = loaded
    lost = {str(name) for name in report["missing_keys"]}
    lost |= {str(name) for name, *_ in report["mismatched_keys"]}
    if lost:
        raise IncompleteModel(
            source.argument,
            expected="all weights of the model",
            found=f"{len(lost)} missing or of another shape, such as {min(lost)}",
        )
    if unused is not None:
        unused |= _unused(whole, left_out, {str(name) for name in report["unexpected_keys"]})
    untyped(model).eval()
    if "device_map" not in options:
        untyped(model).to(device)
    return model


def _unused(whole: PreTrainedModel, left_out: Sequence[str], names: set[str]) -> set[str]:
    """Those names of weights that are none of the whole model's either.

    What transformers knows but this model lacks may come without the prefix of the model inside,
    and in a part left out as its file has it.
    """
    known = set(whole.state_dict())

    def is_used(name: str) -> bool:
        spelled = {name, f"{whole.base_model_prefix}.{name}"}
        outside = any(is_inside(one, part) for one in spelled for part in left_out)
        return outside or not spelled.isdisjoint(known)

    return {name for name in names if not is_used(name)}
