"""The arithmetic of a reproducible run: float32, one value by definition (docs/arithmetic.md)."""

ARITHMETIC = "fixed-order-float32-1"
"""Its name, in the extraction record and in what is signed."""
