"""How many layers a model has, by its configuration alone."""

from __future__ import annotations

from geometry_of_trust.extraction import architectures, loading
from geometry_of_trust.files import PathLike


def layer_count(model: PathLike, *, revision: str | None = None, trust: bool = False) -> int:
    """Number of blocks, for whoever wants all of them.

    Raises:
        UnknownModel, UntrustedCode, UnsupportedArchitecture: as `extract`.
    """
    source = loading.find_model(str(model), revision=revision, trust=trust)
    return architectures.block_count(loading.load_config(source), str(model))
