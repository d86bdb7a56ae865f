"""Clients that speak TLS, and some that try something else, at a listener that wants it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stomp

from tests.certificates import Authority
from tests.clients.talker import Inbox
from tests.conftest import StartBroker
from tests.harness import COMMAND, DEADLINE, BrokerProcess, Client, Closed, read_line
from tests.scenarios.steps import (
    accepted,
    bodies,
    drain,
    expect_error,
    is_served,
    put,
    read_octets,
    subscribe,
    take,
)

MB = 1024 * 1024


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return one that signs for everybody here; what it signs itself is signed by another, the root."""
    directory = tmp_path_factory.mktemp("certificates")
    return Authority(directory, "middle", by=Authority(directory))


@pytest.fixture(scope="session")
def files(authority: Authority) -> dict[str, object]:
    """Return the settings of a listener with TLS."""
    certificate, key = authority.issue()
    return {"tls_certificate": certificate, "tls_key": key}


@pytest.fixture(scope="session")
def trust(authority: Authority) -> ssl.SSLContext:
    """Return what a careful client believes: the root."""
    return ssl.create_default_context(cafile=str(Path(authority.path).with_name("root.pem")))


@pytest.fixture(scope="module")
def secure(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, object]
) -> Iterator[BrokerProcess]:
    """Return a broker whose listener speaks TLS."""
    directory = tmp_path_factory.mktemp("secure")
    broker = BrokerProcess(f"lmdb:{directory / 'data'}", directory, files)
    yield broker
    broker.kill()


class SecureClient(Client):
    """A client whose words go through TLS; Python's, so it has nothing in common with the broker's."""

    def __init__(
        self, trust: ssl.SSLContext, port: int, version: str | None = "1.2", **headers: str
    ) -> None:
        self._trust = trust
        super().__init__(port, version, **headers)

    def dial(self, port: int) -> socket.socket:
        return self._trust.wrap_socket(super().dial(port), server_hostname="localhost")

    @property
    def secured(self) -> ssl.SSLSocket:
        assert isinstance(self.socket, ssl.SSLSocket)
        return self.socket


Dial = Callable[..., SecureClient]


@pytest.fixture
def dial(trust: ssl.SSLContext, secure: BrokerProcess) -> Iterator[Dial]:
    """Return a function that connects a client over TLS."""
    clients: list[SecureClient] = []

    def new(
        version: str | None = "1.2", to: BrokerProcess = secure, **headers: str
    ) -> SecureClient:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        clients.append(SecureClient(trust, to.port, version, **named))
        return clients[-1]

    yield new
    for client in clients:
        client.close()


def rest_of(client: Client) -> bytes:
    """Return all octets until the broker hangs up."""
    rest = b""
    with contextlib.suppress(Closed):
        while True:
            rest += read_octets(client)
    return rest


def read_bodies(client: Client, count: int) -> Iterator[bytes]:
    """Yield the bodies of the next MESSAGE frames, which are large: unlike `Client` it keeps no copy."""
    while count:
        data = client.socket.recv(1 << 16)
        assert data
        for frame in client.parser.feed(data):
            assert frame.command == "MESSAGE", frame
            yield frame.body
            count -= 1


# --- what TLS changes nothing about -----------------------------------------------------------------


def test_the_ready_line_says_how_to_come(secure: BrokerProcess) -> None:
    assert secure.url == f"stomp+ssl://127.0.0.1:{secure.port}"


def test_a_conversation(dial: Dial, version: str, queue: str) -> None:
    producer, consumer = dial(version), dial(version)
    subscribe(consumer, queue)
    put(producer, queue, b"one", b"two", b"three")
    assert bodies(take(consumer, 3)) == [b"one", b"two", b"three"]


@pytest.mark.parametrize("latest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_large_body_both_ways(
    latest: ssl.TLSVersion, trust: ssl.SSLContext, secure: BrokerProcess, dial: Dial, queue: str
) -> None:
    body = os.urandom(MB) * 20
    trust.maximum_version = latest
    try:
        client = dial()
    finally:
        trust.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED
    assert client.secured.version() == latest.name.replace("_", ".")
    accepted(client.ask("SEND", body, destination=queue))
    client.send("SUBSCRIBE", destination=queue, id="s")
    assert [*read_bodies(client, 1)] == [body]
    assert is_served(client)


def test_frames_in_small_records(dial: Dial, queue: str) -> None:
    """Each octet comes in a TLS record of its own."""
    client = dial()
    for octet in f"SEND\ndestination:{queue}\nreceipt:r\n\nhello\0".encode():
        client.write(bytes([octet]))
    client.expect("RECEIPT", receipt_id="r")


def test_heart_beats(dial: Dial) -> None:
    """The broker's come while it has nothing to say, and one that misses the client's ends the link."""
    client = dial(heart_beat="200,200")
    assert client.connected.headers["heart-beat"] == "200,200"
    start = time.monotonic()
    assert read_octets(client) == b"\n"
    assert set(rest_of(client)) <= {10}
    assert time.monotonic() - start >= 0.2


