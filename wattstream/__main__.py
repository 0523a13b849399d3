"""Runs the `wattstream` command: `python -m wattstream`."""

from wattstream.cli import main

if __name__ == "__main__":
    main()
