"""Enforces rules that no linter knows: each rule is tested on a text that breaks it, then applied to every file."""

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
ACROSS = {"bench", "contracts", "errors", "fuzz", "workshop"}
"""Folders of tests that are not about one package."""
FORMATS_CHOSEN = {"errors.py", "output.py"}
"""The modules of reconciler/cli that may ask whether to print JSON: one prints views, the other errors."""
SKIPS = {"importorskip", "skip", "skipif", "skipTest"}


@dataclass(frozen=True)
class Source:
    """A file of the checkout: its path and its text."""

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
    """Return whether this is a Python file of the product."""
    return path.suffix == ".py" and path.parts[0] != "tests"


def is_test(path: Path) -> bool:
    """Return whether this is a Python file of the tests."""
    return path.suffix == ".py" and path.parts[0] == "tests"


def is_verb(path: Path) -> bool:
    """Return whether this is a module of the command line that has no part in choosing the format of output."""
    return is_code(path) and path.parts[:2] == ("reconciler", "cli") and path.name not in FORMATS_CHOSEN


def is_python(path: Path) -> bool:
    """Return whether this is a Python file."""
    return path.suffix == ".py"


def is_ours(path: Path) -> bool:
    """Return whether this project wrote the text; a tool wrote uv.lock, and LICENSE is quoted."""
    return path.name not in {"uv.lock", "LICENSE"}


def last_name(node: ast.AST) -> str:
    """Return the last part of a dotted name: `skip` of `pytest.mark.skip`."""
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""


def assertionless_tests(source: Source) -> Iterator[Finding]:
    """Find tests that can fail by an exception only."""
    for function in source.functions:
        if function.name.startswith("test") and not any(map(asserts, ast.walk(function))):
            yield function.lineno, f"{function.name} asserts nothing"


def asserts(node: ast.AST) -> bool:
    """Return whether this is an `assert` of something that varies, or a call whose name says that it asserts."""
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
    """Find mocks of our own code: mock libraries, and `monkeypatch.setattr` of anything but a constant."""
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
    """Find tests that may be skipped; only a conftest may do so, with a warning."""
    if source.path.name == "conftest.py":
        return
    for node in source.nodes:
        if isinstance(node, ast.Attribute | ast.Name) and last_name(node) in SKIPS:
            yield node.lineno, f"{last_name(node)} belongs into a conftest"


def long_sleeps(source: Source) -> Iterator[Finding]:
    """Find tests outside the lab that sleep; pass time in as an argument."""
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
    """Find files that are too long."""
    lines = source.text.count("\n")
    if lines > LONGEST_FILE:
        yield LONGEST_FILE, f"{lines} lines; split it where it changes subject"


def long_functions(source: Source) -> Iterator[Finding]:
    """Find functions that are too long."""
    for function in source.functions:
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > LONGEST_FUNCTION:
            yield function.lineno, f"{function.name} has {lines} lines"


def loose_openings(source: Source) -> Iterator[Finding]:
    """Find modules whose docstring does not begin with one sentence on one line."""
    (module, *_) = source.nodes
    docstring = (ast.get_docstring(module) if isinstance(module, ast.Module) else None) or ""
    opening = docstring.split("\n\n")[0]
    if not opening.endswith(".") or "\n" in opening:
        yield 1, "a module docstring begins with one sentence on one line that says what the module does"


def vague_names(source: Source) -> Iterator[Finding]:
    """Find modules and packages whose name says nothing."""
    for part in source.path.with_suffix("").parts:
        if part in VAGUE_NAMES:
            yield 1, f"{part} says nothing; name it after what is in it"


def misplaced_tests(source: Source) -> Iterator[Finding]:
    """Find test files that are not where the package or module that they test is."""
    if not source.path.name.startswith("test_"):
        return
    folder = source.path.relative_to("tests").parent
    if folder == Path():
        module = Path("reconciler", source.path.name.removeprefix("test_"))
        if not (ROOT / module).exists():
            yield 1, f"there is no {module}; move the tests to the folder of their package"
    elif folder.parts[0] not in ACROSS and not (ROOT / "reconciler" / folder.parts[0]).is_dir():
        yield 1, f"there is no package reconciler/{folder.parts[0]}"


def hidden_errors(source: Source) -> Iterator[Finding]:
    """Find handlers that hide every error."""
    for node in source.nodes:
        if isinstance(node, ast.ExceptHandler) and is_broad(node) and all(map(does_nothing, node.body)):
            yield node.lineno, "hides every error"


def is_broad(handler: ast.ExceptHandler) -> bool:
    """Return whether a handler catches everything."""
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or last_name(kind) in BROAD for kind in kinds)


