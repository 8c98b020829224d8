"""`python -m salience`: the command line."""

import sys

from salience.cli import main

sys.exit(main())
