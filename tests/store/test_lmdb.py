"""What only the LMDB driver has: pieces of large tails, pages, readers that died."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import lmdb
import pytest

from broker.core.journal import Batch
from broker.store import StoreError
from broker.store.lmdb import CHUNK, LMDBStore
from tests.store.conftest import SETTINGS
from tests.store.keeper import CHILDREN, DEADLINE, META, Put, delete, due, put


def entries(directory: Path) -> dict[str, int]:
    """Return how many records each named database has."""
    with lmdb.open(str(directory), readonly=True, max_dbs=8, lock=False) as env, env.begin() as txn:
        names = [bytes(name) for name, _ in txn.cursor()]
        return {
            name.decode(): txn.stat(env.open_db(name, txn=txn, create=False))["entries"]
            for name in names
        }


def test_deletes_leave_no_pieces(tmp_path: Path) -> None:
    store = LMDBStore(tmp_path, SETTINGS)
    store.load()
    sizes = (CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1, 10 * 1024 * 1024)
    records = [put(1, seq, b"x" * size) for seq, size in enumerate(sizes, 1)]
    store.write(Batch(9, [(1, "a")], [], records))
    store.close()
    pieces = [0, 2, 2, 3, -(-sizes[-1] // CHUNK)]
    assert entries(tmp_path)["chunk"] == sum(pieces)
    store = LMDBStore(tmp_path, SETTINGS)
    store.load()
    store.write(Batch(9, deletes=[delete(record) for record in records]))
    store.close()
    left = entries(tmp_path)
    assert (left["chunk"], left["record"], left["lane"], left["queue"]) == (0, 0, 0, 1)


def test_an_update_keeps_the_pieces(tmp_path: Path) -> None:
    store = LMDBStore(tmp_path, SETTINGS)
    store.load()
    tail = b"x" * (3 * CHUNK)
    store.write(Batch(2, [(1, "a")], [], [put(1, 1, tail)]))
    store.write(Batch(2, updates=[(1, 4, 1, b"changed", tail)]))
    assert store.read(1, 4, 0, 1, 1) == [(1, b"changed", tail)]
    store.close()
    assert entries(tmp_path)["chunk"] == 3


def test_a_piece_fills_its_pages() -> None:
    """LMDB puts 16 bytes before a value that has pages of its own."""
    assert (CHUNK + 16) % 4096 == 0


def test_a_backlog_that_comes_and_goes_does_not_grow_the_file(tmp_path: Path) -> None:
    store = LMDBStore(tmp_path, SETTINGS)
    store.load()
    store.write(Batch(1, [(1, "a")]))
    size_after_ten = 0
    before = store.room()
    for round_ in range(60):
        records = [put(1, 1000 * round_ + seq, b"x" * 50_000) for seq in range(20)]
        store.write(Batch(1000 * round_ + 20, puts=records))
        store.write(Batch(1000 * round_ + 20, deletes=[delete(record) for record in records]))
        if round_ == 10:
            size_after_ten = (tmp_path / "data.mdb").stat().st_size
    assert (tmp_path / "data.mdb").stat().st_size == size_after_ten
    assert store.room() > before - 10 * 4096
    store.close()


@pytest.mark.parametrize("meta", [b"", b"x", b"x" * 255])
def test_meta_of_any_length_that_fits(tmp_path: Path, meta: bytes) -> None:
    store = LMDBStore(tmp_path, SETTINGS)
    store.load()
    records = [(1, 4, 1, meta, b"small"), (1, 4, 2, meta, b"x" * (CHUNK + 1))]
    store.write(Batch(3, [(1, "a")], [], records))
    assert store.read(1, 4, 0, 9, 1 << 20) == [record[2:] for record in records]
    store.close()


def test_the_file_passes_lmdbs_own_check(tmp_path: Path) -> None:
    """After writes of every kind; the last number is that of the records."""
    store = LMDBStore(tmp_path, SETTINGS)
    store.load()
    records = [put(1, seq, b"x" * (seq * 997 % 100_000)) for seq in range(1, 200)]
    store.write(Batch(200, [(1, "a")], [], records))
    store.write(Batch(200, deletes=[delete(record) for record in records[::3]]))
    store.close()
    assert entries(tmp_path)["record"] == 199 - 67
    with lmdb.open(str(tmp_path), readonly=True, max_dbs=8, lock=False) as env:
        copy = tmp_path / "copy"
        copy.mkdir()
        env.copy(str(copy), compact=True)  # walks every page
    assert entries(copy)["record"] == 199 - 67


def read_and_die(directory: str) -> None:
    """Begin to read, and be killed."""
    env = lmdb.open(directory, readonly=True, max_dbs=8)
    txn = env.begin()
    assert txn.stat()["entries"]
    os.kill(os.getpid(), signal.SIGKILL)


def test_readers_that_died_are_cleared_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would keep old pages from being used again, and the file would grow and grow."""
    monkeypatch.setattr("broker.store.lmdb.READERS_EVERY", 5)
    store = LMDBStore(tmp_path, SETTINGS)
    store.load()
    child = CHILDREN.Process(target=read_and_die, args=(str(tmp_path),))
    child.start()
    child.join(DEADLINE)
    assert child.exitcode == -signal.SIGKILL
    assert str(child.pid) in store._env.readers()
    for seq in range(1, 6):
        store.write(Batch(seq + 1, [(1, "a")], [], [(1, 4, seq, META, b"")]))
    assert str(child.pid) not in store._env.readers()
    store.close()


