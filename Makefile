# Needs Python 3.10 or newer and make; everything else goes into .venv.

PYTHON ?= python3
WORKERS ?= 2
BENCH ?=

VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test quick lint types bench table clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

# One stamp for each set of packages; making the environment anew removes them all.
$(VENV)/made: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "$(PYTHON) must be Python 3.10 or newer; name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "making the environment $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV) || \
		{ echo "$(PYTHON) -m venv failed; on Debian or Ubuntu install the package python3-venv, then try again" >&2; \
		  rm -rf $(VENV); exit 1; }
	@$(PIP) "pip>=21.3"
	@touch $@

$(VENV)/demos: $(VENV)/made
	@echo "installing lagrangian_eqprop with the extra: demos"
	@$(PIP) --editable ".[demos]"
	@touch $@

$(VENV)/tests: $(VENV)/made
	@echo "installing lagrangian_eqprop with the extras: demos, test"
	@$(PIP) --editable ".[demos,test]"
	@touch $@ $(VENV)/demos

# A peer that has no package for this machine must not keep the others away.
$(VENV)/bench: $(VENV)/made
	@echo "installing lagrangian_eqprop with the extra: bench"
	@$(PIP) --editable ".[bench]" || \
		{ echo "not every peer can be installed here; those that are missing are left out" >&2; \
		  $(PIP) --editable . && for peer in jax diffrax heyoka; do $(PIP) "$$peer" || true; done; }
	@touch $@

demo: $(VENV)/demos  ## train a network of oscillators on handwritten digits
	$(RUN) -m lagrangian_eqprop demo digits

# Workers share the cores already: each computes with one thread.
TESTS := MPLBACKEND=Agg OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(RUN) -m pytest

test: lint types  ## everything: ruff, mypy, all tests
	$(TESTS) -n $(WORKERS) --dist worksteal

quick: $(VENV)/tests  ## the tests that are not slow, up to the first failure
	$(TESTS) -m "not slow" -x -q

lint: $(VENV)/tests  ## ruff
	$(RUN) -m ruff check .

types: $(VENV)/tests  ## mypy
	$(RUN) -m mypy

bench: $(VENV)/bench  ## compare with jax, diffrax, heyoka, scipy and C; writes benchmarks/results/
	$(RUN) -m benchmarks $(BENCH)

table: $(VENV)/tests  ## measure every cell of docs/exactness.md anew (half an hour)
	$(RUN) tests/table.py

clean:  ## remove the environment, the builds and the tools' caches
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
