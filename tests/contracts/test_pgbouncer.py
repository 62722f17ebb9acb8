"""A state behind PgBouncer in transaction mode, where each transaction may get another connection to the server."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep

import psycopg
import pytest

from reconciler.errors import StateError
from reconciler.state.sql.store import SqlStore, open_store
from tests.contracts.postgres import as_its_user, free_port
from tests.contracts.states import LAB1, LAB2, allocation, perform, plan, port, router, steps

pytestmark = pytest.mark.postgres


def clock() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def pooled(postgres_port: int) -> Iterator[str]:
    """Run PgBouncer before the server, and return the URL of an empty database behind it."""
    server = f"host=127.0.0.1 port={postgres_port} user=postgres dbname=postgres"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("CREATE DATABASE pooled")
    folder, listening = Path(tempfile.mkdtemp(prefix="reconciler-pgbouncer-")), free_port()
    (folder / "users").write_text('"postgres" ""\n')
    (folder / "ini").write_text(f"""\
[databases]
pooled = host=127.0.0.1 port={postgres_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listening}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 3
server_round_robin = 1
""")
    if os.geteuid() == 0:
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, "postgres", "postgres")
    command = as_its_user(["/usr/sbin/pgbouncer", "--quiet", f"{folder}/ini"])
    with subprocess.Popen(command, cwd=folder) as process:
        try:
            reach(f"host=127.0.0.1 port={listening} user=postgres dbname=pooled", process)
            yield f"postgresql://postgres@127.0.0.1:{listening}/pooled"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
            shutil.rmtree(folder)
            with psycopg.connect(server, autocommit=True) as connection:
                connection.execute("DROP DATABASE pooled WITH (FORCE)")


def reach(place: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a connection is possible."""
    deadline = monotonic() + 30
    while True:
        try:
            psycopg.connect(place, prepare_threshold=None).close()
        except psycopg.OperationalError:
            assert process.poll() is None, "PgBouncer has ended"
            assert monotonic() < deadline, "PgBouncer does not answer"
            sleep(0.05)
        else:
            return


def test_every_write_and_read_works_on_whatever_connection_it_gets(pooled: str) -> None:
    with ExitStack() as stack:
        stores = [stack.enter_context(closing(open_store(pooled, cluster="lab", clock=clock))) for _ in range(3)]
        todo = steps((None, router()), (None, port(100)))
        perform(stores[0], plan(stores[0], {LAB1: allocation()}, todo=todo))
        for _ in range(8):  # psycopg prepares a statement when it is used for the fifth time
            for store in stores:
                perform(store, plan(store, {LAB2: allocation(1, vlans=(20,))}))
                assert LAB1 in store.read().allocations
                assert store.locks() == ()
        assert len(stores[0].history(100)) == 25


def test_parameters_of_the_url_are_checked(pooled: str) -> None:
    with closing(open_store(f"{pooled}?prepare_threshold=0", cluster="lab", clock=clock)) as store:
        assert isinstance(store, SqlStore)
    with pytest.raises(StateError, match="has the unknown parameter 'conect_timeout'") as caught:
        open_store(f"{pooled}?conect_timeout=5", cluster="lab", clock=clock)
    assert caught.value.hint == "did you mean `connect_timeout`?"
