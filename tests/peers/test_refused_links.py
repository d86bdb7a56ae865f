"""Links that must not be: the operator is told why, it is tried again after a while, and nobody else is harmed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from broker.stomp import Frame
from tests.certificates import Authority
from tests.harness import Client
from tests.peers.conftest import MakeNode
from tests.peers.nodes import SECRET, Node, numbered
from tests.scenarios.steps import accepted, drain, expect_error, is_served, put, subscribe

TO_B = "/peer/B/queue/x"


def stays_calm(a: Node, b: Node, why: str) -> None:
    """It says why, once; it dials again, more and more seldom; clients are served, and nothing is lost."""
    log = a.await_log(f"no link to the peer B: {why}")
    assert SECRET not in log
    client = a.connect()
    put(client, TO_B, *numbered(1, 3))
    before = b.door.connects
    for _ in range(50):
        assert is_served(client)
    assert b.door.connects - before <= 2
    assert a.log().count("no link to the peer B") == log.count("no link to the peer B")
    peer = a.peer(b)
    assert (peer["linked"], peer["waiting"], peer["in_flight"]) == (False, 3, 0)
    assert peer["trouble"].startswith(why)


def test_not_known(make_node: MakeNode) -> None:
    """A name that the other does not know, or a wrong passcode: the answer is the same. Mended, all of it comes."""
    a, b = make_node("A"), make_node("B")
    a.know(b, dial=True)
    b.know(a, passcode=SECRET + "!")
    b.start()
    a.start()
    stays_calm(a, b, "the peer said: The broker B does not know a peer A with this passcode")
    b.settings["peer"] = {}
    b.stop()
    b.start()
    assert is_served(b.connect())
    b.know(a)
    b.stop()
    b.start()
    a.await_forwarded(b)
    assert drain(b.connect(), "/queue/x") == numbered(1, 3)
    assert SECRET not in a.log() + b.log()


def test_somebody_else_answers(make_node: MakeNode) -> None:
    """Another broker than the one that was meant."""
    a, b, c = make_node("A"), make_node("B"), make_node("C")
    a.know(b, url=f"stomp://127.0.0.1:{c.door.port}")
    c.know(a)
    c.start()
    a.start()
    a.await_log("no link to the peer B: The broker there calls itself C")


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """Listen and say the same to everybody; the port is given."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            try:
                while True:
                    link, _ = listener.accept()
                    with link:
                        link.recv(4096)
                        link.sendall(answer)
                        while link.recv(4096):
                            pass
            except OSError:
                return

        threading.Thread(target=run, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"CONNECTED\nversion:1.2\nserver:ActiveMQ/5.18.3\n\n\0", "This is no hoofbeat"),
        (
            b"CONNECTED\nhoofbeat-peer:B\nhoofbeat-node:1\nhoofbeat-max-body:9\n\n\0",
            "Peers speak STOMP 1.2",
        ),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ""),
        (b"ERROR\nmessage:no\x1b[31m\\nway\n\n\0", "the peer said: no"),
        (b"", "the broker there did not answer"),
    ],
)
def test_no_hoofbeat_there(answer: bytes, why: str, make_node: MakeNode) -> None:
    a, b = make_node("A", connect_timeout=0.3), make_node("B")
    with answering(answer) as port:
        b.door.target = port
        a.know(b, dial=True)
        a.start()
        stays_calm(a, b, why)
        assert "\x1b" not in a.log()


# --- who only says that it is a peer ----------------------------------------------------------------

NODE = {"hoofbeat-node": "1", "hoofbeat-max-body": "1000"}


_numbers = count(1)


