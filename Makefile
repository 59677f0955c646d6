# Everything runs in a virtual environment that is created here. It needs python3
# (>= 3.11, with venv), make and git. For another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Two workers with half of the tests each, then work stealing: neighboring tests share
# compiled programs, so each worker gets them in one piece.
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal
TESTS ?= tests

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help digits test full doctest table docs check lint types format clean

help:  ## show this list
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 10

digits: $(VENV)/examples  ## train on handwritten digits: the first example
	$(BIN)/python examples/digits.py

test full doctest table: export JAX_PLATFORMS := cpu
test full doctest table: export KERAS_BACKEND := jax

# XLA's default code generation, in place of the faster one of tests/conftest.py.
full: export XLA_FLAGS := --xla_cpu_parallel_codegen_split_count=1

test: $(VENV)/test  ## run the tests that start no processes: four minutes
	$(PYTEST) -m "not ci and not full" $(TESTS)

full: $(VENV)/test doctest  ## run every test: all combinations of options, long runs, devices
	$(PYTEST)

doctest: $(VENV)/test  ## run the examples in the docstrings
	$(PYTEST) --doctest-modules optax_extras

check: lint types test doctest  ## what every commit must pass

table: $(VENV)/test $(VENV)/parity  ## measure docs/parity.md again
	$(BIN)/python -m docs.parity

docs: $(VENV)/docs  ## build the site in docs/_build/html
	JAX_PLATFORMS=cpu $(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo docs/_build/html/index.html

lint: $(VENV)/dev  ## check format, lint and spelling, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	git ls-files -co --exclude-standard '*.py' '*.md' | xargs $(BIN)/codespell

types: $(VENV)/dev $(VENV)/test  ## run pyright on the package
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/dev  ## format, and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the virtual environment and the caches
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis

# $(VENV)/x is a stamp: the extra x was installed after the last change of pyproject.toml.
$(VENV)/made:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 is needed"'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/examples $(VENV)/test $(VENV)/parity $(VENV)/docs $(VENV)/dev: $(VENV)/%: pyproject.toml | $(VENV)/made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	$(if $(filter parity,$*),$(BIN)/python -m pip install --quiet --no-deps timm)
	touch $@
