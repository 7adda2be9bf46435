"""What a model takes, told before any of its weights is loaded: bytes, and time for a product."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from geometry_of_trust.errors import IncompleteModel, MalformedInput, brief
from geometry_of_trust.extraction.architectures import without
from geometry_of_trust.extraction.float32 import float32
from geometry_of_trust.extraction.model_files import weight_files
from geometry_of_trust.extraction.preparing import STORED
from geometry_of_trust.extraction.running import Opened
from geometry_of_trust.formats.safetensors_file import read_safetensors_header

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_WIDTH = 4096
"""A larger matrix is no slower for each of its numbers."""


@dataclass(frozen=True)
class Sizes:
    """Weights by their number, in their files and in memory. A shared one counts once.

    Attributes:
        blocks: numbers in each block. outside: numbers outside of them.
        rows: numbers of the embeddings and of the unembedding, of which only rows are used.
        stored: bytes of each block in the files. stored_outside: of all else in them.
        itemsize: bytes of one number of a block in memory; itemsize_outside: of another one.
        mapped: memory holds the files' own pages, each from its first use on.
        from_files: `stored` was read from files that are here; else it follows from the shapes.
    """

    blocks: tuple[int, ...]
    outside: int
    rows: int
    stored: tuple[int, ...]
    stored_outside: int
    itemsize: int
    itemsize_outside: int
    mapped: bool
    from_files: bool

    def read(self, count: int) -> int:
        """Bytes of files that the model with its first `count` blocks is made of."""
        return sum(self.stored[:count]) + self.stored_outside

    def in_memory(self, count: int) -> int:
        """Bytes of memory that these blocks take, with all outside of them."""
        return self.itemsize * sum(self.blocks[:count]) + self.itemsize_outside * self.outside


def sizes(opened: Opened) -> Sizes:
    """The sizes of a model's weights, from its skeleton and from what is on this machine.

    Raises:
        IncompleteModel: a file of weights that is here is broken.
    """
    request, skeleton = opened.request, opened.skeleton
    blocks = opened.anatomy.blocks_of(skeleton)
    counts = tuple(_numbers(block.parameters()) for block in blocks)
    loaded = without(skeleton.named_parameters(), opened.anatomy.beside)
    embeddings = [m.weight for m in skeleton.modules() if isinstance(m, torch.nn.Embedding)]
    rows = [weight for weight in embeddings if any(weight is p for p in loaded)]
    rows.append(opened.anatomy.unembedding_of(skeleton).get_parameter("weight"))
    inside = {id(parameter) for parameter in blocks.parameters()}
    outside = _numbers(p for p in loaded if id(p) not in inside)
    stored = _stored(opened, len(counts))
    types = {_configured(opened.config)} if stored is None else stored.types
    if opened.anatomy.beside:  # of which the files have weights too, by other names
        stored = None
    widest = max(type_.itemsize for type_ in types)
    plain = opened.source.gguf is None and request.options.quantization is None
    plain = plain and opened.stored is None
    mapped = len(types) == 1 and plain and opened.device.type == "cpu"
    itemsize = widest if mapped else getattr(torch, request.options.dtype).itemsize
    return Sizes(
        blocks=counts,
        outside=outside,
        rows=_numbers(rows),
        stored=tuple(widest * n for n in counts) if stored is None else stored.blocks,
        stored_outside=widest * outside if stored is None else stored.outside,
        itemsize=1 if request.options.quantization is not None else itemsize,
        itemsize_outside=itemsize,
        mapped=mapped,
        from_files=stored is not None,
    )


def _numbers(parameters: Iterable[torch.Tensor]) -> int:
    return sum({id(p): p.numel() for p in parameters}.values())


def _configured(config: PreTrainedConfig) -> torch.dtype:
    """The type of the weights of a model whose files are not here, as its configuration says."""
    dtype = getattr(config, "dtype", None)
    dtype = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


@dataclass(frozen=True)
class _Stored:
    """Bytes in files; `types` has the types of the weights in them."""

    blocks: tuple[int, ...]
    outside: int
    types: set[torch.dtype]


def _stored(opened: Opened, count: int) -> _Stored | None:
    """What the headers of a model's files say, None if the files are not on this machine.

    Raises:
        IncompleteModel.
    """
    source = opened.source
    if source.gguf is not None:  # read as a whole, and made into float32
        file = source.find(source.gguf, local=True)
        if file is None:
            return None
        return _Stored((0,) * count, os.stat(file).st_size, {torch.float32})
    name = opened.anatomy.blocks_path.rpartition(".")[2]
    of_block = re.compile(rf"(?:^|\.){re.escape(name)}\.([0-9]+)\.")
    blocks, outside, types = [0] * count, 0, set()
    try:
        files = weight_files(source, local=True)
        for path in (path for path in files if path is not None and None not in files):
            for tensor in read_safetensors_header(path).tensors:
                match = of_block.search(tensor.name)
                size = tensor.stop - tensor.start
                types |= {STORED[tensor.dtype]} if tensor.dtype in STORED else set()
                if match is None:
                    outside += size
                elif int(match[1]) < count:  # beyond: of parts that are not run
                    blocks[int(match[1])] += size
    except (OSError, MalformedInput) as error:
        raise IncompleteModel(
            source.argument, expected="the model's weights", found=brief(error)
        ) from None
    return _Stored(tuple(blocks), outside, types) if types else None


def pace(opened: Opened, tokens: int, seconds: float = 0.2) -> float:
    """Seconds for each number of a block's weights, on so many tokens, as the run multiplies.

    Measured: a product of random numbers is repeated for `seconds`, and the fastest one counts.
    """
    d = opened.anatomy.hidden_dim
    inner = max((p.numel() // d for p in _matrices(opened)), default=d)
    shape = (min(inner, _WIDTH), min(d, _WIDTH))
    request = opened.request
    dtype = torch.float32 if request.reproducible else getattr(torch, request.options.dtype)
    context: AbstractContextManager[None] = (
        float32() if request.reproducible else torch.inference_mode()
    )
    weight = torch.rand(shape, dtype=torch.float32, device=opened.device).to(dtype)
    states = torch.rand((tokens, shape[1]), dtype=torch.float32, device=opened.device).to(dtype)
    best, end = math.inf, time.perf_counter() + seconds
    with context:
        while best == math.inf or time.perf_counter() < end:
            start = time.perf_counter()
            float(torch.nn.functional.linear(states, weight)[0, 0])
            best = min(best, time.perf_counter() - start)
    return best / math.prod(shape)


def _matrices(opened: Opened) -> list[torch.Tensor]:
    """The weights of two dimensions in the first block."""
    first = opened.anatomy.blocks_of(opened.skeleton)[0]
    return [parameter for parameter in first.parameters() if parameter.ndim == 2]
