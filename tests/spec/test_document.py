"""Strict YAML: what is read, what is refused, and that both parsers give the same result."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.errors import Code, SpecError
from reconciler.spec.diagnostics import format_problem
from reconciler.spec.load import parse_cluster, parse_slice
from reconciler.spec.tree import MAX_BYTES
from reconciler.spec.yaml import document, events
from reconciler.spec.yaml.document import (
    MAX_DEPTH,
    MAX_VALUES,
    Mark,
    Path,
    Refused,
    positions,
    read_document,
    resolve_plain,
)
from reconciler.spec.yaml.fast import Unusual, read_ordinary
from tests.bench.topologies import slice_text
from tests.effort import examples

SECONDS = 60
"""Much more than the slowest of these inputs needs, much less than unlimited expansion would take."""


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-1", -1),
        ("123456789012345678", 123456789012345678),
        *[
            (text, text)
            for text in (
                *(
                    "no",
                    "yes",
                    "on",
                    "off",
                    "True",
                    "NULL",
                    "0755",
                    "0o755",
                    "0x10",
                    "1_000",
                    "12e3",
                    "1.5",
                    ".inf",
                    "+1",
                ),
                *("--1", "-", "1234567890123456789", "52:54:00:12:34:56", "12:30:45", "2024-01-01", "=", "٣", "1 "),
            )
        ],
    ],
)
def test_plain_scalars_are_never_coerced(written: str, value: object) -> None:
    assert resolve_plain(written) == value
    assert type(resolve_plain(written)) is type(value)


def test_quoted_scalars_are_text() -> None:
    assert read_document("""{a: "1", b: 'true', c: "", d: 'null', e: |-\n 1\n}""".replace(", e: |-\n 1\n", "")) == {
        "a": "1",
        "b": "true",
        "c": "",
        "d": "null",
    }
    assert read_document("a: |-\n  1\nb: >-\n  true\n") == {"a": "1", "b": "true"}


def test_positions_of_values_and_keys() -> None:
    text = "a: 1\nb:\n  - x\n  - {c: [y, z]}\nd:\n"
    found = positions(text)
    assert {path: position.value for path, position in found.items()} == {
        (): Mark(1, 1),
        ("a",): Mark(1, 4),
        ("b",): Mark(3, 3),
        ("b", 0): Mark(3, 5),
        ("b", 1): Mark(4, 5),
        ("b", 1, "c"): Mark(4, 9),
        ("b", 1, "c", 0): Mark(4, 10),
        ("b", 1, "c", 1): Mark(4, 13),
        ("d",): Mark(5, 1),
    }
    assert found["b", 1, "c"].key == Mark(4, 6)


# Tokens with a meaning in YAML, and tokens of slice files, so that random texts are nearly valid.
TOKENS = st.sampled_from(
    [
        *("a", "web", "eth1", "1", "true", "null", "~", "é", "\u6771", "\U0001f600", "0755", "<<"),
        *(": ", ":", ",", ", ", "[", "]", "{", "}", "- ", "-", "? ", "?", "#", " #", "&", "*", "!", "|", ">", "'", '"'),
        *("%", "@", "`", "\\", "\\x41", "\\u00e9", "\\0", "---", "...", "\n", "\n", "\n ", "\n  ", "\n    ", "\t", " "),
        *("web:eth1", "[a:eth1, b:eth2]", "{a: b}", "x: y\n", "- a\n", "|\n  a\n", "a: &b c", "%YAML 1.1\n", "\r\n"),
        *("a|b", "a->b", "a>", "-|", "# x -> y\n"),
        *("\ufeff", "\x00", "\x1b", "\u2028", "\x85", events.COLON),
    ]
)
TEXTS = st.one_of(st.lists(TOKENS, max_size=25).map("".join), st.text(max_size=60))


def _result(read: Callable[[str], Any], text: str) -> tuple[str, Any]:
    try:
        return "read", read(text)
    except Refused as refusal:
        return "refused", (refusal.code, refusal.summary, refusal.mark, refusal.hint)


@pytest.mark.slow
@settings(max_examples=examples(1500), deadline=None)
@given(TEXTS)
@example("a: [web:eth1, db:eth1]")
@example("a: [b:c:d, :e, f:, ::]")
@example("{a:1, b: c}")
@example('{"a":b}')
@example("a:\tb")
@example("- a\n-\tb")
@example("? a\n: b")
@example("a:\n-\n- b")
@example("- - - a\n  - b")
@example("a: 'b:c'  # d:e")
@example('a: "b:c\\x41:d"')
@example("a: |\n  b:c\n")
@example("|\n \n  ")
@example("a: !b:c d")
@example("--- a\n...\n")
@example("a: b\n...\nc: d")
@example("# web -> db\na: b|c\n")
def test_libyaml_changes_only_the_time(text: str) -> None:
    assert events.HAS_LIBYAML
    with_libyaml = _result(read_document, text), _result(positions, text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "HAS_LIBYAML", False)
        without = _result(read_document, text), _result(positions, text)
    assert with_libyaml == without


INVISIBLE = {"\ufeff", "\x00", "\x1b", "\u2028", "\x85", events.COLON}
ORDINARY = st.lists(TOKENS.filter(lambda token: not {*"&*!\\\t\r|>%", *INVISIBLE} & set(token)), max_size=25).map(
    "".join
)


@pytest.mark.slow
@settings(max_examples=examples(1000), deadline=None)
@given(ORDINARY)
@example("a: 1\nb: {c: [x, ~, '1', -2]}\n")
@example("{a: b, a: c}")
@example("<<: {}")
@example("1: a")
@example("a: b\n---\nc: d\n")
@example("a: b\n...\n")
@example("- " * (MAX_DEPTH + 1) + "a")
@example("")
def test_the_fast_reader_agrees_with_the_complete_one(text: str) -> None:
    try:
        found = read_ordinary(text, MAX_VALUES, MAX_DEPTH, resolve_plain)
    except Unusual:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "HAS_LIBYAML", False)
        assert _typed(found) == _typed(read_document(text))


def _typed(value: Any) -> Any:
    """Return a value with its types, because 1 equals True, and mappings with their order."""
    match value:
        case dict():
            return [(key, _typed(item)) for key, item in value.items()]
        case list():
            return [_typed(item) for item in value]
        case _:
            return type(value), value


@pytest.mark.parametrize("vms", [1, 100])
def test_generated_slices_are_read_by_the_fast_reader(vms: int) -> None:
    text = slice_text("lab", vms)
    assert read_ordinary(text, MAX_VALUES, MAX_DEPTH, resolve_plain) == read_document(text)


def test_a_text_that_may_have_too_many_values_is_left_to_the_complete_reader() -> None:
    with pytest.raises(Unusual):
        read_ordinary("[" + "," * MAX_VALUES, MAX_VALUES, MAX_DEPTH, resolve_plain)


@settings(max_examples=examples(300), deadline=None)
@given(TEXTS)
def test_random_text_is_read_or_refused_with_a_position(text: str) -> None:
    for parse in (parse_slice, parse_cluster):
        with pytest.raises(SpecError) as raised:
            parse(text, "random.yaml")
        for problem in raised.value.problems():
            assert problem.location is not None
            assert problem.location.line <= text.count("\n") + 2
            assert format_problem(problem).replace("\n", "").isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text("ab:1 ", max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_json_is_read_as_json(value: Any) -> None:
    assert read_document(json.dumps(value)) == value


@given(JSON)
def test_every_value_has_a_position(value: Any) -> None:
    def paths(item: Any, here: Path) -> set[Path]:
        inner = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
        return {here}.union(*(paths(each, (*here, step)) for step, each in inner))

    assert set(positions(json.dumps(value))) == paths(value, ())


FILL = MAX_BYTES - 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[" * FILL, Code.YAML_FEATURE),
        ("{a: " * (FILL // 4), Code.YAML_FEATURE),
        ("- " * (FILL // 2), Code.YAML_FEATURE),
        ("? " * (FILL // 2), Code.WRONG_TYPE),
        ("a: &a [x]\n" + "b: [" + "*a, " * (FILL // 4), Code.YAML_FEATURE),
        ("a: " + "x" * FILL + "\na: b\n", Code.DUPLICATE_KEY),
        ('a: "' + "x" * FILL, Code.YAML_SYNTAX),
        ("a: '" + "x\n" * (FILL // 2), Code.YAML_SYNTAX),
        ("a: [" + "x," * (FILL // 2), Code.YAML_FEATURE),
        ("a: " + "9" * FILL + "\n\t", Code.YAML_FEATURE),
        ("#" * FILL + "\n\x00", Code.YAML_FEATURE),
        ("\n" * FILL + "@", Code.YAML_SYNTAX),
        ("x" * FILL + ": 1\n", Code.YAML_SYNTAX),
        (" " * FILL + "%", Code.YAML_SYNTAX),
    ],
    ids=lambda value: value[:8] if isinstance(value, str) else None,
)
def test_the_worst_files_are_refused_in_bounded_time(text: str, code: Code) -> None:
    start = time.process_time()
    with pytest.raises(Refused) as refusal:
        read_document(text)
    assert refusal.value.code is code
    assert len(refusal.value.summary) < 200
    assert time.process_time() - start < SECONDS


@pytest.mark.parametrize(
    "text", ["a: [" + "x, " * 30, "a:\n" + "  - [b:eth1, c:eth1]\n" * 20, "a: {b: c}\n" + "d: [e]\n" * 20, "- " * 30]
)
def test_both_parsers_refuse_too_many_values_at_the_same_position(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MAX_VALUES", 15)
    with_libyaml = _result(read_document, text)
    monkeypatch.setattr(events, "HAS_LIBYAML", False)
    assert with_libyaml == _result(read_document, text)
    assert with_libyaml[0] == "refused"


def test_a_wide_file_is_read_in_bounded_time() -> None:
    start = time.process_time()
    assert len(read_document("".join(f"k{index}: [a:eth1, b:eth1]\n" for index in range(30_000)))) == 30_000
    assert time.process_time() - start < SECONDS


MANY_KEYS = "a:\n" + "".join(f"  k{number}: value {number}\n" for number in range(40_000))


@pytest.mark.parametrize(
    ("text", "mark", "says"),
    [
        (f"{MANY_KEYS}b: x\ty\n", Mark(40_002, 5), "must not contain tabs"),
        (f"{MANY_KEYS}b: |\n  c\n", Mark(40_002, 4), "must not contain a block text"),
        (MANY_KEYS.replace("\n", "\r\n"), Mark(1, 3), "must not contain Windows line ends"),
        (f"{MANY_KEYS}b: {{c\n", Mark(40_003, 1), "not valid YAML"),
        (f"{MANY_KEYS}a: 1\n", Mark(40_002, 1), "duplicate key 'a'"),
        (f"{MANY_KEYS}b: *a\n", Mark(40_002, 4), "aliases"),
    ],
    ids=["tab", "block", "windows", "open brace", "duplicate", "alias"],
)
def test_a_long_text_is_refused_where_it_is_wrong_within_a_second_or_two(text: str, mark: Mark, says: str) -> None:
    """The slow parser takes more than ten."""
    start = time.process_time()
    with pytest.raises(Refused, match=says) as caught:
        read_document(text)
    assert caught.value.mark == mark
    assert time.process_time() - start < 5 or not events.HAS_LIBYAML
