"""Opening a link: versions, what CONNECTED tells, what is refused and how."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path

import pytest

from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.harness import DEADLINE, BrokerProcess, Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    expect_error,
    is_served,
    put,
    read_octets,
    subscribe,
    take,
)

SUPPORTED = "Supported protocol versions are 1.0 1.1 1.2"


def hello(client: Client, command: str = "CONNECT", /, **headers: str) -> Frame:
    """Send a first frame and return the answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    client.write(Frame(command, named).encode("1.0"))
    return client.frame()


def test_connected_tells_version_session_server_and_heart_beat(
    connect: Connect, version: str
) -> None:
    """A client learns everything it may look for, in every version, 1.0 too; there is no body."""
    connected = connect(version).connected
    assert connected.headers["version"] == version
    assert connected.headers["session"]
    assert re.match(r"ActiveMQ/\d", connected.headers["server"])
    assert connected.headers["heart-beat"] == "0,0"
    assert connected.body == b""


def test_sessions_have_different_names(connect: Connect) -> None:
    """Two clients never share a session id."""
    sessions = [connect().connected.headers["session"] for _ in range(3)]
    assert len(set(sessions)) == 3


def test_server_header_can_be_chosen(start_broker: StartBroker, connect: Connect) -> None:
    """An operator decides which broker clients take this one for."""
    other = start_broker("memory:", server_header="RabbitMQ/4.0")
    assert connect("1.2", to=other).connected.headers["server"] == "RabbitMQ/4.0"


@pytest.mark.parametrize("command", ["CONNECT", "STOMP"])
@pytest.mark.parametrize(
    ("offered", "agreed"),
    [
        ("1.0", "1.0"),
        ("1.1", "1.1"),
        ("1.2", "1.2"),
        ("1.0,1.1", "1.1"),
        ("1.2,1.0,1.1", "1.2"),
        ("1.0,1.1,2.0", "1.1"),
        ("1.1,9.9,xyz", "1.1"),
        ("1.0 , 1.1 ,  1.2", "1.2"),
        (" 1.1 ", "1.1"),
    ],
)
def test_highest_common_version(connect: Connect, command: str, offered: str, agreed: str) -> None:
    """The highest version both know is spoken, whatever the order and the blanks; STOMP is CONNECT."""
    connected = hello(connect(None), command, accept_version=offered, host="localhost")
    assert connected.command == "CONNECTED"
    assert connected.headers["version"] == agreed


@pytest.mark.parametrize("command", ["CONNECT", "STOMP"])
def test_no_accept_version_is_1_0(connect: Connect, command: str) -> None:
    """A client that offers nothing speaks 1.0."""
    assert hello(connect(None), command, login="a", passcode="b").headers["version"] == "1.0"


def test_no_common_version(connect: Connect) -> None:
    """A client from the future is told what is spoken here, then the link ends."""
    client = connect(None)
    error = expect_error(hello(client, accept_version="2.0,3.0", host="x"), SUPPORTED)
    assert error.headers["version"] == "1.0,1.1,1.2"
    assert error.headers["content-type"] == "text/plain"
    assert error.body.decode().splitlines()[0] == SUPPORTED
    client.expect_closed()


def test_host_may_be_missing_or_anything(connect: Connect, version: str) -> None:
    """No virtual host is refused: stomp.py without a vhost names none."""
    for headers in ({}, {"host": "/"}, {"host": "nowhere.example"}, {"host": ""}):
        answer = hello(connect(None), accept_version=version, **headers)
        assert answer.command == "CONNECTED"


def test_headers_nobody_knows_are_ignored(connect: Connect, version: str, queue: str) -> None:
    """Unknown headers, on CONNECT as on other frames, do no harm."""
    client = connect(version, x_unknown="1", client_id="me")
    subscribe(client, queue, x_unknown="2", content_length="0", content_type="text/plain")
    accepted(client.ask("UNSUBSCRIBE", id="s", x_unknown="3"))


def test_connect_may_have_a_body(connect: Connect) -> None:
    """A body in CONNECT is ignored."""
    client = connect(None)
    client.write(b"CONNECT\naccept-version:1.2\nhost:h\ncontent-length:5\n\nhello\0")
    client.expect("CONNECTED", version="1.2")
    assert is_served(client)


def test_connect_with_crlf_and_blanks(connect: Connect) -> None:
    """The first frame is read leniently: CR LF line ends, blanks around values."""
    client = connect(None)
    client.write(b"CONNECT\r\naccept-version: 1.1 \r\nhost: h\r\n\r\n\0\r\n")
    client.expect("CONNECTED", version="1.1")


