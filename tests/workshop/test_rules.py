"""Hold what style.md asks for and no linter knows; each rule is shown to bite, then turned on every file of ours."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST_FILE = 600  # lines
LONGEST_FUNCTION = 60  # lines
LONGEST_SLEEP = 1.0  # seconds, in a test that is not on the lab
VAGUE_NAMES = {"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
ASSERTING = ("assert", "check", "expect", "fail", "raises", "verify", "warns", "golden")
BROAD = {"Exception", "BaseException"}
SKIPS = {"importorskip", "skip", "skipif", "skipTest"}


@dataclass(frozen=True)
class Source:
    """A file as the rules see it: where it stands in the checkout, and its text."""

    path: Path
    text: str

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of a Python file's syntax tree."""
        return tuple(ast.walk(ast.parse(self.text, str(self.path))))

    @property
    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Every function and method of a Python file."""
        return (node for node in self.nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))

    @property
    def calls(self) -> Iterator[ast.Call]:
        """Every call in a Python file."""
        return (node for node in self.nodes if isinstance(node, ast.Call))


Finding = tuple[int, str]
"""A line, counted from 1, and what is wrong there."""


def is_code(path: Path) -> bool:
    """Tell a Python file of the product from one of its tests."""
    return path.suffix == ".py" and path.parts[0] != "tests"


def is_test(path: Path) -> bool:
    """Tell a Python file of the tests."""
    return path.suffix == ".py" and path.parts[0] == "tests"


def is_python(path: Path) -> bool:
    """Tell a Python file."""
    return path.suffix == ".py"


def is_ours(path: Path) -> bool:
    """Tell a text that we wrote from one that a tool or a lawyer did."""
    return path.name not in {"uv.lock", "LICENSE"}


def last_name(node: ast.AST) -> str:
    """Return the last part of a dotted name: `skip` of `pytest.mark.skip`."""
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""


def assertionless_tests(source: Source) -> Iterator[Finding]:
    """Find tests that could not fail but by an exception."""
    for function in source.functions:
        if function.name.startswith("test") and not any(map(asserts, ast.walk(function))):
            yield function.lineno, f"{function.name} asserts nothing"


def asserts(node: ast.AST) -> bool:
    """Tell an `assert` of something that is not constant, or a call whose name says that it asserts."""
    match node:
        case ast.Assert(test=ast.Constant()):
            return False
        case ast.Assert():
            return True
        case ast.Call(func=function):
            return last_name(function).lstrip("_").startswith(ASSERTING)
        case _:
            return False


def mocks(source: Source) -> Iterator[Finding]:
    """Find stand-ins for our own code: mock libraries, and all but constants replaced under a test's hand."""
    for node in source.nodes:
        match node:
            case ast.ImportFrom(module=str(module)) if module.split(".")[-1] == "mock" or module == "unittest":
                yield node.lineno, f"imports {module}"
            case ast.Import(names=names) if any(name.name.endswith("mock") for name in names):
                yield node.lineno, "imports a mock library"
            case ast.Call(func=ast.Attribute(value=ast.Name(id="monkeypatch"), attr="setattr"), args=args):
                if not any(isinstance(arg, ast.Constant) and str(arg.value).isupper() for arg in args):
                    yield node.lineno, "replaces code; use a real store, a local server, or the environment"
            case _:
                pass


def skips(source: Source) -> Iterator[Finding]:
    """Find tests that may be left out; only a conftest may do so, and aloud."""
    if source.path.name == "conftest.py":
        return
    for node in source.nodes:
        if isinstance(node, ast.Attribute | ast.Name) and last_name(node) in SKIPS:
            yield node.lineno, f"{last_name(node)} belongs into a conftest"


def long_sleeps(source: Source) -> Iterator[Finding]:
    """Find tests away from the lab that sleep; time is an input."""
    if "lab" in source.path.parts:
        return
    for call in source.calls:
        match call:
            case ast.Call(func=function, args=[ast.Constant(value=int() | float() as seconds)]):
                if last_name(function) == "sleep" and seconds > LONGEST_SLEEP:
                    yield call.lineno, f"sleeps {seconds} s"
            case _:
                pass


def long_files(source: Source) -> Iterator[Finding]:
    """Find files that have grown past reading."""
    lines = source.text.count("\n")
    if lines > LONGEST_FILE:
        yield LONGEST_FILE, f"{lines} lines; split it where it changes subject"


def long_functions(source: Source) -> Iterator[Finding]:
    """Find functions that do more than one thing, by their length."""
    for function in source.functions:
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > LONGEST_FUNCTION:
            yield function.lineno, f"{function.name} has {lines} lines"


def loose_openings(source: Source) -> Iterator[Finding]:
    """Find modules that do not open with one sentence on one line."""
    docstring = ast.get_docstring(ast.parse(source.text)) or ""
    opening = docstring.split("\n\n")[0]
    if not opening.endswith(".") or "\n" in opening:
        yield 1, "a module opens with one sentence on one line: what it does, and what it leaves to whom"


def vague_names(source: Source) -> Iterator[Finding]:
    """Find modules and packages named after nothing."""
    for part in source.path.with_suffix("").parts:
        if part in VAGUE_NAMES:
            yield 1, f"{part} says nothing; name it after what is in it"


