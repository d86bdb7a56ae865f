"""The processed acknowledgement: senders hear what became of their messages, and the status is kept."""

from __future__ import annotations

import pytest

from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.harness import Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    ack,
    acknowledgement,
    bodies,
    expect_error,
    is_served,
    nack,
    put,
    subscribe,
    take,
)

JOBS, REPORTS = "/queue/jobs", "/queue/reports"
ALL = "arrived,processed,failed,expired"


@pytest.fixture
def reports(queue: str) -> str:
    """Return the queue that reports go to."""
    return f"{queue}.reports"


def order(client: Client, queue: str, reports: str, **headers: str) -> None:
    """Send a message with reports; what the same client sees of it follows."""
    wanted = {"report": ALL, "reply_to": reports, "correlation_id": "c-1", **headers}
    client.send("SEND", b"job", destination=queue, **wanted)


def consume(client: Client, *queues: str) -> list[Frame]:
    """Take the next message of each queue, without acknowledging it."""
    got = []
    for number, queue in enumerate(queues):
        subscribe(client, queue, id=f"jobs-{number}", ack="client-individual")
        got += take(client, 1)
    return got


def kinds(frames: list[Frame]) -> list[str]:
    return [frame.headers["report"] for frame in frames]


def test_a_sender_hears_that_its_message_was_processed(
    connect: Connect, queue: str, reports: str
) -> None:
    """When the consumer has acknowledged, the sender gets a report with its correlation-id."""
    sender, worker = connect(), connect(client_id="worker-7")
    order(sender, queue, reports, report="processed")
    [job] = consume(worker, queue)
    accepted(ack(worker, job))
    subscribe(sender, reports)
    [report] = take(sender, 1)
    assert report.headers["report"] == "processed"
    assert report.headers["correlation-id"] == "c-1"
    assert report.headers["original-message-id"] == job.headers["message-id"]
    assert report.headers["original-destination"] == queue
    assert report.headers["report-by"] == "worker-7"
    assert report.headers["report-pending"] == "0"
    assert int(report.headers["timestamp"]) > 0
    assert report.body == b""


def test_without_a_correlation_id_reports_bear_the_message_id(
    connect: Connect, queue: str, reports: str
) -> None:
    client = connect()
    put(client, queue, b"job", report="processed", reply_to=reports)
    subscribe(client, queue, id="jobs", ack="client")
    [job] = take(client, 1)
    accepted(ack(client, job))
    subscribe(client, reports, id="reports")
    [report] = take(client, 1)
    assert report.headers["correlation-id"] == job.headers["message-id"]


def test_arrived_comes_first_and_processed_after_the_acknowledgement(
    connect: Connect, queue: str, reports: str
) -> None:
    sender, worker = connect(), connect()
    subscribe(sender, reports)
    order(sender, queue, reports)
    assert kinds(take(sender, 1)) == ["arrived"]
    [job] = consume(worker, queue)
    accepted(ack(worker, job))
    assert kinds(take(sender, 1)) == ["processed"]


def test_a_message_that_is_sent_with_ack_auto_is_processed_when_it_is_sent(
    connect: Connect, queue: str, reports: str
) -> None:
    sender, worker = connect(), connect()
    subscribe(worker, queue)
    subscribe(sender, reports)
    order(sender, queue, reports, report="processed")
    assert bodies(take(worker, 1)) == [b"job"]
    assert kinds(take(sender, 1)) == ["processed"]


def test_an_acknowledgement_in_a_transaction_is_reported_at_commit(
    connect: Connect, queue: str, reports: str
) -> None:
    sender, worker = connect(), connect()
    subscribe(sender, reports)
    order(sender, queue, reports, report="processed")
    [job] = consume(worker, queue)
    accepted(worker.ask("BEGIN", transaction="t"))
    accepted(ack(worker, job, transaction="t"))
    assert is_served(sender)  # and no report was on its way
    accepted(worker.ask("COMMIT", transaction="t"))
    assert kinds(take(sender, 1)) == ["processed"]


def test_one_acknowledgement_of_several_messages_reports_each(
    connect: Connect, queue: str, reports: str
) -> None:
    sender, worker = connect(), connect()
    for number in range(3):
        order(sender, queue, reports, correlation_id=f"c-{number}", report="processed")
    subscribe(worker, queue, ack="client")
    jobs = take(worker, 3)
    accepted(ack(worker, jobs[-1]))
    subscribe(sender, reports)
    told = [frame.headers["correlation-id"] for frame in take(sender, 3)]
    assert told == ["c-0", "c-1", "c-2"]


