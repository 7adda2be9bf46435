"""Folders of models as they lie on disk, made without torch: what identities are taken of."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

SIZES = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8, "F4": 0.5}
COMMIT = "0123456789abcdef0123456789abcdef01234567"

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]
"""Type and shape by name."""

TENSORS: Tensors = {
    "lm_head.weight": ("BF16", (6, 4)),
    "model.embed_tokens.weight": ("BF16", (6, 4)),
    "model.layers.0.mlp.weight": ("F32", (4, 4)),
    "model.layers.1.mlp.weight": ("F32", (4, 4)),
    "model.norm.weight": ("F16", (4,)),
    "scale": ("F32", ()),
    "zz.empty": ("I64", (0, 3)),
}


def bytes_of(name: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    """The same bytes for a tensor of this name every time, finite numbers in every type."""
    count = int(np.prod(shape, dtype=int) * SIZES[dtype])
    return bytes(0x3C if k % 2 else byte for k, byte in zip(
        range(count), hashlib.shake_128(name.encode()).digest(count + 1), strict=False
    ))  # fmt: skip


def safetensors(tensors: Tensors, metadata: Mapping[str, str] | None = None) -> bytes:
    """A safetensors file of these tensors, in this order."""
    header: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    data = b""
    for name, (dtype, shape) in tensors.items():
        part = bytes_of(name, dtype, shape)
        offsets = [len(data), len(data) + len(part)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        data += part
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


TEXTS = {
    "config.json": b'{"model_type": "llama"}',
    "generation_config.json": b"{}",
    "tokenizer.json": b'{"version": "1.0"}',
    "tokenizer_config.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
}


def single(folder: Path) -> Path:
    """A model in one file."""
    folder.mkdir(parents=True)
    for name, data in TEXTS.items():
        (folder / name).write_bytes(data)
    (folder / "model.safetensors").write_bytes(safetensors(TENSORS))
    return folder


def sharded(folder: Path, parts: Sequence[Sequence[str]] | None = None) -> Path:
    """The same in several."""
    single(folder)
    (folder / "model.safetensors").unlink()
    names = list(TENSORS)
    parts = parts or [names[3:], names[:3]]
    where: dict[str, str] = {}
    for k, part in enumerate(parts, 1):
        file = f"model-{k:05}-of-{len(parts):05}.safetensors"
        data = safetensors({name: TENSORS[name] for name in part}, {"format": "pt"})
        (folder / file).write_bytes(data)
        where |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def in_hub_cache(folder: Path, cache: Path, repository: str = "owner/name") -> Path:
    """A copy of a folder as the hub's client keeps it: links to blobs by their digests.

    Returns:
        The snapshot.
    """
    hub = cache / f"models--{repository.replace('/', '--')}"
    snapshot = hub / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (hub / "blobs").mkdir()
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text(COMMIT)
    for file in folder.iterdir():
        data = file.read_bytes()
        if file.suffix == ".safetensors":  # large files, by LFS
            blob = hashlib.sha256(data).hexdigest()
        else:
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # noqa: S324 - git's
        (hub / "blobs" / blob).write_bytes(data)
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob)
    return snapshot


def flip(path: Path, at: int = -1) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
