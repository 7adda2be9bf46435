#!/usr/bin/env python3
"""Extract activations from a model: the same as `got-cli extract`, with the same options."""

import sys

from geometry_of_trust.cli import main

if __name__ == "__main__":
    sys.exit(main(["extract", *sys.argv[1:]]))
