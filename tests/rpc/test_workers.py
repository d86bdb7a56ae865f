"""What all workers share, whatever runs their functions: threads, asyncio or Twisted."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from concurrent.futures import wait
from time import monotonic
from typing import Any

import pytest

import rpc
from tests.harness import Client
from tests.processes import PATIENCE, BrokerProcess, WorkerProcess
from tests.scenarios.steps import subscribe

FACES = ("rpc", "rpc.aio", "rpc.tx")

SOURCE = """
from dataclasses import dataclass
from datetime import date

runs = []

@worker.method
def whee(argument):
    return {"Whee": 123}

@worker.method
async def whee_later(argument):
    await pause(0.01)
    return {"Whee": argument}

async def pause(seconds):
    if "tx" in face.__name__:
        from twisted.internet import reactor
        from twisted.internet.task import deferLater
        await deferLater(reactor, seconds)
    else:
        await asyncio.sleep(seconds)

@worker.method
def add(a: int, b: int = 1) -> int:
    "Add two numbers."
    return a + b

@dataclass
class Order:
    item: str
    due: date

@worker.method(run_in="thread")
def order(what: Order) -> str:
    time.sleep(0.01)
    return f"{what.item} in {what.due.year}"

@worker.method
def fails(text):
    raise LookupError(text)

@worker.method
def count_to(number: int):
    yield from range(1, number + 1)

@worker.method
async def count_slowly_to(number: int):
    try:
        for each in range(1, number + 1):
            await pause(0.001)
            yield each
    finally:
        say("counted")

@worker.method(run_in="thread")
def blocks(seconds):
    say("blocks")
    time.sleep(seconds)
    say("blocked")
    return "slept"

@worker.method
async def waits(seconds):
    say("waits")
    try:
        await pause(seconds)
    except BaseException:
        say("stopped waiting")
        raise
    return "waited"

@worker.method(timeout=0.2)
async def too_long():
    await waits(60)

@worker.method(timeout=0.2, run_in="thread")
def blocks_too_long():
    time.sleep(0.6)

@worker.method(idempotent=True)
def once(value):
    runs.append(value)
    return runs.count(value)

@worker.method(retries=1, retry_delay=0.05)
def unlucky(times):
    if rpc.current().attempt <= times:
        raise OSError("not yet")
    return rpc.current().attempt

@worker.method
def who():
    call = rpc.current()
    return [call.user, call.headers.get("colour"), call.attempt, 0 < call.remaining <= 30, call.method]

@worker.method(run_in="thread")
def told(value):
    say("told", value)

class Shop:
    def price(self, item: str) -> int:
        return len(item)
    def _secret(self):
        return 1

