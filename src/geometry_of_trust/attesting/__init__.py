"""From files to a signed attestation."""
