"""The example programs with stomp.py, as they stand, against a broker."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.clients.conftest import Talk
from tests.harness import BrokerProcess
from tests.processes import Process

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str, server: BrokerProcess, *arguments: str) -> Process:
    """Start one of the programs."""
    return Process(str(EXAMPLES / name), f"127.0.0.1:{server.port}", *arguments)


def test_what_the_producer_stores_the_consumer_takes(server: BrokerProcess) -> None:
    with example("stomp_producer.py", server) as producer:
        producer.wait_for_line("^order 2 is on disk$")
        assert producer.wait() == 0
    with example("stomp_consumer.py", server) as consumer:
        consumer.wait_for_line("^working on order 2$")
        assert consumer.wait() == 0
        assert consumer.lines == [f"working on order {number}" for number in range(3)]


def test_the_durable_subscriber_reads_what_came_while_it_was_away(
    server: BrokerProcess, talk: Talk
) -> None:
    writer = talk("1.2")

    def read(*missed: str, then: str) -> None:
        """Come back, read what was missed and one more, and go."""
        with example("durable_subscriber.py", server) as reader:
            reader.wait_for_line("^confirmed: subscribed$")
            for _ in missed:
                reader.wait_for_line("^confirmed: hoof-")
            writer.send("/topic/example.news", then)
            reader.wait_for_line("^confirmed: hoof-")
            reader.signal(signal.SIGINT)
            reader.wait_for_line("^confirmed: disconnected$")
            assert reader.wait() == 0
            said = [line for line in reader.lines if line.startswith("read ")]
            assert said == [f"read {each}" for each in (*missed, then)]

    read(then="one")
    writer.send("/topic/example.news", "two")
    read("two", then="three")
    with example("durable_subscriber.py", server, "end") as ending:
        ending.wait_for_line("^confirmed: ended$")
        assert ending.wait() == 0
    writer.send("/topic/example.news", "nobody reads this")
    read(then="four")


def test_the_request_gets_its_reply(server: BrokerProcess) -> None:
    with example("request_reply.py", server) as program:
        program.wait_for_line("^answer to question-1: HELLO$")
        assert program.wait() == 0


def test_the_sender_hears_what_became_of_its_jobs(server: BrokerProcess) -> None:
    with example("job_done.py", server) as program:
        assert program.wait() == 0
        program.wait_for_line("^job-2: failed by example.worker: no such customer$")
    for line in ("job-1: arrived", "job-2: arrived", "job-1: processed by example.worker"):
        assert line in program.lines
