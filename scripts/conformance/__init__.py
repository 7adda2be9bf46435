"""Conformance vectors, made from the specification with nothing of the package."""
