"""An operator's tools for LMDB: see `broker.store.tools`.

A look is one read transaction: it sees one commit, and neither waits for the broker nor keeps it waiting. As long as
it is open, pages that were in use at its beginning are not used again, so the file grows by what is written meanwhile.

LMDB has no checksums. What is found is what does not fit: pages that cannot be read, keys out of order, entries that
are not counted, records without a queue, pieces of a tail that are missing. A damaged page can also kill the process
that reads it (SIGBUS, SIGSEGV): whoever looks at a file that may be damaged does so in a process of its own.

A file is compacted by a copy that takes its place. What that may do to others who have it open:

- the broker: it holds the `Claim`, and so it is not there;
- a reader: LMDB keeps a lock on the first byte of `lock.mdb` for everybody who has the environment open, so a lock on
  that byte tells that there is nobody, and makes others wait;
- who was waiting has opened the old file and its lock file, and keeps them. Others find a new lock file beside the new
  file: with the old one, LMDB would believe a transaction to be the last that the new file has not got.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

import lmdb

from broker.store import Stored, StoreError
from broker.store.files import Claim, make_directory, sync
from broker.store.lmdb import (
    CHUNKED,
    DATABASES,
    LANE,
    PIECE,
    RECORD,
    U32,
    U64,
    WHOLE,
    check_format,
    read_lane,
    read_stored,
)
from broker.store.tools import AHEAD, Damaged, NoStore

FILE, LOCK = "data.mdb", "lock.mdb"
COPY = FILE + ".part"  # one that is being made
ROOM = 16 * 1024**2  # bytes of a map that are more than enough to change one number
NUMBERS = (b"boot", b"next_seq")  # in `meta`


class LMDBLook:
    """What one commit has left in a directory."""

    def __init__(self, file: Path, env: lmdb.Environment) -> None:
        """`file` is what `env` is made of, and `env` is the look's own from now on. Raises `StoreError`."""
        self._file = file
        self._env = env
        self._databases: dict[bytes, lmdb._Database] = {}
        try:
            self._txn = env.begin()
            self._open()
        except lmdb.Error as error:
            env.close()
            raise Damaged(f"{file}: {error}") from None
        except StoreError:
            env.close()
            raise

    def _open(self) -> None:
        if not self._txn.stat()["entries"]:
            raise NoStore(f"nothing was ever stored in {self._file}")
        check_format(self._env, self._txn, self._file)
        for name in DATABASES:
            try:
                database = self._env.open_db(name, txn=self._txn, create=False)
            except lmdb.NotFoundError:
                if name != b"mark":  # of the first files: they are made when a broker opens them
                    raise Damaged(f"{self._file}: no database {name.decode()}") from None
            else:
                self._databases[name] = database

    def load(self) -> Stored:
        """Return what is there."""
        meta, queue, lane = (self._databases[name] for name in (b"meta", b"queue", b"lane"))
        return read_stored(self._txn, meta, queue, lane, self._databases.get(b"mark"))

    def read(
        self, queue: int, priority: int, after: int, count: int, size: int
    ) -> list[tuple[int, bytes, bytes]]:
        """Return the next records of a lane."""
        record, chunk = self._databases[b"record"], self._databases[b"chunk"]
        return read_lane(self._txn, record, chunk, queue, priority, after, count, size)

    def close(self) -> None:
        """End the transaction."""
        self._txn.abort()
        self._env.close()

    def faults(self) -> Iterator[str]:
        """Walk through all six databases."""
        self._queues: set[int] = set()
        self._counted: set[tuple[int, int]] = set()
        self._lengths: dict[int, int] = {}  # of tails that are cut up, by the record's number
        for name, look in (
            (b"meta", self._meta_faults),
            (b"queue", self._queue_faults),
            (b"lane", self._lane_faults),
            (b"record", self._record_faults),
            (b"chunk", self._chunk_faults),
            (b"mark", self._mark_faults),
        ):
            if name not in self._databases:
                continue
            try:
                yield from look(self._walk(name))
            except (lmdb.Error, Disorder) as error:
                yield f"database {name.decode()}: {error}"

    def _walk(self, name: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Return all entries of a database. Raises `Disorder`."""
        database = self._databases[name]
        counted = self._txn.stat(database)["entries"]
        last, entries = b"", 0
        for key, value in cast("Iterator[tuple[bytes, bytes]]", self._txn.cursor(db=database)):
            if key <= last:
                raise Disorder(f"its keys are out of order behind entry {entries}")
            last = key
            entries += 1
            yield key, value
        if entries != counted:
            raise Disorder(f"it says that it has {counted} entries, and has {entries}")

    @staticmethod
    def _meta_faults(entries: Iterator[tuple[bytes, bytes]]) -> Iterator[str]:
        about = dict(entries)
        for name in (b"node", b"clean"):
            if not about.get(name):
                yield f"database meta: {name.decode()} is missing"
        for name in NUMBERS:
            if not about.get(name, b"0").isdigit():
                yield f"database meta: {name.decode()} is no number"

    def _queue_faults(self, entries: Iterator[tuple[bytes, bytes]]) -> Iterator[str]:
        for key, name in entries:
            if len(key) != U32.size:
                yield f"database queue: a key has {len(key)} bytes, not {U32.size}"
                continue
            (number,) = U32.unpack(key)
            self._queues.add(number)
            try:
                name.decode()
            except UnicodeDecodeError:
                yield f"queue {number}: its name is no UTF-8"

    def _lane_faults(self, entries: Iterator[tuple[bytes, bytes]]) -> Iterator[str]:
        for key, value in entries:
            if len(key) != LANE.size or len(value) != U64.size or key[-1] > 9:
                yield "database lane: an entry has not the shape of a lane's count"
                continue
            number, place = LANE.unpack(key)
            self._counted.add((number, place))
            if number not in self._queues:
                yield f"a lane belongs to queue {number}, which is not there"

    def _record_faults(self, entries: Iterator[tuple[bytes, bytes]]) -> Iterator[str]:
        lost: Counter[tuple[int, int]] = Counter()
        for key, value in entries:
            if len(key) != RECORD.size:
                yield f"database record: a key has {len(key)} bytes, not {RECORD.size}"
                continue
            queue, place, seq = RECORD.unpack(key)
            end = 2 + (value[1] if len(value) > 1 else 0)
            if len(value) < end + (U64.size if value[:1] == b"%c" % CHUNKED else 0):
                yield f"record {seq} of queue {queue} is too short"
            elif value[0] == CHUNKED:
                (self._lengths[seq],) = U64.unpack_from(value, end)
            elif value[0] != WHOLE:
                yield f"record {seq} of queue {queue} is of no known kind: {value[0]}"
            if (queue, place) not in self._counted:
                lost[queue, place] += 1
        for (queue, place), records in sorted(lost.items()):
            yield f"{records} records lie in lane {9 - place} of queue {queue}, which is not there"

    def _chunk_faults(self, entries: Iterator[tuple[bytes, bytes]]) -> Iterator[str]:
        found: Counter[int] = Counter()
        pieces: Counter[int] = Counter()
        for key, value in entries:
            if len(key) != PIECE.size:
                yield f"database chunk: a key has {len(key)} bytes, not {PIECE.size}"
                continue
            seq, piece = PIECE.unpack(key)
            if piece != pieces[seq]:
                yield f"record {seq}: piece {pieces[seq]} of its tail is missing"
            pieces[seq] = piece + 1
            found[seq] += len(value)
        for seq, length in self._lengths.items():
            if found[seq] != length:
                yield f"record {seq}: its tail has {found[seq]} bytes of {length}"
        for seq in found.keys() - self._lengths.keys():
            yield f"pieces of a tail belong to record {seq}, which is not there"

    @staticmethod
    def _mark_faults(entries: Iterator[tuple[bytes, bytes]]) -> Iterator[str]:
        yield from ()
        for _ in entries:
            pass  # what marks mean is not known here


class Disorder(Exception):
    """A database is not in order; what is read of it means nothing."""


def look(path: str) -> LMDBLook:
    """Look at `lmdb:DIRECTORY`. Raises `StoreError`."""
    directory = Path(path or ".")
    return LMDBLook(directory / FILE, open_to_read(directory))


def copy(path: str, directory: Path) -> str:
    """Copy `lmdb:DIRECTORY` into another one; return its path. Raises `StoreError`."""
    look(path).close()  # there is one, and of our format
    with reading(Path(path or ".")) as env:
        made = copy_into(env, directory)
    try:
        with (
            lmdb.open(
                str(made),
                subdir=False,
                lock=False,
                max_dbs=len(DATABASES),
                map_size=made.stat().st_size + ROOM,
            ) as own,
            own.begin(write=True) as txn,
        ):
            meta = own.open_db(b"meta", txn=txn, create=False)
            boot = int(bytes(txn.get(b"boot", b"0", db=meta)))
            txn.put(b"boot", b"%d" % (boot + AHEAD), db=meta)
    except lmdb.Error as error:
        raise StoreError(f"cannot write to {made}: {error}") from None
    put_in_place(made)
    return str(directory)


def compact(path: str) -> tuple[int, int]:
    """Compact `lmdb:DIRECTORY`; return its bytes before and after. Raises `StoreError`."""
    directory = Path(path or ".")
    file, lock = directory / FILE, directory / LOCK
    look(path).close()
    with Claim(directory / "hoofbeat.lock"), nobody_reads(lock):
        before = file.stat()
        # Without LMDB's locks: they are this process's already, and it would give them up in the end.
        with reading(directory, lock=False) as env:
            made = copy_into(env, directory)
        with closing(LMDBLook(made, open_to_read(made, lock=False, subdir=False))) as copied:
            if fault := next(copied.faults(), ""):
                made.unlink()
                raise StoreError(f"{file} is not whole: {fault}")
        fresh = lock.with_name(LOCK + ".part")
        fresh.touch()
        for each in made, fresh:  # the broker's, whoever runs this
            shutil.copymode(file, each)
            os.chown(each, before.st_uid, before.st_gid)
        # Whoever opens the new file must not find the old one's locks: see above.
        put_in_place(made)
        fresh.replace(lock)
        sync(directory)
        return before.st_size, file.stat().st_size


def open_to_read(path: Path, *, lock: bool = True, subdir: bool = True) -> lmdb.Environment:
    """Open an environment; it is not written to. Raises `StoreError`."""
    file = path / FILE if subdir else path
    try:
        if not file.stat().st_size:
            raise NoStore(f"nothing was ever stored in {path}")
        env = lmdb.open(
            str(path),
            subdir=subdir,
            readonly=True,
            lock=lock,
            create=False,
            max_dbs=len(DATABASES),
            readahead=False,
            mode=0o600,
            max_spare_txns=0,
        )
        env.set_mapsize(0)  # as large as whoever writes to it has made it
    except FileNotFoundError:
        raise NoStore(f"there is no {file}") from None
    except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError) as error:
        raise Damaged(f"{file}: {error}") from None
    except (OSError, lmdb.Error) as error:
        raise StoreError(f"cannot read {file}: {error}") from None
    return env


@contextmanager
def reading(directory: Path, *, lock: bool = True) -> Iterator[lmdb.Environment]:
    """Open an environment for a while. Raises `StoreError`."""
    env = open_to_read(directory, lock=lock)
    try:
        yield env
    finally:
        env.close()


def copy_into(env: lmdb.Environment, directory: Path) -> Path:
    """Write what is in an environment, densely, into a directory as `COPY`. Raises `StoreError`."""
    make_directory(directory)
    made = directory / COPY
    try:
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            env.copyfd(descriptor, compact=True)
        finally:
            os.close(descriptor)
    except (OSError, lmdb.Error) as error:
        made.unlink(missing_ok=True)
        raise StoreError(f"cannot copy to {made}: {error}") from None
    return made


def put_in_place(made: Path) -> None:
    """Make a copy the file of its directory, on the disk."""
    sync(made)
    made.replace(made.with_name(FILE))
    sync(made.parent)


@contextmanager
def nobody_reads(lock: Path) -> Iterator[None]:
    """Keep everybody from opening the environment for a while. Raises `StoreError` if somebody has it open."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
        except OSError:
            raise StoreError(
                f"{lock.parent} is in use by another process, which reads it"
            ) from None
        yield
    finally:
        os.close(descriptor)
