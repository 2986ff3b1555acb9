# A newcomer's commands. Each does its whole set-up in .venv; the second time it is there already.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
POINTS ?= 300
SEED ?= 1
OUT ?= data/faults
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.bench-ready
RECTOOLS_READY := .venv-rectools/.ready
FEAST_READY := .venv-feast/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

help: ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

setup: $(READY) ## install everything into .venv

demo: $(READY) ## built-in database, a sample, the nightly job, the result
	@$(BIN)/echotune demo

test: $(READY) ## every test
	$(BIN)/python -m pytest

test-fast: $(READY) ## the tests without those marked slow
	$(BIN)/python -m pytest -m 'not slow'

faults: $(READY) ## break nights in POINTS ways, by SEED; the table goes to OUT
	PYTHONPATH=tests $(BIN)/python -m faults --points $(POINTS) --seed $(SEED) --out $(OUT)

bench: $(BENCH_READY) $(FEAST_READY) ## the benchmarks beside peers, the figures to reach; BENCH=--quick for small ones
	$(BIN)/python -m benchmarks $(BENCH)

bench-quality: $(BENCH_READY) $(RECTOOLS_READY) ## ranking quality beside peers; DATA=folder of data sets, SEARCH=1 tunes anew, CASES=some
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.quality $(CASES) $(if $(DATA),--data $(DATA)) $(if $(SEARCH),--search) $(BENCH)

# two small packages that agree with ours on everything
$(BENCH_READY): $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	@touch $(BENCH_READY)

# Feast wants an older pandas than ours, so it has a Python of its own
$(FEAST_READY): benchmarks/feast/requirements.txt
	@$(PYTHON) -m venv .venv-feast && .venv-feast/bin/python -m pip install --quiet --requirement $< && touch $@ \
		|| echo "Feast can't be installed here; it is left out"

# RecTools wants an older numpy and pandas than ours, so it has a Python of its own
$(RECTOOLS_READY): benchmarks/quality/rectools.txt
	@$(PYTHON) -m venv .venv-rectools && .venv-rectools/bin/python -m pip install --quiet --requirement $< && touch $@ \
		|| echo "RecTools can't be installed for this Python, 3.11 or 3.12 is needed; it is left out"

check: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## let ruff put the code in form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove all .venvs and caches; data/ stays
	rm -rf $(VENV) .venv-rectools .venv-feast .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: help setup demo test test-fast faults bench bench-quality check format clean
