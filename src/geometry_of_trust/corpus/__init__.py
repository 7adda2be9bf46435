"""From many texts to activations: what a corpus may be, and how it is run."""