def test_connect_is_not_unescaped(connect: Connect) -> None:
    """Backslashes and colons in CONNECT mean themselves, in CONNECTED too."""
    client = connect(None)
    client.write(b"CONNECT\naccept-version:1.2\nrequest-id:a\\cb:c\\\\\nhost:h\n\n\0")
    client.expect("CONNECTED", response_id="a\\cb:c\\\\")
    assert b"response-id:a\\cb:c\\\\\n" in client.received


def test_receipt_on_connect_is_echoed_in_connected(connect: Connect, version: str) -> None:
    """CONNECT gets no RECEIPT of its own; as in ActiveMQ, CONNECTED carries the ids."""
    client = connect(version, receipt="r-1")
    assert client.connected.headers["receipt-id"] == "r-1"
    assert client.connected.headers["response-id"] == "r-1"
    assert is_served(client)
    other = connect(version, request_id="q-1")
    assert other.connected.headers["response-id"] == "q-1"
    assert "receipt-id" not in other.connected.headers


@pytest.mark.parametrize(
    "command", ["SEND", "SUBSCRIBE", "UNSUBSCRIBE", "ACK", "NACK", "BEGIN", "COMMIT", "ABORT"]
)
def test_nothing_before_connect(connect: Connect, command: str, queue: str) -> None:
    """Whoever has not introduced himself is heard in nothing, and leaves no trace."""
    client = connect(None)
    headers = {"destination": queue, "id": "1", "transaction": "t", "message-id": "1"}
    client.write(Frame(command, headers | {"receipt": "r"}).encode("1.0"))
    error = expect_error(
        client.frame(), f"unexpected frame before CONNECT or STOMP frame: {command}"
    )
    assert error.headers["receipt-id"] == "r"
    client.expect_closed()
    reader = connect()
    subscribe(reader, queue)
    assert reader.silent()


def test_frames_after_a_refused_first_one_are_not_obeyed(connect: Connect, queue: str) -> None:
    """A SEND that hides behind a refused CONNECT in the same packet is not taken."""
    client = connect(None)
    client.write(
        b"CONNECT\naccept-version:7\n\n\0SEND\ndestination:%b\n\nsmuggled\0" % queue.encode()
    )
    expect_error(client.frame(), SUPPORTED)
    client.expect_closed()
    reader = connect()
    subscribe(reader, queue)
    assert reader.silent()


@pytest.mark.parametrize("command", ["CONNECT", "STOMP"])
def test_second_connect(connect: Connect, version: str, command: str) -> None:
    """A link is opened once; asking again ends it."""
    client = connect(version)
    client.send(command, accept_version=version, host="h")
    expect_error(client.frame(), "duplicate CONNECT or STOMP frame")
    client.expect_closed()


def test_frames_behind_connect_in_the_same_packet(connect: Connect, queue: str) -> None:
    """A client need not wait for CONNECTED: what follows is read in the version agreed on."""
    client = connect(None)
    client.write(
        b"CONNECT\naccept-version:1.2\nhost:h\n\n\0\n"
        b"SUBSCRIBE\r\nid:a\\cb\r\ndestination:%b\r\nreceipt:1\r\n\r\n\0\n"
        b"SEND\ndestination:%b\n\nhello\0\n" % (queue.encode(), queue.encode())
    )
    client.parser.version = "1.2"
    client.expect("CONNECTED")
    client.expect("RECEIPT", receipt_id="1")
    assert client.expect("MESSAGE", subscription="a:b").body == b"hello"


def test_connect_byte_by_byte(connect: Connect) -> None:
    """Ruby writes its first frame in many small pieces; it is answered when it is whole."""
    client = connect(None)
    for octet in b"CONNECT\naccept-version:1.1\nhost:h\n\n\0\n":
        client.write(bytes([octet]))
    client.expect("CONNECTED", version="1.1")
    assert is_served(client)


def test_refusal_waits_for_the_whole_connect(connect: Connect) -> None:
    """A client that writes a bad CONNECT line by line reads the ERROR instead of a broken pipe."""
    client = connect(None)
    lines = [b"CONNECT\n", b"accept-version:8.0\n", b"heart-beat:nonsense\n", b"host:h\n", b"\n"]
    for line in lines:
        client.write(line)
    with connect(
        None
    ) as other:  # a full round trip of somebody else: the broker has read the lines
        hello(other)
    client.socket.settimeout(0)
    with pytest.raises(BlockingIOError):
        client.socket.recv(1)
    client.socket.settimeout(DEADLINE)
    client.write(b"\0")
    expect_error(client.frame(), SUPPORTED)
    client.expect_closed()


def test_silent_stranger_is_shown_out(start_broker: StartBroker, connect: Connect) -> None:
    """Who connects and says nothing, or never ends his CONNECT, occupies a place only for a while."""
    hasty = start_broker("memory:", connect_timeout=0.4)
    begun = time.monotonic()
    silent, slow = connect(None, to=hasty), connect(None, to=hasty)
    slow.write(b"CONNECT\nhost:")
    logged_in = connect("1.2", to=hasty)
    silent.expect_closed()
    slow.expect_closed()
    assert time.monotonic() - begun >= 0.4
    assert is_served(logged_in)