worker.register(Shop, prefix="shop.")
"""


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> str:
    """Return the module of one face; the test is run with each."""
    return str(request.param)


@pytest.fixture(scope="module", params=FACES)
def served(request: pytest.FixtureRequest, broker_url: str) -> Iterator[tuple[str, WorkerProcess]]:
    """Return a service, and the process that serves it."""
    service = f"workers-{uuid.uuid4().hex[:8]}"
    with WorkerProcess(broker_url, service, SOURCE, 8, face=request.param) as worker:
        yield service, worker


@pytest.fixture
def worker(served: tuple[str, WorkerProcess]) -> WorkerProcess:
    return served[1]


@pytest.fixture
def client(served: tuple[str, WorkerProcess], broker_url: str) -> Iterator[rpc.Client]:
    with rpc.Client(broker_url, service=served[0]) as client:
        yield client


@pytest.fixture
def service() -> str:
    """Return a service's name of the test's own."""
    return f"workers-{uuid.uuid4().hex[:8]}"


# Functions


def test_functions_of_every_kind(client: rpc.Client) -> None:
    assert client.call("whee", "Hello", timeout=5) == {"Whee": 123}
    assert client.call("whee_later", "Hello", timeout=5) == {"Whee": "Hello"}
    assert client.call("shop.price", "tea") == 3
    assert client.call("add", b=2, a=1) == 3


def test_arguments_become_what_they_are_annotated_with(client: rpc.Client) -> None:
    assert client.call("order", {"item": "tea", "due": "2030-01-02"}) == "tea in 2030"
    with pytest.raises(rpc.InvalidParams, match="due"):
        client.call("order", {"item": "tea", "due": "tomorrow"})
    with pytest.raises(rpc.InvalidParams, match=r"\bb\b"):
        client.call("add", 1, "two")


def test_what_nobody_offers(client: rpc.Client) -> None:
    for name in ("shop._secret", "shop", "rpc.secret", "wheee"):
        with pytest.raises(rpc.MethodNotFound, match=name):
            client.call(name)


def test_what_a_function_raised(client: rpc.Client) -> None:
    with pytest.raises(rpc.RemoteError, match="LookupError: gone") as raised:
        client.call("fails", "gone")
    assert (raised.value.type, raised.value.traceback) == ("LookupError", None)


def test_a_batch_is_answered_as_one(client: rpc.Client) -> None:
    """The map of a client: many requests in a message."""
    assert list(client.map("add", range(250), batch=100)) == list(range(1, 251))
    answers = list(client.map("add", [1, "two", 3], return_errors=True))
    assert (answers[0], answers[2]) == (2, 4)
    assert isinstance(answers[1], rpc.InvalidParams)


# Streams


@pytest.mark.parametrize("name", ["count_to", "count_slowly_to"])
def test_items_come_one_by_one(client: rpc.Client, name: str) -> None:
    assert list(client.options(credit=10).stream(name, 45)) == list(range(1, 46))
    assert client.call(name, 3) == [1, 2, 3]
    assert list(client.stream("add", 1)) == [2]


def test_a_stream_that_is_left_stops_the_generator(
    client: rpc.Client, worker: WorkerProcess
) -> None:
    for item in client.options(credit=5).stream("count_slowly_to", 10**9):
        if item == 12:
            break
    worker.wait_for_line("^counted$")


def test_a_stream_whose_arguments_are_wrong(client: rpc.Client) -> None:
    with pytest.raises(rpc.InvalidParams):
        next(client.stream("count_to", "three"))


# Who nobody waits for


def test_a_cancelled_call_stops_its_coroutine(client: rpc.Client, worker: WorkerProcess) -> None:
    waiting = client.submit("waits", 60)
    worker.wait_for_line("^waits$")
    assert waiting.cancel()
    worker.wait_for_line("^stopped waiting$")
    assert client.call("add", 1) == 2


def test_a_coroutine_does_not_outlive_its_callers_patience(
    client: rpc.Client, worker: WorkerProcess
) -> None:
    with pytest.raises(rpc.Timeout):
        client.call("waits", 60, timeout=0.3)
    worker.wait_for_line("^stopped waiting$")


def test_a_cancelled_call_that_has_not_begun_never_does(
    face: str, broker_url: str, service: str
) -> None:
    with (
        WorkerProcess(broker_url, service, SOURCE, 1, face=face) as worker,
        rpc.Client(broker_url, service=service) as client,
    ):
        first = client.submit("blocks", 0.5)
        worker.wait_for_line("^blocks$")
        never, after = client.submit("told", "never"), client.submit("told", "after")
        never.cancel()
        assert first.result(PATIENCE) == "slept"
        after.result(PATIENCE)
        worker.wait_for_line("^told after$")
        assert "told never" not in worker.lines


@pytest.mark.parametrize("name", ["too_long", "blocks_too_long"])
def test_a_function_that_takes_too_long(client: rpc.Client, name: str) -> None:
    begun = monotonic()
    with pytest.raises(rpc.RemoteTimeout, match=r"0\.2 s") as raised:
        client.call(name)
    assert isinstance(raised.value, rpc.Timeout)
    assert monotonic() - begun < 0.55
    assert client.call("add", 1) == 2


# What is run how often


def test_a_call_with_the_same_key_is_run_once(client: rpc.Client) -> None:
    key = uuid.uuid4().hex
    same = client.options(headers={"idempotency-key": key})
    assert [same.call("once", key) for _ in range(3)] == [1, 1, 1]
    assert client.call("once", key) == 2


def test_a_failed_call_is_tried_again(client: rpc.Client) -> None:
    assert client.call("unlucky", 0) == 1
    assert client.call("unlucky", 1) == 2


def test_a_call_that_fails_for_good_is_a_dead_letter_and_its_caller_is_told(
    client: rpc.Client, broker_url: str, served: tuple[str, WorkerProcess]
) -> None:
    with pytest.raises(rpc.RemoteError, match="OSError: not yet"):
        client.call("unlucky", 9)
    with Client(int(broker_url.rpartition(":")[2])) as raw:
        subscribe(raw, "/queue/ActiveMQ.DLQ")
        assert b'"method":"unlucky","params":[9]' in raw.expect("MESSAGE").body


@pytest.mark.parametrize(("delivery", "runs"), [("at-least-once", 2), ("at-most-once", 1)])
def test_a_worker_that_is_killed_in_the_middle_of_a_call(
    face: str, broker_url: str, service: str, delivery: str, runs: int
) -> None:
    """Another one runs it once more, unless it was to be delivered at most once."""
    source = f"""
