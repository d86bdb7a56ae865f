"""`hoofbeat import`: makes a store of what `hoofbeat export` has written.

All or nothing: the first batch puts a mark into the new store, and the last one takes it away. A broker does not begin
with a store that has it.

Exit status: 0 all is there, 1 it is not, 2 it cannot begin as asked.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import BinaryIO

from broker.commands.line import DONE, FAILED, Parser, complain
from broker.core.journal import Batch
from broker.keeping.exporting import STREAM
from broker.keeping.lines import (
    FORMAT,
    AnyLine,
    Decoder,
    End,
    Head,
    Line,
    Mark,
    Queue,
    key_and_value,
    row_of,
)
from broker.keeping.place import add_store, find_store, store_settings
from broker.keeping.records import NONSENSE, Broken, why
from broker.options import Options, OptionsError
from broker.store import UNFINISHED, Store, StoreError, open_store
from broker.store.tools import AHEAD, NoStore, find_tools

BATCH, BATCH_BYTES = 2000, 4 * 1024 * 1024  # records of one commit
OVERHEAD = 128  # bytes that a record takes beside its tail
HIGHEST = (1 << 63) - 1  # number of a record
META_BYTES, MARK_BYTES = 255, 400  # of a record's meta, of a mark's key


def main(words: list[str]) -> int:
    """Make it; return the exit status."""
    parsed = parser().parse_args(words)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C: as any other kill
    try:
        options = find_store(parsed)
        refuse_what_is_there(options)
        with sys.stdin.buffer if parsed.file == STREAM else open(parsed.file, "rb") as file:
            return fill(options, file)
    except (OptionsError, StoreError) as error:
        return complain(str(error))
    except OSError as error:
        return complain(f"cannot read {parsed.file}: {error.strerror}")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = Parser(
        prog="hoofbeat import",
        description="Make a store of what `hoofbeat export` has written. There must be none before.",
    )
    made.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        default=STREAM,
        help="standard input without it, or with -",
    )
    add_store(made)
    return made


def refuse_what_is_there(options: Options) -> None:
    """Raise `StoreError` if there is a store already, as far as that can be told without opening it."""
    tools, path = find_tools(options.store_url)
    if tools is None:
        return
    with suppress(NoStore), closing(tools.look(path)) as look:
        if UNFINISHED in look.load().marks:
            raise StoreError(f"an import into {options.store_url} was broken off: remove it first")
        raise StoreError(f"there is a store already: {options.store_url}")


def fill(options: Options, file: BinaryIO) -> int:
    """Read the lines into a new store; return the exit status. Raises `StoreError` if that cannot begin."""
    reader = Reader(file)
    try:
        head = reader.head()
    except Broken as error:
        return complain(f"line 1: {why(error)}")
    store = open_store(options.store_url, store_settings(options, head.node, head.boot + AHEAD))
    loaded = store.load()
    if loaded.queues or loaded.marks or loaded.next_seq > 1:
        if loaded.clean:
            store.close()
        raise StoreError(f"there is a store already: {options.store_url}")
    if loaded.node != head.node:
        print(
            "the driver gives stores names of its own: other brokers may get again what was on its way to them"
        )
    try:
        store.write(Batch(head.next_seq, marks=[(UNFINISHED, b"")]))
        for batch in reader.batches(head):
            need = sum(len(put[4]) + OVERHEAD for put in batch.puts)
            if store.room() < need:
                raise StoreError(f"{options.store_url} is full: see map_size, and the disk")
            store.write(batch)
        store.write(Batch(head.next_seq, marks=[(UNFINISHED, None)]))
    except NONSENSE as error:
        return broken_off(options, f"line {reader.number}: {why(error)}")
    except Exception as error:  # a driver's own words
        return broken_off(options, str(error))
    end(store, head)
    print(f"{options.store_url} has {len(reader.queues)} queues, {reader.records} records")
    return DONE


def broken_off(options: Options, text: str) -> int:
    """Say why it does not go on; return the exit status."""
    return complain(f"{text}. The import is broken off: remove {options.store_url}", FAILED)


def end(store: Store, head: Head) -> None:
    """Leave a store as the exported one was left: closed in order, or not."""
    if head.clean:
        store.close()


class Reader:
    """Reads the lines of an export, and holds them to what they must be."""

    def __init__(self, file: BinaryIO) -> None:
        self.number = 0  # of the line that was read last
        self.queues: dict[str, int] = {}  # name → number
        self.records = 0
        self._numbers: set[int] = set()  # of queues
        self._keys: set[bytes] = set()  # of marks
        self._file = file
        self._decoder = Decoder()
        self._last: dict[tuple[str, int], int] = {}  # queue, priority → number of the last record

    def head(self) -> Head:
        """Return the first line. Raises `Broken`."""
        line = self._next()
        if not isinstance(line, Head):
            raise Broken("this is no export of hoofbeat")
        if line.format != FORMAT:
            raise Broken(f"an export of format {line.format}; this version reads format {FORMAT}")
        if not (0 <= line.boot < HIGHEST and 1 <= line.next_seq <= HIGHEST and line.node):
            raise Broken("node, boot or next_seq cannot be")
        return line

    def batches(self, head: Head) -> Iterator[Batch]:
        """Return what the other lines say, to the last one. Raises `NONSENSE`."""
        batch, size = Batch(head.next_seq), 0
        while not isinstance(line := self._next(), End):
            match line:
                case Line():
                    batch.puts.append(self._put(line))
                    size += len(batch.puts[-1][4])
                case Queue():
                    batch.queues.append(self._queue(line))
                case Mark():
                    key, value = self._mark(line)
                    batch.marks.append((key, value))
                    size += len(value)
                case _:
                    raise Broken("a second head")
            if (
                len(batch.puts) + len(batch.queues) + len(batch.marks) >= BATCH
                or size > BATCH_BYTES
            ):
                yield batch
                batch, size = Batch(head.next_seq), 0
        yield batch

    def _next(self) -> AnyLine:
        text = self._file.readline()
        self.number += 1
        if not text:
            raise Broken("the file ends before its last line, it is not complete")
        return self._decoder.decode(text)

    def _queue(self, line: Queue) -> tuple[int, str]:
        if line.name in self.queues or line.number in self._numbers or not line.name:
            raise Broken(f"another queue is called {line.name!r}, or has the number {line.number}")
        if not 0 < line.number < 1 << 32:
            raise Broken(f"no queue can have the number {line.number}")
        self.queues[line.name] = line.number
        self._numbers.add(line.number)
        return line.number, line.name

    def _put(self, line: Line) -> tuple[int, int, int, bytes, bytes]:
        if line.queue not in self.queues:
            raise Broken(f"no line before says that there is a queue {line.queue!r}")
        priority, seq, meta, tail = row_of(line)
        if not (0 <= priority <= 9 and 0 <= seq <= HIGHEST and len(meta) <= META_BYTES):
            raise Broken("priority is 0 to 9, seq 0 to 2**63-1; and meta has at most 255 bytes")
        lane = line.queue, priority
        if seq <= self._last.get(lane, -1):
            raise Broken(
                f"seq {seq} comes behind {self._last[lane]} of the same queue and priority"
            )
        self._last[lane] = seq
        self.records += 1
        return self.queues[line.queue], priority, seq, meta, tail

    def _mark(self, line: Mark) -> tuple[bytes, bytes]:
        key, value = key_and_value(line)
        if key in self._keys or not 0 < len(key) <= MARK_BYTES:
            raise Broken(f"a mark's key has 1 to {MARK_BYTES} bytes, and comes once")
        if key == UNFINISHED:
            raise Broken("what was exported is an import that was broken off")
        self._keys.add(key)
        return key, value
