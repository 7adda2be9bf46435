"""Verify, reproduce, and what differs."""