def test_a_refused_message_is_reported_with_the_reason(
    connect: Connect, queue: str, reports: str
) -> None:
    """NACK says why, and the sender reads it; so does whoever looks at the dead letter."""
    sender, worker = connect(), connect()
    order(sender, queue, reports, report="processed,failed", correlation_id=queue)
    [job] = consume(worker, queue)
    accepted(nack(worker, job, reason="no such customer"))
    subscribe(sender, reports)
    [report] = take(sender, 1)
    assert report.headers["report"] == "failed"
    assert report.headers["report-cause"] == "no such customer"
    mine = f"JMSCorrelationID = '{queue}'"
    subscribe(worker, "/queue/ActiveMQ.DLQ", id="dead", selector=mine)
    letter = worker.expect("MESSAGE", subscription="dead")
    assert letter.headers["dlqDeliveryFailureCause"] == "no such customer"


def test_a_message_that_is_given_back_is_reported_when_it_is_given_up(
    connect: Connect, start_broker: StartBroker
) -> None:
    """A consumer that fails on it again and again is one report, not many."""
    broker = start_broker(max_redeliveries=2)
    sender, worker = connect(to=broker), connect(to=broker)
    subscribe(sender, REPORTS)
    order(sender, JOBS, REPORTS, report="failed")
    subscribe(worker, JOBS, ack="client-individual")
    for _ in range(3):
        [job] = take(worker, 1)
        worker.send("NACK", **acknowledgement(worker, job), requeue="true")
    [report] = take(sender, 1)
    assert report.headers["report"] == "failed"
    assert "3 times" in report.headers["report-cause"]


def test_an_expired_message_is_reported(connect: Connect, start_broker: StartBroker) -> None:
    client = connect(to=start_broker(sweep_every=0.05))
    subscribe(client, REPORTS)
    order(client, JOBS, REPORTS, report="expired", ttl="1")
    assert kinds(take(client, 1)) == ["expired"]


def test_a_report_is_as_durable_as_its_message(connect: Connect, start_broker: StartBroker) -> None:
    """What was processed and reported before a kill is so after it: the message is gone, the report is there."""
    broker = start_broker()
    client = connect(to=broker)
    order(client, JOBS, REPORTS)
    subscribe(client, JOBS, ack="client-individual")
    [job] = take(client, 1)
    accepted(ack(client, job))
    broker.kill()
    broker = start_broker()
    client = connect(to=broker)
    subscribe(client, REPORTS)
    assert kinds(take(client, 2)) == ["arrived", "processed"]
    client = connect(to=broker)
    put(client, JOBS, b"the next")
    subscribe(client, JOBS)
    assert bodies(take(client, 1)) == [b"the next"]


def test_the_end_of_a_message_is_reported_after_a_restart(
    connect: Connect, start_broker: StartBroker
) -> None:
    """A message that waited while the broker was killed is reported like any other."""
    broker = start_broker()
    put(
        connect(to=broker), JOBS, b"job", report="processed", reply_to=REPORTS, correlation_id="c-1"
    )
    broker.kill()
    broker = start_broker()
    sender, worker = connect(to=broker), connect(to=broker)
    subscribe(worker, JOBS, ack="client-individual")
    [job] = take(worker, 1)
    accepted(ack(worker, job))
    subscribe(sender, REPORTS)
    [report] = take(sender, 1)
    assert report.headers["correlation-id"] == "c-1"
    assert report.headers["original-destination"] == JOBS


def test_reports_reach_a_temporary_queue(connect: Connect, queue: str) -> None:
    sender, worker = connect(), connect()
    subscribe(sender, "/temp-queue/reports")
    order(sender, queue, "/temp-queue/reports", report="processed")
    [job] = consume(worker, queue)
    accepted(ack(worker, job))
    assert kinds(take(sender, 1)) == ["processed"]


def test_a_sender_whose_temporary_queue_is_gone_harms_nobody(connect: Connect, queue: str) -> None:
    sender, worker = connect(), connect()
    order(sender, queue, "/temp-queue/reports", report="processed")
    accepted(sender.ask("DISCONNECT"))
    [job] = consume(worker, queue)
    accepted(ack(worker, job))
    assert is_served(worker)