@worker.method(delivery={delivery!r})
def deadly():
    say("begun")
    if {{fatal}}:
        os.kill(os.getpid(), signal.SIGKILL)
    return rpc.current().attempt
@worker.method
def add(a, b):
    return a + b
"""
    with rpc.Client(broker_url, service=service) as client:
        with WorkerProcess(broker_url, service, source.format(fatal=True), face=face) as worker:
            call = client.submit("deadly", timeout=PATIENCE if runs == 2 else 3)
            worker.wait_for_line("^begun$")
            worker.wait()
        with WorkerProcess(broker_url, service, source.format(fatal=False), face=face) as worker:
            if runs == 2:
                assert call.result(PATIENCE) == 2
            else:
                assert client.call("add", 1, 2) == 3
                with pytest.raises(rpc.Timeout):
                    call.result(PATIENCE)
                assert "begun" not in worker.lines


def test_a_call_that_kills_its_workers_is_given_up(
    broker_url: str, face: str, service: str
) -> None:
    """Its caller is told, and the next worker lives."""
    source = """
@worker.method
def deadly():
    os.kill(os.getpid(), signal.SIGKILL)
@worker.method
def whee():
    return 1
"""
    with rpc.Client(broker_url, service=service) as client:
        call = client.submit("deadly")
        for _ in range(2):
            with WorkerProcess(
                broker_url, service, source, face=face, options="max_deliveries=2"
            ) as worker:
                assert worker.wait() == -signal.SIGKILL
        with WorkerProcess(broker_url, service, source, face=face, options="max_deliveries=2"):
            with pytest.raises(rpc.ErrorReply, match="Given up"):
                call.result(PATIENCE)
            assert client.call("whee") == 1


def test_a_call_outlives_the_broker_and_is_not_run_again(
    face: str, service: str, tmp_path: Any
) -> None:
    """It is given out again, recognised, and answered over the new connection."""
    store = f"lmdb:{tmp_path / 'data'}"
    source = """
runs = []
@worker.method(run_in="thread")
def slow():
    runs.append(1)
    say("running")
    while not os.path.exists(more_to_wait_for):
        time.sleep(0.01)
    return len(runs)
@worker.method
def whee():
    return len(runs)
