"""A client on a stomp.py connection that the program has: its other half goes on as if nothing were."""

from __future__ import annotations

import gc
import queue
import socket
import threading
import uuid
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import stomp

import rpc
from broker.stomp import Frame, Parser
from tests.processes import PATIENCE, BrokerProcess, Process, WorkerProcess
from tests.rpc.foreign import ForeignWorker

VERSIONS: dict[str, Callable[..., Any]] = {
    "1.0": stomp.Connection10,
    "1.1": stomp.Connection11,
    "1.2": stomp.Connection12,
}
SOURCE = """
@worker.method
def echo(value):
    return value
@worker.method
def count(length):
    yield from range(length)
@worker.method
def once(value):
    say("once", value)
    return value
@worker.method
def slow(seconds):
    time.sleep(seconds)
@worker.method
def header(name):
    return rpc.current().headers.get(name)
"""


class Program(stomp.ConnectionListener):  # type: ignore[misc]
    """The rest of a program with a stomp.py connection: what it was told, and what it does about it."""

    def __init__(self, url: str, version: str = "1.2", name: str = "", **options: Any) -> None:
        self.heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.lost = threading.Event()
        self.lose: Callable[[], object] = self.lost.set
        self.connection = VERSIONS[version](
            [("127.0.0.1", urlsplit(url).port)], reconnect_attempts_max=1, **options
        )
        self.connection.set_listener(name, self)

    def connect(self) -> Any:
        self.connection.connect(wait=True)
        return self.connection

    def on_message(self, frame: Any) -> None:
        if not frame.headers["subscription"].startswith("rpc-"):
            self.heard.put(frame.body)

    def on_disconnected(self) -> None:
        self.lose()

    def leave(self) -> None:
        transport = self.connection.transport
        transport.disconnect_socket()
        if transport.io_thread is not None:
            transport.io_thread.join(PATIENCE)


@pytest.fixture
def service() -> str:
    return f"rider-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def served(broker_url: str) -> Iterator[str]:
    service = f"rider-{uuid.uuid4().hex[:8]}"
    with WorkerProcess(broker_url, service, SOURCE):
        yield service


@pytest.fixture
def start() -> Iterator[Callable[..., Program]]:
    programs: list[Program] = []

    def new(*args: Any, **options: Any) -> Program:
        programs.append(Program(*args, **options))
        return programs[-1]

    yield new
    for program in programs:
        program.leave()


@pytest.fixture
def program(start: Callable[..., Program], broker_url: str) -> Program:
    program = start(broker_url)
    program.connect()
    return program


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("auto_decode", [True, False])
def test_each_version(
    start: Callable[..., Program], broker_url: str, served: str, version: str, auto_decode: bool
) -> None:
    connection = start(broker_url, version, auto_decode=auto_decode).connect()
    with rpc.Client(connection=connection, service=served) as client:
        client.connect()
        assert client.call("echo", "grüß 🐎\n:\\") == "grüß 🐎\n:\\"
        assert client.proxy.echo(value=[None, 1.5]) == [None, 1.5]
        assert list(client.map("echo", range(250))) == list(range(250))
        assert list(client.options(credit=2).stream("count", 9)) == list(range(9))
        assert [each.result() for each in client.broadcast("rpc.ping", first=1)] == ["pong"]
        client.notify("echo", 1)
        for value in ("a:b", "C:\\temp", *(["two\nlines"] if version != "1.0" else [])):
            assert client.options(headers={"own": value}).call("header", "own") == value
        assert client.stats().late == 0


def test_messagepack_wants_bytes(
    start: Callable[..., Program], broker_url: str, served: str
) -> None:
    with rpc.Client(connection=start(broker_url).connect(), service=served) as client:
        with pytest.raises(ValueError, match="auto_decode=False"):
            client.options(codec="msgpack").call("echo", 1)
        assert client.stats().calls == 0
    bytewise = start(broker_url, auto_decode=False).connect()
    with rpc.Client(connection=bytewise, service=served) as client:
        assert client.options(codec="msgpack").call("echo", b"\0\xff") == b"\0\xff"


@pytest.mark.parametrize(
    ("version", "headers"),
    [("1.0", {"own": "two\nlines"}), ("1.1", {"own": "cr\r"}), ("1.2", {"o:n": "value"})],
)
def test_what_stomp_py_would_garble_is_refused(
    start: Callable[..., Program],
    broker_url: str,
    served: str,
    version: str,
    headers: dict[str, str],
) -> None:
    connection = start(broker_url, version).connect()
    with rpc.Client(connection=connection, service=served) as client:
        with pytest.raises(ValueError, match="cannot be sent"):
            client.options(headers=headers).call("echo", 1)
        assert client.stats().pending == 0
        assert client.call("echo", 1) == 1