def hidden_errors(source: Source) -> Iterator[Finding]:
    """Find handlers that swallow any error at all."""
    for node in source.nodes:
        if isinstance(node, ast.ExceptHandler) and is_broad(node) and all(map(does_nothing, node.body)):
            yield node.lineno, "hides every error"


def is_broad(handler: ast.ExceptHandler) -> bool:
    """Tell a handler of everything."""
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or last_name(kind) in BROAD for kind in kinds)


def does_nothing(statement: ast.stmt) -> bool:
    """Tell `pass`, `continue` and `...`."""
    match statement:
        case ast.Pass() | ast.Continue() | ast.Expr(value=ast.Constant()):
            return True
        case _:
            return False


def unsafe_arguments(source: Source) -> Iterator[Finding]:
    """Find calls that hand a string to a shell, or take any host for the right one."""
    for call in source.calls:
        for keyword in call.keywords:
            match keyword:
                case ast.keyword(arg="shell", value=ast.Constant(value=True)):
                    yield call.lineno, "hands a string to a shell"
                case ast.keyword(arg="known_hosts", value=ast.Constant(value=None)):
                    yield call.lineno, "takes any host for the right one"
                case _:
                    pass


def stubs(source: Source) -> Iterator[Finding]:
    """Find functions that are only promised."""
    for node in source.nodes:
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if last_name(raised) == "NotImplementedError":
                yield node.lineno, "a stub"


def leftover_notes(source: Source) -> Iterator[Finding]:
    """Find notes to oneself: work is either done or an issue."""
    return matches(source, re.compile(r"\b(T[O]DO|F[I]XME|X[X]X)\b"))


def machine_paths(source: Source) -> Iterator[Finding]:
    """Find paths that are only true on the machine of whoever wrote them."""
    return matches(source, re.compile(r"(?<![\w.$}~])/(work|root|home/\w+)/"))


def matches(source: Source, pattern: re.Pattern[str]) -> Iterator[Finding]:
    """Find every line with a match of a pattern."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if found := pattern.search(line):
            yield number, found[0]


@dataclass(frozen=True)
class Rule:
    """A rule: what it looks for, in which files, and a small text that breaks it."""

    find: Callable[[Source], Iterable[Finding]]
    covers: Callable[[Path], bool]
    broken: str
    file: str = "tests/test_example.py"

    def __str__(self) -> str:
        return self.find.__name__


RULES = [
    Rule(assertionless_tests, is_test, "def test_runs():\n    assert True\n    print(plan())"),
    Rule(mocks, is_test, "def test_plan(monkeypatch):\n    monkeypatch.setattr(store, 'read', dict)"),
    Rule(mocks, is_test, "from unittest import mock"),
    Rule(mocks, is_test, "from unittest.mock import Mock"),
    Rule(skips, is_test, "@pytest.mark.skipif(True, reason='slow')\ndef test_apply():\n    assert apply()"),
    Rule(skips, is_test, "pytest.skip('no root')"),
    Rule(long_sleeps, is_test, "await asyncio.sleep(1.5)"),
    Rule(long_files, is_code, "pass\n" * (LONGEST_FILE + 1), "reconciler/long.py"),
    Rule(long_functions, is_code, "def long():\n" + "    step()\n" * LONGEST_FUNCTION, "reconciler/long.py"),
    Rule(loose_openings, is_code, "", "reconciler/mute.py"),
    Rule(loose_openings, is_code, '"""Take a sentence\nof two lines."""', "reconciler/wordy.py"),
    Rule(vague_names, is_python, "", "reconciler/plan/utils.py"),
    Rule(hidden_errors, is_python, "try:\n    apply()\nexcept Exception:\n    pass"),
    Rule(hidden_errors, is_python, "try:\n    apply()\nexcept:\n    ..."),
    Rule(unsafe_arguments, is_python, "subprocess.run(line, shell=True)"),
    Rule(unsafe_arguments, is_python, "asyncssh.connect(host, known_hosts=None)"),
    Rule(stubs, is_python, "def later():\n    raise NotImplementedError('soon')"),
    Rule(leftover_notes, is_ours, "# TO" + "DO: the rest", "docs/notes.md"),
    Rule(machine_paths, is_ours, "see /" + "work/main/reconciler", "docs/notes.md"),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_rule_bites(rule: Rule) -> None:
    source = Source(Path(rule.file), rule.broken)
    assert rule.covers(source.path)
    assert list(rule.find(source))


@pytest.mark.parametrize("rule", {rule.find: rule for rule in RULES}.values(), ids=str)
def test_every_file_keeps(rule: Rule) -> None:
    covered = [source for source in sources() if rule.covers(source.path)]
    assert covered, "the rule looks at no file at all"
    broken = [f"{source.path}:{line}: {what}" for source in covered for line, what in rule.find(source)]
    assert not broken, "\n" + "\n".join(broken)


@cache
def sources() -> tuple[Source, ...]:
    """Return every text of the checkout that is in Git or about to be."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    files = [Path(name) for name in sorted(set(names)) if name and (ROOT / name).is_file()]
    return tuple(Source(path, text) for path in files if (text := read_text(ROOT / path)) is not None)


def read_text(path: Path) -> str | None:
    """Return a file's text, or None where it is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
