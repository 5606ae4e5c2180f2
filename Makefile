# Each target does all of its own set-up (.ci/setup): Debian packages as root, and .venv.
#   make demo    relctl at work on a real release, in two minutes
#   make test    everything: linters, types, unit tests, real processes, real releases (ARGS="-k name" for a part);
#                RELCTL_TESTS=long takes both flavours, and every act, through every moment of death, and a node out of
#                memory in a machine of its own (qemu): twice as long
#   make chaos   500 rounds of kills, freezes and requests at random moments (ROUNDS=50 SEED=7)
#   make bench   what relctld costs
#   make lint    linters and types only
#   make clean   remove what the others built

PYTHON := .venv/bin/python
WORKERS ?= 3
ARGS ?=
ROUNDS ?= 500
SEED ?=

.PHONY: demo test chaos bench lint clean setup

test: setup
	@RELCTL_TEST_FULL=1 $(PYTHON) -m pytest -q -n $(WORKERS) --dist worksteal $(ARGS)

demo: setup
	@$(PYTHON) -m tests.demo

chaos: setup
	@$(PYTHON) -m tests.chaos --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED))

bench: setup
	@$(PYTHON) bench/run.py $(ARGS)

lint: setup
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy
	@.venv/bin/lint-imports --no-logo

setup:
	@.ci/setup

clean:
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