""".replace("more_to_wait_for", repr(str(tmp_path / "go")))
    with (
        BrokerProcess(store=store) as broker,
        WorkerProcess(broker.url, service, source, face=face) as worker,
        rpc.Client(broker.url, service=service).options(on_loss="resend") as client,
    ):
        call = client.submit("slow")
        worker.wait_for_line("^running$")
        broker.kill()
        with BrokerProcess(broker.port, store):
            assert client.call("whee") == 1
            (tmp_path / "go").touch()
            assert call.result(PATIENCE) == 1
            assert client.call("whee") == 1


# Too much to do


def test_overload_is_told_at_once(face: str, broker_url: str, service: str) -> None:
    with (
        WorkerProcess(broker_url, service, SOURCE, 1, face=face, options="backlog=1") as worker,
        rpc.Client(broker_url, service=service) as client,
    ):
        running = client.submit("blocks", 1.0)
        worker.wait_for_line("^blocks$")
        waiting = client.submit("add", 1)
        begun = monotonic()
        with pytest.raises(rpc.Overloaded) as raised:
            client.call("add", 1)
        assert monotonic() - begun < 0.5
        assert raised.value.retry_after is not None
        assert raised.value.retry_after > 0
        assert (running.result(PATIENCE), waiting.result(PATIENCE)) == ("slept", 2)


def test_a_method_that_may_not_run_as_often_as_it_likes(
    face: str, broker_url: str, service: str
) -> None:
    source = """
now, most = 0, 0
lock = threading.Lock()
@worker.method(concurrency=2, run_in="thread")
def careful():
    global now, most
    with lock:
        now += 1
        most = max(most, now)
    time.sleep(0.02)
    with lock:
        now -= 1
    return most
"""
    with (
        WorkerProcess(broker_url, service, source, 8, face=face),
        rpc.Client(broker_url, service=service) as client,
    ):
        calls = [client.submit("careful") for _ in range(20)]
        wait(calls, PATIENCE)
        assert max(call.result(0) for call in calls) == 2


# Finding out


def test_every_worker_can_be_asked(client: rpc.Client, served: tuple[str, WorkerProcess]) -> None:
    assert client.call("rpc.ping") == "pong"
    client.call("add", 1)
    told = client.call("rpc.describe")
    assert told["service"] == served[0]
    add = next(each for each in told["methods"] if each["name"] == "add")
    assert add["signature"] == "(a: int, b: int = 1) -> int"
    assert add["doc"] == "Add two numbers."
    assert add["params"]["a"]["type"] == "integer"
    assert not any(each["name"].startswith("rpc.") for each in told["methods"])
    stats = client.call("rpc.stats")
    assert stats["methods"]["add"]["calls"] >= 1
    assert stats["worker"] == told["worker"]


def test_all_workers_answer_a_broadcast(face: str, broker_url: str, service: str) -> None:
    with (
        WorkerProcess(broker_url, service, SOURCE, face=face, options="name='one'"),
        WorkerProcess(broker_url, service, SOURCE, face=face, options="name='two'"),
        rpc.Client(broker_url, service=service) as client,
    ):
        answers = client.broadcast("add", 1, first=2, timeout=PATIENCE)
        assert {(answer.worker, answer.result()) for answer in answers} == {("one", 2), ("two", 2)}


def test_a_busy_worker_still_says_that_it_is_there(
    face: str, broker_url: str, service: str
) -> None:
    with (
        WorkerProcess(broker_url, service, SOURCE, 1, face=face) as worker,
        rpc.Client(broker_url, service=service) as client,
    ):
        blocked = client.submit("blocks", 1.0)
        worker.wait_for_line("^blocks$")
        [answer] = client.broadcast("rpc.stats", first=1, timeout=PATIENCE)
        assert answer.result()["running"] == 1
        assert not blocked.done()


# Around calls


HOOKED = """
if face is not rpc:
    @worker.hook
    async def log(context, proceed):
        say("before", context.method)
        try:
            return await proceed()
        finally:
            say("after", context.method)
    @worker.hook
    async def guard(context, proceed):
        if context.headers.get("token") != "sesame":
            raise rpc.Forbidden("Who are you?")
        return await proceed()
else:
    @worker.hook
    def log(context, proceed):
        say("before", context.method)
        try:
            return proceed()
        finally:
            say("after", context.method)
    @worker.hook
    def guard(context, proceed):
        if context.headers.get("token") != "sesame":
            raise rpc.Forbidden("Who are you?")
        return proceed()
