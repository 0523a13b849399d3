"""The `wattstream` command."""
