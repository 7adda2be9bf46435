"""The parts of benchmarks/reproducibility.py, which a test of extraction uses, too."""
