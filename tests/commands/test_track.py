"""`hoofbeat track`: what is printed, and the exit status."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator

import pytest

from tests.commands.conftest import Command, Shell, wait_until
from tests.harness import Client
from tests.scenarios.steps import accepted, ack, nack, put, subscribe, take


@pytest.fixture
def client(shell: Shell) -> Iterator[Client]:
    """Return a client of the shell's broker."""
    with Client(int(shell.url.rpartition(":")[2]), **{"client-id": "worker-7"}) as client:
        yield client


@pytest.fixture
def id() -> str:
    """Return a correlation-id of the test's own."""
    return uuid.uuid4().hex


def send(client: Client, queue: str, id: str) -> None:
    put(client, queue, b"job", report="processed", correlation_id=id)


def questions(shell: Shell) -> int:
    """Return how often the broker was asked."""
    methods = json.loads(shell("call", "broker/rpc.stats").out)["methods"]
    return int(methods.get("tracked", {"calls": 0})["calls"])


def test_the_status_and_the_exit(shell: Shell, client: Client, id: str) -> None:
    """Known is enough; with --wait it must have been processed."""
    queue = f"/queue/{id}"
    unknown = f"hoofbeat: id: nothing is known of a message '{id}' that was sent with report\n"
    assert shell("track", id) == (1, "", unknown)
    assert shell("track", id, "--wait", "0.1") == (1, "", unknown)
    send(client, queue, id)
    assert shell("track", id) == (0, "QUEUED\n", "")
    assert shell("track", id, "--wait", "0.1") == (1, "QUEUED\n", "")
    subscribe(client, queue, ack="client-individual")
    [job] = take(client, 1)
    assert shell("track", id) == (0, "SENT\n", "")
    accepted(ack(client, job))
    assert shell("track", id) == (0, "PROCESSED\n", "")
    assert shell("track", id, "--wait", "10") == (0, "PROCESSED\n", "")


def test_the_parts_and_the_cause(shell: Shell, client: Client, id: str) -> None:
    """What failed has ended: nobody waits for the others."""
    first, second = f"/queue/{id}.a", f"/queue/{id}.b"
    send(client, f"{first},{second}", id)
    subscribe(client, first, ack="client-individual")
    [job] = take(client, 1)
    assert shell("track", id) == (0, f"QUEUED\nSENT {first}\nQUEUED {second}\n", "")
    accepted(nack(client, job, reason="two\nlines"))
    status, out, errors = shell("track", id, "--wait", "10")
    assert (status, errors) == (1, "")
    assert out == f"FAILED\nFAILED {first} by worker-7: two lines\nQUEUED {second}\n"
    found = json.loads(shell("track", id, "--json").out)
    assert (found["id"], found["status"], len(found["parts"])) == (id, "FAILED", 2)


def test_it_waits_for_what_is_not_there_yet(
    shell: Shell, client: Client, start: Callable[..., Command], id: str
) -> None:
    tracker = start("track", id, "--wait", "20")
    before = questions(shell)
    wait_until(lambda: questions(shell) > before)
    send(client, f"/queue/{id}", id)
    subscribe(client, f"/queue/{id}")
    tracker.wait_for_line("^PROCESSED$")
    assert tracker.wait() == 0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "required: ID"),
        (["x", "--wait", "0"], "is not a positive number"),
        (["x", "--wait", "soon"], "invalid"),
        (["x", "y"], "unrecognized"),
    ],
)
def test_a_command_line_without_sense(shell: Shell, words: list[str], text: str) -> None:
    status, out, errors = shell("track", *words)
    assert (status, out) == (2, "")
    assert errors.startswith("hoofbeat track: ")
    assert text in errors
    assert len(errors.splitlines()) == 1


def test_a_broker_that_is_not_there(shell: Shell) -> None:
    status, out, errors = shell("track", "x", "--timeout", "0.3", "--url", "stomp://127.0.0.1:1")
    assert (status, out) == (1, "")
    assert len(errors.splitlines()) == 1
