"""Certificates that clients show, and certificates that change while the broker runs."""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from tests.certificates import Authority
from tests.conftest import StartBroker
from tests.harness import DEADLINE, BrokerProcess, Client
from tests.logs.reading import LogFile
from tests.scenarios.steps import accepted, bodies, is_served, subscribe, take
from tests.scenarios.test_tls import SecureClient

Files = tuple[str, str]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def door(authority: Authority) -> Files:
    """Return a listener's certificate and key."""
    return authority.issue("door")


@pytest.fixture
def log(tmp_path: Path) -> LogFile:
    return LogFile(tmp_path)


def trusting(authority: Authority, own: Files | None = None) -> ssl.SSLContext:
    """Return what a client believes, and what it shows."""
    context = ssl.create_default_context(cafile=authority.path)
    if own is not None:
        context.load_cert_chain(*own)
    return context


def tls(files: Files, **more: object) -> dict[str, object]:
    """Return settings."""
    return {"tls_certificate": files[0], "tls_key": files[1], **more}


def asking(door: Files, authority: Authority, **more: object) -> dict[str, object]:
    return tls(door, tls_client_authorities=authority.path, **more)


def is_let_in(context: ssl.SSLContext, port: int) -> bool:
    """Tell whether a client that knows no more than its certificate gets a CONNECTED."""
    try:
        with SecureClient(context, port) as client:
            return is_served(client)
    except (ssl.SSLError, ConnectionError):
        return False


def post(context: ssl.SSLContext, port: int, path: str) -> int:
    connection = http.client.HTTPSConnection("localhost", port, timeout=DEADLINE, context=context)
    try:
        connection.request("POST", path, b"posted")
        return connection.getresponse().status
    finally:
        connection.close()


# --- certificates of clients ------------------------------------------------------------------------


def test_a_client_must_show_a_certificate_of_the_right_authority(
    start_broker: StartBroker, authority: Authority, door: Files, tmp_path: Path
) -> None:
    """At a listener that asks for one: without, or with a stranger's, the handshake fails."""
    stranger = Authority(tmp_path, "stranger")
    forged = stranger.issue("shop-7")
    plain = trusting(authority)
    broker = start_broker(**asking(door, authority))
    assert is_let_in(trusting(authority, authority.issue("shop-7")), broker.port)
    assert not is_let_in(plain, broker.port)
    assert not is_let_in(trusting(authority, forged), broker.port)


def test_a_certificate_may_be_wanted_only(
    start_broker: StartBroker, authority: Authority, door: Files, tmp_path: Path
) -> None:
    """Without one a client is anonymous; what it shows must be good all the same."""
    forged = Authority(tmp_path, "stranger").issue("shop-7")
    broker = start_broker(**asking(door, authority, tls_client="wanted", anonymous=True))
    assert is_let_in(trusting(authority), broker.port)
    assert is_let_in(trusting(authority, authority.issue("shop-7")), broker.port)
    assert not is_let_in(trusting(authority, forged), broker.port)


def test_each_listener_asks_for_itself(
    start_broker: StartBroker, log: LogFile, authority: Authority, door: Files
) -> None:
    """STOMP and HTTP; the log knows the name in the certificate."""
    listener = [asking(door, authority, port=0, protocol="http")]
    settings = tls(door, anonymous=True, log_level="debug", log_format="json")
    broker = start_broker(**settings, listener=listener)
    own = authority.issue("shop-7")
    assert is_let_in(trusting(authority), broker.port)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        post(trusting(authority), broker.ports["https"], "/queue/a")
    assert post(trusting(authority, own), broker.ports["https"], "/queue/a") == 201
    log.wait_for("has gone", 2)
    names = [each.get("certificate") for each in log.objects if "connection" in each]
    assert names == [None, None, "shop-7", "shop-7"]


def names(*values: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, value) for value in values])


@pytest.mark.parametrize(
    ("subject", "others", "name"),
    [
        (names("shop-7"), [x509.DNSName("other")], "shop-7"),
        (names(), [x509.DNSName("a.example"), x509.DNSName("b.example")], "a.example"),
        (names(), [x509.RFC822Name("bob@example.com")], "bob@example.com"),
        (names(), [x509.RFC822Name("bob@example.com"), x509.DNSName("a.example")], "a.example"),
        (names("shop-7", "shop-8"), [x509.DNSName("other")], None),
        (names("shop\n7"), [x509.DNSName("other")], None),
        (names(), [], None),
    ],
)
def test_the_name_in_a_certificate(
    subject: x509.Name,
    others: list[x509.GeneralName],
    name: str | None,
    start_broker: StartBroker,
    log: LogFile,
    authority: Authority,
    door: Files,
    tmp_path: Path,
) -> None:
    """The common name; without one a DNS name, then an e-mail address. What is not clear is no name, and no login."""
    own = authority.issue("own", directory=tmp_path, subject=subject, others=others)
    settings = asking(door, authority, anonymous=True, log_level="debug", log_format="json")
    broker = start_broker(**settings)
    assert is_let_in(trusting(authority, own), broker.port)
    told = json.loads(log.wait_for("has connected"))
    assert told.get("certificate") == name
    assert told["login"] == (name or "anonymous")


def test_nobody_is_named_where_nothing_is_verified(
    start_broker: StartBroker, log: LogFile, authority: Authority, door: Files
) -> None:
    """A client that has a certificate is not asked for it, so it counts for nothing."""
    broker = start_broker(**tls(door), log_level="debug", log_format="json")
    assert is_let_in(trusting(authority, authority.issue("shop-7")), broker.port)
    assert "certificate" not in json.loads(log.wait_for("has connected"))


