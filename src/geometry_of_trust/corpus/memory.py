"""What a corpus run does with the memory that there is: how many tokens at a time, and how wide."""

from __future__ import annotations

from geometry_of_trust.corpus.choosing import Batching
from geometry_of_trust.extraction import architectures
from geometry_of_trust.extraction.request import Request
from geometry_of_trust.extraction.running import Opened, Runner


def widen(runner: Runner) -> None:
    """Convert all blocks to float64 once, not for every batch, if memory allows."""
    numbers = sum(parameter.numel() for parameter in runner.blocks.parameters())
    if widens(runner.opened.request, numbers):
        runner.loaded.weights.bring(runner.blocks)


def widens(request: Request, numbers: int) -> bool:
    """Whether a run holds all of so many weights in float64."""
    wide = request.reproducible and not request.options.low_memory
    return wide and 8 * numbers < available_memory() / 4


def available_memory() -> int:
    """Bytes that this machine can give."""
    import psutil  # noqa: PLC0415 - only a corpus needs it

    return int(psutil.virtual_memory().available)


def automatic_batching(opened: Opened, longest: int) -> Batching:
    """As many tokens at a time as keep the processor busy and a quarter of the memory free.

    More bring nothing: the weights are then read once for so many tokens that reading them takes
    no time to speak of.
    """
    config = architectures.text_config(opened.config)
    d = opened.anatomy.hidden_dim
    wide = 8 if opened.request.reproducible else 4
    inner = max(getattr(config, "intermediate_size", None) or 4 * d, d)
    heads = getattr(config, "num_attention_heads", None) or max(1, d // 64)
    a_token = wide * (12 * d + 4 * inner + 3 * heads * longest) + 4 * d * len(opened.layers)
    most = 512 if opened.device.type == "cpu" else 16384
    tokens = max(1, min(most, available_memory() // 4 // a_token))
    return Batching(None, tokens, padded=not opened.request.reproducible)
