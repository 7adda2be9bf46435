"""From a model and a text to activations; torch is imported only when an extraction runs."""