class Visitor(Client):
    """A program that speaks as a broker does."""

    def forward(self, to: str, body: bytes = b"", /, **headers: str) -> Frame:
        """Send as a broker sends to another; return the answer."""
        number = next(_numbers)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named |= {"destination": "/peer", "receipt": f"4.{number}", "peer-to": to}
        self.write(Frame("SEND", named, body).encode("1.2"))
        return self.frame()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Return a broker that knows A."""
    directory = tmp_path_factory.mktemp("server")
    a, b = Node("A", directory), Node("B", directory)
    b.know(a, accept="a.>")
    b.start()
    yield b
    for node in (a, b):
        node.end()


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"hoofbeat-peer": "A"}, "does not know a peer A"),
        ({"hoofbeat-peer": "A", "passcode": ""}, "does not know a peer A"),
        ({"hoofbeat-peer": "A", "passcode": "guess"}, "does not know a peer A"),
        ({"hoofbeat-peer": "", "passcode": ""}, "does not know a peer"),
        ({"hoofbeat-peer": "Z", "passcode": SECRET}, "does not know a peer Z"),
        ({"hoofbeat-peer": "A", "passcode": SECRET, "hoofbeat-node": ""}, "no hoofbeat"),
        ({"hoofbeat-peer": "A", "passcode": SECRET, "hoofbeat-max-body": "-1"}, "no hoofbeat"),
        ({"hoofbeat-peer": "A", "passcode": SECRET, "accept-version": "1.1"}, "speak STOMP 1.2"),
    ],
)
def test_a_client_that_says_it_is_a_broker(headers: dict[str, str], why: str, server: Node) -> None:
    with Client(server.broker.port, None) as client:
        named = {"accept-version": "1.2", "host": "B", **NODE, **headers}
        client.write(Frame("CONNECT", named).encode("1.0"))
        expect_error(client.frame(), why)
        client.expect_closed()


def visit(server: Node) -> Visitor:
    """Return a peer that means no good."""
    login = {"hoofbeat-peer": "A", "passcode": SECRET, **NODE}
    return Visitor(server.broker.port, "1.2", **login)


@pytest.mark.parametrize(
    "target",
    [
        *("/queue/b", "/queue/rpc.broker", "/queue/rpc.broker?x=1", " /queue/rpc.broker"),
        *("/queue/a.x,/queue/b", "/temp-queue/x", "", "/queue/a.*", "/peer/A/queue/a.x"),
        *("/peer/Z/queue/hoofbeat.reports", "/queue/", "/topic/b"),
    ],
)
def test_a_peer_that_sends_where_it_may_not(target: str, server: Node) -> None:
    with visit(server) as peer:
        answer = peer.forward(target, b"x")
        assert answer.command == "ERROR"
        assert "receipt-id" in answer.headers


def test_a_peer_that_lies(server: Node) -> None:
    """Reports that were never asked for, numbers that are none, ACKs for nothing, frames of others."""
    with visit(server) as peer:
        for report in ("1", "-1", "x", "9" * 30, str(1 << 61)):
            told = {"report": "processed", "report_id": report}
            accepted(peer.forward("/queue/hoofbeat.reports", b"", **told))
        accepted(peer.forward("/queue/a.x", b"x", report_to="/queue/b", report="processed"))
        for command in ("ACK", "NACK"):
            expect_error(peer.ask(command, id="4.1"), "Nothing is in flight")
        expect_error(peer.ask("SUBSCRIBE", id="1", destination="/queue/b"), "cannot subscribe")
        expect_error(peer.ask("BEGIN", transaction="1"), "BEGIN")
    for key in ("x", "4", "4.x", "4.-1", "", "9" * 30):
        with visit(server) as peer:
            peer.send("SEND", destination="/peer", receipt=key)
            assert peer.frame().command == "ERROR"
            peer.expect_closed()
    client = server.connect()
    subscribe(client, "/queue/a.x", ack="auto")
    assert client.expect("MESSAGE").body == b"x"
    assert is_served(client)


def test_a_reply_to_that_grows(server: Node) -> None:
    """What would be too long a line for the next broker is refused here, and does not stop the link."""
    with visit(server) as peer:
        long = ",".join(f"/queue/{number}" for number in range(250)) + "x" * 62_500
        expect_error(peer.forward("/queue/a.y", b"", reply_to=long), "reply-to")
        accepted(peer.forward("/queue/a.y", b"", reply_to="/queue/y"))


def test_what_the_dialling_broker_cannot_read(make_node: MakeNode) -> None:
    """Its limits are narrower: the message is a dead letter where it came from, and the next ones go on."""
    a, b = make_node("A", max_header_line=100), make_node("B")
    a.know(b, dial=True)
    b.know(a)
    b.start()
    a.start()
    b.await_linked(a)
    client = b.connect()
    put(client, "/peer/A/queue/x", b"1")
    put(client, "/peer/A/queue/x", b"2", long="x" * 10_000)
    put(client, "/peer/A/queue/x", b"3")
    b.await_forwarded(a)
    assert drain(a.connect(), "/queue/x") == [b"1", b"3"]
    assert drain(client, "/queue/ActiveMQ.DLQ") == [b"2"]


# --- what is not named any more ---------------------------------------------------------------------


def test_a_peer_that_was_removed(make_node: MakeNode) -> None:
    """What waits for it is kept, with a warning; named again it gets it."""
    a, b = make_node("A"), make_node("B")
    a.know(b, dial=True)
    b.know(a)
    a.start()
    put(a.connect(), TO_B, *numbered(1, 3))
    a.stop()
    named = dict(a.settings["peer"])
    a.settings["peer"].clear()
    a.start()
    a.await_log("3 messages wait for B, which is no peer now")
    expect_error(a.connect().ask("SEND", destination=TO_B), "There is no peer B")
    a.stop()
    a.settings["peer"].update(named)
    b.start()
    a.start()
    a.await_forwarded(b)
    assert drain(b.connect(), "/queue/x") == numbered(1, 3)


# --- TLS --------------------------------------------------------------------------------------------


def test_tls(make_node: MakeNode, tmp_path: Path) -> None:
    """A link is as secret as any; who is not who was dialled is not talked to."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("other.example")
    a = make_node("A")
    b = make_node("B", tls_certificate=certificate, tls_key=key)
    a.know(b, url=f"stomp+ssl://localhost:{b.door.port}", tls_authorities=authority.path)
    b.know(a)
    b.start()
    a.start()
    a.await_linked(b)
    b.door.watching = True
    put(a.connect(), TO_B, b"very private", *numbered(1, 3))
    a.await_forwarded(b)
    assert b"very private" not in b.door.carried
    assert len(b.door.carried) > 100
    a.kill()
    a.settings["peer"]["B"]["url"] = f"stomp+ssl://127.1:{b.door.port}"
    a.start()  # which is the same host, but not by a name that the certificate has
    a.await_log("no link to the peer B: TLS: ", "mismatch")
    a.kill()
    a.settings["peer"]["B"]["url"] = f"stomp+ssl://localhost:{b.door.port}"
    a.settings["peer"]["B"]["tls_authorities"] = Authority(tmp_path, "stranger").path
    a.start()
    a.await_log("certificate verify failed")
    assert not a.peer(b)["linked"]


def test_https(make_node: MakeNode, tmp_path: Path) -> None:
    """The same over HTTP: nobody can listen, and nobody else can answer."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("other.example")
    door = {"protocol": "http", "port": 0, "tls_certificate": certificate, "tls_key": key}
    a, b = make_node("A"), make_node("B", listener=[door])
    a.know(b, url=f"https://localhost:{b.door.port}", tls_authorities=authority.path)
    b.know(a)
    b.start()
    b.door.target = b.broker.ports["https"]
    a.start()
    a.await_linked(b)
    b.door.watching = True
    put(a.connect(), TO_B, b"very private", *numbered(1, 3))
    a.await_forwarded(b)
    assert b"very private" not in b.door.carried
    assert len(b.door.carried) > 100
    a.kill()
    a.settings["peer"]["B"]["tls_authorities"] = Authority(tmp_path, "stranger").path
    a.start()
    a.await_log("no link to the peer B: ", "certificate verify failed")
    assert not a.peer(b)["linked"]


def test_a_link_to_where_there_is_no_tls(make_node: MakeNode, server: Node) -> None:
    a = make_node("A")
    a.know(server, url=f"stomp+ssl://localhost:{server.broker.port}")
    a.start()
    a.await_log("no link to the peer B: ")
