"""What can be wrong with a store's URL or its files: one line that says what, and nothing is harmed."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from broker.core.journal import Batch
from broker.store import StoreError, StoreSettings, open_store
from broker.store.memory import MemoryStore
from tests.store.conftest import SETTINGS
from tests.store.keeper import put


def refused(url: str, settings: StoreSettings = SETTINGS) -> str:
    """Return why a store cannot be opened, which takes one line."""
    with pytest.raises(StoreError) as caught:
        open_store(url, settings)
    text = str(caught.value)
    assert text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("url", ["", "lmdb", "./data", "mysql:x", ":x", "LMDB:x"])
def test_an_unknown_driver_is_told_the_known_ones(url: str) -> None:
    text = refused(url)
    assert repr(url) in text
    assert "lmdb, memory, sqlite" in text


@pytest.mark.parametrize("driver", ["lmdb", "sqlite"])
def test_a_path_below_a_file(driver: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert str(tmp_path) in refused(f"{driver}:{tmp_path}/file/x/data")


@pytest.mark.parametrize("driver", ["lmdb", "sqlite"])
def test_a_place_where_nothing_can_be_written(driver: str) -> None:
    """Not even by root."""
    assert "/proc/self" in refused(f"{driver}:/proc/self/x")


def test_lmdb_wants_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "File exists" in refused(f"lmdb:{tmp_path}/file")


def test_sqlite_wants_a_file(tmp_path: Path) -> None:
    assert "Is a directory" in refused(f"sqlite:{tmp_path}")
    assert "needs a file" in refused("sqlite:")


def garbage(path: Path) -> None:
    path.write_bytes(b"This is a letter to my aunt. " * 1000)


def foreign_sqlite(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE aunt (letter TEXT)")
    db.close()


def foreign_sqlite_with_our_word(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE meta (letter TEXT)")
    db.close()


def later_sqlite(path: Path) -> None:
    open_store(f"sqlite:{path}", SETTINGS).close()
    db = sqlite3.connect(path)
    db.execute("UPDATE meta SET value = '99' WHERE name = 'format'")
    db.commit()
    db.close()


def foreign_lmdb(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    with lmdb.open(str(path.parent)) as env, env.begin(write=True) as txn:
        txn.put(b"dear", b"aunt")


def later_lmdb(path: Path) -> None:
    open_store(f"lmdb:{path.parent}", SETTINGS).close()
    with lmdb.open(str(path.parent), max_dbs=8) as env, env.begin(write=True) as txn:
        txn.put(b"format", b"99", db=env.open_db(b"meta", txn=txn))


@pytest.mark.parametrize(
    ("driver", "spoil", "reason"),
    [
        ("lmdb", garbage, "no data of hoofbeat"),
        ("lmdb", foreign_lmdb, "format none"),
        ("lmdb", later_lmdb, "format 99; this version reads format 1"),
        ("sqlite", garbage, "file is not a database"),
        ("sqlite", foreign_sqlite, "format none"),
        ("sqlite", foreign_sqlite_with_our_word, "no data of hoofbeat"),
        ("sqlite", later_sqlite, "format 99; this version reads format 1"),
    ],
)
def test_files_that_are_not_ours_are_refused_and_left_as_they_are(
    driver: str, spoil: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    file = tmp_path / ("data.mdb" if driver == "lmdb" else "hoof.db")
    spoil(file)
    before = file.read_bytes()
    path = tmp_path if driver == "lmdb" else file
    for _ in range(2):  # refused, not locked
        assert reason in refused(f"{driver}:{path}")
    assert file.read_bytes() == before


@pytest.mark.parametrize(("driver", "file"), [("lmdb", "data.mdb"), ("sqlite", "hoof.db")])
def test_a_store_that_was_killed_while_it_was_made_is_made_again(
    driver: str, file: str, tmp_path: Path
) -> None:
    (tmp_path / file).touch()
    path = tmp_path if driver == "lmdb" else tmp_path / file
    store = open_store(f"{driver}:{path}", SETTINGS)
    assert store.load().boot == 1
    store.close()


def test_an_environment_without_anything_in_it_is_taken(tmp_path: Path) -> None:
    """LMDB has written its first pages, and then came the kill."""
    lmdb.open(str(tmp_path), max_dbs=8).close()
    store = open_store(f"lmdb:{tmp_path}", SETTINGS)
    assert store.load().boot == 1
    store.close()


@pytest.mark.parametrize("map_size", [1 << 61, 1 << 70])
def test_a_map_that_no_machine_has(map_size: int, tmp_path: Path) -> None:
    assert str(tmp_path) in refused(f"lmdb:{tmp_path}", StoreSettings(map_size, 0))
    open_store(f"lmdb:{tmp_path}", SETTINGS).close()


@pytest.mark.parametrize("url", ["lmdb:{}/new/data", "sqlite:{}/new/data/hoof.db"])
def test_only_the_owner_reads_what_is_stored(url: str, tmp_path: Path) -> None:
    store = open_store(url.format(tmp_path), SETTINGS)
    store.load()
    store.write(Batch(2, [(1, "a")], [], [put(1, 1)]))
    directory = tmp_path / "new" / "data"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    assert len(modes) >= 3
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    store.close()


def test_the_path_of_lmdb_may_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_store("lmdb:", SETTINGS).close()
    assert (tmp_path / "data.mdb").exists()


def test_room_ends_where_the_disk_does(tmp_path: Path) -> None:
    """A tenth of the disk stays free, or `disk_reserve`, whichever is less."""
    for url in (f"lmdb:{tmp_path}/a", f"sqlite:{tmp_path}/b"):
        rooms = []
        for reserve in (0, 1 << 60):
            store = open_store(url, StoreSettings(1 << 60 if "sqlite" in url else 1 << 40, reserve))
            store.load()
            rooms.append(store.room())
            store.close()
        assert rooms[1] < rooms[0]


def test_memory_is_found_again_only_by_who_holds_it() -> None:
    store = MemoryStore(SETTINGS)
    first = store.load()
    assert first.clean
    store.write(Batch(2, [(1, "a")], [], [put(1, 1)]))
    second = store.load()
    assert (second.node, second.boot, second.clean) == (first.node, 2, False)
    assert [(queue.name, queue.lanes) for queue in second.queues] == [("a", {4: 1})]
    store.close()
    assert store.load().clean
    assert open_store("memory:", SETTINGS).load().node != first.node
