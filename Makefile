# `make demo` and `make test` are all that a new user needs; both set up .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DURATION ?=

.PHONY: setup demo test bench bench-analytics check proto lock clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "wattstream needs Python 3.11 or newer; choose one with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup
	@exec $(BIN)/wattstream demo --data-dir build/demo $(if $(DURATION),--duration $(DURATION))

test: setup
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# What of the database's speed is left at the end of the whole path; needs Go, takes about five minutes and both cores.
bench: setup
	$(BIN)/python -m tests.benchmarks.ingest $(BENCH_ARGS)

# How long answers take on a day, a week and a month of history; needs Go, both cores, 30 GB of disk and about an hour.
bench-analytics: setup
	$(BIN)/python -m tests.benchmarks.analytics $(BENCH_ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/python deploy/check_breaking.py

proto: setup
	$(BIN)/python deploy/generate.py

# Writes the versions that are installed now into constraints.txt.
lock:
	$(BIN)/python -m pip freeze --exclude-editable > constraints.txt

clean:
	rm -rf $(VENV) build dist
