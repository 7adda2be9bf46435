"""Keys, the signed bytes, the binding and the attestation."""
