"""One verb, one short function: each module here holds `VERBS`, a table of what it can do.

Rule 1: a verb asks, and shows what was answered; it decides nothing about a release.
Rule 2: a module here imports what its own verbs need; `relctl.cli` imports the one that is asked for.
"""
