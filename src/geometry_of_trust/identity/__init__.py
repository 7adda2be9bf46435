"""Which model it was: its files and its tensors, digested; docs/identity.md."""
