"""Prints help as plain text: usage, description, examples, then options in panels. It imports no verb."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from itertools import groupby
from shutil import get_terminal_size
from textwrap import wrap
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from reconciler.errors import UsageError
from reconciler.spec.quoting import did_you_mean, shown

PANELS = ("Arguments", "Options", "Global options")
_OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "add": ("apply",),
    "check": ("validate",),
    "create": ("apply",),
    "delete": ("destroy", "forget", "down"),
    "deploy": ("apply",),
    "describe": ("show",),
    "diff": ("plan",),
    "down": ("destroy",),
    "inspect": ("show",),
    "lint": ("validate",),
    "list": ("status",),
    "log": ("history",),
    "logs": ("history",),
    "ls": ("list", "status"),
    "preview": ("plan",),
    "ps": ("status",),
    "remove": ("destroy", "forget", "down"),
    "rm": ("destroy", "forget", "down"),
    "start": ("apply", "up"),
    "stop": ("destroy", "down"),
    "up": ("apply",),
}
"""What other tools call our verbs."""

_WIDEST = 100
_COLUMN = 30
"""The widest first column of a panel; a longer entry gets a line of its own."""


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb before it is imported: its name, its panel in the help, its module and function, and one line of help."""

    name: str
    panel: str
    module: str
    function: str
    help: str
    settings: Mapping[str, Any] | None = None


def format_help(command: Any, context: Any, sections: Iterable[tuple[str, list[tuple[str, str]]]]) -> str:
    """Return the help of a command; `sections` follow its own panels."""
    width = min(get_terminal_size().columns, _WIDEST)
    usage = " ".join(command.collect_usage_pieces(context)).replace("{", "").replace("}", "")
    lines = [f"Usage: {context.command_path} {usage}", "", *_description(command.help or "", width)]
    for title, rows in (*_panels(command, context), *sections):
        if rows:
            lines += ["", f"{title}:", *_rows(rows, width)]
    return "\n".join(lines)


def _description(text: str, width: int) -> Iterator[str]:
    """Yield the lines of a description: paragraphs are wrapped, indented lines and blank lines stay as they are."""
    for literal, group_of_lines in groupby(text.strip().splitlines(), lambda line: not line or line.startswith(" ")):
        lines = list(group_of_lines)
        yield from (lines if literal else wrap(" ".join(lines), width))


def _panels(command: Any, context: Any) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    found: dict[str, list[tuple[str, str]]] = {name: [] for name in PANELS}
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if record is not None:
            first, text = record
            default = "Options"
            if param.param_type_name == "argument":
                default, first = "Arguments", first.partition(" <")[0]
            found[getattr(param, "rich_help_panel", None) or default].append((first, text))
    yield from found.items()


def _rows(rows: list[tuple[str, str]], width: int) -> Iterator[str]:
    column = min(max(len(first) for first, _ in rows), _COLUMN)
    for first, second in rows:
        lines = wrap(" ".join(second.split()), max(width - column - 4, 20)) or [""]
        if len(first) > column:
            yield f"  {first}"
        else:
            yield f"  {first:<{column}}  {lines.pop(0)}".rstrip()
        yield from (f"  {'':<{column}}  {line}" for line in lines)


class PlainCommand(TyperCommand):
    """A verb with plain help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        formatter.write(format_help(self, ctx, ()) + "\n")


class LazyGroup(TyperGroup):
    """A group that imports a verb only when it is called; `verbs` is set by a subclass."""

    verbs: tuple[Verb, ...] = ()

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands(self.verbs)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the verbs."""
        del ctx
        return [verb.name for verb in self.verbs]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Print the help if no verb is given, which is no error."""
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the verb; raises UsageError for an unknown one, and names the verb that may be meant."""
        word = args[0]
        if word in self.commands or word.startswith("-"):
            return super().resolve_command(ctx, args)
        names = [verb.name for verb in self.verbs]
        meant = next((name for name in _OTHER_NAMES.get(word, ()) if name in names), None)
        close = f"did you mean `{meant}`?" if meant else did_you_mean(word, names, else_list=False)
        listed = f"`{ctx.command_path} --help` lists the verbs"
        raise UsageError(f"there is no verb {shown(word)}", hint=f"{close} {listed}" if close else listed)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, with one line for each verb."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for verb in self.verbs:
            panels.setdefault(verb.panel, []).append((verb.name, verb.help))
        formatter.write(format_help(self, ctx, panels.items()) + "\n")


class _Commands(dict[str, Any]):
    """The commands of a group by name; each is built when it is asked for."""

    def __init__(self, verbs: Iterable[Verb]) -> None:
        super().__init__({verb.name: verb for verb in verbs})

    def __getitem__(self, key: str) -> Any:
        found = super().__getitem__(key)
        if isinstance(found, Verb):
            found = self[key] = _command(found)
        return found

    def get(self, key: str, default: Any = None) -> Any:
        """Return the command of a name, or the default."""
        if key not in self:
            return default
        return self[key]

    def items(self) -> Any:
        """Return all names and commands, which imports every verb."""
        return {name: self[name] for name in self}.items()


def _command(verb: Verb) -> Any:
    """Import a verb and build its command."""
    session = import_module("reconciler.cli.session")  # with the files, the state and the views
    found = getattr(import_module(verb.module), verb.function)
    if isinstance(found, tuple):
        return group(found, verb.help)
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    settings = {"help_option_names": ["-h", "--help"], **(verb.settings or {})}
    app.command(verb.name, cls=PlainCommand, context_settings=settings)(session.with_session(found))
    return typer.main.get_command(app)


def group(verbs: tuple[Verb, ...], text: str, callback: Callable[..., None] | None = None) -> Any:
    """Build a group of verbs; with a callback, it is the whole command line, which can also install completion."""
    made = type("Group", (LazyGroup,), {"verbs": verbs})
    app = typer.Typer(
        cls=made,
        help=text,
        rich_markup_mode=None,
        add_completion=callback is not None,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )
    app.callback()(callback or _no_options)
    return typer.main.get_command(app)


def _no_options() -> None:
    pass
