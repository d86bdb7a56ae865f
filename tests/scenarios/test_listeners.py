"""A broker that takes clients at several addresses: one house, several doors."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import COMMAND, DEADLINE, Client, read_line
from tests.scenarios.steps import ack, expect_error, is_served, put, subscribe, take

URL = re.compile(r"stomp://(\[::1\]|127\.0\.0\.1):(\d+)")

Listen = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[Listen]:
    """Return a function that starts a broker with this configuration, and with these flags."""
    started: list[subprocess.Popen[str]] = []

    def start(config: str, *flags: str) -> subprocess.Popen[str]:
        (tmp_path / "hoof.toml").write_text(config)
        process = subprocess.Popen(
            [*COMMAND, "--config", "hoof.toml", "--store", "memory:", *flags],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ports_of(process: subprocess.Popen[str]) -> list[int]:
    """Wait until a broker is ready; return the port of each listener in its order."""
    line = read_line(process.stdout)
    assert re.fullmatch(r"hoofbeat \S+ ready on stomp://\S+(, stomp://\S+)*, store memory:\n", line)
    return [int(port) for _, port in URL.findall(line)]


THREE = """
[[listener]]
port = 0
dialect = "rabbitmq"
[[listener]]
port = 0
dialect = "strict"
"""


def test_every_listener_is_ready_and_has_its_dialect(listen: Listen) -> None:
    """The first is that of the plain settings; all are named in one line, in their order."""
    ports = ports_of(listen(THREE))
    assert len(set(ports)) == 3
    for port, server in zip(ports, ("ActiveMQ/", "RabbitMQ/", "hoofbeat/"), strict=True):
        with Client(port) as client:
            assert client.connected.headers["server"].startswith(server)


def test_a_dialect_is_its_listeners_alone(listen: Listen) -> None:
    """The same frame at two doors of one house."""
    activemq, rabbitmq, strict = (Client(port) for port in ports_of(listen(THREE)))
    for client in (activemq, rabbitmq, strict):
        client.send("SEND", b"where to?")
        expect_error(client.frame(), "SEND received without a Destination specified!")
    strict.expect_closed()
    assert is_served(activemq)
    rabbitmq.write(b"SEND\nurgent\n\n\0")
    expect_error(rabbitmq.frame(), "A header line has no colon")
    rabbitmq.expect_closed()
    assert is_served(activemq)
    for client in (activemq, rabbitmq, strict):
        client.close()


def test_the_flag_is_the_first_listeners(listen: Listen) -> None:
    ports = ports_of(listen(THREE, "--dialect", "strict"))
    servers = []
    for port in ports:
        with Client(port) as client:
            servers.append(client.connected.headers["server"].partition("/")[0])
    assert servers == ["hoofbeat", "RabbitMQ", "hoofbeat"]


def test_what_is_sent_at_one_door_is_fetched_at_another(listen: Listen) -> None:
    first, second, third = (Client(port) for port in ports_of(listen(THREE)))
    put(first, "/queue/orders", b"1", b"2")
    subscribe(second, "/queue/orders", ack="client-individual")
    messages = take(second, 2)
    assert [message.body for message in messages] == [b"1", b"2"]
    ack(second, messages[0])
    second.close()
    subscribe(third, "/queue/orders")
    assert [message.body for message in take(third, 1)] == [b"2"]
    first.close()
    third.close()


def test_a_listener_that_cannot_be_had_ends_the_start(listen: Listen) -> None:
    """Whichever it is: one line, status 2, and nobody was told that the broker is ready."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for config in (
            f"[[listener]]\nport = {port}\n[[listener]]\nport = 0\n",
            f"[[listener]]\nport = 0\n[[listener]]\nport = {port}\n",
        ):
            process = listen(config)
            out, errors = process.communicate(timeout=DEADLINE)
            reason = f"cannot listen on 127.0.0.1:{port}: Address already in use"
            assert (process.returncode, out) == (2, "")
            assert errors == f"hoofbeat: {reason}\n"


def test_an_address_of_somebody_else_ends_the_start(listen: Listen) -> None:
    process = listen('[[listener]]\nhost = "192.0.2.1"\ninsecure = true\n')
    out, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out) == (2, "")
    assert errors.startswith("hoofbeat: cannot listen on 192.0.2.1:61614: ")
    assert errors.count("\n") == 1


def test_one_listener_a_family(listen: Listen) -> None:
    if not socket.has_ipv6:
        return
    process = listen('[[listener]]\nhost = "::1"\nport = 0\n')
    found = URL.findall(read_line(process.stdout))
    assert [host for host, _ in found] == ["127.0.0.1", "[::1]"]
    with socket.create_connection(("::1", int(found[1][1])), DEADLINE) as client:
        client.sendall(b"CONNECT\naccept-version:1.2\nhost:localhost\n\n\0")
        assert client.recv(4096).startswith(b"CONNECTED\n")


def test_all_doors_close_at_once(listen: Listen) -> None:
    """Whoever came in by one of them gets what is owed; nobody else comes in."""
    process = listen(THREE)
    ports = ports_of(process)
    clients = [Client(port) for port in ports]
    for client in clients:
        client.send("SEND", b"last", destination="/queue/orders", receipt="last")
        client.expect("RECEIPT", receipt_id="last")
    process.send_signal(signal.SIGTERM)
    for client in clients:
        client.expect_closed()
        client.close()
    out, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in errors
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), DEADLINE)