# --- certificates that change -----------------------------------------------------------------------


def serial_of(client: SecureClient) -> object:
    """Return which certificate a listener has shown."""
    shown = client.secured.getpeercert()
    assert shown is not None
    return shown["serialNumber"]


def web_serial(context: ssl.SSLContext, port: int) -> object:
    connection = http.client.HTTPSConnection("localhost", port, timeout=DEADLINE, context=context)
    connection.connect()
    try:
        shown = connection.sock.getpeercert()
        assert shown is not None
        return shown["serialNumber"]
    finally:
        connection.close()


def test_a_new_certificate_is_shown_after_a_reload(
    start_broker: StartBroker, log: LogFile, authority: Authority, tmp_path: Path
) -> None:
    """Who is there stays there. Files that are no good change nothing, and the log says what is wrong."""
    trust = trusting(authority)
    files = authority.issue("mine", directory=tmp_path)
    settings = tls(files, listener=[tls(files, port=0, protocol="http")])
    broker = start_broker(**settings)
    with SecureClient(trust, broker.port) as old:
        first = serial_of(old)
        assert web_serial(trust, broker.ports["https"]) == first
        authority.issue("mine", directory=tmp_path)
        log.reload(broker, settings, "was read anew; changed: nothing")
        with SecureClient(trust, broker.port) as new:
            second = serial_of(new)
            assert second != first
            assert is_served(new)
        assert web_serial(trust, broker.ports["https"]) == second

        Path(files[1]).write_text("nonsense")
        line = log.reload(broker, settings)
        reason = f"TLS on 127.0.0.1:0: {files[1]}: there is no private key in PEM in it"
        assert line.endswith(f"#error] the configuration stays as it was: {reason}")
        with SecureClient(trust, broker.port) as new:
            assert serial_of(new) == second
        assert is_served(old)


def test_another_authority_of_clients_after_a_reload(
    start_broker: StartBroker, log: LogFile, authority: Authority, door: Files, tmp_path: Path
) -> None:
    """Whose file is one of those that are read again."""
    file = tmp_path / "clients.pem"
    stranger = Authority(tmp_path, "stranger")
    own, others = authority.issue("shop-7"), stranger.issue("shop-8")
    file.write_bytes(Path(authority.path).read_bytes())
    settings = tls(door, tls_client_authorities=str(file))
    broker = start_broker(**settings)
    assert is_let_in(trusting(authority, own), broker.port)
    assert not is_let_in(trusting(authority, others), broker.port)
    file.write_bytes(Path(stranger.path).read_bytes())
    log.reload(broker, settings)
    assert not is_let_in(trusting(authority, own), broker.port)
    assert is_let_in(trusting(authority, others), broker.port)


def test_half_of_a_reload_is_none(
    start_broker: StartBroker, log: LogFile, authority: Authority, tmp_path: Path
) -> None:
    """A certificate that is no good keeps other settings from being taken over, too."""
    files = authority.issue("mine", directory=tmp_path)
    broker = start_broker(**tls(files))
    Path(files[0]).write_text("nonsense")
    log.reload(broker, tls(files, log_level="debug"), "stays as it was")
    authority.issue("mine", directory=tmp_path)
    with SecureClient(trusting(authority), broker.port) as client:
        assert is_served(client)
    broker.stop()
    assert "has connected" not in log.text


# --- other brokers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["stomp", "http"])
def test_a_peer_shows_its_certificate_and_reads_it_anew(
    protocol: str, authority: Authority, door: Files, tmp_path: Path
) -> None:
    """One that dials: its own certificate, and whom it believes, are read again with the configuration."""
    scheme = {"stomp": "stomp+ssl", "http": "https"}[protocol]
    places = {name: tmp_path / name for name in "AB"}
    for place in places.values():
        place.mkdir()
    peer = {"passcode": "secret", "heart_beat": 0}
    listener = [asking(door, authority, port=0, protocol=protocol)]
    b = BrokerProcess(
        "memory:",
        places["B"],
        {"name": "B", "anonymous": True, "listener": listener, "peer": {"A": peer}},
    )
    believed = places["A"] / "believed.pem"
    believed.write_bytes(Path(Authority(places["A"], "stranger").path).read_bytes())
    own = authority.issue("A", directory=places["A"])
    url = f"{scheme}://localhost:{b.ports[scheme]}"
    there = tls(own, url=url, tls_authorities=str(believed), **peer)
    settings: dict[str, object] = {"name": "A", "peer": {"B": there}, "sweep_every": 30.0}
    a = BrokerProcess("memory:", places["A"], settings)
    try:
        log = LogFile(places["A"])
        log.wait_for("no link to the peer B: .*certificate verify failed")
        believed.write_text("nonsense")
        line = log.reload(a, settings, "stays as it was")
        assert line.endswith(f"[peer.B]: {believed}: there is no certificate in PEM in it")
        believed.write_bytes(Path(authority.path).read_bytes())
        log.reload(a, settings)
        log.wait_for("linked to the peer B")
        with Client(a.port) as producer, Client(b.port) as consumer:
            accepted(producer.ask("SEND", b"carried", destination="/peer/B/queue/a"))
            subscribe(consumer, "/queue/a")
            assert bodies(take(consumer, 1)) == [b"carried"]
    finally:
        a.kill()
        b.kill()
