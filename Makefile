# `make run` and `make test` do everything on a fresh machine that has Python 3.11+, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: run test check soak bench bench-quick up down clean setup

setup: $(READY)

$(READY): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Cloze needs Python 3.11 or newer; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock '.[all,test]'
	touch $(READY)

run: setup  ## the whole pipeline on the embedded default, then what came out and where to look
	$(BIN)/dvc repro
	@$(BIN)/python -m pipelines show

test: setup  ## every test but those of soak: under twenty minutes
	$(BIN)/python -m pytest -n 3 --dist loadscope --no-loadscope-reorder --jaxtyping-packages=stages,tests.typechecker.checked

check: setup  ## format, lint, types, import rules, fast tests: under two minutes
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder -m 'not slow and not soak' --ignore=tests/e2e --ignore=tests/services --ignore=tests/soak

soak: setup  ## durability runs, whole flows and cluster jobs that are too long for `make test`
	$(BIN)/python -m pytest -m soak

bench: setup  ## paired measurements: reports/benchmarks.json and docs/results/performance.md
	$(BIN)/python -m benchmarks

bench-quick: setup  ## the same with fewer rounds, in under five minutes; the page stays as it is
	$(BIN)/python -m benchmarks --quick

up: setup  ## MLflow and Prefect servers with a worker on this machine
	$(BIN)/python -m pipelines up

down: setup
	$(BIN)/python -m pipelines down

clean:  ## remove what the pipeline made here; the virtual environment and the state root stay
	rm -rf artifacts reports dvc.lock
