"""Messages put over HTTP: any web program is a producer, and a 201 is a RECEIPT."""

from __future__ import annotations

import http.client
import socket
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.harness import DEADLINE, BrokerProcess, Client
from tests.scenarios.steps import accepted, bodies, is_served, put, subscribe, take

SETTINGS: dict[str, object] = {
    "max_body": 100_000,
    "listener": [{"protocol": "http", "port": 0}],
    "destination": {
        "small": {"max_messages": 1},
        "full": {"max_messages": 1, "at_limit": "error"},
    },
}


class Answer(NamedTuple):
    """What HTTP says."""

    status: int
    text: str


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    broker = BrokerProcess("memory:", tmp_path_factory.mktemp("web"), SETTINGS)
    yield broker
    broker.kill()


def ask(web: BrokerProcess, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", web.ports["http"], timeout=DEADLINE)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        response = connection.getresponse()
        return Answer(response.status, response.read().decode())
    finally:
        connection.close()


def send_chunks(connection: http.client.HTTPConnection, pieces: Iterator[bytes]) -> None:
    """Send a body whose length is not said, and wait for the answer."""
    connection.request("POST", "/queue/long", pieces, encode_chunked=True)
    connection.getresponse()


@pytest.fixture
def client(web: BrokerProcess) -> Iterator[Client]:
    with Client(web.port) as client:
        yield client


def test_a_message_is_put_into_a_queue(web: BrokerProcess, client: Client) -> None:
    """POST to the destination: the body is the body, `Stomp-` headers are headers."""
    answer = ask(
        web,
        "POST",
        "/queue/posted",
        b"hello",
        Content_Type="text/plain",
        Stomp_Correlation_Id="c-1",
        X_Other="not passed on",
    )
    assert answer == (201, "")
    subscribe(client, "/queue/posted")
    [message] = take(client, 1)
    assert message.body == b"hello"
    assert message.headers["content-type"] == "text/plain"
    assert message.headers["correlation-id"] == "c-1"
    assert "x-other" not in message.headers


def test_what_is_put_twice_under_one_id_is_there_once(web: BrokerProcess, client: Client) -> None:
    """A web program that did not hear the answer puts again."""
    for _ in range(2):
        assert ask(web, "PUT", "/queue/put/order-17", b"once").status == 201
    assert ask(web, "PUT", "/queue/put/order-18", b"twice").status == 201
    subscribe(client, "/queue/put")
    assert bodies(take(client, 2)) == [b"once", b"twice"]
    assert is_served(client)


def test_names_may_be_quoted_and_have_slashes(web: BrokerProcess, client: Client) -> None:
    assert ask(web, "POST", "/queue/a%20b/c%C3%A9", b"x").status == 201
    subscribe(client, "/queue/a b/c\xe9")
    assert bodies(take(client, 1)) == [b"x"]


def test_headers_are_what_they_are_over_stomp(web: BrokerProcess, client: Client) -> None:
    """Those that mean something do so, however HTTP writes them; the body's length is HTTP's to say."""
    body = b"all of it\0SEND\ndestination:/queue/smuggled\n\n\0"
    headers = {"Stomp-jmsxgroupid": "g", "STOMP-MY-OWN": "x", "Stomp-Content-Length": "3"}
    assert ask(web, "POST", "/queue/headers", body, **headers).status == 201
    subscribe(client, "/queue/headers", id="1")
    [message] = take(client, 1)
    assert message.body == body
    assert message.headers["JMSXGroupID"] == "g"
    assert message.headers["my-own"] == "x"
    subscribe(client, "/queue/smuggled", id="2")
    assert is_served(client)


def test_a_topic_takes_messages_too(web: BrokerProcess, client: Client) -> None:
    subscribe(client, "/topic/news")
    assert ask(web, "POST", "/topic/news", b"n").status == 201
    assert bodies(take(client, 1)) == [b"n"]


def test_a_body_may_be_any_bytes(web: BrokerProcess, client: Client) -> None:
    body = bytes(range(256)) * 300
    assert ask(web, "POST", "/queue/bytes", body).status == 201
    subscribe(client, "/queue/bytes")
    assert bodies(take(client, 1)) == [body]


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("POST", "/queue/a.%3E", 400, "Wildcards are for SUBSCRIBE"),
        ("POST", "/queue/a,b", 400, "without commas"),
        ("POST", "/queue/", 400, "Invalid empty"),
        ("PUT", "/queue/a", 400, "the id is missing"),
        ("PUT", "/queue/a/", 400, "the id is missing"),
        ("GET", "/queue/a", 405, ""),
        ("POST", "/elsewhere", 404, ""),
        ("GET", "/link/unknown", 404, ""),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    web: BrokerProcess, method: str, path: str, status: int, text: str
) -> None:
    answer = ask(web, method, path, b"x")
    assert answer.status == status
    assert text in answer.text


