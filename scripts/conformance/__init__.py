"""Conformance vectors, made from the specification with nothing of the package: see make_vectors.py."""
