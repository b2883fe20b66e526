"""``python -m bayestds``: the command line."""

import sys

from bayestds.cli import main

if __name__ == "__main__":
    sys.exit(main())
