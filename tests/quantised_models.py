"""Tiny checkpoints that come quantised, as their makers write them, and what they stand for.

Each function writes two folders: the checkpoint, and a plain one with the weights that it stands
for, which numpy has worked out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

BLOCK = 16
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)

GPT_OSS: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 32, "num_local_experts": 4, "head_dim": 8,
    "num_experts_per_tok": 2, "num_key_value_heads": 2, "sliding_window": 8,
}  # fmt: skip


def write(folder: Path, like: Path, tensors: Mapping[str, torch.Tensor], method: Any) -> Path:
    """A copy of a model with other weights, whose configuration says how they are quantised."""
    folder.mkdir(parents=True)
    for file in like.iterdir():
        if file.suffix != ".safetensors":
            folder.joinpath(file.name).write_bytes(file.read_bytes())
    config = json.loads((like / "config.json").read_text())
    if method is not None:
        config["quantization_config"] = method
    (folder / "config.json").write_text(json.dumps(config))
    save_file(dict(tensors), folder / "model.safetensors", {"format": "pt"})
    return folder


def fp8(model: Path, to: Path, *, scales: torch.dtype = torch.float32) -> tuple[Path, Path]:
    """Linear layers of the blocks in float8, with a scale for each block of 16 by 16; the rest as
    it was, in the type of the scales."""
    stored: dict[str, torch.Tensor] = {}
    plain: dict[str, torch.Tensor] = {}
    for name, weight in load_file(model / "model.safetensors").items():
        if not name.endswith("proj.weight"):
            stored[name] = weight.to(scales)
            plain[name] = stored[name].float()
            continue
        rows, columns = weight.shape
        blocks = weight.reshape(rows // BLOCK, BLOCK, columns // BLOCK, BLOCK)
        scale = (blocks.abs().amax((1, 3)) / 448).to(scales)
        short = (blocks / scale.float()[:, None, :, None]).to(torch.float8_e4m3fn)
        stored[name] = short.reshape(rows, columns)
        stored[f"{name}_scale_inv"] = scale
        value = short.float().numpy() * scale.float().numpy()[:, None, :, None]
        plain[name] = torch.from_numpy(value.reshape(rows, columns))
    method = {"quant_method": "fp8", "activation_scheme": "dynamic",
              "weight_block_size": [BLOCK, BLOCK]}  # fmt: skip
    return write(to / "fp8", model, stored, method), write(to / "plain", model, plain, None)


def mxfp8(model: Path, to: Path) -> tuple[Path, Path]:
    """Linear layers of the blocks in float8, with a power of two for 32 in a row; no others."""
    stored: dict[str, torch.Tensor] = {}
    plain: dict[str, torch.Tensor] = {}
    for name, weight in load_file(model / "model.safetensors").items():
        stored[name] = plain[name] = weight
        if name.endswith("proj.weight") and weight.shape[1] % 32 == 0:
            powers = torch.full((weight.shape[0], weight.shape[1] // 32), 120, dtype=torch.uint8)
            powers[::3] = 121
            scale = torch.exp2(powers.double() - 127).repeat_interleave(32, 1)
            stored[name] = (weight / scale).to(torch.float8_e4m3fn)
            stored[f"{name}_scale_inv"] = powers
            plain[name] = (stored[name].double() * scale).float()
    method = {"quant_method": "mxfp8", "activation_scheme": "dynamic",
              "weight_block_size": [1, 32]}  # fmt: skip
    return write(to / "mxfp8", model, stored, method), write(to / "plain", model, plain, None)


def mxfp4(model: Path, to: Path) -> tuple[Path, Path]:
    """The experts of a gpt-oss in four bits, with a power of two for each 32 of them."""
    random = np.random.default_rng(7)
    stored: dict[str, torch.Tensor] = {}
    plain: dict[str, torch.Tensor] = {}
    for name, weight in load_file(model / "model.safetensors").items():
        if not name.endswith(("gate_up_proj", "down_proj")):
            stored[name] = weight.bfloat16()
            plain[name] = stored[name].float()
            continue
        experts, width, rows = weight.shape
        shape = (experts, rows, width // 32)
        packed = random.integers(0, 256, (*shape, 16), np.uint8)
        powers = random.integers(120, 126, shape, np.uint8)
        stored[f"{name}_blocks"] = torch.from_numpy(packed)
        stored[f"{name}_scales"] = torch.from_numpy(powers)
        value = np.ldexp(unpacked(packed), powers.astype(np.int64)[..., None] - 127)
        value = value.reshape(experts, rows, width).swapaxes(1, 2).astype(np.float32)
        plain[name] = torch.from_numpy(np.ascontiguousarray(value))
    method = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    return write(to / "mxfp4", model, stored, method), write(to / "plain", model, plain, None)


def unpacked(packed: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Two numbers of one sign, two exponent and one fraction bit a byte, the low half first."""
    values = np.array([*E2M1, *(-value for value in E2M1)])
    pairs = np.stack([values[packed & 15], values[packed >> 4]], axis=-1)
    numbers: NDArray[np.float64] = pairs.reshape(*packed.shape[:-1], -1)
    return numbers
