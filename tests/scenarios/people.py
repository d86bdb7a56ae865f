"""Brokers that check who somebody is, with the users that stories about rights need, and these users' clients."""

from __future__ import annotations

from pathlib import Path

from tests.harness import PASSCODE, BrokerProcess, Client, write_users
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


def log_in(
    connect: Connect, name: str, broker: BrokerProcess, version: str = "1.2", **headers: str
) -> Client:
    """Return a client that has logged in as one of them."""
    return connect(version, to=broker, login=name, passcode=PASSCODE, **headers)
