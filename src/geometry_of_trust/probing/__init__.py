"""Sources, fits, splits, held-out figures, controls, layer choice, token readings."""
