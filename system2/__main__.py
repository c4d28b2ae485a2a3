"""`python -m system2` is the command `system2`."""

import sys

from system2.cli.app import main

sys.exit(main())