def test_numbers_in_another_order_leave_no_pieces(tmp_path: Path) -> None:
    store = LMDBStore(tmp_path, SETTINGS)
    store.load()
    records = [put(1, due(9 - place), b"x" * (CHUNK * place + 1)) for place in range(5)]
    store.write(Batch(1, [(1, "a")], [], records))
    store.write(Batch(1, deletes=[delete(record) for record in records[::-1]]))
    store.close()
    left = entries(tmp_path)
    assert (left["chunk"], left["record"]) == (0, 0)


@pytest.mark.parametrize("size", [100, 60_000, 1_000_000])
def test_marks_that_change_with_every_batch_do_not_grow_the_file(tmp_path: Path, size: int) -> None:
    """Beside records that come and go, which leave free pages one here and one there."""
    store = LMDBStore(tmp_path, SETTINGS)
    store.load()
    store.write(Batch(1, [(1, "a")]))
    sizes = []
    old: list[Put] = []
    for round_ in range(120):
        records = [put(1, 100 * round_ + seq, b"x" * (seq * 331 % 5000)) for seq in range(1, 40)]
        store.write(
            Batch(
                100 * round_ + 40,
                puts=records,
                deletes=[delete(record) for record in old],
                marks=[(b"%d" % (round_ % 3), b"%03d" % round_ * (size // 3))],
            )
        )
        old = records
        sizes.append((tmp_path / "data.mdb").stat().st_size)
    assert sizes[-1] == sizes[40]
    store.close()


@pytest.mark.parametrize("lost", [[0], [1], [0, 1]])
@pytest.mark.parametrize("more", [0, 2])
def test_a_power_cut_while_the_file_was_made(tmp_path: Path, lost: list[int], more: int) -> None:
    """Some of what was written before the first commit never came to the disk: nothing was in it, so it is made anew."""
    lmdb.open(str(tmp_path)).close()
    data = bytearray((tmp_path / "data.mdb").read_bytes())
    for page in lost:
        data[page * 4096 : (page + 1) * 4096] = bytes(4096)
    (tmp_path / "data.mdb").write_bytes(data + b"x" * more * 4096)
    store = LMDBStore(tmp_path, SETTINGS)
    assert store.load().boot == 1
    store.close()


@pytest.mark.parametrize("lost", [[0], [1], [0, 1]])
def test_a_file_that_was_used_is_left_as_it_is(tmp_path: Path, lost: list[int]) -> None:
    """Pages that are lost later are no power cut: the file is refused, and nobody touches it."""
    store = LMDBStore(tmp_path, SETTINGS)
    store.load()
    store.close()
    data = bytearray((tmp_path / "data.mdb").read_bytes())
    for page in lost:
        data[page * 4096 : (page + 1) * 4096] = bytes(4096)
    (tmp_path / "data.mdb").write_bytes(data)
    with pytest.raises(StoreError, match="no data of hoofbeat"):
        LMDBStore(tmp_path, SETTINGS)
    assert (tmp_path / "data.mdb").read_bytes() == data


def test_what_is_committed_is_synced(tmp_path: Path) -> None:
    """No setting, and no change made in passing, gives up the promise of a RECEIPT; `make faults` cuts the power."""
    store = LMDBStore(tmp_path, SETTINGS)
    flags = store._env.flags()
    assert flags["sync"]
    assert flags["metasync"]
    assert not flags["writemap"]
    store.close()
