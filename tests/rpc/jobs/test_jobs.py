"""Stories of a message between a sender and an inbox, with a real broker, in both faces."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import pytest

import rpc.jobs.aio
from rpc.errors import BrokerRefused, ConnectionLost, Timeout
from rpc.jobs import Inbox, Message, NotTracked, Sender, Status
from tests.conftest import StartBroker
from tests.peers.proxy import Proxy
from tests.processes import PATIENCE, Process
from tests.rpc.jobs.conftest import AnySender, MakeSender, Read

MB = 1_000_000


def test_a_sender_hears_that_its_message_was_processed(
    sender: AnySender, queue: str, read: Read
) -> None:
    sent = sender.send(queue, "one coffee", headers={"kind": "hot"})
    assert sent.status == "QUEUED"
    message = read(queue)
    assert (message.id, message.text, message.body) == (sent.id, "one coffee", b"one coffee")
    assert message.headers["kind"] == "hot"
    assert message.headers["content-type"] == "text/plain;charset=utf-8"
    assert not message.redelivered
    assert sent.wait(PATIENCE) is sent.status is Status.PROCESSED
    assert sent.status.is_final


def test_who_waits_is_told_at_once(sender: AnySender, queue: str, read: Read) -> None:
    sent = sender.send(queue, "job")
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(sent.wait, timeout) for timeout in (None, PATIENCE)]
        read(queue)
        assert {each.result(PATIENCE) for each in waiting} == {Status.PROCESSED}


def test_who_waits_in_vain_is_told_how_far_it_is(sender: AnySender, queue: str) -> None:
    sent = sender.send(queue, "job")
    with pytest.raises(Timeout, match=r"has not ended within 0.01 s: it is QUEUED"):
        sent.wait(0.01)
    with pytest.raises(Timeout):
        sent.wait(0)


def test_a_refusal_says_why(sender: AnySender, queue: str, read: Read) -> None:
    sent = sender.send(queue, b"job")
    read(queue, "failed", "no such customer")
    assert sent.wait(PATIENCE) is Status.FAILED
    told = sent.progress()
    assert (told.status, told.cause, told.pending) == ("FAILED", "no such customer", (queue,))
    assert told.sent <= told.changed


def test_what_is_kept_for_later_comes_again(sender: AnySender, queue: str, read: Read) -> None:
    sent = sender.send(queue, b"job")
    read(queue, "later")
    assert sent.status is Status.SENT
    assert read(queue, "later", 0.001).redelivered
    read(queue)
    assert sent.wait(PATIENCE) is Status.PROCESSED


def test_of_several_destinations_all_must_have_processed_it(
    sender: AnySender, queue: str, read: Read
) -> None:
    sent = sender.multicast([f"{queue}.a", f"{queue}.b"], "job")
    assert read(f"{queue}.a").id == sent.id
    told = sent.progress()
    assert (told.status, told.pending) == (Status.QUEUED, (f"{queue}.b",))
    assert [part.status for part in told.parts] == ["PROCESSED", "QUEUED"]
    read(f"{queue}.b")
    assert sent.wait(PATIENCE) is Status.PROCESSED


def test_its_id_is_all_that_another_process_needs(
    make_sender: MakeSender, broker_url: str, queue: str, read: Read
) -> None:
    id = make_sender(broker_url).send(queue, "job").id
    read(queue)
    later = make_sender(broker_url).message(id)
    assert later.status is later.wait(PATIENCE) is Status.PROCESSED


def test_without_feedback_nothing_is_kept(sender: AnySender, queue: str, read: Read) -> None:
    sent = sender.send(queue, "job", feedback=False)
    asks: list[Callable[[], object]] = [lambda: sent.status, sent.progress, sent.wait]
    for ask in asks:
        with pytest.raises(NotTracked, match="feedback=False"):
            ask()
    assert read(queue).id == sent.id
    asks = [sender.message(sent.id).progress, sender.message(sent.id).wait]
    for ask in asks:
        with pytest.raises(NotTracked, match=f"Nothing is known of a message {sent.id}"):
            ask()


def test_two_messages_of_one_id_are_one(sender: AnySender, queue: str, read: Read) -> None:
    for text in ("order 17", "order 17 again"):
        assert sender.send(queue, text, id=queue).id == queue
    sender.send(queue, "the next")
    assert [read(queue).text, read(queue).text] == ["order 17", "the next"]


def test_the_urgent_one_comes_first(sender: AnySender, queue: str, read: Read) -> None:
    sender.send(queue, "usual")
    sender.send(queue, "urgent", priority=9)
    assert [read(queue).text, read(queue).text] == ["urgent", "usual"]


def test_a_large_body_passes(sender: AnySender, queue: str, read: Read) -> None:
    film = bytes(range(256)) * (5 * MB // 256)
    sender.send(queue, film)
    assert read(queue).body == film


def test_what_nobody_did_in_time_has_expired(
    make_sender: MakeSender, start_broker: StartBroker
) -> None:
    url = start_broker(sweep_every=0.05).url
    sent = make_sender(url).send("/queue/jobs", "job", ttl=0.001)
    assert sent.wait(PATIENCE) is Status.EXPIRED


def test_a_message_that_is_refused_fails_alone(
    make_sender: MakeSender, broker_url: str, queue: str, read: Read
) -> None:
    send: Callable[..., Any] = make_sender(broker_url).send
    with ThreadPoolExecutor(8) as pool:
        good = [pool.submit(send, queue, "job") for _ in range(8)]
        bad = [pool.submit(send, "/topic/news", "job") for _ in range(8)]
        for each in bad:
            with pytest.raises(BrokerRefused, match="No reports of /topic/news"):
                each.result(PATIENCE)
        ids = {each.result(PATIENCE).id for each in good}
    assert ids == {read(queue).id for _ in range(8)}


def test_without_a_broker_a_sender_is_told_so(make_sender: MakeSender, proxy: Proxy) -> None:
    sender = make_sender(f"stomp://127.0.0.1:{proxy.port}")
    with pytest.raises(ConnectionLost):
        sender.send("/queue/jobs", "job")
    with pytest.raises(Timeout, match="its broker does not answer"):
        sender.message("any").wait(0.05)


def test_a_lost_receipt_makes_no_second_message(
    make_sender: MakeSender, start_broker: StartBroker, proxy: Proxy
) -> None:
    """The connection is cut when the broker has the message and the sender does not know."""
    broker = start_broker()
    proxy.target = broker.port
    sender = make_sender(f"stomp://127.0.0.1:{proxy.port}")
    sender.send("/queue/jobs", "first")
    lost = proxy.lose(b"RECEIPT")
    sent = sender.send("/queue/jobs", "job")
    assert lost.is_set()
    sender.send("/queue/jobs", "last")
    texts = []
    for message in Inbox(broker.url, "jobs"):
        message.processed()
        texts.append(message.text)
        if message.text == "last":
            break
    assert texts == ["first", "job", "last"]
    assert sent.wait(PATIENCE) is Status.PROCESSED


def test_who_waits_outlives_the_broker(
    make_sender: MakeSender, start_broker: StartBroker, proxy: Proxy
) -> None:
    """Killed while somebody waits; the next broker on the same data tells the end."""
    broker = start_broker()
    proxy.target = broker.port
    sender = make_sender(f"stomp://127.0.0.1:{proxy.port}")
    sent = sender.send("/queue/jobs", "job")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(sent.wait, PATIENCE)
        assert sent.status is Status.QUEUED
        proxy.target = 0
        broker.kill()
        proxy.target = start_broker().port
        for message in Inbox(f"stomp://127.0.0.1:{proxy.port}", "jobs"):
            message.processed()
            break
        assert waiting.result(PATIENCE) is Status.PROCESSED


def test_work_goes_on_while_the_broker_is_started_again(
    start_broker: StartBroker, proxy: Proxy
) -> None:
    """A word that is said without a connection is said when the message comes again: it is not done twice."""
    broker = start_broker()
    proxy.target = broker.port
    url = f"stomp://127.0.0.1:{proxy.port}"
    with Sender(url) as sender:
        sent = [sender.send("/queue/jobs", str(number)) for number in range(3)]
        texts = []
        for message in Inbox(url, "jobs"):
            texts.append(message.text)
            if message.text == "0":
                proxy.target = 0
                broker.kill()
                message.processed()
                proxy.target = start_broker().port
                continue
            message.processed()
            if message.text == "2":
                break
        assert texts == ["0", "1", "2"]
        assert {each.wait(PATIENCE) for each in sent} == {Status.PROCESSED}


# The ways out of a loop.


def test_an_exception_keeps_the_message_for_later(
    sender: AnySender, queue: str, broker_url: str, read: Read
) -> None:
    sent = sender.send(queue, "job")

    def work() -> None:
        for _ in Inbox(broker_url, queue):
            raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        work()
    assert sent.status is Status.SENT
    assert read(queue).redelivered


def test_break_keeps_the_message_for_later(
    sender: AnySender, queue: str, broker_url: str, read: Read
) -> None:
    sender.send(queue, "job")
    for _ in Inbox(broker_url, queue):
        break
    assert read(queue).redelivered


def test_a_forgotten_word_is_an_error_and_no_loss(
    sender: AnySender, queue: str, broker_url: str, read: Read
) -> None:
    sent = sender.send(queue, "job")
    with pytest.raises(RuntimeError, match=f"Nothing was said of the message {sent.id}: say proc"):
        for _ in Inbox(broker_url, queue):
            pass
    assert read(queue).redelivered


def test_one_word_is_enough(sender: AnySender, queue: str, broker_url: str) -> None:
    sender.send(queue, "job")
    for message in Inbox(broker_url, queue):
        message.processed()
        with pytest.raises(RuntimeError, match="has had its word: processed"):
            message.failed("why")
        break


def test_what_was_handed_out_ahead_goes_back(
    sender: AnySender, queue: str, broker_url: str, read: Read
) -> None:
    for number in range(5):
        sender.send(queue, str(number))
    for message in Inbox(broker_url, queue, prefetch=5):
        message.processed()
        break
    assert [read(queue).text for _ in range(4)] == ["1", "2", "3", "4"]


def test_stop_from_another_thread_ends_all_loops(broker_url: str, queue: str) -> None:
    inbox = Inbox(broker_url, queue)
    with ThreadPoolExecutor(3) as pool:
        loops = [pool.submit(list, inbox) for _ in range(2)]
        pool.submit(inbox.stop)
        assert [each.result(PATIENCE) for each in loops] == [[], []]
    assert list(inbox) == []


def test_stop_ends_also_what_tries_to_connect(caplog: pytest.LogCaptureFixture) -> None:
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())  # takes no more connections
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        inbox = Inbox(f"stomp://127.0.0.1:{full.getsockname()[1]}")
        with ThreadPoolExecutor(1) as pool:
            loop = pool.submit(list, inbox)
            while not inbox._stops:  # not begun
                assert not loop.done()
            inbox.stop()
            assert loop.result(PATIENCE) == []
    gc.collect()
    assert "Task was destroyed" not in caplog.text


def test_a_broker_that_refuses_is_no_endless_try(broker_url: str) -> None:
    with pytest.raises(BrokerRefused):
        list(Inbox(broker_url, "/queue/" + "x" * 300))


# The calling mode.


def handled(message: Message) -> bool:
    """Do what the message says, the first time that it comes."""
    if message.text == "word":
        message.failed("in a word")
    if message.redelivered:
        return True
    if message.text == "raise":
        raise ValueError("a bug")
    return message.text == "true"


def test_serve_takes_true_for_processed_and_all_else_for_later(
    sender: AnySender, queue: str, broker_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    sent = [sender.send(queue, text) for text in ("true", "false", "raise", "word")]
    inbox = Inbox(broker_url, queue)
    thread = threading.Thread(target=inbox.serve, args=(handled,))
    with caplog.at_level(logging.WARNING, "rpc"):
        thread.start()
        ends = [each.wait(PATIENCE) for each in sent]
    inbox.stop()
    thread.join(PATIENCE)
    assert ends == ["PROCESSED", "PROCESSED", "PROCESSED", "FAILED"]
    assert sent[3].progress().cause == "in a word"
    assert "ValueError: a bug" in caplog.text


def test_serve_notes_a_function_that_forgets_to_return(
    queue: str, broker_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = Inbox(broker_url, queue)

    def forgets(message: Message) -> bool:
        inbox.stop()
        return None  # type: ignore[return-value]

    with Sender(broker_url) as sender:
        sent = sender.send(queue, "job")
        inbox.serve(forgets)
        assert sent.status is Status.SENT
    assert "True or False was expected, not None" in caplog.text


SERVE = """
import sys
from rpc.jobs import Inbox