def test_an_invalid_header_is_refused_with_the_words_of_stomp(web: BrokerProcess) -> None:
    answer = ask(web, "POST", "/queue/a", b"x", Stomp_Priority="high")
    assert answer == (400, "Invalid priority: high\npriority is a whole number from 0 to 9.\n")


@pytest.mark.parametrize("known", [True, False])
def test_a_body_that_is_too_long_is_not_kept(
    web: BrokerProcess, client: Client, known: bool
) -> None:
    """Said at once where the length is known; else the connection ends at the limit."""
    connection = http.client.HTTPConnection("127.0.0.1", web.ports["http"], timeout=DEADLINE)
    chunk = b"x" * 10_000
    pieces = (chunk for _ in range(100))
    try:
        if known:
            connection.putrequest("POST", "/queue/long")
            connection.putheader("Content-Length", "1000000")
            connection.endheaders()
            assert connection.getresponse().status == 413
        else:
            with pytest.raises((ConnectionError, http.client.HTTPException)):
                send_chunks(connection, pieces)
    finally:
        connection.close()
    assert is_served(client)


def test_a_full_queue_asks_to_come_again(web: BrokerProcess, client: Client) -> None:
    put(client, "/queue/full", b"1")
    answer = ask(web, "POST", "/queue/full", b"2")
    assert answer.status == 503
    assert "The queue full is full" in answer.text


def test_a_queue_that_slows_producers_down_answers_when_there_is_room(
    web: BrokerProcess, client: Client
) -> None:
    put(client, "/queue/small", b"1")
    connection = http.client.HTTPConnection("127.0.0.1", web.ports["http"], timeout=DEADLINE)
    connection.request("POST", "/queue/small", b"2")
    assert is_served(client)
    subscribe(client, "/queue/small")
    assert bodies(take(client, 2)) == [b"1", b"2"]
    assert connection.getresponse().status == 201
    connection.close()


def test_a_web_program_that_hangs_up_harms_nobody(web: BrokerProcess, client: Client) -> None:
    with socket.create_connection(("127.0.0.1", web.ports["http"]), DEADLINE) as half:
        half.sendall(b"POST /queue/half HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
    with socket.create_connection(("127.0.0.1", web.ports["http"]), DEADLINE) as rubbish:
        rubbish.sendall(b"\0\0\0 rubbish\r\n\r\n")
    assert is_served(client)
    assert ask(web, "POST", "/queue/after", b"x").status == 201


def test_who_sends_may_be_named(web: BrokerProcess, client: Client) -> None:
    """HTTP's login is STOMP's: here it is the owner of a status."""
    login = b64encode(b"shop:secret").decode()
    answer = ask(
        web,
        "POST",
        "/queue/named",
        b"x",
        Authorization=f"Basic {login}",
        Stomp_Report="processed",
    )
    assert answer.status == 201
    subscribe(client, "/queue/named")
    [message] = take(client, 1)
    assert message.headers["report-owner"] == "shop"


def test_a_broker_that_stops_answers_what_it_has_stored(tmp_path: Path) -> None:
    """SIGTERM: what was answered with 201 is there afterwards."""
    web = BrokerProcess(f"lmdb:{tmp_path / 'data'}", tmp_path, SETTINGS)
    assert ask(web, "PUT", "/queue/kept/1", b"kept").status == 201
    assert web.stop() == 0
    again = BrokerProcess(f"lmdb:{tmp_path / 'data'}", tmp_path, SETTINGS)
    with Client(again.port) as client:
        accepted(client.ask("SUBSCRIBE", destination="/queue/kept", id="s"))
        assert bodies(take(client, 1)) == [b"kept"]
    again.kill()


@pytest.mark.parametrize("path", ["/queue/a", "/topic/a", "/link"])
def test_there_is_nothing_to_look_at(web: BrokerProcess, path: str) -> None:
    assert ask(web, "GET", path).status == 405
    assert ask(web, "HEAD", path).status == 405
    assert "critical" not in web.log.read_text()
