"""Parts of `benchmarks/probes.py`."""