"""


def test_hooks_around_every_call(face: str, broker_url: str, service: str) -> None:
    with (
        WorkerProcess(broker_url, service, SOURCE + HOOKED, face=face) as worker,
        rpc.Client(broker_url, service=service) as client,
    ):
        with pytest.raises(rpc.Forbidden, match="Who are you"):
            client.call("add", 1)
        worker.wait_for_line("^before add$")
        worker.wait_for_line("^after add$")
        allowed = client.options(headers={"token": "sesame"})
        assert allowed.call("add", 1) == 2
        assert allowed.call("whee_later", 1) == {"Whee": 1}
        assert allowed.call("order", {"item": "tea", "due": "2030-01-02"}) == "tea in 2030"


def test_what_a_function_knows_about_its_call(client: rpc.Client) -> None:
    coloured = client.options(headers={"colour": "bay"})
    assert coloured.call("who") == [None, "bay", 1, True, "who"]


def test_the_callers_user_as_the_broker_stamped_it(face: str, service: str, tmp_path: Any) -> None:
    config = tmp_path / "hoofbeat.toml"
    config.write_text("populate_user_id = true\n")
    with BrokerProcess(config=str(config)) as broker:
        url = f"stomp://rider:secret@127.0.0.1:{broker.port}"
        with (
            WorkerProcess(broker.url, service, SOURCE, face=face),
            rpc.Client(url, service=service) as client,
        ):
            assert client.call("who")[0] == "rider"


def test_a_trace_goes_on_through_the_calls_of_a_function(
    face: str, broker_url: str, service: str
) -> None:
    """A function's own calls carry the headers of the call that it serves."""
    source = """
client = rpc.Client(url, service=service)
@worker.method(run_in="thread")
def outer():
    return client.call("inner")
@worker.method
def inner():
    return rpc.current().headers.get("traceparent")
"""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with (
        WorkerProcess(broker_url, service, source, face=face),
        rpc.Client(broker_url, service=service) as client,
    ):
        assert client.options(headers={"traceparent": trace}).call("outer") == trace
        assert client.call("outer") is None


# Its end


def test_a_signal_lets_what_runs_finish_and_takes_nothing_new(
    face: str, broker_url: str, service: str
) -> None:
    with (
        WorkerProcess(broker_url, service, SOURCE, face=face) as worker,
        rpc.Client(broker_url, service=service) as client,
    ):
        blocked, waited = client.submit("blocks", 0.5), client.submit("waits", 0.5)
        worker.wait_for_line("^(blocks|waits)$")
        worker.wait_for_line("^(blocks|waits)$")
        worker.signal(signal.SIGTERM)
        later = client.submit("add", 1)
        assert (blocked.result(PATIENCE), waited.result(PATIENCE)) == ("slept", "waited")
        worker.wait_for_line("^stopped$")
        assert worker.wait() == 0
        with WorkerProcess(broker_url, service, SOURCE, face=face):
            assert later.result(PATIENCE) == 2


def test_heart_beats_go_on_while_a_function_blocks(
    face: str, broker_url: str, service: str
) -> None:
    """The broker would have hung up after a second; the reply comes over the first connection."""
    with (
        WorkerProcess(broker_url, service, SOURCE, 1, face=face),
        rpc.Client(broker_url, service=service) as client,
    ):
        assert client.call("blocks", 1.6) == "slept"
        assert client.call("who")[2] == 1


def test_functions_in_a_process(face: str, broker_url: str, service: str) -> None:
    source = """
import math
worker.method(math.factorial, name="factorial", run_in="process", check=False)
worker.method(os.getpid, name="elsewhere", run_in="process")
worker.method(os._exit, name="dies", run_in="process", check=False)
@worker.method
def here():
    return os.getpid()
"""
    with (
        WorkerProcess(broker_url, service, source, 2, face=face),
        rpc.Client(broker_url, service=service) as client,
    ):
        assert client.call("factorial", 5) == 120
        assert client.call("elsewhere") != client.call("here")
        with pytest.raises(rpc.RemoteError, match="ValueError"):
            client.call("factorial", -1)
        with pytest.raises(rpc.RemoteError, match="BrokenProcessPool"):
            client.call("dies", 1)
        assert client.call("factorial", 3) == 6
