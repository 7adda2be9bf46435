"""Values as text, one file a kind."""
