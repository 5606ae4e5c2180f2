"""`python -m relctl`."""

from relctl.cli import main

main()
