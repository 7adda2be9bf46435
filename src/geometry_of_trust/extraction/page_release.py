"""Give back the memory of weights that are mapped from a checkpoint and no longer needed.

transformers maps safetensors files: a weight costs memory from its first use on. A block runs
once and a row of the unembedding is written once, so their pages can go at once; the kernel would
read them from the file again. That is lossless only for pages that are still the file's, which
the kernel tells (Linux). Everywhere else nothing is done.
"""

from __future__ import annotations

import bisect
import contextlib
import ctypes
import functools
import mmap
import re
from dataclasses import dataclass

import torch

_MADV_DONTNEED = 4
_UNCHANGED = re.compile(  # a mapping of a file, no page of which was copied to be changed
    rb"^([0-9a-f]+)-([0-9a-f]+) \S{4} [0-9a-f]+ \S+ [1-9].*\n(?:[A-Z].*\n)*?Anonymous: +0 kB", re.M
)


@dataclass(frozen=True)
class FilePages:
    """Address ranges [start, end) of this process that hold a file's bytes, none of them changed.

    Taken once the weights are loaded; they are not written to afterwards.
    """

    starts: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()

    @classmethod
    def of_process(cls) -> FilePages:
        """The ranges as they are now; none where the kernel does not tell."""
        text = b""
        with contextlib.suppress(OSError), open("/proc/self/smaps", "rb") as file:
            text = file.read()
        found = [(int(start, 16), int(end, 16)) for start, end in _UNCHANGED.findall(text)]
        return cls(tuple(start for start, _ in found), tuple(end for _, end in found))

    def hold(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor, of any shape, lies in them."""
        if not self.starts or tensor.device.type != "cpu" or not tensor.is_contiguous():
            return False
        k = bisect.bisect_right(self.starts, tensor.data_ptr()) - 1
        return k >= 0 and tensor.data_ptr() + tensor.nbytes <= self.ends[k]

    def release(self, tensor: torch.Tensor) -> None:
        """Drop the pages wholly inside a tensor, of any shape, if they are a file's."""
        if not self.hold(tensor):
            return
        start = tensor.data_ptr()
        end = start + tensor.nbytes
        start += -start % mmap.PAGESIZE
        end -= end % mmap.PAGESIZE
        if start < end:
            # Advice: should the kernel refuse it, the pages simply stay.
            _process().madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)


@functools.cache
def _process() -> ctypes.CDLL:
    return ctypes.CDLL(None)
