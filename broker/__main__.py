"""`python -m broker` is the `hoofbeat` command."""

import sys

from broker.cli import main

if __name__ == "__main__":
    sys.exit(main())
