"""What `scripts/mutants.py` is made of: changed copies of a module, and the tests run on each."""
