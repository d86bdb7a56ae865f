"""One TCP connection for many threads, against a socket that the test holds."""

import contextlib
import os
import select
import socket
import threading
from collections.abc import Iterator

import pytest

from rpc.blocking.stream import MOST_HELD, Bell, Stream

PATIENCE = 10.0  # seconds until a test gives up waiting


@pytest.fixture
def pair() -> Iterator[tuple[Stream, socket.socket]]:
    """Return a stream and the other end of its connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stream = Stream("127.0.0.1", listener.getsockname()[1], PATIENCE)
        other, _ = listener.accept()
        other.settimeout(PATIENCE)
        with other:
            yield stream, other
        stream.close()


def read_exactly(other: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = other.recv(1 << 20)
        assert chunk, "closed too early"
        data += chunk
    return bytes(data)


def read_to_the_end(stream: Stream) -> None:
    """Read until the stream says that it has ended."""
    with contextlib.suppress(OSError):
        while True:
            stream.read(PATIENCE)


def test_bytes_go_both_ways(pair: tuple[Stream, socket.socket]) -> None:
    stream, other = pair
    stream.write(b"there")
    assert read_exactly(other, 5) == b"there"
    other.sendall(b"back")
    assert stream.read(PATIENCE) == b"back"


def test_reading_gives_up_in_time_and_when_woken(pair: tuple[Stream, socket.socket]) -> None:
    stream, _ = pair
    assert stream.read(0.0) == b""
    assert stream.read(-1.0) == b""
    assert stream.read(0.01) == b""
    stream.wake()
    assert stream.read(PATIENCE) == b""


def test_a_write_never_waits_and_the_reader_sends_the_rest(
    pair: tuple[Stream, socket.socket],
) -> None:
    stream, other = pair
    large = os.urandom(1 << 20) * 32
    first = stream.write(large)
    second = stream.write(b"end")
    assert stream.has_left(first)
    assert not stream.has_left(second)
    got = bytearray()
    taker = threading.Thread(target=lambda: got.extend(read_exactly(other, len(large) + 3)))
    taker.start()
    while not stream.has_left(second):
        stream.read(PATIENCE)
    taker.join(PATIENCE)
    assert got == large + b"end"


def test_many_writers_keep_their_writes_whole(pair: tuple[Stream, socket.socket]) -> None:
    stream, other = pair

    def write(letter: bytes) -> None:
        for _ in range(200):
            stream.write(letter * 99 + b"\n")

    writers = [threading.Thread(target=write, args=(bytes([65 + n]),)) for n in range(8)]
    for writer in writers:
        writer.start()
    lines = read_exactly(other, 8 * 200 * 100).split(b"\n")
    for writer in writers:
        writer.join(PATIENCE)
    assert lines.pop() == b""
    assert all(len(line) == 99 and len(set(line)) == 1 for line in lines)


def test_an_ended_connection_is_found_by_reading_and_not_by_writing(
    pair: tuple[Stream, socket.socket],
) -> None:
    stream, other = pair
    other.sendall(b"last words")
    other.close()
    for _ in range(10):
        stream.write(b"into the void")
    read_to_the_end(stream)


def test_closing_ends_the_reader(pair: tuple[Stream, socket.socket]) -> None:
    stream, _ = pair
    ended = threading.Event()

    def read() -> None:
        read_to_the_end(stream)
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    stream.close()
    assert ended.wait(PATIENCE)
    reader.join(PATIENCE)


def test_after_closing_nothing_is_sent(pair: tuple[Stream, socket.socket]) -> None:
    stream, other = pair
    stream.close()
    stream.close()
    stream.wake()
    place = stream.write(b"too late")
    assert not stream.has_left(place)
    assert other.recv(10) == b""
    with pytest.raises(OSError, match="closed"):
        stream.read(0.0)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(OSError):  # noqa: PT011  # the kernel's words
        Stream("127.0.0.1", port, PATIENCE)


def test_a_bell_rings_until_it_is_hushed() -> None:
    bell = Bell()
    poll = select.poll()
    poll.register(bell, select.POLLIN)
    assert not poll.poll(0)
    for _ in range(100_000):  # more than a pipe holds
        bell.ring()
    assert poll.poll(0)
    while poll.poll(0):
        bell.hush()
    bell.hush()
    bell.close()
    bell.close()
    bell.ring()


def test_what_is_held_leaves_with_what_follows(pair: tuple[Stream, socket.socket]) -> None:
    """With the next write, or when somebody reads."""
    stream, other = pair
    place = stream.write(b"held ", held=True)
    assert not stream.has_left(place)
    stream.write(b"and ")
    assert read_exactly(other, 9) == b"held and "
    place = stream.write(b"sent", held=True)
    assert not stream.has_left(place)
    stream.read(0.0)
    assert read_exactly(other, 4) == b"sent"


def test_nothing_is_held_while_somebody_reads(pair: tuple[Stream, socket.socket]) -> None:
    """Who reads may do so for long."""
    stream, other = pair
    reader = threading.Thread(target=read_to_the_end, args=(stream,))
    reader.start()
    while not stream._reading:
        os.sched_yield()
    stream.write(b"now", held=True)
    assert read_exactly(other, 3) == b"now"
    stream.close()
    reader.join(PATIENCE)


def test_not_much_is_held(pair: tuple[Stream, socket.socket]) -> None:
    """Whoever is at the other end is to have something to do meanwhile."""
    stream, other = pair
    for _ in range(20):
        stream.write(b"x" * 256, held=True)
    assert read_exactly(other, MOST_HELD) == b"x" * MOST_HELD
