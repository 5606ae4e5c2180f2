"""`python -m relctld`."""

import sys

from relctld.cli import main

sys.exit(main())
