"""Runs what documentation shows: `console` blocks in a shell, `pycon` blocks in one interpreter for each page.

A page is its own golden file: the blocks are run in order, and each must print what the page shows below it. What
differs from run to run or from machine to machine is compared in a neutral form.
"""

from __future__ import annotations

import code
import contextlib
import io
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

_BLOCK: Final = re.compile(r"^```(console|pycon)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_VARYING: Final = (
    (re.compile(r"\b\d+\.\d s\b"), "N s"),  # how long something took
    (re.compile(r"\b(cirros|ubuntu)-[0-9a-f]{12}\b"), r"\1-DIGEST"),  # the guest image follows Debian's kernel
    (re.compile(r"time=[0-9.]+ ms"), "time=N ms"),
)
_WITHIN: Final = 120  # seconds for one command


def neutral(text: str) -> str:
    """Replace what varies between runs."""
    for pattern, replacement in _VARYING:
        text = pattern.sub(replacement, text)
    return text


def rerun(page: str, folder: Path, environment: Mapping[str, str]) -> str:
    """Return the page with the outputs that its blocks have now, kept as written where they only vary."""
    interpreter = code.InteractiveInterpreter({"__name__": "__console__"})
    runners: Mapping[str, Callable[[str], Iterator[str]]] = {
        "console": lambda block: _console(block, folder, environment),
        "pycon": lambda block: _pycon(block, interpreter, folder),
    }

    def renew(match: re.Match[str]) -> str:
        now = "".join(runners[match[1]](match[2]))
        body = match[2] if neutral(now) == neutral(match[2]) else now
        return f"```{match[1]}\n{body}```"

    return _BLOCK.sub(renew, page)


def _console(block: str, folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Run each line that begins with `$ `; what stands below it is its standard output."""
    for line in block.splitlines():
        if line.startswith("$ "):
            done = subprocess.run(
                ["bash", "-c", line[2:]],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_WITHIN,
                check=False,
            )
            yield f"{line}\n{_tidy(done.stdout)}"


def _pycon(block: str, interpreter: code.InteractiveInterpreter, folder: Path) -> Iterator[str]:
    for statement in _statements(block):
        shown = "".join(f"{'... ' if number else '>>> '}{line}\n" for number, line in enumerate(statement.splitlines()))
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), contextlib.chdir(folder):
            interpreter.runsource(statement + ("\n" if "\n" in statement else ""), "<page>")
        yield shown.replace("... \n", "...\n") + _tidy(printed.getvalue())


def _statements(block: str) -> Iterator[str]:
    statement: list[str] = []
    for line in block.splitlines():
        if line.startswith(">>> "):
            if statement:
                yield "\n".join(statement)
            statement = [line[4:]]
        elif statement and line.startswith("..."):
            statement.append(line[4:])
    if statement:
        yield "\n".join(statement)


def _tidy(printed: str) -> str:
    lines = [line.rstrip() for line in printed.splitlines()]
    return "".join(f"{line}\n" for line in lines)