def test_no_haste(start_broker: StartBroker, connect: Connect) -> None:
    """With `connect_timeout = 0` nobody is shown out, least of all at once."""
    patient = start_broker("memory:", connect_timeout=0)
    silent = connect(None, to=patient)
    assert is_served(connect("1.2", to=patient))
    silent.send("CONNECT", accept_version="1.2")
    silent.expect("CONNECTED")


def test_hit_and_run(connect: Connect, queue: str) -> None:
    """A client that sends and hangs up in one breath is still heard; one that only knocks harms nobody."""
    sender = connect(None)
    sender.write(
        b"CONNECT\naccept-version:1.2\nhost:h\n\n\0"
        b"SEND\ndestination:%b\n\nlast words\0" % queue.encode()
    )
    sender.close()
    for _ in range(20):
        connect(None).close()
        connect("1.2").close()
    reader = connect()
    subscribe(reader, queue)
    assert take(reader, 1)[0].body == b"last words"


def test_a_thousand_may_knock_at_once(server: BrokerProcess, connect: Connect) -> None:
    """While the broker is busy, clients wait in the listener's backlog instead of for SYN retries."""
    somaxconn = int(Path("/proc/sys/net/core/somaxconn").read_text())
    crowd = min(500, somaxconn)
    clients: list[socket.socket] = []
    server.process.send_signal(19)  # SIGSTOP: it accepts nobody
    try:
        for _ in range(crowd):
            clients.append(socket.create_connection(("127.0.0.1", server.port), 1))
        for client in clients:
            client.sendall(b"CONNECT\naccept-version:1.2\nhost:h\n\n\0")
    finally:
        server.process.send_signal(18)  # SIGCONT
    for client in clients:
        client.settimeout(DEADLINE)
        assert client.recv(9) == b"CONNECTED"
        client.close()


def test_small_pieces_are_confirmed_quickly(connect: Connect, queue: str) -> None:
    """A client that writes a frame in pieces without TCP_NODELAY does not wait 40 ms for each answer."""
    client = connect()
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    times = []
    for number in range(31):
        begun = time.monotonic()
        for piece in (b"SEND\n", b"destination:%b\n" % queue.encode(), b"persistent:false\n"):
            client.write(piece)
        client.write(b"receipt:%d\n\nhello\0\n" % number)
        client.expect("RECEIPT", receipt_id=str(number))
        times.append(time.monotonic() - begun)
    assert sorted(times)[15] < 0.03


def test_exactly_one_lf_after_each_frame_in_the_same_write(
    connect: Connect, version: str, queue: str
) -> None:
    """php-stomp loses frames without it, and with two of them: NUL, one LF, nothing else."""
    client = connect(version)
    received = [client.received]
    for frame in (
        Frame("SUBSCRIBE", {"id": "1", "destination": queue, "receipt": "r"}),
        Frame("SEND", {"destination": queue}, b"body"),
        Frame("SEND", {}, b"no destination"),
    ):
        client.write(frame.encode(version))
        received.append(read_octets(client))
    assert [data.split(b"\n")[0] for data in received] == [
        b"CONNECTED",
        b"RECEIPT",
        b"MESSAGE",
        b"ERROR",
    ]
    for data in received:
        assert data.endswith(b"\0\n")
        assert data.count(b"\0") == 1


def test_frames_that_leave_together_have_one_lf_between_them(
    connect: Connect, version: str, queue: str
) -> None:
    """Also when many frames leave in one write."""
    put(connect(version), queue, b"a", b"b", b"c")
    client = connect(version)
    client.received = b""
    subscribe(client, queue)
    take(client, 3)
    frames = client.received.split(b"\0\n")
    assert len(frames) == 5
    assert frames.pop() == b""
    assert [frame.split(b"\n")[0] for frame in frames] == [b"RECEIPT"] + [b"MESSAGE"] * 3


def test_a_client_id_belongs_to_one_connection_at_a_time(connect: Connect, version: str) -> None:
    """A second client of the same name is refused, and the name is free as soon as the first has gone."""
    first = connect(version, client_id=f"unique-{version}")
    second = connect(None)
    second.write(
        b"CONNECT\naccept-version:%b\nhost:h\nclient-id:unique-%b\n\n\0"
        % (version.encode(), version.encode())
    )
    assert "already connected" in second.expect("ERROR").headers["message"]
    second.expect_closed()
    accepted(first.ask("DISCONNECT"))
    connect(version, client_id=f"unique-{version}")
