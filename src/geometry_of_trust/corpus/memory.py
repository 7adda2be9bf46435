"""What a corpus run does with the memory that there is: how many tokens at a time, and how wide."""

from __future__ import annotations

from geometry_of_trust.corpus.choosing import Batching
from geometry_of_trust.extraction import architectures
from geometry_of_trust.extraction.running import Opened, Runner


def widen(runner: Runner) -> None:
    """Convert what batches would convert again and again once, if memory allows."""
    weights = runner.loaded.weights
    if weights.settled(runner.blocks):
        return
    if can_widen(sum(p.numel() for p in runner.blocks.parameters())):
        for block in runner.blocks:
            for _, held in weights.bring(block):
                runner.loaded.pages.release(held)


def can_widen(numbers: int) -> bool:
    """Whether there is memory for so many numbers of the blocks' weights, and for much else."""
    return 4 * numbers < available_memory() / 4


def available_memory() -> int:
    """Bytes that this machine can give."""
    import psutil  # noqa: PLC0415 - only a corpus needs it

    return int(psutil.virtual_memory().available)


def automatic_batching(opened: Opened, longest: int) -> Batching:
    """As many tokens at a time as keep the processor busy and a quarter of the memory free.

    More bring nothing: the weights are then read once for so many tokens that reading them takes
    no time to speak of.
    """
    d, inner, heads = architectures.widths(opened.config, opened.anatomy)
    a_token = 4 * (12 * d + 4 * inner + 3 * heads * longest) + 4 * d * len(opened.layers)
    # Batches of a reproducible run are side by side, so that each has half.
    most = 16384 if opened.device.type != "cpu" else 256 if opened.request.reproducible else 512
    tokens = max(1, min(most, available_memory() // 4 // a_token))
    return Batching(None, tokens, padded=not opened.request.reproducible)
