"""`python -m app`: the same as `python -m haulier`."""

import sys

from haulier.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
