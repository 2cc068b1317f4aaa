# `make demo` and `make test` set up everything they need: Python 3.11 or newer, make and a package index suffice.

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
# Tests that start servers or Ray share one process, see tests/conftest.py; the others take the remaining cores.
PARALLEL := --numprocesses=auto --maxprocesses=8 --dist=loadgroup

.DEFAULT_GOAL := help
.PHONY: help demo fix check test test-all clean

help: ## Say what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(VENV)/bin/python -m infra.services.prefect_server prepare
	@touch $@

demo: $(INSTALLED) ## Run the digits end to end and say where to look
	$(VENV)/bin/ddpm run digits

fix: $(INSTALLED) ## Format and mend what can be mended by machine
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

check: $(INSTALLED) ## Format, lint, types and import contracts
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

test: check ## Every check and every test but the long ones
	$(VENV)/bin/python -m pytest $(PARALLEL) -m 'not slow and not gpu'

test-all: check ## The long ones too: drivers killed in each stage, real servers, lost workers
	$(VENV)/bin/python -m pytest $(PARALLEL) -m 'not gpu'

clean: ## Remove what make made; runs are kept
	rm -rf $(VENV) *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis
