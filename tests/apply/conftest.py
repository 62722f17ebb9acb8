"""Hosts that are shells on this machine, for tests of what is sent to them and what they answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.apply.localhost import Localhosts


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[Localhosts]:
    """Give a connector to such hosts, each with a folder of its own."""
    found = Localhosts(tmp_path)
    yield found
    await found.close()