def test_of_several_destinations_processed_comes_when_all_have_processed(
    connect: Connect, queue: str, reports: str
) -> None:
    """One SEND to two queues: the report waits for the second consumer."""
    sender, worker = connect(), connect()
    subscribe(sender, reports)
    order(sender, f"{queue}.a,{queue}.b", reports, report="processed")
    first, second = consume(worker, f"{queue}.a", f"{queue}.b")
    accepted(ack(worker, first))
    assert is_served(sender)
    accepted(ack(worker, second))
    [report] = take(sender, 1)
    assert report.headers["report"] == "processed"
    assert report.headers["report-pending"] == "0"


def test_partial_reports_tell_of_each_destination(
    connect: Connect, queue: str, reports: str
) -> None:
    sender, worker = connect(), connect()
    order(sender, f"{queue}.a,{queue}.b", reports, report="processed,partial")
    for job in consume(worker, f"{queue}.a", f"{queue}.b"):
        accepted(ack(worker, job))
    subscribe(sender, reports)
    told = [
        (report.headers["original-destination"], report.headers["report-pending"])
        for report in take(sender, 2)
    ]
    assert told == [(f"{queue}.a", "1"), (f"{queue}.b", "0")]


def test_consumers_that_choose_report_as_well(connect: Connect, queue: str, reports: str) -> None:
    """A selector changes nothing of it, neither for jobs nor for those who read reports."""
    sender, worker = connect(), connect()
    subscribe(sender, reports, selector="report = 'processed'")
    subscribe(worker, queue, ack="client-individual", selector="kind = 'a'")
    order(sender, queue, reports, kind="a", report="arrived,processed")
    [job] = take(worker, 1)
    accepted(ack(worker, job))
    assert kinds(take(sender, 1)) == ["processed"]


def test_a_subscription_to_several_queues_reports_the_right_one(
    connect: Connect, queue: str, reports: str
) -> None:
    sender, worker = connect(), connect()
    subscribe(sender, reports)
    subscribe(worker, f"{queue}.jobs.*", ack="client-individual")
    order(sender, f"{queue}.jobs.x", reports, report="processed")
    [job] = take(worker, 1)
    accepted(ack(worker, job))
    [report] = take(sender, 1)
    assert report.headers["original-destination"] == f"{queue}.jobs.x"


def test_a_scheduled_message_is_reported_when_it_has_been_processed(
    connect: Connect, queue: str, reports: str
) -> None:
    sender, worker = connect(), connect()
    subscribe(sender, reports)
    order(sender, queue, reports, report="processed", AMQ_SCHEDULED_DELAY="1")
    [job] = consume(worker, queue)
    accepted(ack(worker, job))
    assert kinds(take(sender, 1)) == ["processed"]


def test_a_message_that_comes_again_later_is_still_one(
    connect: Connect, queue: str, reports: str
) -> None:
    """NACK with a delay: its end is reported, and that it has arrived is not reported again."""
    sender, worker = connect(), connect()
    subscribe(sender, reports)
    order(sender, queue, reports)
    [job] = consume(worker, queue)
    worker.send("NACK", **acknowledgement(worker, job), delay="1")
    [again] = take(worker, 1)
    accepted(ack(worker, again))
    assert kinds(take(sender, 2)) == ["arrived", "processed"]
    assert is_served(sender)


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"report": "procesed"}, "Invalid report: procesed"),
        ({"report": ""}, "Invalid report: "),
        ({"report": "partial"}, "Invalid report: partial"),
        ({"report": "processed", "reply-to": "/topic/x"}, "Reports cannot go to /topic/x"),
        ({"report": "processed", "reply-to": "/queue/a,/queue/b"}, "Reports cannot go to"),
        ({"report": "processed", "reply-to": "/queue/a.>"}, "Reports cannot go to"),
        ({"report": "processed", "correlation-id": "c" * 1025}, "longer than 1024 bytes"),
        ({"report": "processed", "destination": "/topic/x"}, "No reports of /topic/x"),
        ({"report": "processed", "destination": "/queue/a,/topic/x"}, "No reports of /topic/x"),
    ],
)
def test_what_cannot_be_reported_is_refused(
    connect: Connect, queue: str, headers: dict[str, str], text: str
) -> None:
    """A SEND that asks for what cannot be is answered with an ERROR, and nothing is sent."""
    client = connect()
    expect_error(client.ask("SEND", **{"destination": queue, **headers}), text)
    assert is_served(client)
