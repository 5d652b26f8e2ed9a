# Each target needs nothing but python3 (3.11 or newer) and make; it makes .venv and installs what it lacks.
PYTHON ?= python3
VENV := .venv
JOBS ?= 2
GALLERY ?= 1

LOWEST := .venv-lowest
CORE_TESTS := tests/test_scikit_learn.py tests/test_saving.py tests/test_validation.py tests/network tests/training \
	tests/data tests/deploy

VENV_PYTHON := $(VENV)/bin/python
# One thread a process: searches and tests run several processes, which would fight over the cores.
ONE_THREAD := OMP_NUM_THREADS=1 $(VENV_PYTHON)

SEED := $(shell date +%s)
EXAMPLES := 10000

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow fuzz test-lowest lint format docs benchmark

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(VENV)/.has-inspect ## Search a network for handwritten digits; pictures in demo-output/
	$(ONE_THREAD) -u examples/demo.py

test: $(VENV)/.has-test ## Run the tests, but the slow ones
	$(ONE_THREAD) -m pytest -n $(JOBS)

test-slow: $(VENV)/.has-test ## Run the tests that take minutes
	$(ONE_THREAD) -m pytest -m slow

fuzz: $(VENV)/.has-test ## Try EXAMPLES=10000 random examples; SEED=... repeats a run
	@echo "SEED=$(SEED) (make fuzz SEED=$(SEED) repeats this run, with the example that failed first)"
	SKLCNN_FUZZ_SEED=$(SEED) SKLCNN_FUZZ_EXAMPLES=$(EXAMPLES) $(ONE_THREAD) -m pytest -n $(JOBS) tests/properties

test-lowest: $(LOWEST)/.has-lowest ## Run the core tests with the oldest versions that pyproject.toml allows
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n $(JOBS) $(CORE_TESTS)

lint: $(VENV)/.has-dev ## Check style and types
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m mypy

format: $(VENV)/.has-dev ## Put the code into style
	$(VENV_PYTHON) -m ruff check --fix .
	$(VENV_PYTHON) -m ruff format .

docs: $(VENV)/.has-docs ## Build the site, docs/_build/index.html; GALLERY=0 runs no examples
	GALLERY=$(GALLERY) $(ONE_THREAD) -m sphinx -W --keep-going -q docs docs/_build

benchmark: $(VENV)/.has-test ## Measure, and write docs/performance.md
	$(VENV_PYTHON) -m benchmarks

# .has-EXTRA: the package is installed with that extra, as pyproject.toml has it now.
$(VENV)/.has-%: pyproject.toml | $(VENV_PYTHON)
	@echo "Installing sklcnn[$*] into $(VENV) (PyTorch is large: the first time takes minutes)"
	$(VENV_PYTHON) -m pip install --disable-pip-version-check --editable '.[$*]'
	@touch $@

# uv takes the oldest version of each direct dependency, which pip cannot.
$(LOWEST)/.has-lowest: pyproject.toml
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip install --disable-pip-version-check --quiet uv
	$(LOWEST)/bin/python -m uv pip install --python $(LOWEST)/bin/python --resolution lowest-direct --editable '.[test]'
	@touch $@

# Comes here only where .venv is missing, or broken since its Python is gone.
$(VENV_PYTHON):
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit( \
	    "sklcnn needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0] + ". Name another: make PYTHON=...")'
	$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }
