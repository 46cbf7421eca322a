"""Starts the command line: `python -m pfd_engine <command>`."""

import os
import sys

from pfd_engine.cli.main import main

if __name__ == "__main__":
    status = main()
    try:
        sys.stdout.flush()
    except OSError:  # `main` has said so; the interpreter would try once more on its way out, and show its own message
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)
