"""`python -m ops` is the same as `reelbus`."""

import sys

from ops.cli import main

if __name__ == "__main__":
    sys.exit(main())
