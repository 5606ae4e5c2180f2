"""How much of the tests was asked for.

FULL: nothing may be skipped for want of a tool or of a right · LONG: every form of what is shown, not the worst few.
"""

import os
from typing import Final

FULL: Final = os.environ.get("RELCTL_TEST_FULL") == "1" or os.environ.get("CI") == "true"
LONG: Final = os.environ.get("RELCTL_TESTS") == "long"
