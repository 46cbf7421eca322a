"""Starts the command line: `python -m pfd_engine <command>`."""

import sys

from pfd_engine.cli import main

if __name__ == "__main__":
    sys.exit(main())
