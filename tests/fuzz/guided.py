"""Runs a check with coverage-guided bytes; the arguments are CHECK, then options of libFuzzer."""

from __future__ import annotations

import importlib
import sys

if __name__ == "__main__":
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["reconciler"]):
        from tests.fuzz.checks import CHECKS
    atheris.Setup([sys.argv[0], *sys.argv[2:]], CHECKS[sys.argv[1]])
    atheris.Fuzz()
