"""A pooler before PostgreSQL gives each transaction another connection, so none may depend on an earlier one."""

from __future__ import annotations

from contextlib import closing

import pytest
from sqlalchemy import text

from reconciler.errors import StateError
from reconciler.state.sql.connection import connect, reading, writing
from reconciler.state.sql.store import open_store
from reconciler.state.sql.url import to_url
from tests.contracts.postgres import empty_schema
from tests.state.conftest import now

REPEATED = 20
"""By default psycopg prepares a statement on its sixth use."""


@pytest.mark.postgres
@pytest.mark.parametrize("more", ["", "&prepare_threshold=0"])
def test_no_statement_is_prepared_on_the_server(postgres_port: int, more: str) -> None:
    where = f"{empty_schema(postgres_port)}{more}"
    with closing(open_store(where, cluster="lab", clock=now)) as store:
        assert {store.read().serial for _ in range(REPEATED)} == {0}
    engine = connect(to_url(where))
    for transaction in (reading, writing):
        with transaction(engine) as connection:
            for _ in range(REPEATED):
                connection.execute(text("SELECT * FROM meta WHERE serial = :serial"), {"serial": 1})
            assert connection.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one() == 0
    engine.dispose()


def test_an_unknown_parameter_of_a_url_is_refused() -> None:
    with pytest.raises(StateError, match="has the unknown parameter 'sslmod'") as caught:
        open_store("postgresql://anna:hunter2@127.0.0.1:1/record?sslmod=require", cluster="lab", clock=now)
    assert caught.value.hint == "did you mean `sslmode`?"
    assert "hunter2" not in caught.value.summary
    with pytest.raises(StateError, match="has the unknown parameter 'row_factory'"):
        open_store("postgresql://127.0.0.1:1/record?row_factory=x", cluster="lab", clock=now)
