"""One TCP connection for many threads, against a socket that the test holds."""

import contextlib
import os
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from rpc.address import Tls
from rpc.blocking.stream import MOST_HELD, Bell, Stream
from tests.certificates import Authority

PATIENCE = 10.0  # seconds until a test gives up waiting


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(params=["tcp", "TLSv1_2", "TLSv1_3"])
def pair(
    request: pytest.FixtureRequest, authority: Authority
) -> Iterator[tuple[Stream, socket.socket]]:
    """Return a stream and the other end of its connection."""
    tls, context = None, None
    if request.param != "tcp":
        tls = Tls(authority.path)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*authority.issue())
        context.maximum_version = ssl.TLSVersion[request.param]
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        dialled = pool.submit(Stream, "127.0.0.1", listener.getsockname()[1], PATIENCE, tls)
        other, _ = listener.accept()
        other.settimeout(PATIENCE)
        if context is not None:
            # An end that is not said is an error to it.
            other = context.wrap_socket(other, server_side=True, suppress_ragged_eofs=False)
        stream = dialled.result(PATIENCE)
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


def read_some(stream: Stream) -> bytes:
    """Read until there is something: TLS has words of its own, that tell nothing."""
    while not (data := stream.read(PATIENCE)):
        pass
    return data


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
    assert read_some(stream) == b"back"


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


def test_one_thread_writes_much_while_another_reads(pair: tuple[Stream, socket.socket]) -> None:
    stream, other = pair
    there, back = os.urandom(1 << 20) * 8, os.urandom(1 << 20) * 8

    def answer() -> bytes:
        taken = read_exactly(other, len(there))
        other.sendall(back)
        return taken

    def ask() -> None:
        for start in range(0, len(there), 99_991):
            stream.write(there[start : start + 99_991])

    with ThreadPoolExecutor(2) as pool:
        taken = pool.submit(answer)
        pool.submit(ask)
        got = bytearray()
        while len(got) < len(back):
            got += stream.read(PATIENCE)
        assert got == back
        assert taken.result(PATIENCE) == there


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
