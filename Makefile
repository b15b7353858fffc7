# `make run` and `make test` set up everything they need in .venv; a second call skips the set-up.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# A name on the path may be a version manager's stand-in that does not run, so each one is tried.
PYTHON = $(shell for python in python3.11 python3 python3.12 python3.13; do \
    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; \
    done)

# One more than cores: some tests wait for processes that they start.
WORKERS = $(shell $(BIN)/python -c 'import os; print(os.cpu_count() + 1)')

.PHONY: run test check bench ecosystem fuzz docs format clean
.DEFAULT_GOAL := test

run: $(STAMP)
	$(BIN)/nanguard check --exit-zero examples/skipgram.py

test: $(STAMP)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -m pytest -q -n $(WORKERS)

check: test

# FOLDERS are packages to read beside torch; torchfix is the peer of reading.
bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torchfix
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python benchmarks/all.py docs/benchmarks.md $(FOLDERS)

# What the present tree finds and a revision does not, and the reverse: make ecosystem REV=main ECOSYSTEM="folder ..."
REV := main
ecosystem: $(STAMP)
	$(BIN)/python benchmarks/ecosystem.py $(REV) $(ECOSYSTEM)

# N programs from SEED; a failing one is printed, shrunk, and makes the status 1
N := 1000
SEED := 0
fuzz: $(STAMP)
	PYTHONPATH=tests $(BIN)/python -m fuzzing $(N) $(SEED)

docs: $(STAMP)
	$(BIN)/python -m nanguard.report.pages docs/rules README.md
	$(BIN)/python -m nanguard.config.pages docs/configuration.md
	$(BIN)/python -m nanguard.cli.pages docs/commands

format: $(STAMP)
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

clean:
	rm -rf $(VENV) dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# pip is asked for, not only the folder: a venv made without ensurepip has no pip.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "nanguard needs Python 3.11 or newer: none of python3.11, python3 is" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[torch,dev]'
	@touch $@