def does_nothing(statement: ast.stmt) -> bool:
    """Return whether a statement is `pass`, `continue` or a constant such as `...`."""
    match statement:
        case ast.Pass() | ast.Continue() | ast.Expr(value=ast.Constant()):
            return True
        case _:
            return False


def unsafe_arguments(source: Source) -> Iterator[Finding]:
    """Find calls that pass a string to a shell or accept any host key."""
    for call in source.calls:
        for keyword in call.keywords:
            match keyword:
                case ast.keyword(arg="shell", value=ast.Constant(value=True)):
                    yield call.lineno, "passes a string to a shell"
                case ast.keyword(arg="known_hosts", value=ast.Constant(value=None)):
                    yield call.lineno, "accepts any host key"
                case _:
                    pass


def stubs(source: Source) -> Iterator[Finding]:
    """Find functions that are not implemented."""
    for node in source.nodes:
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if last_name(raised) == "NotImplementedError":
                yield node.lineno, "a stub"


def formats_chosen_by_verbs(source: Source) -> Iterator[Finding]:
    """Find verbs that ask whether to print JSON; they pass a view on, which has both forms."""
    for node in source.nodes:
        match node:
            case ast.Attribute(attr="json", ctx=ast.Load(), value=value) if last_name(value) in {"session", "options"}:
                yield node.lineno, "asks for the format; show a view, or use `remark` or `ask_about`"
            case ast.Name(id="to_json") | ast.ImportFrom(names=[*_, ast.alias(name="to_json")]):
                yield node.lineno, "prints JSON; show a view"
            case _:
                pass


def leftover_notes(source: Source) -> Iterator[Finding]:
    """Find notes about unfinished work."""
    return matches(source, re.compile(r"\b(T[O]DO|F[I]XME|X[X]X)\b"))


def machine_paths(source: Source) -> Iterator[Finding]:
    """Find paths that exist only on the machine of the author."""
    return matches(source, re.compile(r"(?<![\w.$}~])/(work|root|home/\w+)/"))


def matches(source: Source, pattern: re.Pattern[str]) -> Iterator[Finding]:
    """Find every line that matches a pattern."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if found := pattern.search(line):
            yield number, found[0]


@dataclass(frozen=True)
class Rule:
    """A rule: what it searches for, in which files, and a small text that breaks it."""

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
    Rule(misplaced_tests, is_test, "", "tests/test_example.py"),
    Rule(misplaced_tests, is_test, "", "tests/example/test_apply.py"),
    Rule(hidden_errors, is_python, "try:\n    apply()\nexcept Exception:\n    pass"),
    Rule(hidden_errors, is_python, "try:\n    apply()\nexcept:\n    ..."),
    Rule(unsafe_arguments, is_python, "subprocess.run(line, shell=True)"),
    Rule(unsafe_arguments, is_python, "asyncssh.connect(host, known_hosts=None)"),
    Rule(stubs, is_python, "def later():\n    raise NotImplementedError('soon')"),
    Rule(formats_chosen_by_verbs, is_verb, "if session.json:\n    write(found)", "reconciler/cli/commands/list.py"),
    Rule(formats_chosen_by_verbs, is_verb, "quiet = not self.options.json", "reconciler/cli/commands/list.py"),
    Rule(formats_chosen_by_verbs, is_verb, "sys.stdout.write(to_json(found))", "reconciler/cli/commands/list.py"),
    Rule(leftover_notes, is_ours, "# TO" + "DO: the rest", "docs/notes.md"),
    Rule(machine_paths, is_ours, "see /" + "work/main/reconciler", "docs/notes.md"),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_rule_finds_what_breaks_it(rule: Rule) -> None:
    source = Source(Path(rule.file), rule.broken)
    assert rule.covers(source.path)
    assert list(rule.find(source))


@pytest.mark.parametrize("rule", {rule.find: rule for rule in RULES}.values(), ids=str)
def test_every_file_follows(rule: Rule) -> None:
    covered = [source for source in sources() if rule.covers(source.path)]
    assert covered, "the rule covers no file"
    broken = [f"{source.path}:{line}: {what}" for source in covered for line, what in rule.find(source)]
    assert not broken, "\n" + "\n".join(broken)


@cache
def sources() -> tuple[Source, ...]:
    """Return every text file of the checkout that git does not ignore."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    files = [Path(name) for name in sorted(set(names)) if name and (ROOT / name).is_file()]
    return tuple(Source(path, text) for path in files if (text := read_text(ROOT / path)) is not None)


def read_text(path: Path) -> str | None:
    """Return the text of a file, or None where it is not text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
