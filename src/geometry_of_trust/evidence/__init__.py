"""Attestations and verdicts in the formats of others: in-toto, DSSE, Sigstore bundles."""
