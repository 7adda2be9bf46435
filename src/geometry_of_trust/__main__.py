"""`python -m geometry_of_trust` is `got-cli`."""

import sys

from geometry_of_trust.cli import main

if __name__ == "__main__":
    sys.exit(main())
