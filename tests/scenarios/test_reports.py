"""The processed acknowledgement: senders hear what became of their messages, and the status is kept."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core.tracking import MOST_PARTS
from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.harness import Client
from tests.scenarios.administrator import Administrator
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
WANTED = {"report": "processed", "reply-to": REPORTS}


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


def test_nothing_but_queues_is_reported(connect: Connect) -> None:
    """Who listens to a topic is nobody in particular, and a service keeps nothing."""
    client = connect()
    subscribe(client, "/temp-topic/mine")
    for destination in ("/temp-topic/mine", "/queue/rpc.broker", "/queue/a,/queue/rpc.broker"):
        answer = client.ask("SEND", destination=destination, report="processed")
        expect_error(answer, "No reports of")
    for reply_to in ("/queue/", f"/queue/{'n' * 256}"):
        expect_error(client.ask("SEND", destination=JOBS, report="failed", reply_to=reply_to), "")
    assert is_served(client)


# --- who else is in the way -----------------------------------------------------------------------


def test_jobs_and_reports_may_share_a_queue(connect: Connect, queue: str) -> None:
    """Then a report comes where a job comes, and in its order; it has no report of its own."""
    client = connect()
    for number in range(3):
        order(client, queue, queue, correlation_id=f"c-{number}")
    subscribe(client, queue, ack="client-individual")
    told = []
    for frame in take(client, 6):
        told.append((frame.headers["correlation-id"], "original-message-id" in frame.headers))
        client.send("ACK", **acknowledgement(client, frame))
    assert told == [(f"c-{number}", report) for number in range(3) for report in (True, False)]
    assert kinds(take(client, 3)) == ["processed"] * 3


@pytest.mark.parametrize("receiver", ["/temp-queue/reports", ""])
def test_reports_come_in_order_among_others(connect: Connect, queue: str, receiver: str) -> None:
    """Those in memory wait for the disk, and others that came meanwhile are before them."""
    client, reports = connect(), receiver or f"{queue}.reports"
    for number in range(20):
        order(client, queue, reports, correlation_id=f"c-{number}", report="arrived")
        client.send("SEND", b"other", destination=reports, persistent="false")
    subscribe(client, reports, ack="client-individual", prefetch_count="1")
    [first] = take(client, 1)
    client.send("NACK", **acknowledgement(client, first), requeue="true")
    seen = []
    for _ in range(40):
        [frame] = take(client, 1)
        seen.append(frame.headers.get("correlation-id", ""))
        client.send("ACK", **acknowledgement(client, frame))
    assert [each for each in seen if each] == [f"c-{number}" for number in range(20)]


def test_messages_with_one_correlation_id_are_reported_apart(
    connect: Connect, queue: str, reports: str
) -> None:
    """One that has failed, or still waits, keeps nothing back of the next one."""
    sender, worker = connect(), connect()
    for _ in range(3):
        order(sender, queue, reports, report="processed,failed")
    subscribe(worker, queue, ack="client-individual")
    first, second, _ = take(worker, 3)
    accepted(nack(worker, first))
    accepted(ack(worker, second))
    subscribe(sender, reports)
    assert kinds(take(sender, 2)) == ["failed", "processed"]
    assert is_served(sender)


def test_a_message_that_nobody_takes_comes_back_and_reads_like_no_report(
    connect: Connect, queue: str, reports: str
) -> None:
    client = connect()
    order(client, queue, reports, mandatory="true")
    subscribe(client, reports)
    [back] = take(client, 1)
    assert back.headers["returned"] == "no-consumer"
    assert "report" not in back.headers
    assert is_served(client)


def test_a_message_sent_again_under_its_dedup_id_is_reported_once(
    connect: Connect, queue: str, reports: str
) -> None:
    sender, worker = connect(), connect()
    for _ in range(2):
        order(sender, queue, reports, dedup_id="d-1")
    [job] = consume(worker, queue)
    accepted(ack(worker, job))
    subscribe(sender, reports)
    assert kinds(take(sender, 2)) == ["arrived", "processed"]
    assert is_served(sender)
    assert is_served(worker)


def test_what_is_sent_in_a_transaction_is_reported_after_its_commit(
    connect: Connect, queue: str, reports: str
) -> None:
    sender = connect()
    subscribe(sender, reports)
    for end in ("ABORT", "COMMIT"):
        accepted(sender.ask("BEGIN", transaction=end))
        order(sender, queue, reports, transaction=end, correlation_id=end)
        assert is_served(sender)
        accepted(sender.ask(end, transaction=end))
    [report] = take(sender, 1)
    assert report.headers["report"] == "arrived"
    assert report.headers["correlation-id"] == "COMMIT"
    assert is_served(sender)


def test_what_is_not_stored_is_reported_too(connect: Connect, queue: str, reports: str) -> None:
    """Its reports are as durable as it is."""
    sender, worker = connect(), connect()
    order(sender, queue, reports, persistent="false")
    [job] = consume(worker, queue)
    accepted(ack(worker, job))
    subscribe(sender, reports)
    assert kinds(take(sender, 2)) == ["arrived", "processed"]


def test_of_a_composite_the_queues_report(connect: Connect, start_broker: StartBroker) -> None:
    """Whoever listens to its topics gets a copy that nobody reports."""
    settings = {"forward_to": ["/queue/a", "/topic/t", "/queue/b"], "forward_only": False}
    named = {f'composite."/queue/all".{name}': value for name, value in settings.items()}
    broker = start_broker("memory:", **named)
    sender, worker, listener = connect(to=broker), connect(to=broker), connect(to=broker)
    subscribe(listener, "/topic/t")
    subscribe(sender, REPORTS)
    order(sender, "/queue/all", REPORTS, report="processed")
    assert bodies(take(listener, 1)) == [b"job"]
    jobs = consume(worker, "/queue/a", "/queue/b", "/queue/all")
    for job in jobs:
        assert is_served(sender)
        accepted(ack(worker, job))
    [report] = take(sender, 1)
    assert report.headers["report-pending"] == "0"
    assert is_served(sender)


def test_a_composite_of_topics_has_no_reports(connect: Connect, start_broker: StartBroker) -> None:
    settings = {"forward_to": ["/topic/a", "/topic/b"], "forward_only": True}
    named = {f'composite."/queue/all".{name}': value for name, value in settings.items()}
    client = connect(to=start_broker("memory:", **named))
    answer = client.ask("SEND", destination="/queue/all", report="processed")
    expect_error(answer, "No reports of /queue/all")


def test_what_gives_way_at_a_limit_has_failed(connect: Connect, start_broker: StartBroker) -> None:
    """And its report, which comes to the same queue, is not lost with it."""
    limits = {"max_messages": 2, "at_limit": "drop-oldest"}
    named = {f"destination.jobs.{name}": value for name, value in limits.items()}
    client = connect(to=start_broker(**named))
    for number in range(4):
        order(client, JOBS, REPORTS, report="failed", correlation_id=f"c-{number}")
    subscribe(client, REPORTS)
    told = [
        (each.headers["correlation-id"], each.headers["report-cause"]) for each in take(client, 2)
    ]
    assert told == [(f"c-{n}", "discarded, because too many were waiting") for n in range(2)]
    for number in range(4, 40):
        order(client, JOBS, JOBS, report="failed", correlation_id=f"c-{number}")
    take(client, 2)  # the last two of those before
    assert is_served(client)


def test_no_limit_refuses_a_report(connect: Connect, start_broker: StartBroker) -> None:
    """Where a message has ended there is room for what tells so; nobody could be told to wait."""
    limits = {"max_messages": 1, "at_limit": "error"}
    named = {f"destination.reports.{name}": value for name, value in limits.items()}
    client = connect(to=start_broker(**named))
    for _ in range(3):
        order(client, JOBS, REPORTS, report="arrived")
    subscribe(client, REPORTS)
    assert kinds(take(client, 3)) == ["arrived"] * 3


def test_what_waits_in_a_temporary_queue_that_goes_has_failed(
    connect: Connect, reports: str
) -> None:
    """So has what its owner had not acknowledged."""
    owner, sender, told_in = connect(), connect(), f"{reports}.address"
    subscribe(owner, "/temp-queue/mine", ack="client-individual", prefetch_count="1")
    owner.send("SEND", destination=told_in, reply_to="/temp-queue/mine")
    subscribe(sender, told_in, id="address")
    [address] = take(sender, 1)
    for number in range(3):
        destination = address.headers["reply-to"]
        order(sender, destination, reports, report="failed", correlation_id=f"c-{number}")
    take(owner, 1)
    accepted(owner.ask("DISCONNECT"))
    subscribe(sender, reports, id="reports")
    told = take(sender, 3)
    assert sorted(each.headers["correlation-id"] for each in told) == ["c-0", "c-1", "c-2"]
    assert {each.headers["report-cause"] for each in told} == {"its temporary queue has gone"}


def test_so_many_messages_have_one_correlation_id(
    connect: Connect, start_broker: StartBroker
) -> None:
    """One more is refused; nobody else is in their way."""
    client = connect(to=start_broker("memory:"))
    for _ in range(MOST_PARTS - 1):
        order(client, JOBS, REPORTS, report="processed")
    client.send("SEND", destination="/queue/a,/queue/b", report="processed", correlation_id="c-1")
    expect_error(client.frame(), "Too many messages are tracked as c-1")
    answer = client.ask("SEND", destination=JOBS, report="processed", correlation_id="c-1")
    accepted(answer)
    accepted(client.ask("SEND", destination=JOBS, report="processed", correlation_id="c-2"))


# --- what an administrator does -------------------------------------------------------------------


def test_what_is_moved_is_reported_where_it_ends(
    connect: Connect, queue: str, reports: str
) -> None:
    """That it has arrived is not said twice, and its status begins anew there."""
    sender, worker, admin = connect(), connect(), Administrator(connect())
    id = f"moved from {queue}"
    order(sender, queue, reports, correlation_id=id)
    sent = admin.call("tracked", id)["sent"]
    for source, target in ((queue, f"{queue}.b"), (f"{queue}.b", f"{queue}.c")):
        assert admin.call("move", source, target) == {"moved": 1}
        [part] = admin.call("tracked", id)["parts"]
        assert (part["destination"], part["status"]) == (target, "QUEUED")
    assert admin.call("tracked", id)["sent"] == sent
    [job] = consume(worker, f"{queue}.c")
    accepted(ack(worker, job))
    subscribe(sender, reports)
    told = take(sender, 2)
    assert kinds(told) == ["arrived", "processed"]
    assert told[1].headers["original-destination"] == f"{queue}.c"
    assert is_served(sender)


def test_what_is_copied_is_reported_of_the_original_only(
    connect: Connect, queue: str, reports: str
) -> None:
    sender, worker, admin = connect(), connect(), Administrator(connect())
    order(sender, queue, reports, report="processed")
    assert admin.call("copy", queue, f"{queue}.b") == {"copied": 1}
    copy, original = consume(worker, f"{queue}.b", queue)
    subscribe(sender, reports)
    accepted(ack(worker, copy))
    assert is_served(sender)
    accepted(ack(worker, original))
    assert kinds(take(sender, 1)) == ["processed"]


def test_what_is_moved_to_a_topic_is_not_heard_of_again(
    connect: Connect, queue: str, topic: str, reports: str
) -> None:
    """It is gone from the queue, and nobody can say who processes it."""
    sender, admin = connect(), Administrator(connect())
    order(sender, queue, reports, report="processed,failed", correlation_id=queue)
    assert admin.call("move", queue, topic) == {"moved": 1}
    subscribe(sender, reports)
    [report] = take(sender, 1)
    assert report.headers["report-cause"] == "removed by an administrator"
    assert admin.call("tracked", queue)["status"] == "FAILED"


@pytest.mark.parametrize("method", ["purge", "remove", "delete_queue"])
def test_what_is_removed_has_failed(
    connect: Connect, queue: str, reports: str, method: str
) -> None:
    sender, admin = connect(), Administrator(connect())
    order(sender, queue, reports)
    subscribe(sender, reports)
    [arrived] = take(sender, 1)
    id = arrived.headers["original-message-id"]
    params: dict[str, list[Any]] = {
        "purge": [queue],
        "remove": [queue, id],
        "delete_queue": [queue, True],
    }
    admin.call(method, *params[method])
    [report] = take(sender, 1)
    assert report.headers["report"] == "failed"
    assert report.headers["report-cause"] == "removed by an administrator"
    assert is_served(sender)


def test_a_dead_letter_that_is_tried_again_is_a_message_without_reports(
    connect: Connect, queue: str, reports: str
) -> None:
    """Its sender has heard that it failed; nothing follows."""
    sender, worker, admin = connect(), connect(), Administrator(connect())
    order(sender, queue, reports, correlation_id=queue, report="processed,failed")
    [job] = consume(worker, queue)
    accepted(nack(worker, job))
    subscribe(sender, reports)
    assert kinds(take(sender, 1)) == ["failed"]
    id = job.headers["message-id"]
    assert admin.call("retry", id=id) == {"retried": 1, "skipped": 0}
    [again] = take(worker, 1)
    accepted(ack(worker, again))
    assert is_served(sender)
    assert admin.call("tracked", queue)["status"] == "FAILED"


def test_no_topic_of_another_broker_is_reported(
    connect: Connect, start_broker: StartBroker
) -> None:
    peers = {"name": "a", "peer.b.url": "stomp://127.0.0.1:1", "peer.b.passcode": "secret"}
    client = connect(to=start_broker("memory:", **peers))
    for destination in ("/peer/b/topic/t", "/peer/b/peer/c/topic/t"):
        answer = client.ask("SEND", destination=destination, report="processed")
        expect_error(answer, f"No reports of {destination}")
    accepted(client.ask("SEND", destination="/peer/b/queue/topic", report="processed"))


def test_whoever_makes_room_in_a_full_store_is_reported(
    connect: Connect, start_broker: StartBroker
) -> None:
    """Nothing more is taken, acknowledgements are, and their reports are stored beyond the limit."""
    broker = start_broker(map_size=2_000_000)
    sender, worker = connect(to=broker), connect(to=broker)
    sent = 0
    while sender.ask("SEND", bytes(3000), **{**WANTED, "destination": JOBS}).command == "RECEIPT":
        sent += 1
    assert sent > 50
    expect_error(
        sender.ask("SEND", bytes(3000), **{**WANTED, "destination": JOBS}), "store is full"
    )
    subscribe(worker, JOBS, ack="client-individual", prefetch_count="1")
    for _ in range(sent):
        worker.send("ACK", **acknowledgement(worker, worker.expect("MESSAGE")))
    subscribe(sender, REPORTS, ack="client-individual")
    for report in take(sender, sent):
        sender.send("ACK", **acknowledgement(sender, report))
    client = connect(to=broker)
    accepted(client.ask("SEND", bytes(3000), **{**WANTED, "destination": JOBS}))
