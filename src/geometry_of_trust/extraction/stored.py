"""What a model's weights were rounded to before they came here, and how they become plain again.

Files of 8 bits a weight or fewer hold integers or short floats, and scales. transformers makes
plain weights of some while it loads them: value × scale, rounded to the type asked for, so that
they are the same everywhere. That is asked for here, whatever kernels are installed. Others are
refused: their products are those of another library's kernels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch
import transformers

from geometry_of_trust.errors import BadOption, IncompleteModel, MalformedInput, QuantizedModel
from geometry_of_trust.extraction.architectures import text_config, untyped
from geometry_of_trust.extraction.gguf_header import GgufHeader, read_header
from geometry_of_trust.extraction.model_files import Source, weight_files
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.formats.safetensors_file import read_safetensors_header
from geometry_of_trust.formats.stored_tensors import StoredTensor

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

EXACT, ROUNDING = ("mxfp4",), ("fp8", "mxfp8")
"""Methods whose weights are the same in bfloat16, and those whose scales take more bits."""

_BITSANDBYTES = "bitsandbytes"
_PACKAGES = {
    "aqlm": "aqlm", "auto-round": "auto-round", "awq": "gptqmodel", "bitnet": "accelerate",
    "compressed-tensors": "compressed-tensors", "eetq": "kernels", "fbgemm_fp8": "kernels",
    "fp_quant": "fp_quant", "gptq": "gptqmodel", "higgs": "flute-kernel", "hqq": "hqq",
    "metal": "kernels", "modelopt": "nvidia-modelopt", "quanto": "optimum-quanto",
    "quark": "amd-quark", "spqr": "spqr_quant", "torchao": "torchao", "vptq": "vptq",
}  # fmt: skip
"""Whose kernels multiply with the weights of a method, by the names of PyPI."""

_SHORT_FLOATS = ("F8_", "F6_", "F4")
"""How safetensors' names of types of 8 bits or fewer begin."""

_ELSE = "Use the model that it was made from, or a GGUF file of it."


def find_gguf(source: Source) -> GgufHeader | None:
    """The header of a model's GGUF file, None of another model.

    Raises:
        IncompleteModel: it is none. Unreadable: it cannot be opened.
    """
    file = None if source.gguf is None else source.find(source.gguf)
    return None if file is None else read_header(file)


def stored_as(
    options: ExtractionOptions, source: Source, config: PreTrainedConfig, gguf: GgufHeader | None
) -> str | None:
    """What the weights in a model's own files were rounded to, None if to nothing below 16 bits.

    Of integers of bitsandbytes None, too: they are those of `--quantization int8`.

    Raises:
        QuantizedModel: it cannot be loaded.
        BadOption: it can, but not with these options.
    """
    where = source.argument
    if gguf is not None:
        stored = "gguf" if gguf.rounded else None
    else:
        stored = _method(config, where)
        if stored == _BITSANDBYTES:
            _check_bitsandbytes(options, config, where)
            return None
    if stored is None:
        return None
    if stored != "gguf" and options.quantization is not None:
        raise BadOption(
            "quantization", expected=f"none for {where}, which comes in {stored}",
            found=options.quantization,
        )  # fmt: skip
    if options.computes_exactly and options.dtype != "float32":
        raise BadOption(
            "dtype", expected=f"float32 for a reproducible run of weights in {stored}",
            found=options.dtype,
        )  # fmt: skip
    return stored


def stored_tensors(source: Source) -> list[StoredTensor]:
    """The tensors of a model's safetensors files; none of other files, or of broken ones.

    What is broken is found when it is loaded, if it is needed.

    Raises:
        OutsideOfModel: as `weight_files`.
    """
    try:
        paths = [] if source.gguf else [path for path in weight_files(source) if path is not None]
        return [tensor for path in paths for tensor in read_safetensors_header(path).tensors]
    except (OSError, IncompleteModel, MalformedInput):
        return []