def test_what_makes_no_sense(program: Program) -> None:
    wrong: list[dict[str, Any]] = [
        {"service": "demo"},
        {"url": "stomp://127.0.0.1"},
        {"connection": program.connection},
        {"url": "stomp://127.0.0.1", "connection": program.connection, "service": "demo"},
        {"connection": program.connection, "service": "demo", "heart_beat": 1.0},
        {"connection": program.connection, "service": "demo", "connect_timeout": 1.0},
    ]
    for arguments in wrong:
        with pytest.raises(TypeError, match="connection"):
            rpc.Client(**arguments)
    with pytest.raises(ValueError, match="name"):
        rpc.Client(connection=program.connection, service="de mo")


def test_the_program_goes_on(program: Program, broker_url: str, served: str) -> None:
    """Its subscription, with an id like any other, and its connection are there before, during and after."""
    own = f"/queue/{uuid.uuid4().hex}"
    connection = program.connection
    connection.subscribe(own, id="replies", ack="auto")
    listeners = set(connection.transport.listeners)
    with rpc.Client(connection=connection, service=served) as client:
        with rpc.Client(connection=connection, service=served) as second:
            assert second.call("echo", 2) == 2
        connection.send(own, "during")
        assert client.call("echo", 1) == 1
        assert program.heard.get(timeout=PATIENCE) == "during"
    client.close()
    assert connection.is_connected()
    assert set(connection.transport.listeners) == listeners
    connection.send(own, "after")
    assert program.heard.get(timeout=PATIENCE) == "after"
    assert program.heard.empty()
    with pytest.raises(rpc.ConnectionLost, match="closed") as caught:
        client.call("echo", 1)
    assert not caught.value.sent


def test_closing_ends_the_calls(program: Program, service: str) -> None:
    client = rpc.Client(connection=program.connection, service=service)
    pending = client.submit("echo", 1)
    client.close()
    with pytest.raises(rpc.ConnectionLost, match="closed"):
        pending.result(PATIENCE)


def test_a_connection_that_is_made_later(
    start: Callable[..., Program], broker_url: str, served: str
) -> None:
    program = start(broker_url)
    with rpc.Client(connection=program.connection, service=served) as client:
        for use in (client.connect, lambda: client.call("echo", 1)):
            with pytest.raises(rpc.ConnectionLost, match="not connected") as caught:
                use()
            assert not caught.value.sent
        program.connect()
        client.connect()
        assert client.call("echo", 1) == 1
        assert client.stats().connections == 1


def test_a_call_right_behind_connect(
    start: Callable[..., Program], broker_url: str, served: str
) -> None:
    """`connect(wait=True)` returns before the listeners were told."""
    for _ in range(20):
        early = start(broker_url)
        with rpc.Client(connection=early.connection, service=served) as client:
            early.connect()
            assert client.call("echo", 1) == 1
            assert client.stats().connections == 1
        late = start(broker_url)
        with rpc.Client(connection=late.connect(), service=served) as client:
            assert client.call("echo", 2) == 2
            assert client.stats().connections == 1


def test_a_reply_is_not_waited_for_where_it_would_be_read(program: Program, served: str) -> None:
    """In a listener that would wait for ever; what a future is for, works."""
    ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with rpc.Client(connection=program.connection, service=served) as client:

        class Listener(stomp.ConnectionListener):  # type: ignore[misc]
            def on_message(self, frame: Any) -> None:
                if frame.headers["subscription"] != "own":
                    return
                try:
                    client.call("echo", 1)
                except RuntimeError as error:
                    ended.put(error)
                client.submit("echo", 2).add_done_callback(ended.put)

        own = f"/queue/{uuid.uuid4().hex}"
        program.connection.set_listener("own", Listener())
        program.connection.subscribe(own, id="own", ack="auto")
        program.connection.send(own, "go")
        assert "submit" in str(ended.get(timeout=PATIENCE))
        assert ended.get(timeout=PATIENCE).result() == 2
        assert client.stats().pending == 0


def test_time_passes_for_what_nobody_waits_for(program: Program, service: str) -> None:
    ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with rpc.Client(connection=program.connection, service=service) as client:
        client.options(timeout=60).submit("echo", 1)
        client.options(timeout=0.1).submit("echo", 2).add_done_callback(ended.put)
        assert isinstance(ended.get(timeout=PATIENCE).exception(), rpc.Timeout)
        assert client.stats().pending == 1


def test_a_stream_that_is_left_to_nobody(program: Program, broker_url: str, service: str) -> None:
    with (
        ForeignWorker(broker_url, service) as worker,
        rpc.Client(connection=program.connection, service=service) as client,
    ):
        stream = client.stream("endless")
        assert next(stream) == 0
        line: Any = client._line
        with line._mutex:
            del stream
        assert worker.hear("rpc.cancel")
        assert client.call("echo", 1) == 1


