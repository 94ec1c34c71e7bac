"""`python -m fsstore` is the command `fsstore`."""

import sys

from fsstore.cli import main

if __name__ == "__main__":
    sys.exit(main())
