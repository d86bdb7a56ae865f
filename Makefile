# Everything happens inside the clone: the environment is .venv, pip's cache is in it, data is ./data.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_CACHE_DIR := $(CURDIR)/$(VENV)/cache
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export MPLCONFIGDIR := $(CURDIR)/$(VENV)/matplotlib
INSTALL := $(BIN)/python -m pip install --quiet

SECONDS ?= 3600

.PHONY: demo test run bench fuzz long faults soak clean

demo: $(VENV)/installed  ## a worker, a remote call through durable queues, a few seconds of benchmark
	$(BIN)/python bin/demo

run: $(VENV)/installed  ## the broker in the foreground: 127.0.0.1:61613, data in ./data
	$(BIN)/hoofbeat run

bench: $(VENV)/installed  ## the whole benchmark against a fresh local broker
	$(BIN)/hoofbeat bench

test: $(VENV)/installed-dev  ## lint, types, all tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses 2

long: $(VENV)/installed-dev  ## the tests that take minutes: a million messages, 10,000 connections
	$(BIN)/pytest -m long --timeout 1200
	HOOFBEAT_STORE=sqlite $(BIN)/pytest tests/peers

fuzz: $(VENV)/installed-dev  ## the fuzz tests for longer
	HYPOTHESIS_PROFILE=long $(BIN)/pytest tests/fuzz --timeout 1200

faults: $(VENV)/installed-dev  ## every fault that the broker survives, in its long form; needs strace
	$(BIN)/pytest -m faults --timeout 900 --capture=no tests/faults tests/durability
	HYPOTHESIS_PROFILE=medium $(BIN)/pytest tests/fuzz --timeout 900

soak: $(VENV)/installed-dev  ## a long run under mixed load, SECONDS=3600; the curve is build/soak/curve.svg
	$(BIN)/python -m tests.faults.soak --seconds $(SECONDS)

clean:  ## forget the environment, caches and data
	rm -rf $(VENV) data build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# setup.cfg says what to install; an environment is made anew when it changes.
$(VENV)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

$(VENV)/installed: setup.cfg pyproject.toml | $(VENV)/python
	$(INSTALL) --editable .
	touch $@

$(VENV)/installed-dev: setup.cfg pyproject.toml | $(VENV)/python
	$(INSTALL) --editable '.[dev]'
	touch $@ $(VENV)/installed