def test_the_connection_is_lost_and_made_anew(
    start: Callable[..., Program], service: str, tmp_path: Path
) -> None:
    """Each call ends as its caller chose; those that outlive the connection do so when it is back."""
    store = f"lmdb:{tmp_path / 'data'}"
    with BrokerProcess(store=store) as broker:
        program = start(broker.url)
        client = rpc.Client(connection=program.connect(), service=service)
        client.connect()
        fails = client.submit("once", 1)
        waits = client.options(on_loss="wait").submit("once", 2)
        again = client.options(on_loss="resend").submit("once", 3)
        client.notify("once", 4)  # confirmed, and so are those before it
        broker.kill()
        assert program.lost.wait(PATIENCE)
        with pytest.raises(rpc.ConnectionLost) as caught:
            fails.result(PATIENCE)
        assert caught.value.sent
        with pytest.raises(rpc.ConnectionLost, match="not connected") as caught:
            client.call("once", 5)
        assert not caught.value.sent
        with (
            BrokerProcess(broker.port, store),
            WorkerProcess(broker.url, service, SOURCE),
        ):
            program.connect()
            assert (waits.result(PATIENCE), again.result(PATIENCE)) == (2, 3)
            assert client.call("echo", 6) == 6
            assert client.stats().connections == 2
            assert client.stats().pending == 0
            client.close()
            assert program.connection.is_connected()


@pytest.mark.parametrize("name", ["", "zzz"])
def test_who_dwells_on_a_loss_keeps_no_call_from_hearing_of_it(
    start: Callable[..., Program], service: str, name: str
) -> None:
    """Many programs connect again in `on_disconnected`, in stomp.py's thread, however long that takes."""
    back = threading.Event()
    with BrokerProcess() as broker:
        program = start(broker.url, name=name)
        program.lose = lambda: back.wait(PATIENCE)
        with rpc.Client(connection=program.connect(), service=service) as client:
            call = client.submit("echo", 1)
            broker.kill()
            with pytest.raises(rpc.ConnectionLost):
                call.result(PATIENCE)
            back.set()


def test_the_program_disconnects(program: Program, service: str) -> None:
    client = rpc.Client(connection=program.connection, service=service)
    call = client.submit("echo", 1)
    program.connection.disconnect()
    with pytest.raises(rpc.ConnectionLost):
        call.result(PATIENCE)
    client.close()


class Refusing:
    """A broker that confirms everything but the frames of one command."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"stomp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        link, _ = self._listener.accept()
        parser = Parser()
        parser.version = "1.2"
        with link:
            while data := link.recv(65536):
                for frame in parser.feed(data):
                    if frame.command == "STOMP":
                        answer = Frame("CONNECTED", {"version": "1.2"})
                    elif receipt := frame.headers.get("receipt"):
                        headers = {"receipt-id": receipt}
                        if frame.command == self._command:
                            answer = Frame("ERROR", headers | {"message": "Not for you"})
                        else:
                            answer = Frame("RECEIPT", headers)
                    else:
                        continue
                    link.sendall(answer.encode("1.2"))

    def close(self) -> None:
        self._thread.join(PATIENCE)
        self._listener.close()


@pytest.mark.parametrize("command", ["SUBSCRIBE", "SEND"])
def test_what_the_broker_refuses(service: str, command: str) -> None:
    broker = Refusing(command)
    program = Program(broker.url)
    with rpc.Client(connection=program.connect(), service=service) as client:
        for _ in range(2):
            with pytest.raises(rpc.BrokerRefused, match="Not for you"):
                client.connect() if command == "SUBSCRIBE" else client.notify("echo", 1)
        assert client.stats().pending == 0
        assert program.connection.is_connected()
    program.leave()
    broker.close()


def test_a_forked_process_is_told_whose_the_connection_is(broker_url: str, served: str) -> None:
    source = """
import os, sys
import rpc, stomp
connection = stomp.Connection12([("127.0.0.1", int(sys.argv[1]))])
connection.connect(wait=True)
client = rpc.Client(connection=connection, service=sys.argv[2])
assert client.call("echo", 1) == 1
child = os.fork()
if not child:
    try:
        client.call("echo", 1)
    except rpc.ConnectionLost as error:
        client.close()
        os._exit(0 if "forked" in str(error) else 1)
    os._exit(2)
assert os.waitpid(child, 0)[1] == 0
assert client.call("echo", 1) == 1
"""
    with Process("-c", source, str(urlsplit(broker_url).port), served) as program:
        assert program.wait() == 0


def test_a_connection_that_was_forgotten_takes_the_client_with_it(
    broker_url: str, served: str
) -> None:
    program = Program(broker_url)
    client = rpc.Client(connection=program.connect(), service=served)
    assert client.call("echo", 1) == 1
    line: Any = client._line
    keeper, gone = line._keeper, weakref.ref(line)
    program.leave()
    del client, line, program
    gc.collect()
    keeper.join(PATIENCE)
    assert gone() is None