def handle(message):
    print("begun", flush=True)
    input()
    return True

Inbox(sys.argv[1], sys.argv[2]).serve(handle)
print("left", flush=True)
"""


def test_sigterm_lets_the_message_be_finished(broker_url: str, queue: str, read: Read) -> None:
    with Sender(broker_url) as sender, Process("-c", SERVE, broker_url, queue) as worker:
        sent = sender.send(queue, "job")
        waiting = sender.send(queue, "the next")
        worker.wait_for_line("^begun$")
        worker.signal(15)
        worker.write("\n")
        worker.wait_for_line("^left$")
        assert worker.wait() == 0
        assert sent.status is Status.PROCESSED
        assert read(queue).id == waiting.id


def test_sigterm_ends_a_loop_that_waits(broker_url: str, queue: str) -> None:
    source = SERVE.replace("    input()\n", "")
    with Sender(broker_url) as sender, Process("-c", source, broker_url, queue) as worker:
        sent = sender.send(queue, "job")
        assert sent.wait(PATIENCE) is Status.PROCESSED
        worker.signal(15)
        worker.wait_for_line("^left$")
        assert worker.wait() == 0


# asyncio's own.


def test_async_for_and_await(broker_url: str, queue: str) -> None:
    async def story() -> list[str]:
        texts = []
        async with rpc.jobs.aio.Sender(broker_url) as sender:
            sent = [await sender.send(queue, str(number)) for number in range(3)]
            waiting = asyncio.gather(*(each.wait(PATIENCE) for each in sent))
            async for message in rpc.jobs.aio.Inbox(broker_url, queue, prefetch=3):
                texts.append(message.text)
                message.processed()
                if message.text == "2":
                    break
            assert set(await waiting) == {Status.PROCESSED}
        return texts

    assert asyncio.run(story()) == ["0", "1", "2"]


def test_async_serve_until_cancelled(broker_url: str, queue: str) -> None:
    """A cancelled function has not done its message: it is kept for later."""

    async def story() -> None:
        begun = asyncio.Event()

        async def handle(message: Message) -> bool:
            if message.text == "long" and not message.redelivered:
                begun.set()
                await asyncio.Event().wait()
            return True

        async with rpc.jobs.aio.Sender(broker_url) as sender:
            quick, long = await sender.send(queue, "quick"), await sender.send(queue, "long")
            serving = asyncio.create_task(rpc.jobs.aio.Inbox(broker_url, queue).serve(handle))
            await begun.wait()
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving
            assert await quick.wait(PATIENCE) is Status.PROCESSED
            assert await long.status() is Status.SENT
            inbox = rpc.jobs.aio.Inbox(broker_url, queue)
            serving = asyncio.create_task(inbox.serve(lambda message: True))
            assert await long.wait(PATIENCE) is Status.PROCESSED
            inbox.stop()
            await serving

    asyncio.run(story())


def test_async_signals_stop_it_in_order(broker_url: str, queue: str) -> None:
    source = """
import asyncio, sys
import rpc.jobs.aio

inbox = rpc.jobs.aio.Inbox(sys.argv[1], sys.argv[2])
asyncio.run(inbox.serve(lambda message: True, signals=True))
print("left", flush=True)
"""
    with Sender(broker_url) as sender, Process("-c", source, broker_url, queue) as worker:
        assert sender.send(queue, "job").wait(PATIENCE) is Status.PROCESSED
        worker.signal(15)
        worker.wait_for_line("^left$")
        assert worker.wait() == 0
