"""`hoofbeat export`: what is stored, as lines of JSON that any store can be made of. A broker may be running.

Exit status: 0 all is written, 1 it could not be, 2 it cannot begin as asked.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from broker import __version__
from broker.commands.line import Parser, complain
from broker.keeping.apart import apart
from broker.keeping.backup import attempt
from broker.keeping.lines import FORMAT, End, Head, Queue, encode, line_of, mark_of
from broker.keeping.place import add_store, find_store, look_at
from broker.keeping.soundness import READ, READ_BYTES
from broker.options import Options, OptionsError
from broker.store import StoreError
from broker.store.files import sync
from broker.store.tools import Look

STREAM = "-"  # standard output, or standard input


def main(words: list[str]) -> int:
    """Write them; return the exit status."""
    parsed = parser().parse_args(words)
    try:
        options = find_store(parsed)
    except OptionsError as error:
        return complain(str(error))
    return apart(attempt(partial(export, options, parsed.file)), options.store_url)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = Parser(
        prog="hoofbeat export",
        description="Write what a broker has stored, as it is at this moment, as lines of JSON.",
    )
    made.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        default=STREAM,
        help="standard output without it, or with -",
    )
    add_store(made)
    return made


def export(options: Options, file: str) -> None:
    """Write a store to a file, which is there only when it is complete. Raises `StoreError`."""
    with closing(look_at(options)) as look:
        if file == STREAM:
            for line in lines(look):
                sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            return
        path, part = Path(file), Path(file + ".part")
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as out:
                out.writelines(lines(look))
            sync(part)
            part.replace(path)
            sync(path.parent)
        except OSError as error:
            raise StoreError(f"cannot write {file}: {error.strerror}") from None


def lines(look: Look) -> Iterator[bytes]:
    """Return the lines of a store. Memory holds one read of them."""
    stored = look.load()
    written = datetime.now(UTC).isoformat(timespec="seconds")
    about = stored.node, stored.boot, stored.next_seq, stored.clean
    yield encode(Head(FORMAT, __version__, *about, written))
    for queue in stored.queues:
        yield encode(Queue(queue.number, queue.name, queue.lanes))
    for queue in stored.queues:
        for priority in sorted(queue.lanes, reverse=True):
            last = -1
            while rows := look.read(queue.number, priority, last, READ, READ_BYTES):
                for row in rows:
                    yield encode(line_of(queue.name, priority, *row))
                last = rows[-1][0]
    for key, value in stored.marks.items():
        yield encode(mark_of(key, value))
    yield encode(End())
