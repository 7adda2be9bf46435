"""Activations, unembeddings, labels and row tables: arrays and their bytes."""
