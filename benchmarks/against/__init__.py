"""What a corpus run is compared with: other libraries, each in an environment of its own."""
