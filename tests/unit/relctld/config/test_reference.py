"""The committed reference is the one that the table of keys makes."""

import subprocess
import sys
from pathlib import Path

from relctld.config.keys import KEYS
from relctld.config.reference import reference

PAGE = Path(__file__).parents[4] / "docs" / "reference-config.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == reference(), "run: python -m relctld.config > docs/reference-config.md"


def test_the_command_that_makes_it() -> None:
    made = subprocess.run([sys.executable, "-m", "relctld.config"], capture_output=True, text=True, check=True)
    assert made.stdout == reference()


def test_every_key_has_its_row() -> None:
    rows = [line for line in reference().splitlines() if line.startswith(("| `", "| *"))]
    files = 3
    assert len(rows) == sum(map(len, KEYS.values())) + files
