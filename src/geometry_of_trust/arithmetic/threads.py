"""Who computes: one thread, or some that share out the columns or heads of one operation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import torch

_WORTH_SHARING = 2**17
"""Elementary steps below which waking a thread costs more than it saves."""
_pool: ContextVar[tuple[ThreadPoolExecutor, int] | None] = ContextVar("pool", default=None)


@contextlib.contextmanager
def sharing() -> Iterator[None]:
    """Until the `with` ends, as many threads as torch has share out each large operation of ours.

    torch itself computes with one: there are many small operations, and its threads wait for each
    other, spinning, after each of them.
    """
    count = torch.get_num_threads()
    if count == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(count - 1) as pool:
            token = _pool.set((pool, count))
            try:
                yield
            finally:
                _pool.reset(token)
    finally:
        torch.set_num_threads(count)


def share(call: Callable[[int, int], None], count: int, steps: int, unit: int = 1) -> None:
    """Call with ranges [start, end) that make up 0 to `count`, side by side where that pays.

    Args:
        call: computes a range; it changes nothing of another's.
        steps: what all of it costs, in elementary steps.
        unit: ranges begin at its multiples.
    """
    threads = _pool.get()
    if threads is None or steps < _WORTH_SHARING or count <= unit:
        call(0, count)
        return
    pool, number = threads
    step = -(-count // (number * unit)) * unit
    others = [
        pool.submit(call, start, min(start + step, count)) for start in range(step, count, step)
    ]
    try:
        call(0, min(step, count))
    finally:
        for other in others:
            other.result()
