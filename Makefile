# What people and CI run here; each target says what it does under `make help`.

UV_VERSION := 0.13.9
DEMO := demo

export UV_PYTHON_DOWNLOADS := never
export UV_COMPILE_BYTECODE := 1
export PATH := $(CURDIR)/.venv/bin:$(PATH)

uv := .tools/uv-$(UV_VERSION)
environment := .venv/.synced

.DEFAULT_GOAL := help
.PHONY: help setup debian demo demo-down check test bench

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: debian $(environment)  ## install what is missing: Debian packages, uv, the Python environment

debian:
	@scripts/install-debian-packages.sh

$(uv): | debian
	@echo "setup: uv $(UV_VERSION)"
	@rm -rf .tools
	@python=$$(scripts/find-python.sh) && "$$python" -m venv .tools
	@.tools/bin/pip install --quiet --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

$(environment): pyproject.toml uv.lock $(uv)
	@echo "setup: Python environment"
	@python=$$(scripts/find-python.sh) && .tools/bin/uv sync --quiet --frozen --python "$$python"
	@touch $@

demo: setup  ## bring up a cluster on this machine, apply a slice, show that its guests reach each other
	@scripts/demo.sh $(DEMO)

demo-down: setup  ## remove all that the demo made
	@scripts/demo-down.sh $(DEMO)

check: setup  ## lint, formatting, types, import directions, and the rules of the workshop
	ruff check
	ruff format --check
	mypy
	lint-imports --no-logo
	pytest -q tests/workshop

test: check  ## check, then every test, those on the lab and on PostgreSQL included
	pytest

bench: setup  ## measure what docs say of speed, next to the targets
	python tests/bench/run.py