def refuse_unsaid(tensors: Iterable[StoredTensor], where: str, config: PreTrainedConfig) -> None:
    """Refuse weights of 8 bits or fewer of which the configuration says nothing.

    They would be taken for plain numbers, without their scales.

    Raises:
        QuantizedModel.
    """
    if _saved(config) or _saved(text_config(config)):
        return
    for tensor in tensors:
        # Integers may be masks or tables; not so in a matrix that is called a weight.
        matrix = tensor.name.endswith("weight") and len(tensor.shape) > 1
        if tensor.dtype.startswith(_SHORT_FLOATS) or (matrix and tensor.dtype in ("I8", "U8")):
            raise QuantizedModel(
                f"{where}, {tensor.name}",
                expected="plain weights, or a quantization_config that says what they are",
                found=f"{tensor.dtype}, and none",
                hint=_ELSE,
            )


def ask_for_plain(config: PreTrainedConfig) -> None:
    """Have transformers make plain weights of what `stored_as` found, while it loads them."""
    for part in (config, text_config(config)):
        saved = _saved(part) or {}
        if saved.get("quant_method") in (*EXACT, *ROUNDING):
            untyped(part).quantization_config = {**saved, "dequantize": True}


def loading_options(source: Source) -> dict[str, object]:
    """The same of a GGUF file: what `from_pretrained` needs."""
    # Earlier versions of transformers know no other way.
    kind = getattr(transformers, "GgufConfig", None)
    if source.gguf is None or kind is None:
        return {}
    return {"quantization_config": kind(dequantize=True)}


def in_one_type(model: PreTrainedModel, dtype: torch.dtype, where: str) -> None:
    """Give all weights of such a model the type asked for; transformers forgets those beside.

    But for those that it keeps in float32 in every model of the kind.

    Raises:
        IncompleteModel: weights of 8 bits have no scale.
    """
    kept = {
        name
        for kind in ("_keep_in_fp32_modules", "_keep_in_fp32_modules_strict")
        for name in getattr(model, kind, None) or ()
    }
    for path, parameter in model.named_parameters():
        if parameter.dtype.itemsize == 1:
            raise IncompleteModel(where, expected=f"a scale of {path}", found="none")
        if parameter.is_floating_point():
            wide = any(name in path for name in kept)
            parameter.data = parameter.data.to(torch.float32 if wide else dtype)


def _method(config: PreTrainedConfig, where: str) -> str | None:
    """The method's name.

    Raises:
        QuantizedModel: its weights cannot be made plain.
    """
    saved = _saved(config) or _saved(text_config(config))
    if saved is None:
        return None
    method = saved.get("quant_method")
    if saved.get("load_in_4bit") or saved.get("load_in_8bit"):
        method = _BITSANDBYTES
    if not isinstance(method, str):
        raise QuantizedModel(
            f"{where}, quantization_config",
            expected="a quant_method, which says how the weights are packed",
            found=f"{saved!r:.80}",
            hint=f"If its weights are plain, take quantization_config out of config.json. {_ELSE}",
        )
    if method in (_BITSANDBYTES, *EXACT, *ROUNDING):
        return method
    package = _PACKAGES.get(method)
    kernels = f", for the kernels of {package}" if package else ""
    raise QuantizedModel(
        where,
        expected=f"plain weights, or {', '.join((*ROUNDING, *EXACT))}, which can be made plain",
        found=f"weights packed by {method}{kernels}",
        hint=_ELSE,
    )


def _saved(config: PreTrainedConfig) -> Mapping[str, object] | None:
    saved = getattr(config, "quantization_config", None)
    return saved if isinstance(saved, dict) else None


def _check_bitsandbytes(options: ExtractionOptions, config: PreTrainedConfig, where: str) -> None:
    saved = _saved(config) or _saved(text_config(config)) or {}
    if saved.get("load_in_4bit"):
        raise QuantizedModel(
            where,
            expected="plain weights, or bitsandbytes' of 8 bits",
            found="bitsandbytes' of 4 bits",
            hint="Use the model that it was made from; --quantization int8 holds it in 8 bits.",
        )
    if options.quantization is None:
        raise BadOption(
            "quantization",
            expected=f"int8 for {where}, which bitsandbytes has quantised",
            found="none",
        )