def test_the_receipt_of_disconnect_is_the_last_frame(dial: Dial, queue: str) -> None:
    client = dial()
    for _ in range(100):
        client.send("SEND", b"x", destination=queue, receipt="sent")
    client.send("DISCONNECT", receipt="bye")
    for _ in range(100):
        client.expect("RECEIPT", receipt_id="sent")
    client.expect("RECEIPT", receipt_id="bye")
    client.expect_closed()


def test_the_end_is_said(dial: Dial) -> None:
    """Closing says close_notify, so that a client knows that nothing was cut off."""
    client = dial()
    client.send("DISCONNECT", receipt="bye")
    client.expect("RECEIPT", receipt_id="bye")
    client.secured.unwrap().close()  # without close_notify from there it would raise ssl.SSLEOFError


def test_an_error_arrives_before_the_end(dial: Dial) -> None:
    """Also when much of what the client says is unread."""
    client = dial()
    client.write(b"NONSENSE\n\n\0" + b"x" * 1000)
    expect_error(client.frame(), "NONSENSE")
    client.expect_closed()


def test_a_stop_keeps_its_promises(
    start_broker: StartBroker, files: dict[str, object], dial: Dial
) -> None:
    broker = start_broker(**files)
    client = dial(to=broker)
    client.send("SEND", b"last", destination="/queue/a", receipt="last")
    client.expect("RECEIPT", receipt_id="last")
    broker.process.send_signal(signal.SIGTERM)
    client.expect_closed()
    client.close()
    assert broker.process.wait(DEADLINE) == 0


# --- clients that are slow ----------------------------------------------------------------------


def test_a_slow_reader_costs_little_memory(
    start_broker: StartBroker, files: dict[str, object], dial: Dial
) -> None:
    """It is handed no more than it reads; what it has not read stays in the store."""
    broker = start_broker(**files)
    slow, producer = dial(to=broker), dial(to=broker)
    subscribe(slow, "/queue/a")
    before = broker.memory()
    body = os.urandom(MB // 2)
    for number in range(120):
        producer.send("SEND", body, destination="/queue/a", receipt=f"{number}")
        producer.expect("RECEIPT", receipt_id=f"{number}")
    assert broker.memory() < before + 40 * MB
    assert all(each == body for each in read_bodies(slow, 120))
    assert is_served(slow)


def test_who_asks_and_never_reads_is_read_no_more(
    start_broker: StartBroker, files: dict[str, object], dial: Dial
) -> None:
    """The answers wait; when they are read everything goes on, and each answer is there."""
    broker = start_broker(stalled_bytes=MB, **files)
    client = dial(to=broker)
    before = broker.memory()
    receipt = "r" * 1000
    client.socket.settimeout(1.0)
    frame = f"SEND\ndestination:/topic/nobody\nreceipt:{receipt}\n\n\0".encode()
    written = 0
    with contextlib.suppress(TimeoutError):
        while written < 80_000:
            client.write(frame * 40)
            written += 40
    assert written < 80_000
    assert broker.memory() < before + 40 * MB
    for _ in range(written):
        client.expect("RECEIPT", receipt_id=receipt)


# --- clients that hang up, or never came ------------------------------------------------------------


@pytest.mark.parametrize("way", ["close_notify", "without a word", "reset"])
def test_who_hangs_up_loses_nothing(way: str, dial: Dial, queue: str) -> None:
    """What it sent is there, and what it held comes back."""
    client, other = dial(), dial()
    put(other, queue, b"held")
    subscribe(client, queue, ack="client")
    take(client, 1)
    client.send("SEND", b"sent", destination=queue + ".sent", receipt="sent")
    client.expect("RECEIPT", receipt_id="sent")
    if way == "close_notify":
        client.secured.unwrap().close()
    elif way == "reset":
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    else:
        client.close()
    subscribe(other, queue)
    assert bodies(take(other, 1)) == [b"held"]
    assert drain(other, queue + ".sent") == [b"sent"]


def test_a_client_without_tls_harms_nobody(secure: BrokerProcess, dial: Dial) -> None:
    """It is hung up on; others are served, and the log has no traceback."""
    other = dial()
    with socket.create_connection(("127.0.0.1", secure.port), DEADLINE) as plain:
        plain.sendall(b"CONNECT\naccept-version:1.2\nhost:localhost\n\n\0")
        assert not plain.recv(4096).startswith(b"CONNECTED")
        while plain.recv(4096):
            pass
    assert is_served(other)


def test_old_tls_is_refused(secure: BrokerProcess) -> None:
    old = ssl.create_default_context()
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", secure.port), DEADLINE) as link,
        pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"),
    ):
        old.wrap_socket(link)


