# The commands of this project; `make help` describes each of them.

UV_VERSION := 0.13.9
DEMO := demo

# Three processes share the tests, a file at a time, each with a lab of its own: on two cores, one of them mostly waits
# for a host. `make test WORKERS=0` uses one process.
WORKERS := 3
RESULTS ?= .pytest_cache/results.xml

# What `make mutants` passes on, such as `make mutants MUTANTS="--count 100 --seed 7 plan"`.
MUTANTS :=

export UV_PYTHON_DOWNLOADS := never
export UV_COMPILE_BYTECODE := 1
# Tests start many interpreters, so compiled modules are kept, even where the environment says otherwise.
export PYTHONDONTWRITEBYTECODE :=
export PATH := $(CURDIR)/.venv/bin:$(PATH)

uv := .tools/uv-$(UV_VERSION)
environment := .venv/.synced

.DEFAULT_GOAL := help
.PHONY: help setup debian demo demo-down check test test-unit bench mutants

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: debian $(environment)  ## install what is missing: Debian packages, uv, the Python environment

debian:
	@scripts/install-debian-packages.sh

# Unit tests need no Debian package, so they run where nobody may install one.
$(uv): | $(if $(filter test-unit,$(MAKECMDGOALS)),,debian)
	@echo "setup: uv $(UV_VERSION)"
	@rm -rf .tools
	@python=$$(scripts/find-python.sh) && "$$python" -m venv .tools
	@.tools/bin/pip install --quiet --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

$(environment): pyproject.toml uv.lock $(uv)
	@echo "setup: Python environment"
	@python=$$(scripts/find-python.sh) && .tools/bin/uv sync --quiet --frozen --python "$$python"
	@touch $@

demo: setup  ## start a cluster on this machine, apply a slice, show that its guests reach each other
	@scripts/demo.sh $(DEMO)

demo-down: setup  ## remove everything that the demo made
	@scripts/demo-down.sh $(DEMO)

check: setup  ## check lint, formatting, types, import directions, dependencies and the rules of the project
	ruff check
	ruff format --check
	mypy
	lint-imports --no-logo
	deptry .
	pytest -q tests/workshop

test: check  ## check, then run every test, on a lab and on PostgreSQL too; needs root
	pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=25 --junitxml=$(RESULTS)

test-unit: $(environment)  ## run the tests that need no root and no server and take under a minute of CPU time
	pytest --hypothesis-profile=unit -m 'not lab and not postgres and not root and not slow' --durations=10

bench: setup  ## measure speed, and print each figure beside its target
	python tests/bench/run.py

mutants: setup  ## change details of plan, state and apply, and print the changes that no test notices; slow
	python tests/workshop/mutants.py $(MUTANTS)
