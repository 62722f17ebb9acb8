"""Changes one detail of the code at a time, runs the tests of its package, and prints the changes that no test noticed.

    python tests/workshop/mutants.py [--count N] [--seed N] [--all] [PACKAGE...]

It works in a copy of the checkout. By default it takes a sample of `reconciler/plan`, `reconciler/state` and
`reconciler/apply`; the same seed takes the same sample. Not every survivor is a gap: some changes have no effect.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("plan", "state", "apply")
UNIT: Final = "not lab and not postgres and not root and not slow"
ACROSS: Final = ("tests/contracts", "tests/workflow", "tests/simulation", "tests/cli")
"""Tests that run when the tests of the package itself notice nothing."""

_LIMIT: Final = 600  # seconds; a change that makes a test hang is noticed by this

_SWAPS: Final[dict[type[ast.AST], type[ast.AST]]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}


@dataclass(frozen=True)
class Mutant:
    """A changed text of one file, and where and how it differs."""

    path: Path
    line: int
    what: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


def sites(tree: ast.AST) -> list[int]:
    """Return which nodes of a syntax tree can be changed, as positions in the order of `ast.walk`."""
    skipped = set(_skipped(tree))
    return [
        number for number, node in enumerate(ast.walk(tree)) if id(node) not in skipped and _change(node) is not None
    ]


def mutant(path: Path, text: str, number: int) -> Mutant:
    """Return the mutant of a file that differs in the node at this position."""
    tree = ast.parse(text)
    node = next(islice(ast.walk(tree), number, None))
    before = ast.unparse(node)
    name, value = _change(node) or ("", None)
    setattr(node, name, value)
    what = f"{_short(before)}  ->  {_short(ast.unparse(node))}"
    return Mutant(path, getattr(node, "lineno", 0), what, ast.unparse(tree) + "\n")


def _skipped(tree: ast.AST) -> Iterator[int]:
    """Find nodes whose change means nothing: annotations, messages of errors, and calls of decorators."""
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        match node:
            case ast.arg(annotation=annotation) | ast.AnnAssign(annotation=annotation):
                parts = [annotation]
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                parts = [node.returns, *node.decorator_list]
            case ast.ClassDef():
                parts = list(node.decorator_list)
            case ast.Raise(exc=error):
                parts = [error]
            case ast.JoinedStr():
                parts = [node]
            case _:
                pass
        yield from (id(inner) for part in parts if part is not None for inner in ast.walk(part))


def _change(node: ast.AST) -> tuple[str, object] | None:
    """Return the attribute of a node that is changed, and its new value; None where nothing is changed."""
    found: tuple[str, object] | None = None
    match node:
        case ast.Compare() if type(node.ops[0]) in _SWAPS:
            found = "ops", [_swap(node.ops[0]), *node.ops[1:]]
        case ast.BoolOp() | ast.BinOp() if type(node.op) in _SWAPS:
            found = "op", _swap(node.op)
        case ast.If() | ast.IfExp() | ast.While():
            found = "test", ast.UnaryOp(ast.Not(), node.test)
        case ast.Constant(value=bool() as value):
            found = "value", not value
        case ast.Constant(value=int() as value):
            found = "value", value + 1
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            found = "value", ast.Constant(None)
        case ast.Expr(value=ast.Call() | ast.Await()):
            found = "value", ast.Constant(None)
        case _:
            pass
    return found


def _swap(operator: ast.AST) -> ast.AST:
    return _SWAPS[type(operator)]()


def _short(text: str) -> str:
    line = text.splitlines()[0]
    return line if len(line) <= 70 else f"{line[:67]}..."


def sample(root: Path, packages: Sequence[str], count: int | None, seed: int) -> list[Mutant]:
    """Return so many mutants of packages, or all of them, in random order."""
    found = [
        (path, number)
        for package in packages
        for path in sorted((root / "reconciler" / package).rglob("*.py"))
        if "migrations" not in path.parts
        for number in sites(ast.parse(path.read_text()))
    ]
    random.Random(seed).shuffle(found)  # noqa: S311 - nothing secret depends on it
    return [mutant(path.relative_to(root), path.read_text(), number) for path, number in found[:count]]


def noticed(root: Path, one: Mutant) -> bool:
    """Return whether a test fails with a mutant; the copy of the checkout is as before afterwards."""
    path = root / one.path
    original = path.read_text()
    path.write_text(one.text)
    try:
        own = f"tests/{one.path.parts[1]}"
        return not (_passes(root, own) and _passes(root, *ACROSS))
    finally:
        path.write_text(original)


def _passes(root: Path, *tests: str) -> bool:
    argv = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", UNIT, *tests]
    try:
        done = subprocess.run(
            argv, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, check=False, capture_output=True, timeout=_LIMIT
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def copy_checkout(root: Path) -> None:
    """Copy every file of the checkout that git does not ignore."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in names:
        if name and (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes((ROOT / name).read_bytes())


def main(arguments: Sequence[str]) -> int:
    """Try a sample of mutants, and print those that survive; return 1 if the tests fail without any change."""
    parser = argparse.ArgumentParser(description="Find changes of the code that no test notices.")
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help=f"default: {', '.join(PACKAGES)}")
    parser.add_argument("--count", type=int, default=20, help="how many changes to try (default: 20)")
    parser.add_argument("--seed", type=int, default=1, help="which sample to take (default: 1)")
    parser.add_argument("--all", action="store_true", help="try every change; this takes many hours")
    asked = parser.parse_args(arguments)
    packages = asked.packages or PACKAGES
    with TemporaryDirectory(prefix="mutants-") as folder:
        root = Path(folder)
        copy_checkout(root)
        if not all(_passes(root, f"tests/{package}") for package in packages):
            sys.stderr.write("mutants: the tests fail without any change\n")
            return 1
        tried = sample(root, packages, None if asked.all else asked.count, asked.seed)
        survivors = 0
        for number, one in enumerate(tried, 1):
            killed = noticed(root, one)
            survivors += not killed
            sys.stdout.write(f"[{number}/{len(tried)}] {'killed  ' if killed else 'SURVIVED'} {one}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(tried) - survivors} of {len(tried)} changes were noticed by a test\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
