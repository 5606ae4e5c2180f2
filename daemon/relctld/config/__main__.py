"""`python -m relctld.config > docs/reference-config.md`: the reference of the keys, from the table of keys."""

import sys

from relctld.config.reference import reference

sys.stdout.write(reference())
