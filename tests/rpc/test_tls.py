"""Remote calls over TLS, by all faces: through real brokers whose listeners have certificates."""

from __future__ import annotations

import shutil
import socket
import ssl
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import rpc
import rpc.aio
import rpc.jobs
import rpc.jobs.aio
import rpc.tx
from rpc.tls import client_context, read_address
from tests.certificates import Authority
from tests.harness import BrokerProcess
from tests.peers.proxy import Proxy
from tests.processes import PATIENCE, Process, WorkerProcess
from tests.rpc.faces import DIALLING, Face

MB = 1024 * 1024
SOURCE = """
@worker.method
def echo(value):
    return value
@worker.method
def user():
    return rpc.current().user
"""
AGAIN: dict[str, Any] = {"on_loss": "resend", "timeout": PATIENCE}

Make = Callable[..., Face]


class Site:
    """A broker with a listener for each way of TLS, and who signed their certificates."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory)
        certificate, key = self.authority.issue()
        elsewhere = self.authority.issue("elsewhere.example", others=[])
        ours = {"port": 0, "anonymous": True, "tls_certificate": certificate, "tls_key": key}
        listeners = [
            ours,
            ours | {"anonymous": False, "tls_client_authorities": self.authority.path},
            ours | {"tls_certificate": elsewhere[0], "tls_key": elsewhere[1]},
        ]
        self.broker = BrokerProcess(
            "memory:", directory, {"populate_user_id": True, "listener": listeners}
        )
        self.port, self.mutual, self.misnamed = self.broker.all_ports[1:4]  # behind the usual one
        self.url = self.at(self.port)

    def at(self, port: int, host: str = "127.0.0.1", more: str = "") -> str:
        """Return a URL with the authority."""
        return f"stomp+ssl://{host}:{port}?tls_authorities={self.authority.path}{more}"

    def as_person(self, name: str) -> str:
        """Return the URL with which somebody shows a certificate."""
        certificate, key = self.authority.issue(name)
        return self.at(self.mutual, more=f"&tls_certificate={certificate}&tls_key={key}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("tls"))
    yield made
    made.broker.kill()


@pytest.fixture(params=DIALLING)
def face(request: pytest.FixtureRequest) -> Make:
    return DIALLING[request.param]


@pytest.fixture
def service() -> str:
    return f"test-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[str]:
    """Return a service whose worker speaks TLS, too."""
    service = f"test-{uuid.uuid4().hex[:8]}"
    with WorkerProcess(site.url, service, SOURCE, 32):
        yield service


@pytest.fixture
def client(face: Make, site: Site, served: str) -> Iterator[Face]:
    with face(site.url, served) as made:
        yield made


# --- what TLS changes nothing about ---------------------------------------------------------------


def test_calls(client: Face) -> None:
    client.connect()
    for number in range(100):
        assert client.call("echo", number) == number


@pytest.mark.parametrize("face_of_worker", ["rpc", "rpc.aio", "rpc.tx"])
def test_workers_of_all_faces(face_of_worker: str, site: Site, service: str) -> None:
    with (
        WorkerProcess(site.url, service, SOURCE, face=face_of_worker) as worker,
        rpc.Client(site.url, service) as client,
    ):
        large = "x" * (3 * MB)
        assert [client.call("echo", large) for _ in range(2)] == [large] * 2
        worker.signal(15)
        worker.wait_for_line("stopped")
        assert worker.wait() == 0


def test_much_both_ways_at_once_of_many_threads(client: Face) -> None:
    bodies = [f"{number}" * (2 * MB) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda body: client.call("echo", body), bodies)) == bodies
        assert list(pool.map(lambda n: client.call("echo", n), range(400))) == [*range(400)]


def test_a_lost_connection_is_made_again(face: Make, site: Site, served: str) -> None:
    proxy = Proxy(site.port)
    try:
        with face(site.at(proxy.port), served) as client:
            client = client.options(**AGAIN)
            for number in range(3):
                assert client.call("echo", number) == number
                proxy.cut()
            assert client.call("echo", 3) == 3
            assert client.stats().connections > 1
    finally:
        proxy.close()


def test_a_worker_comes_back(site: Site, service: str) -> None:
    proxy = Proxy(site.port)
    try:
        with (
            WorkerProcess(site.at(proxy.port), service, SOURCE),
            rpc.Client(site.url, service) as client,
        ):
            patient = client.options(**AGAIN)
            assert patient.call("echo", 1) == 1
            proxy.cut()
            assert patient.call("echo", 2) == 2
    finally:
        proxy.close()


def test_a_forked_process_leaves_its_parents_connection_alone(site: Site, served: str) -> None:
    source = """
