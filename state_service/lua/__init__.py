"""The scripts that run inside Redis."""
