"""Brokers that check who somebody is, with the users that stories about rights need, and these users' clients."""

from __future__ import annotations

from base64 import b64encode
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

from tests.harness import DEADLINE, PASSCODE, BrokerProcess, Client, write_users
from tests.scenarios.conftest import Connect

ADMINISTRATOR = "boss"
#: Everybody, with their groups.
PEOPLE = {
    ADMINISTRATOR: "administrators",
    "alice": "shops",
    "bob": "shops,clerks",
    "mallory": "",
}


def with_people(directory: Path, **settings: object) -> dict[str, object]:
    """Return settings of a broker that knows these people."""
    return {"users": write_users(directory, **PEOPLE), **settings}


class HttpAnswer(NamedTuple):
    """What was answered over HTTP."""

    status: int
    text: str
    challenge: str | None


def post(port: int, queue: str, login: str = "", **headers: str) -> HttpAnswer:
    """Send a message over HTTP; `login` reads LOGIN:PASSCODE."""
    connection = HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    if login:
        headers["Authorization"] = f"Basic {b64encode(login.encode()).decode()}"
    connection.request("POST", queue, b"x", headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return HttpAnswer(response.status, text, response.getheader("WWW-Authenticate"))


def log_in(
    connect: Connect, name: str, broker: BrokerProcess, version: str = "1.2", **headers: str
) -> Client:
    """Return a client that has logged in as one of them."""
    return connect(version, to=broker, login=name, passcode=PASSCODE, **headers)
