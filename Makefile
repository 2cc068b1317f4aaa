# `make demo` and `make test` set up everything they need: Python 3.11 or newer, make and a package index suffice.

PYTHON ?= python3
GPU_PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
# Tests that start servers or Ray share one process, see tests/conftest.py; the others take the remaining cores.
PARALLEL := --numprocesses=auto --maxprocesses=8 --dist=loadgroup

define ABOUT_DEMO
demo      scikit-learn ships 1,797 images of digits, 8x8 pixels. This trains a DDPM on them, draws 512 new ones and
          measures them, all on this machine: about three minutes on two CPU cores, setup included.
          Ctrl-C stops it at any time; the same command goes on from there.
endef
define AFTER_DEMO

next      your own images   $(VENV)/bin/ddpm run folder --set prepare.source=PATH
          schedule runs     $(VENV)/bin/ddpm serve, then http://127.0.0.1:4200
          compare runs      $(VENV)/bin/mlflow ui --backend-store-uri sqlite:///ddpm-runs/mlflow.db, then the link above
          all settings      docs/settings.md
endef

# The four files of Fashion-MNIST, gzipped or not.
SHOWCASE_DATA ?= /usr/share/datasets/fashion-mnist
# More options of `ddpm run`, such as SHOWCASE_OPTIONS='--set train.images=6400' for a look at every step.
SHOWCASE_OPTIONS ?=
SHOWCASE_FILES = $(foreach split,train t10k,$(split)-images-idx3-ubyte $(split)-labels-idx1-ubyte)
SHOWCASE_MISSING = $(foreach file,$(SHOWCASE_FILES),$(if $(wildcard $(SHOWCASE_DATA)/$(file)*),,$(file)))

define ABOUT_SHOWCASE
showcase  Fashion-MNIST, 60,000 pictures of clothes of 28x28 pixels: trains a DDPM on them by class, draws new ones and
          measures them, all on this machine: about an hour on two CPU cores.
          Ctrl-C stops it at any time; the same command goes on from there.
endef
define AFTER_SHOWCASE

next      its pictures      $(VENV)/bin/python -m docs.showcase writes them into docs/showcase/ and prints the figures
          compare runs      $(VENV)/bin/mlflow ui --backend-store-uri sqlite:///ddpm-runs/mlflow.db
          a larger network  $(VENV)/bin/ddpm run fashion-mnist, hours on two cores, minutes on a GPU
endef
export ABOUT_DEMO AFTER_DEMO ABOUT_SHOWCASE AFTER_SHOWCASE

.DEFAULT_GOAL := help
.PHONY: help demo showcase fix check test test-e2e test-all parity gpu clean

help: ## Say what there is
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) infra/install.py $(VENV) dev
	@$(VENV)/bin/python -m infra.services.prefect.server prepare
	@touch $@

demo: ## Run the digits end to end and say where to look
	@echo "$$ABOUT_DEMO"
	@$(MAKE) --no-print-directory $(INSTALLED)
	@$(VENV)/bin/ddpm run digits
	@echo "$$AFTER_DEMO"

showcase: ## Train on Fashion-MNIST for an hour on two cores, and say where to look; SHOWCASE_DATA=PATH of its files
	$(if $(strip $(SHOWCASE_MISSING)),$(error no $(firstword $(SHOWCASE_MISSING)) in $(SHOWCASE_DATA); \
	on Debian and Ubuntu: apt-get install dataset-fashion-mnist; elsewhere: SHOWCASE_DATA=PATH of the four files of \
	https://github.com/zalandoresearch/fashion-mnist))
	@echo "$$ABOUT_SHOWCASE"
	@$(MAKE) --no-print-directory $(INSTALLED)
	@$(VENV)/bin/ddpm run showcase --name showcase --set 'prepare.source=$(SHOWCASE_DATA)' $(SHOWCASE_OPTIONS)
	@echo "$$AFTER_SHOWCASE"

fix: $(INSTALLED) ## Format and mend what can be mended by machine
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

check: $(INSTALLED) ## Format, lint, types and import contracts
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

test: check ## Every check and every test but the long ones
	$(VENV)/bin/python -m pytest $(PARALLEL) -m 'not slow and not gpu and not browser'

test-e2e: $(INSTALLED) ## The report and the pages of Prefect and MLflow in a real browser; needs Chromium
	$(VENV)/bin/python -m pytest -n0 -m browser

test-all: check test-e2e ## The long ones too: drivers killed in each stage, real servers, lost workers, the browser
	$(VENV)/bin/python -m pytest $(PARALLEL) -m 'not gpu and not browser'

parity: $(INSTALLED) ## Measure the same images with torch-fidelity, pytorch-fid, clean-fid and prdc, in ten minutes
	$(VENV)/bin/python -m tests.parity.measure

gpu: ## Measure a real GPU, in seven minutes; any Python with torch alone, GPU_PYTHON=PATH
	$(GPU_PYTHON) -m benchmarks.gpu.bare

clean: ## Remove what make made; runs are kept
	rm -rf $(VENV) .parity *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis
