"""Runs `trivial` as the command line runs a verb: the interpreter is set up before the large imports."""

from __future__ import annotations

import sys
from pathlib import Path

from reconciler import interpreter

if __name__ == "__main__":
    interpreter.set_up()
    from tests.bench import trivial

    code = trivial.main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
    interpreter.leave()
    sys.exit(code)
