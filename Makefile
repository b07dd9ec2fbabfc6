# The two commands of the README are `make demo` and `make test`; both make the environment first.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2

# Torch computes with one thread per test process; more would fight for the processors.
TEST_ENVIRONMENT := OMP_NUM_THREADS=1

.PHONY: help demo test check reference clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

demo: .venv/.stamp ## the whole loop on bundled data and a bundled model, offline
	$(BIN)/outcrop demo

test: .venv/.stamp ## the whole test suite
	$(TEST_ENVIRONMENT) $(BIN)/python -m pytest -n $(WORKERS) -q

check: .venv/.stamp ## style, types, floors, derived pages, sizes
	$(BIN)/ruff check --output-format concise .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/make_reference.py --check
	$(BIN)/python tools/sizes.py

reference: .venv/.stamp ## write the README's map and the pages derived from the code
	$(BIN)/python tools/make_reference.py

clean: ## remove the environment and all caches; outputs of jobs stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info
	find outcrop tests tools -name __pycache__ -prune -exec rm -rf {} +

.venv/.stamp: constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Outcrop needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@
