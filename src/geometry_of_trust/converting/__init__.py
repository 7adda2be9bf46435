"""From `.gotact` and `.gotue` to safetensors, `.npy` and Parquet, and back; vLLM's export, too."""

from geometry_of_trust.converting.conversion import Converted, convert

__all__ = ["Converted", "convert"]
