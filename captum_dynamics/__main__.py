"""`python -m captum_dynamics` is the command line."""

from __future__ import annotations

import sys

from captum_dynamics.cli import main

if __name__ == "__main__":
    sys.exit(main())
