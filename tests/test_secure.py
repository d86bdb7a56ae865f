"""Contexts from PEM files, and streams over TLS that this end dials."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure

from broker.connection import Connection
from broker.net import tls
from broker.net.reactor import StreamReactor
from broker.net.secure import SecureStream
from broker.net.stream import Guest, Intake, Stream
from broker.options import Options, change_options
from broker.service import BrokerService, make_service
from broker.stomp import Frame
from tests.certificates import Authority
from tests.harness import DEADLINE

# Twisted's types are pyOpenSSL's older ones.
pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")

CONNECT = Frame("CONNECT", {"accept-version": "1.2", "host": "here"}).encode("1.0")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with certificates and keys, good and bad."""
    directory = tmp_path_factory.mktemp("certificates")
    authority = Authority(directory)
    for name, password in (("door", b""), ("other", b""), ("locked", b"secret")):
        authority.issue(name, password)
    authority.issue("localhost", others=[])
    authority.issue("mail", others=[x509.RFC822Name("alice@example.org")])
    (directory / "empty").touch()
    (directory / "strangers").mkdir()
    Authority(directory / "strangers")
    return directory


@pytest.fixture
def door() -> str:
    """Return whose certificate the broker shows."""
    return "door"


@pytest.mark.parametrize(
    ("certificate", "key", "reason"),
    [
        ("none.pem", "door.key", "cannot read none.pem: No such file or directory"),
        ("door.pem", "none.key", "cannot read none.key: No such file or directory"),
        ("empty", "door.key", "empty: there is no certificate in PEM in it"),
        ("door.pem", "empty", "empty: there is no private key in PEM in it"),
        ("door.pem", "other.key", "other.key: not the private key of the certificate in door.pem"),
        ("locked.pem", "locked.key", "locked.key: encrypted; store the key without a password"),
    ],
)
def test_files_that_are_no_good(
    certificate: str, key: str, reason: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a listener and of a link; each in one line that names the file."""
    monkeypatch.chdir(here)
    with pytest.raises(tls.CannotSecure) as caught:
        tls.server_context(certificate, key)
    assert str(caught.value) == reason
    with pytest.raises(tls.CannotSecure) as caught:
        tls.client_context("localhost", "root.pem", certificate, key)
    assert str(caught.value) == reason


def test_authorities_that_are_no_good(here: Path) -> None:
    with pytest.raises(tls.CannotSecure, match=r"empty: there is no certificate in PEM in it$"):
        tls.client_context("localhost", str(here / "empty"))


# --- links that this end dials --------------------------------------------------------------------


class Link:
    """What stands on a stream that was dialled: says CONNECT, then what it is told; keeps what it hears."""

    unfinished = False

    def __init__(self, house: Dialler, stream: Stream) -> None:
        self._house = house
        self.stream = stream
        stream.write(CONNECT)

    def data(self, data: bytes) -> None:
        self._house.heard += data
        self._house.on_data(self)

    @property
    def heard(self) -> bytes:
        return self._house.heard

    def unsent(self, size: int) -> None:
        self._house.unsent.append(size)

    def end_of_input(self, died: bool = True) -> None:
        raise AssertionError("TLS has no half-close")

    def lost(self) -> None:
        """The stream has ended."""


class Dialled(SecureStream):
    """Knows why it ended."""

    reason: Failure | None = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        self.reason = reason
        super().connectionLost(reason)


class Dialler(Factory):
    """A house whose streams lead to another one."""

    intake: Intake | None = None

    def __init__(
        self, service: BrokerService, reactor: StreamReactor, on_data: Callable[[Link], object]
    ) -> None:
        self.turn = service.host.turn
        self.on_data = on_data
        self.heard = b""
        self.unsent: list[int] = []
        self.reason: Failure | None = None
        self._reactor = reactor

    def buildProtocol(self, address: object) -> Dialled:  # noqa: N802
        return Dialled(self, 1.0)

    def open_connection(self, stream: Guest) -> Connection:
        return cast(Connection, Link(self, cast(Stream, stream)))

    def forget(self, stream: Guest) -> None:
        assert isinstance(stream, Dialled)
        self.reason = stream.reason
        self._reactor.stop()

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        self._reactor.callLater(seconds, call)


Dial = Callable[..., Dialler]


@pytest.fixture(params=["ours", "Twisted's endpoint"])
def dial(request: pytest.FixtureRequest, here: Path, door: str) -> Iterator[Dial]:
    """Return a function that dials a broker with TLS, and returns when the link has ended."""
    reactor = StreamReactor()
    reactor.callLater(DEADLINE, reactor.stop)
    files = {"tls_certificate": str(here / f"{door}.pem"), "tls_key": str(here / f"{door}.key")}
    settings = {"store": "memory:", "port": 0, "linger": 0.2, **files}
    service = make_service(change_options(Options(), settings, "test"), reactor)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    port = int(service.listen()[0].rpartition(":")[2])

    def dial(context: IOpenSSLClientConnectionCreator, on_data: Callable[[Link], Any]) -> Dialler:
        dialler = Dialler(service, reactor, on_data)
        endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        factory: Any = dialler
        if request.param == "ours":
            factory = tls.dialling(dialler, context)
        else:
            endpoint = wrapClientTLS(context, endpoint, reactor)
        reactor.callWhenRunning(endpoint.connect, factory)
        reactor.run(installSignalHandlers=False)
        return dialler

    yield dial
    reactor.disconnectAll()
    for call in reactor.getDelayedCalls():
        call.cancel()
    reactor.runUntilCurrent()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "door"])
def test_a_link(host: str, dial: Dial, here: Path) -> None:
    """What was said before the handshake was over leaves after it; the other end's last word arrives."""
    said: list[Link] = []

    def answer(link: Link) -> None:
        if not said:
            said.append(link)
            link.stream.write(Frame("DISCONNECT", {"receipt": "bye"}).encode("1.2"))

    dialler = dial(tls.client_context(host, str(here / "root.pem")), answer)
    assert dialler.heard.startswith(b"CONNECTED\n")
    assert dialler.heard.endswith(b"RECEIPT\nreceipt-id:bye\n\n\0\n")


def test_a_large_message(dial: Dial, here: Path) -> None:
    """What TLS and TCP do not take at once waits in order, and whoever wrote it is told how much it is."""
    body = bytes(range(256)) * 20_000
    said: list[Link] = []

    def answer(link: Link) -> None:
        if not said:
            said.append(link)
            subscribe = Frame("SUBSCRIBE", {"destination": "/topic/a", "id": "1"})
            link.stream.write(subscribe.encode("1.2"))
            send = Frame("SEND", {"destination": "/topic/a"}, body)
            link.stream.write(send.encode("1.2"))
        elif link.heard.endswith(body + b"\0\n"):
            link.stream.close()

    dialler = dial(tls.client_context("localhost", str(here / "root.pem")), answer)
    assert body in dialler.heard
    assert max(dialler.unsent) > len(body) / 2
    assert dialler.unsent[-1] == 0


@pytest.mark.parametrize(
    ("host", "authorities"),
    [
        ("elsewhere.example", "root.pem"),
        ("127.0.0.2", "root.pem"),
        ("localhost", "strangers/root.pem"),
        ("localhost", ""),
    ],
)
def test_a_certificate_that_does_not_convince(
    host: str, authorities: str, dial: Dial, here: Path
) -> None:
    """Of another name or address, or signed by nobody whom this end believes: nothing is said."""
    context = tls.client_context(host, str(here / authorities) if authorities else "")
    dialler = dial(context, pytest.fail)
    assert dialler.heard == b""
    assert dialler.reason is not None
    said = f"{dialler.reason.value!r}"
    assert "Verification" in said or "certificate verify failed" in said


@pytest.mark.parametrize("door", ["localhost", "mail"])
def test_a_certificate_that_names_no_host(door: str, dial: Dial, here: Path) -> None:
    """As those of clients are: else whoever has one could be any peer. The subject's name is none of a host."""
    dialler = dial(tls.client_context("localhost", str(here / "root.pem")), pytest.fail)
    assert dialler.heard == b""
    assert dialler.reason is not None
    said = f"{dialler.reason.value!r}"
    assert "subjectAltName" in said or "certificate verify failed" in said or "DNSMismatch" in said


def test_a_certificate_of_its_own(dial: Dial, here: Path) -> None:
    """A link may have one; who is not asked for it does not show it."""
    own = str(here / "other.pem"), str(here / "other.key")
    context = tls.client_context("localhost", str(here / "root.pem"), *own)
    dialler = dial(context, lambda link: link.stream.close())
    assert dialler.heard.startswith(b"CONNECTED\n")
