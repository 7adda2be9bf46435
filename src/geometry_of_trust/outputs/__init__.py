"""Outputs: where they may go, and that they appear whole, together, or not at all."""
