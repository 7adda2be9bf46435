"""Geometry of Trust: measure what a language model represents, and sign the measurement."""

__version__ = "0.1.0"
