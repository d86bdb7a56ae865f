"""`hoofbeat compact`: the file is small afterwards, nothing else is changed, and whoever kills it changes nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from broker.core.journal import Batch
from broker.store import open_store
from tests.commands.conftest import Shell
from tests.harness import BrokerProcess
from tests.keeping.conftest import LMDB, SQLITE, everything, filled, look
from tests.scenarios.steps import drain, put
from tests.store.conftest import SETTINGS

Start = Callable[..., BrokerProcess]

FILES = {LMDB: "data/data.mdb", SQLITE: "files/hoof.db"}
ROWS = [(1, 4, seq, b"meta", b"x" * 10_000) for seq in range(1, 101)]

#: Runs a tool of a driver, and kills its own process at the n-th of some calls.
DIES_LMDB = """
import os, signal, sys
from pathlib import Path
from broker.store import lmdb_tools
left = int(sys.argv[1])
def deadly(call):
    def called(*arguments, **named):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **named)
    return called
for holder, name in ((os, "fsync"), (os, "chown"), (os, "close"), (Path, "replace"), (Path, "touch")):
    setattr(holder, name, deadly(getattr(holder, name)))
lmdb_tools.compact("data")
"""
DIES_SQLITE = """
import os, signal, sqlite3, sys
from broker.store import sqlite_tools
left = int(sys.argv[1]) * 200
class Deadly(sqlite3.Connection):
    def execute(self, *arguments):
        self.set_progress_handler(self.go_on, 1)
        return super().execute(*arguments)
    def go_on(self):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
connect = sqlite3.connect
sqlite3.connect = lambda path, **named: connect(path, factory=Deadly, **named)
sqlite_tools.compact("files/hoof.db")
"""


def spacious(store: str, directory: Path) -> None:
    """Make a store whose file is much larger than what is in it."""
    filled(store, directory, *ROWS)
    driver, _, path = store.partition(":")
    own = open_store(f"{driver}:{directory / path}", SETTINGS)
    own.load()
    own.write(Batch(101, deletes=[(1, 4, seq, 10_000) for seq in range(1, 100)]))
    own.close()


@pytest.mark.parametrize("store", [LMDB, SQLITE])
def test_the_file_is_small_and_what_is_in_it_is_the_same(
    shell: Shell, start: Start, tmp_path: Path, store: str
) -> None:
    spacious(store, tmp_path)
    before = everything(store, tmp_path)
    large = (tmp_path / FILES[store]).stat().st_size
    result = shell("compact", "--store", store)
    small = (tmp_path / FILES[store]).stat().st_size
    assert (result.status, result.errors) == (0, "")
    assert result.out == f"{large} bytes before, {small} after\n"
    assert small * 5 < large
    assert everything(store, tmp_path) == before
    assert (tmp_path / FILES[store]).stat().st_mode & 0o777 == 0o600
    with start(store).connect() as client:
        put(client, "/queue/a", b"goes on")
        assert drain(client, "/queue/a") == [b"goes on"]


def test_everything_is_the_same(shell: Shell, full: str, tmp_path: Path) -> None:
    before, file = everything(full, tmp_path), tmp_path / FILES[full]
    inode = file.stat().st_ino
    assert shell("compact").status == 0
    assert everything(full, tmp_path) == before
    assert file.stat().st_ino != inode  # another file took its place in one step
    assert shell("check").status == 0


@pytest.mark.parametrize("store", [LMDB, SQLITE])
def test_not_while_a_broker_has_it_open(
    shell: Shell, start: Start, tmp_path: Path, store: str
) -> None:
    broker = start(store)
    with broker.connect() as client:
        put(client, "/queue/a", b"1")
        before = (tmp_path / FILES[store]).read_bytes()
        result = shell("compact", "--store", store)
        assert result.status == 1
        assert "is in use by another broker" in result.errors
        assert (tmp_path / FILES[store]).read_bytes() == before
        put(client, "/queue/a", b"2")
        assert drain(client, "/queue/a") == [b"1", b"2"]


def test_not_while_somebody_reads_lmdb(shell: Shell, tmp_path: Path) -> None:
    spacious(LMDB, tmp_path)
    with closing(look(LMDB, tmp_path)) as seen:
        result = shell("compact")
        assert result.status == 1
        assert "is in use by another process, which reads it" in result.errors
        assert len(seen.read(1, 4, -1, 10, 1 << 20)) == 1
    assert shell("compact").status == 0


def test_who_reads_sqlite_is_told_of(shell: Shell, tmp_path: Path) -> None:
    spacious(SQLITE, tmp_path)
    before = everything(SQLITE, tmp_path)
    with closing(look(SQLITE, tmp_path)) as seen:
        result = shell("compact", "--store", SQLITE)
        assert result.status == 1
        assert "is read by another process" in result.errors
        assert len(seen.read(1, 4, -1, 10, 1 << 20)) == 1
    assert everything(SQLITE, tmp_path) == before


@pytest.mark.parametrize("store", [LMDB, SQLITE])
def test_killed_at_any_moment_it_leaves_a_whole_store(
    shell: Shell, tmp_path: Path, store: str
) -> None:
    spacious(store, tmp_path)
    before = everything(store, tmp_path)
    kills = 0
    while status := shell.run(DIES_LMDB if store == LMDB else DIES_SQLITE, str(kills)).status:
        assert status == -signal.SIGKILL
        assert everything(store, tmp_path) == before
        kills += 1
    assert kills >= 5
    assert everything(store, tmp_path) == before
    driver, _, path = store.partition(":")
    open_store(f"{driver}:{tmp_path / path}", SETTINGS).close()  # and it can be written to


def test_what_is_not_whole_stays_as_it_is(shell: Shell, tmp_path: Path) -> None:
    import lmdb

    spacious(LMDB, tmp_path)
    with lmdb.open(str(tmp_path / "data"), max_dbs=8) as env, env.begin(write=True) as txn:
        txn.put(b"short", b"x", db=env.open_db(b"chunk", txn=txn))
    before = (tmp_path / FILES[LMDB]).read_bytes()
    result = shell("compact")
    assert result.status == 1
    assert "is not whole: database chunk" in result.errors
    assert (tmp_path / FILES[LMDB]).read_bytes() == before
    assert not (tmp_path / "data" / "data.mdb.part").exists()
