# Everything runs in a virtual environment of its own; python3 (>= 3.11, with venv), make
# and git are all that has to be there. Another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Two workers, half of the tests each, until one has time left: what lies together
# shares compiled programs.
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal
TESTS ?= tests

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help digits test full doctest table docs check lint types format clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 10

digits: $(VENV)/examples  ## train on handwritten digits: the example to begin with
	$(BIN)/python examples/digits.py

test full doctest table: export JAX_PLATFORMS := cpu
test full doctest table: export KERAS_BACKEND := jax

# With XLA's default code generation, where tests/conftest.py sets a quicker one.
full: export XLA_FLAGS := --xla_cpu_parallel_codegen_split_count=1

test: $(VENV)/test  ## the tests, without those that start processes: four minutes
	$(PYTEST) -m "not ci and not full" $(TESTS)

full: $(VENV)/test doctest  ## every test: every combination of options, long runs, devices
	$(PYTEST)

doctest: $(VENV)/test  ## the examples in the docstrings
	$(PYTEST) --doctest-modules optax_extras

check: lint types test doctest  ## what a commit has to pass

table: $(VENV)/test $(VENV)/parity  ## measure docs/parity.md anew
	$(BIN)/python -m docs.parity

docs: $(VENV)/docs  ## the site, to docs/_build/html
	JAX_PLATFORMS=cpu $(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo docs/_build/html/index.html

lint: $(VENV)/dev  ## format and lint, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/dev $(VENV)/test  ## pyright on the package
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/dev  ## format, and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the virtual environment and the caches
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis

# $(VENV)/x is a stamp: the extra x is installed, and pyproject.toml has not changed since.
$(VENV)/made:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 is needed"'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/examples $(VENV)/test $(VENV)/parity $(VENV)/docs $(VENV)/dev: $(VENV)/%: pyproject.toml | $(VENV)/made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	touch $@
