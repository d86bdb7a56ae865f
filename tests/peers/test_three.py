"""Three brokers, none the centre: A and B know each other, B and C do; A reaches C through B."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.peers.nodes import Node, status
from tests.scenarios.steps import accepted, ack, nack, put, subscribe, take

ALL = "arrived,processed,failed,expired"
Three = tuple[Node, Node, Node]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    """Return A, B and C. A dials B, C dials B and A."""
    directory = tmp_path_factory.mktemp("three")
    a, b, c = three = tuple(Node(name, directory, sweep_every=0.2) for name in "ABC")
    a.know(b, dial=True)
    b.know(a)
    b.know(c)
    c.know(b, dial=True)
    c.know(a, dial=True)
    a.know(c)
    for node in (b, a, c):
        node.start()
    a.await_linked(b)
    c.await_linked(b)
    c.await_linked(a)
    yield a, b, c
    for node in three:
        node.end()


@pytest.fixture
def abc(nodes: Three) -> Iterator[Three]:
    """Return the brokers; clients are hung up after the test."""
    yield nodes
    for node in nodes:
        node.hang_up()


def test_a_chain(abc: Three) -> None:
    """The message, the reply and the reports find their way through the broker between."""
    a, _, c = abc
    asker, worker = a.connect(), c.connect(client_id="worker")
    subscribe(asker, "/queue/answers", id="answers")
    subscribe(asker, "/queue/reports", id="reports")
    subscribe(worker, "/queue/jobs", ack="client-individual")
    wanted = {"report": ALL, "reply_to": "/queue/reports"}
    for kind, end in (("processed", ack), ("failed", nack)):
        put(asker, "/peer/B/peer/C/queue/jobs", b"job", correlation_id=kind, **wanted)
        [job] = take(worker, 1)
        assert job.headers["peer-via"] == "A,B"
        assert job.headers["reply-to"] == "/peer/B/peer/A/queue/reports"
        accepted(end(worker, job))
        arrived, ended = take(asker, 2)
        assert [status(arrived), status(ended)] == [(kind, "arrived"), (kind, kind)]
        assert ended.headers["report-by"] == "worker"
        assert ended.headers["original-destination"] == "/peer/B/peer/C/queue/jobs"
    put(asker, "/peer/B/peer/C/queue/jobs", b"question", reply_to="/queue/answers")
    [question] = take(worker, 1)
    put(worker, question.headers["reply-to"], b"answer")
    assert take(asker, 1)[0].body == b"answer"


def test_it_expires_at_the_broker_between(abc: Three) -> None:
    """Also then its sender hears of it."""
    a, b, _ = abc
    b.call("pause_peer", "C")
    asker = a.connect()
    subscribe(asker, "/queue/late")
    put(
        asker,
        "/peer/B/peer/C/queue/x",
        b"job",
        report=ALL,
        reply_to="/queue/late",
        ttl="300",
        correlation_id="c",
    )
    [report] = take(asker, 1)
    assert status(report) == ("c", "expired")
    b.call("resume_peer", "C")


def test_several_destinations(abc: Three) -> None:
    """One SEND goes to queues here and there: processed when all have processed it, each told of on request."""
    a, b, c = abc
    sender = a.connect()
    subscribe(sender, "/queue/told")
    where = "/peer/B/queue/m,/peer/C/queue/m,/queue/m"
    for kinds in ("processed", "processed,partial"):
        put(sender, where, b"all", report=kinds, reply_to="/queue/told", correlation_id=kinds)
        pending = []
        for node in (c, a, b):
            worker = node.connect()
            subscribe(worker, "/queue/m", ack="client-individual")
            [message] = take(worker, 1)
            accepted(ack(worker, message))
            worker.close()
            if "partial" in kinds or node is b:
                [report] = take(sender, 1)
                assert status(report) == (kinds, "processed")
                pending.append(report.headers["report-pending"])
        assert pending == (["2", "1", "0"] if "partial" in kinds else ["0"])