import os, sys
import rpc
client = rpc.Client(sys.argv[1], sys.argv[2])
assert client.call("echo", 1) == 1
for calls in (True, False):
    child = os.fork()
    if not child:
        told = client.call("echo", 2) if calls else 2
        client.close()
        os._exit(0 if told == 2 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert client.call("echo", 3) == 3
assert client.stats().connections == 1
client.close()
"""
    with Process("-c", source, site.url, served) as program:
        assert program.wait() == 0


def test_jobs(site: Site) -> None:
    queue = f"/queue/{uuid.uuid4().hex}"
    sender = rpc.jobs.Sender(site.url)
    sent = sender.send(queue, b"x" * MB)
    for message in rpc.jobs.Inbox(site.url, queue):
        assert message.body == b"x" * MB
        message.processed()
        break
    assert sent.wait(PATIENCE) == rpc.jobs.Status.PROCESSED
    sender.close()


# --- certificates of clients ----------------------------------------------------------------------


def test_the_name_in_the_certificate_is_the_login(face: Make, site: Site, served: str) -> None:
    with face(site.as_person("alice"), served) as client:
        assert client.call("user") == "alice"


def test_certificate_and_key_in_one_file(
    face: Make, site: Site, served: str, tmp_path: Path
) -> None:
    both = tmp_path / "both of+alice.pem"
    both.write_text("".join(Path(name).read_text() for name in site.authority.issue("alice")))
    shown = str(both).replace(" ", "%20")
    with face(site.at(site.mutual, more=f"&tls_certificate={shown}"), served) as client:
        assert client.call("user") == "alice"


def test_who_shows_no_certificate_hears_it(face: Make, site: Site, served: str) -> None:
    with face(site.at(site.mutual), served) as client:
        assert "certificate required" in refused(client)


def test_a_renewed_certificate_is_shown_next(site: Site, served: str, tmp_path: Path) -> None:
    """The files are read for each connection."""
    certificate, key = (shutil.copy(file, tmp_path) for file in site.authority.issue("alice"))
    proxy = Proxy(site.mutual)
    url = site.at(proxy.port, more=f"&tls_certificate={certificate}&tls_key={key}")
    try:
        with rpc.Client(url, served) as client:
            client = client.options(**AGAIN)
            assert client.call("user") == "alice"
            for new, old in zip(site.authority.issue("bob"), (certificate, key), strict=True):
                shutil.copy(new, old)
            proxy.cut()
            assert client.call("user") == "bob"
    finally:
        proxy.close()


# --- what does not convince -----------------------------------------------------------------------


def refused(client: Face) -> str:
    """Return why there is no connection, in the same words that a call hears; nothing was sent."""
    with pytest.raises(rpc.ConnectionLost) as raised:
        client.connect()
    assert "\n" not in str(raised.value)
    with pytest.raises(rpc.ConnectionLost) as again:
        client.call("echo", 1)
    assert not again.value.sent
    return str(raised.value).lower().replace("_", " ")


def test_an_unknown_authority(face: Make, site: Site, served: str, tmp_path: Path) -> None:
    other = Authority(tmp_path).path
    with face(f"stomp+ssl://127.0.0.1:{site.port}?tls_authorities={other}", served) as client:
        why = refused(client)
        assert f"no connection to 127.0.0.1:{site.port}" in why
        assert "certificate verify failed" in why


def test_the_system_does_not_trust_it(face: Make, site: Site, served: str) -> None:
    with face(f"stomp+ssl://127.0.0.1:{site.port}", served) as client:
        assert "certificate verify failed" in refused(client)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_certificate_of_another_host(face: Make, site: Site, served: str, host: str) -> None:
    with face(site.at(site.misnamed, host), served) as client:
        why = refused(client)
        assert f"no connection to {host}:{site.misnamed}" in why
        assert "certificate" in why


def test_a_file_that_went_bad_keeps_a_connection_from_being_made(
    face: Make, site: Site, served: str, tmp_path: Path
) -> None:
    known = shutil.copy(site.authority.path, tmp_path)
    with face(f"stomp+ssl://127.0.0.1:{site.port}?tls_authorities={known}", served) as client:
        Path(known).write_text("")
        assert "no connection to" in refused(client)
        Path(known).write_text(Path(site.authority.path).read_text())
        assert client.call("echo", 1) == 1


@pytest.mark.parametrize("says", [b"", b"ERROR\nmessage:what?\n\n\0"])
def test_a_listener_that_speaks_no_tls(face: Make, says: bytes, site: Site, service: str) -> None:
    """Silent, it is given up after the time to connect; else it is said why."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        pool.submit(answer, listener, says)
        patience = PATIENCE if says else 0.2
        url = site.at(listener.getsockname()[1])
        with face(url, service, connect_timeout=patience) as client:
            with pytest.raises(rpc.ConnectionLost) as raised:
                client.connect()
            assert not raised.value.sent
            assert "rong version number" in str(raised.value).replace("_", " ") or not says


def answer(listener: socket.socket, says: bytes) -> None:
    """Take the first connection, and keep it until the other end has enough."""
    link, _ = listener.accept()
    with link:
        link.settimeout(PATIENCE)
        link.sendall(says)
        while link.recv(4096):
            pass


# --- what is said when a URL is read --------------------------------------------------------------

FILES = {
    "tls_authorities={none}": "tls_authorities: cannot read {none}: No such file",
    "tls_authorities={junk}": "tls_authorities: no certificate in PEM in {junk}",
    "tls_authorities={key}": "tls_authorities: no certificate in PEM in {key}",
    "tls_authorities={folder}": "tls_authorities: cannot read {folder}: Is a directory",
    "tls_certificate={none}": "tls_certificate: cannot read {none}: No such file",
    "tls_certificate={certificate}&tls_key={none}": "tls_key: cannot read {none}: No such file",
    "tls_certificate={junk}&tls_key={key}": "no certificate in PEM in {junk}, or no private key in {key}",
    "tls_certificate={certificate}": "no certificate in PEM in {certificate}, or no private key in {certificate}",
    "tls_certificate={certificate}&tls_key={other}": "tls_key: {other} is not the key of {certificate}",
    "tls_certificate={certificate}&tls_key={hidden}": "tls_key: {hidden} is encrypted",
}

MAKERS: dict[str, Callable[[str], object]] = {
    "rpc.Client": lambda url: rpc.Client(url, "demo"),
    "rpc.Worker": lambda url: rpc.Worker(url, "demo"),
    "rpc.aio.Client": lambda url: rpc.aio.Client(url, "demo"),
    "rpc.aio.Worker": lambda url: rpc.aio.Worker(url, "demo"),
    "rpc.tx.Client": lambda url: rpc.tx.Client(url, "demo"),
    "rpc.tx.Worker": lambda url: rpc.tx.Worker(url, "demo"),
    "rpc.jobs.Sender": rpc.jobs.Sender,
    "rpc.jobs.Inbox": rpc.jobs.Inbox,
    "rpc.jobs.aio.Sender": rpc.jobs.aio.Sender,
    "rpc.jobs.aio.Inbox": rpc.jobs.aio.Inbox,
}


@pytest.fixture(scope="module")
def names(site: Site, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    directory = tmp_path_factory.mktemp("names")
    (directory / "junk").write_text("no PEM")
    certificate, key = site.authority.issue("carol", directory=directory)
    _, other = site.authority.issue("other", directory=directory)
    _, hidden = site.authority.issue("hidden", b"secret", directory=directory)
    return {
        "certificate": certificate,
        "key": key,
        "other": other,
        "hidden": hidden,
        "none": str(directory / "none"),
        "junk": str(directory / "junk"),
        "folder": str(directory),
    }


@pytest.mark.parametrize("query", FILES)
def test_a_wrong_file_is_named(query: str, names: dict[str, str]) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011  # the text is looked at below
        read_address(f"stomp+ssl://localhost?{query.format_map(names)}")
    assert FILES[query].format_map(names) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("maker", MAKERS)
def test_it_is_said_before_anything_is_begun(maker: str, names: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="tls_authorities: cannot read"):
        MAKERS[maker](f"stomp+ssl://localhost?tls_authorities={names['none']}")
    with pytest.raises(ValueError, match="there is no 'x' in a query"):
        MAKERS[maker]("stomp+ssl://localhost?x=1")


def test_a_host_that_no_certificate_can_name() -> None:
    with pytest.raises(ValueError, match="label"):
        read_address("stomp+ssl://.example")


def test_what_is_demanded_always() -> None:
    """By the names of what Python offers: there is no way to ask for less."""
    context = client_context(read_address("stomp+ssl://localhost").tls)  # type: ignore[arg-type]
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
