"""Exact sums, the Gram matrix, the inner product and its spectrum."""
