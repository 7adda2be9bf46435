"""The arithmetic of a reproducible run: float32, one value by definition (docs/arithmetic.md)."""