@pytest.mark.parametrize("begins", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
def test_a_handshake_that_never_ends(
    begins: bytes, start_broker: StartBroker, files: dict[str, object]
) -> None:
    """It ends when the time for CONNECT is over."""
    broker = start_broker(connect_timeout=0.5, **files)
    with socket.create_connection(("127.0.0.1", broker.port), DEADLINE) as link:
        link.sendall(begins)
        with contextlib.suppress(ConnectionResetError):
            assert link.recv(4096) == b""


def test_nothing_stays_of_who_was_here(
    start_broker: StartBroker, files: dict[str, object], dial: Dial
) -> None:
    """However a connection ends, its descriptor is closed."""
    broker = start_broker(connect_timeout=1.0, linger=0.3, **files)
    before = len(os.listdir(f"/proc/{broker.process.pid}/fd"))
    reads_nothing = dial(to=broker)
    subscribe(reads_nothing, "/topic/a")
    client = dial(to=broker)
    client.send("DISCONNECT", receipt="bye")
    client.expect("RECEIPT", receipt_id="bye")  # and it does not hang up
    other = dial(to=broker)
    for _ in range(16):
        accepted(other.ask("SEND", b"x" * MB, destination="/topic/a"))
    # It says that it says no more while much is on its way to it, and only then reads on.
    link = socket.socket(fileno=os.dup(reads_nothing.socket.fileno()))
    link.setblocking(False)
    with pytest.raises(ssl.SSLError):
        reads_nothing.secured.unwrap()
    link.settimeout(DEADLINE)
    while link.recv(MB):
        pass
    link.close()
    reads_nothing.close()
    with socket.create_connection(("127.0.0.1", broker.port), DEADLINE) as plain:
        plain.sendall(b"hello\n\n\n\n\n")
        while plain.recv(4096):
            pass
    other.close()
    end = time.monotonic() + DEADLINE
    while len(os.listdir(f"/proc/{broker.process.pid}/fd")) > before:
        assert time.monotonic() < end


# --- who connects, and how it is told ---------------------------------------------------------------


def test_stomp_py(secure: BrokerProcess, authority: Authority, queue: str) -> None:
    where = [("127.0.0.1", secure.port)]
    connection = stomp.Connection12(where, timeout=DEADLINE)
    connection.set_ssl(for_hosts=where, ca_certs=str(Path(authority.path).with_name("root.pem")))
    inbox = Inbox()
    connection.set_listener("inbox", inbox)
    connection.connect(wait=True)
    connection.subscribe(queue, id="1")
    connection.send(queue, "one coffee", receipt="order")
    kinds: dict[str, Any] = {}
    while len(kinds) < 3:
        kind, frame = inbox.events.get(timeout=DEADLINE)
        kinds[kind] = frame
    assert kinds["message"].body == "one coffee"
    assert kinds["receipt"].headers["receipt-id"] == "order"
    connection.disconnect()


def test_two_doors(authority: Authority, trust: ssl.SSLContext, tmp_path: Path) -> None:
    """With TLS and without, one house; the paths are taken from where the broker was started."""
    authority.issue("door", directory=tmp_path)
    section = '[[listener]]\nport = 0\ntls_certificate = "door.pem"\ntls_key = "door.key"\n'
    with started(section, tmp_path) as process:
        found = re.search(
            r"ready on stomp://127.0.0.1:(\d+), stomp\+ssl://127.0.0.1:(\d+),",
            read_line(process.stdout),
        )
        assert found
        with Client(int(found[1])) as plain, SecureClient(trust, int(found[2]), "1.2") as secured:
            put(plain, "/queue/a", b"1")
            assert drain(secured, "/queue/a") == [b"1"]


@pytest.mark.parametrize("section", ["", "[[listener]]\n"])
def test_files_that_are_no_good_end_the_start(section: str, tmp_path: Path) -> None:
    """One line, status 2, and nobody was told that the broker is ready. Why: tests/test_secure.py."""
    config = f'{section}port = 0\ntls_certificate = "none.pem"\ntls_key = "none.key"\n'
    with started(config, tmp_path) as process:
        out, errors = process.communicate(timeout=DEADLINE)
        assert (process.returncode, out) == (2, "")
        reason = "cannot read none.pem: No such file or directory"
        assert errors == f"hoofbeat: TLS on 127.0.0.1:0: {reason}\n"


def test_who_needs_no_tls_does_not_wait_for_it() -> None:
    """Importing OpenSSL takes a tenth of a start, and Twisted would do it for its own purposes."""
    text = """
import sys
from broker.cli import our_reactor
from broker.options import Options, change_options
reactor = our_reactor()
from broker.service import make_service
make_service(change_options(Options(), {"store": "memory:", "port": 0}, ""), reactor).listen()
assert not {"OpenSSL", "cryptography", "service_identity"} & set(sys.modules), sys.modules.keys()
from twisted.internet.endpoints import TLSMemoryBIOFactory
assert TLSMemoryBIOFactory is not None  # who asks later has it
"""
    subprocess.run([sys.executable, "-c", text], check=True, timeout=DEADLINE)


@contextlib.contextmanager
def started(config: str, directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a broker with this configuration, ready or not."""
    (directory / "hoof.toml").write_text(config)
    process = subprocess.Popen(
        [*COMMAND, "--config", "hoof.toml", "--store", "memory:"],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
