"""The parts of benchmarks/reproducibility.py; tests/test_reproducibility.py uses them too."""
