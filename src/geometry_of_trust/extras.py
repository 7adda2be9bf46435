"""The optional parts of the installation: which of them brings which library.

The one place that knows. docs/decisions/0010-extras.md says what is in the base, and why.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from geometry_of_trust.errors import MissingExtra

EXTRA_OF = {
    "accelerate": "extract",
    "bitsandbytes": "int8",
    "datasets": "extract",
    "gguf": "extract",
    "huggingface_hub": "extract",
    "inspect_ai": "inspect",
    "matplotlib": "plot",
    "pandas": "pandas",
    "peft": "peft",
    "psutil": "extract",
    "pyarrow": "probes",
    "ray": "ray",
    "safetensors": "extract",
    "scipy": "probes",
    "sklearn": "probes",
    "tokenizers": "extract",
    "torch": "extract",
    "transformers": "extract",
}
"""Libraries that are not in the base, as they are imported, and what brings each."""


@contextlib.contextmanager
def optional() -> Iterator[None]:
    """Around imports of optional libraries: one that is missing is refused by its extra's name.

    Raises:
        MissingExtra: a library of `EXTRA_OF` is not installed; `where` is the extra, as pip takes
            it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in EXTRA_OF:
            raise
        extra = f"geometry-of-trust[{EXTRA_OF[library]}]"
        raise MissingExtra(
            extra,
            expected=f"this part of the installation, which brings {library}",
            found="it missing",
            hint=f"pip install '{extra}'",
        ) from None
