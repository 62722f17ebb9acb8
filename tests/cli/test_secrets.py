"""The password of a record's URL is in nothing that is printed, and a record's files are for their owner alone."""

from __future__ import annotations

import os
import stat
import traceback
from pathlib import Path

import pytest

from reconciler.errors import StateError
from reconciler.state.sql.url import masked, to_url
from tests.cli.running import Cli

SECRET = "hunter-2-swordfish"  # noqa: S105 - what must not be seen
URLS = [
    f"postgresql://ops:{SECRET}@127.0.0.1:1/campus",
    f"postgresql://ops@127.0.0.1:1/campus?password={SECRET}&sslpassword={SECRET}",
    f"postgresql://ops:{SECRET}/x@127.0.0.1:1/campus",
    f"postgresql://ops:{SECRET}@127.0.0.1:port/campus",
    f"postgresql://ops:{SECRET}@127.0.0.1:1/campus?nonsense=1",
    f"mysql://ops:{SECRET}@127.0.0.1/campus",
    f"sqlite://ops:{SECRET}@/x?y=1",
]
VERBS = [
    ["plan"],
    ["status"],
    ["history"],
    ["state", "list"],
    ["state", "show", "vm/a/b/c"],
    ["state", "export"],
    ["drift"],
]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("url", URLS)
def test_no_verb_prints_a_password(cli: Cli, url: str) -> None:
    for verb in VERBS:
        for options in ([], ["--json"], ["--verbose"]):
            done = cli(*verb, *options, "--state", url)
            assert done.code == 1
            assert SECRET not in done.out + done.err, verb


@pytest.mark.parametrize("url", URLS)
def test_no_error_of_a_url_holds_its_password(url: str) -> None:
    try:
        text = masked(to_url(url))
    except StateError as error:
        text = "".join(traceback.format_exception(error))
    assert SECRET not in text
    assert text


def test_what_is_no_secret_is_shown() -> None:
    shown = masked(to_url(f"postgresql://ops:{SECRET}@db.example:5433/campus?sslmode=require"))
    assert shown == "postgresql+psycopg://ops:***@db.example:5433/campus?sslmode=require"


def test_a_record_and_its_copies_are_for_their_owner_alone(cli: Cli, project: Path) -> None:
    before = os.umask(0)
    try:
        assert cli("apply", "--auto-approve", "--state", "deep/er/record.db").code == 1  # no host is there
        assert cli("state", "export", "--state", "deep/er/record.db", "-o", "export.json").code == 0
    finally:
        os.umask(before)
    found = [path for path in [*(project / "deep").rglob("*"), project / "export.json"] if path.is_file()]
    assert {path.name for path in found} >= {"record.db", "export.json"}
    assert {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in found} == {
        path.name: "0o600" for path in found
    }
    assert stat.S_IMODE((project / "deep").stat().st_mode) == 0o700
