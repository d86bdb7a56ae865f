"""`Client` and `Worker` against a real broker."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, time
from typing import Any

import pytest

import rpc
from broker.stomp import Frame
from rpc.address import parse_address
from rpc.blocking.line import Line
from rpc.blocking.wire import Wire
from tests.processes import PATIENCE, BrokerProcess, Process, WorkerProcess
from tests.rpc.canned import CONNECTED, CannedBroker


@contextlib.contextmanager
def serving(worker: rpc.Worker) -> Iterator[rpc.Worker]:
    """Run a worker in a thread for as long as the block lasts."""
    ready = threading.Event()
    thread = threading.Thread(target=worker.run, args=(ready.set,))
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        yield worker
    finally:
        worker.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def whee(argument: str) -> dict[str, int]:
    """Be the function of the demonstration."""
    return {"Whee": 123}


def echo(value: Any) -> Any:
    return value


def fails(text: str) -> None:
    raise LookupError(text)


class Gate:
    """A function that says when it was called and waits to be let through."""

    def __init__(self) -> None:
        self.called = threading.Semaphore(0)
        self.open = threading.Semaphore(0)

    def __call__(self, value: Any = None) -> Any:
        self.called.release()
        assert self.open.acquire(timeout=PATIENCE)
        return value

    def wait(self) -> None:
        assert self.called.acquire(timeout=PATIENCE)


@pytest.fixture
def service() -> str:
    """Return a service's name of the test's own."""
    return f"test-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    for _ in range(100):
        gate.open.release()


@pytest.fixture
def worker(broker_url: str, service: str, gate: Gate) -> Iterator[rpc.Worker]:
    worker = rpc.Worker(broker_url, service=service)
    for function in (whee, echo, fails):
        worker.method(function)
    worker.method(gate, name="gate")
    with serving(worker):
        yield worker
        for _ in range(100):
            gate.open.release()


@pytest.fixture
def client(broker_url: str, service: str) -> Iterator[rpc.Client]:
    with rpc.Client(broker_url, service=service) as client:
        yield client


def in_threads(count: int, function: Callable[[int], Any]) -> list[Any]:
    """Call the function once in each of so many threads; return what each returned or raised."""
    results: list[Any] = [None] * count

    def run(n: int) -> None:
        try:
            results[n] = function(n)
        except Exception as error:
            results[n] = error

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    return results


# Calls and results


@pytest.mark.usefixtures("worker")
def test_the_demonstration(client: rpc.Client) -> None:
    assert client.call("whee", "Hello", timeout=5) == {"Whee": 123}
    assert client.call("whee", argument="Hello") == {"Whee": 123}


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    "value", [None, "grüß 🐎 \x00 \r\n :\\", [1, {"a": [True, 1.5]}], "", {"": ""}, "\ud800"]
)
def test_values_come_back_as_they_went(client: rpc.Client, value: Any) -> None:
    assert client.call("echo", value) == value


@pytest.mark.usefixtures("worker")
def test_a_large_argument(client: rpc.Client) -> None:
    large = os.urandom(2_500_000).hex()
    assert client.call("echo", large) == large


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("durable", [True, False])
def test_twenty_threads_each_get_their_own_answers(
    broker_url: str, service: str, durable: bool
) -> None:
    with rpc.Client(broker_url, service, durable=durable) as client:
        wanted = [[f"{n}-{i}" for i in range(25)] for n in range(20)]
        assert in_threads(20, lambda n: [client.call("echo", v) for v in wanted[n]]) == wanted
        stats = client.stats()
    assert (stats.calls, stats.pending, stats.late, stats.connections) == (500, 0, 0, 1)


@pytest.mark.usefixtures("worker")
def test_large_and_small_calls_from_many_threads_at_once(client: rpc.Client) -> None:
    values = ["x" * (1_000_000 if n % 4 == 0 else 10) + str(n) for n in range(16)]
    assert in_threads(16, lambda n: client.call("echo", values[n])) == values


@pytest.mark.usefixtures("worker")
def test_slow_calls_do_not_hold_up_others(client: rpc.Client, gate: Gate) -> None:
    slow = threading.Thread(target=client.call, args=("gate",))
    slow.start()
    gate.wait()
    assert client.call("echo", 1, timeout=PATIENCE) == 1
    gate.open.release()
    slow.join(PATIENCE)
    assert not slow.is_alive()


def test_a_call_waits_in_the_queue_for_a_worker_to_come(
    broker_url: str, service: str, client: rpc.Client
) -> None:
    result: list[Any] = []
    caller = threading.Thread(target=lambda: result.append(client.call("echo", 1)))
    caller.start()
    worker = rpc.Worker(broker_url, service)
    worker.method(echo)
    with serving(worker):
        caller.join(PATIENCE)
    assert result == [1]


# Errors


@pytest.mark.usefixtures("worker")
def test_an_unknown_function_is_an_error_at_once(client: rpc.Client) -> None:
    with pytest.raises(rpc.MethodNotFound, match="nobody"):
        client.call("nobody", timeout=PATIENCE)


@pytest.mark.usefixtures("worker")
def test_arguments_that_do_not_fit(client: rpc.Client) -> None:
    with pytest.raises(rpc.InvalidParams, match=r"^whee\(.*: missing a required argument"):
        client.call("whee")
    with pytest.raises(rpc.InvalidParams, match=r"^whee\(.*: too many positional"):
        client.call("whee", 1, 2)


@pytest.mark.usefixtures("worker")
def test_what_the_function_raised(client: rpc.Client) -> None:
    with pytest.raises(rpc.RemoteError, match="LookupError: so it goes") as raised:
        client.call("fails", "so it goes")
    error = raised.value
    assert (error.type, error.message, error.traceback) == ("LookupError", "so it goes", None)


def test_a_traceback_if_the_worker_allows_it(
    broker_url: str, service: str, client: rpc.Client
) -> None:
    worker = rpc.Worker(broker_url, service, tracebacks=True)
    worker.method(fails)
    with serving(worker), pytest.raises(rpc.RemoteError) as raised:
        client.call("fails", "x")
    assert "in fails" in (raised.value.traceback or "")


def test_what_cannot_be_sent_is_the_callers_own_error(client: rpc.Client) -> None:
    with pytest.raises(TypeError, match="object"):
        client.call("echo", object())
    with pytest.raises(TypeError, match="by position or by name"):
        client.call("echo", 1, value=1)
    with pytest.raises(ValueError, match="timeout"):
        client.call("echo", 1, timeout=0)
    assert client.stats().calls == 0
    assert client.stats().connections == 0


# Time


def test_nobody_answers_in_time(client: rpc.Client) -> None:
    began = monotonic()
    with pytest.raises(rpc.Timeout, match=r"'echo' within 0\.2 s"):
        client.call("echo", 1, timeout=0.2)
    assert 0.2 <= monotonic() - began < 5
    assert client.stats().pending == 0


def test_every_one_of_many_waiting_calls_times_out(client: rpc.Client) -> None:
    results = in_threads(20, lambda n: client.call("echo", n, timeout=0.1 + n / 100))
    assert [type(result) for result in results] == [rpc.Timeout] * 20


class RawWorker:
    """A worker of another make: takes requests and answers with the headers that the test likes."""

    def __init__(self, url: str, service: str) -> None:
        self.wire = Wire(parse_address(url), heart_beat=0.0, timeout=PATIENCE)
        self.wire.write(self.wire.link.subscribe(f"/queue/rpc.{service}", "s", "client"))
        self._frames: deque[Frame] = deque()

    def take(self) -> Frame:
        deadline = monotonic() + PATIENCE
        while not self._frames:
            assert monotonic() < deadline, "no request came"
            self._frames.extend(self.wire.pump(deadline) or ())
        return self._frames.popleft()

    def answer(self, request: Frame, body: bytes) -> None:
        headers = {
            "destination": request.headers["reply-to"],
            "correlation-id": request.headers["correlation-id"],
        }
        self.wire.write(self.wire.link.send(headers, body) + self.wire.link.ack(request))

    def close(self) -> None:
        self.wire.close()


@pytest.fixture
def raw(broker_url: str, service: str) -> Iterator[RawWorker]:
    with contextlib.closing(RawWorker(broker_url, service)) as raw:
        yield raw


def test_a_late_reply_is_counted_and_dropped(client: rpc.Client, raw: RawWorker) -> None:
    with pytest.raises(rpc.Timeout):
        client.call("echo", "first", timeout=0.2)
    late = raw.take()
    caller = threading.Thread(target=client.call, args=("echo", "second"))
    caller.start()
    second = raw.take()
    raw.answer(late, b'{"jsonrpc":"2.0","result":1,"id":1}')
    raw.answer(late, b'{"jsonrpc":"2.0","result":1,"id":1}')
    raw.answer(second, b'{"jsonrpc":"2.0","result":2,"id":2}')
    caller.join(PATIENCE)
    assert not caller.is_alive()
    assert client.stats().late == 2
    assert client.stats().pending == 0


def test_the_request_as_it_is_on_the_wire(client: rpc.Client, raw: RawWorker) -> None:
    caller = threading.Thread(target=client.call, args=("whee", "Hello"), kwargs={"timeout": 5})
    before = time()
    caller.start()
    request = raw.take()
    raw.answer(request, b'{"jsonrpc":"2.0","result":null,"id":"x"}')
    caller.join(PATIENCE)
    headers = request.headers
    assert headers["content-type"] == "application/json"
    assert headers["reply-to"].startswith("/queue/rpc.reply.")
    assert headers["persistent"] == "true"
    assert before + 5 - 0.001 <= int(headers["expires"]) / 1000 <= time() + 5
    call_id = headers["correlation-id"]
    assert request.body == (
        b'{"jsonrpc":"2.0","method":"whee","params":["Hello"],"id":"%b"}' % call_id.encode()
    )


def test_the_reply_as_it_is_on_the_wire(
    broker_url: str, service: str, raw: RawWorker, gate: Gate
) -> None:
    """A reply is as durable as its request and keeps its deadline; no reply-to, no reply."""
    raw.close()
    worker = rpc.Worker(broker_url, service)
    worker.method(gate, name="gate")
    expires = str(int((time() + 60) * 1000))
    mine = f"{service}.answers"
    with serving(worker), contextlib.closing(RawWorker(broker_url, mine)) as caller:
        link = caller.wire.link
        for n, more in enumerate(({}, {"reply-to": f"/queue/rpc.{mine}"})):
            headers = {
                "destination": f"/queue/rpc.{service}",
                "correlation-id": f"id:{n}",
                "persistent": "false",
                "expires": expires,
            }
            body = b'{"jsonrpc":"2.0","method":"gate","params":[%d],"id":%d}' % (n, n)
            caller.wire.write(link.send(headers | more, body))
            gate.wait()
            gate.open.release()
        reply = caller.take()
    assert reply.body == b'{"jsonrpc":"2.0","result":1,"id":1}'
    wanted = {"correlation-id": "id:1", "expires": expires, "persistent": "false"}
    assert wanted.items() <= reply.headers.items()


def test_an_expired_request_is_not_run(
    broker_url: str, service: str, client: rpc.Client, gate: Gate
) -> None:
    """Neither the broker nor the worker lets a function run for nobody."""
    with pytest.raises(rpc.Timeout):
        client.call("gate", timeout=0.1)
    worker = rpc.Worker(broker_url, service)
    worker.method(gate, name="gate")
    worker.method(echo)
    with serving(worker):
        assert client.call("echo", 1) == 1
        assert not gate.called.acquire(blocking=False)


# Connections


def test_nobody_listens(service: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with rpc.Client(f"stomp://127.0.0.1:{port}", service) as client:
        with pytest.raises(rpc.ConnectionLost, match=f"127.0.0.1:{port}") as raised:
            client.call("echo", 1)
        assert not raised.value.sent
        with pytest.raises(rpc.ConnectionLost):
            client.connect()


def test_somebody_listens_and_does_not_answer(service: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"stomp://127.0.0.1:{listener.getsockname()[1]}"
        with (
            rpc.Client(url, service, connect_timeout=0.2) as client,
            pytest.raises(rpc.ConnectionLost, match="did not answer") as raised,
        ):
            client.call("echo", 1)
    assert not raised.value.sent


def test_an_address_that_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="stomp://"):
        rpc.Client("127.0.0.1:61613", "demo")
    with pytest.raises(ValueError, match="stomp://"):
        rpc.Worker("http://127.0.0.1", "demo")
    with pytest.raises(ValueError, match="name"):
        rpc.Worker("stomp://127.0.0.1", "de/mo")
    with pytest.raises(ValueError, match="concurrency"):
        rpc.Worker("stomp://127.0.0.1", "demo", concurrency=0)


def test_closing_ends_the_calls_of_other_threads(
    broker_url: str, service: str, raw: RawWorker
) -> None:
    client = rpc.Client(broker_url, service)
    results: list[list[Any]] = []
    callers = threading.Thread(
        target=lambda: results.append(in_threads(5, lambda n: client.call("echo", n)))
    )
    callers.start()
    for _ in range(5):
        raw.take()
    client.close()
    callers.join(PATIENCE)
    assert [(type(lost), lost.sent) for lost in results[0]] == [(rpc.ConnectionLost, True)] * 5
    with pytest.raises(rpc.ConnectionLost, match="is closed") as raised:
        client.call("echo", 1)
    assert not raised.value.sent
    client.close()


def test_a_killed_broker_and_its_return(service: str) -> None:
    """Every pending call ends at once and says so; client and worker come back by themselves."""
    source = """
@worker.method
def echo(value): return value
@worker.method
def hang():
    say("hanging")
    threading.Event().wait()
"""
    with (
        BrokerProcess() as broker,
        WorkerProcess(broker.url, service, source, concurrency=8) as worker,
        rpc.Client(broker.url, service) as client,
    ):
        assert client.call("echo", 1) == 1
        lost: list[Any] = []
        callers = threading.Thread(
            target=lambda: lost.extend(in_threads(5, lambda n: client.call("hang", timeout=60)))
        )
        callers.start()
        for _ in range(5):
            worker.wait_for_line("hanging")
        broker.kill()
        callers.join(PATIENCE)
        assert [(type(each), each.sent) for each in lost] == [(rpc.ConnectionLost, True)] * 5
        with pytest.raises(rpc.ConnectionLost) as raised:
            client.call("echo", 2)
        assert not raised.value.sent
        worker.wait_for_line("trying again")
        with BrokerProcess(broker.port):
            assert client.call("echo", 3, timeout=PATIENCE) == 3
            assert client.stats().connections == 2


def test_a_broker_that_came_back_while_nobody_called(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call is not wasted on a connection that ended long ago."""
    monkeypatch.setattr("rpc.blocking.line.FRESH", 0.0)  # the other broker is there sooner
    with BrokerProcess() as broker, rpc.Client(broker.url, service, heart_beat=0) as client:
        client.connect()
        broker.kill()
        with BrokerProcess(broker.port):
            worker = rpc.Worker(broker.url, service)
            worker.method(echo)
            with serving(worker):
                assert client.call("echo", 1) == 1
                assert client.stats().connections == 2


def test_heart_beats_are_kept_while_nobody_calls_and_while_functions_block(
    broker_url: str, service: str
) -> None:
    """With an interval of 0.2 s the broker gives up whoever is silent for 1.2 s."""
    gates = [Gate(), Gate()]
    worker = rpc.Worker(broker_url, service, concurrency=2, heart_beat=0.2)
    for n, gate in enumerate(gates):
        worker.method(gate, name=f"gate{n}")
    with serving(worker), rpc.Client(broker_url, service, heart_beat=0.2) as client:
        callers = [
            threading.Thread(target=client.call, args=(f"gate{n}",)) for n in range(len(gates))
        ]
        for caller, gate in zip(callers, gates, strict=True):
            caller.start()
            gate.wait()
        with rpc.Client(broker_url, service, heart_beat=0.2) as idle:
            idle.connect()
            silent = RawWorker(broker_url, f"{service}.silent")
            silent.wire.close()
            silent.wire = Wire(parse_address(broker_url), heart_beat=0.2, timeout=PATIENCE)
            # Nobody pumps this one: the broker's giving it up is the clock of this test.
            wait_until_hung_up(silent.wire)
            for gate in gates:
                gate.open.release()
            for caller in callers:
                caller.join(PATIENCE)
                assert not caller.is_alive()
            with pytest.raises(rpc.MethodNotFound):
                idle.call("nobody")
            assert idle.stats().connections == client.stats().connections == 1


def wait_until_hung_up(wire: Wire) -> None:
    """Wait, without a word to the broker, until it closes the connection."""
    with contextlib.closing(wire), contextlib.suppress(OSError):
        deadline = monotonic() + PATIENCE
        while monotonic() < deadline:
            wire.stream.read(PATIENCE)
        raise AssertionError("the broker did not hang up")


def test_a_broker_that_falls_silent_is_given_up(service: str) -> None:
    with (
        BrokerProcess() as broker,
        rpc.Client(broker.url, service, heart_beat=0.2) as client,
    ):
        client.connect()
        broker.signal(signal.SIGSTOP)
        with pytest.raises(rpc.ConnectionLost, match="silent") as raised:
            client.call("echo", 1)
        assert raised.value.sent


# Workers


def test_two_workers_share_the_calls(broker_url: str, service: str) -> None:
    source = """
@worker.method
def who(): return os.getpid()
"""
    with (
        WorkerProcess(broker_url, service, source),
        WorkerProcess(broker_url, service, source),
        rpc.Client(broker_url, service) as client,
    ):
        answers = in_threads(8, lambda _: [client.call("who") for _ in range(25)])
    assert len({pid for each in answers for pid in each}) == 2


def test_a_killed_workers_call_is_taken_up_by_another(
    broker_url: str, service: str, client: rpc.Client
) -> None:
    dies = WorkerProcess(
        broker_url, service, "@worker.method\ndef work(): say('working'); threading.Event().wait()"
    )
    result: list[Any] = []
    caller = threading.Thread(target=lambda: result.append(client.call("work")))
    with dies:
        caller.start()
        dies.wait_for_line("working")
    with WorkerProcess(broker_url, service, "@worker.method\ndef work(): return 'done'"):
        caller.join(PATIENCE)
    assert result == ["done"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_running_call_finish(
    broker_url: str, service: str, tmp_path: Path, number: int
) -> None:
    """The call is answered and acknowledged; those behind it are another worker's."""
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    source = f"""
import logging
logging.basicConfig(level=logging.INFO)
@worker.method
def work(n):
    say("working", n)
    open({str(fifo)!r}).read()
    return os.getpid(), n
"""
    with (
        WorkerProcess(broker_url, service, source, concurrency=1) as worker,
        rpc.Client(broker_url, service) as client,
    ):
        results: list[Any] = []
        callers = [
            threading.Thread(target=lambda n=n: results.append(client.call("work", n)))
            for n in range(2)
        ]
        callers[0].start()
        worker.wait_for_line("working 0")
        callers[1].start()
        worker.signal(number)
        worker.wait_for_line("Leaving .*; calls to finish: 1$")
        with fifo.open("w"):
            pass
        assert worker.wait() == 0
        worker.wait_for_line("^stopped$")
        callers[0].join(PATIENCE)
        assert [n for _, n in results] == [0]
        second = source.replace(f"open({str(fifo)!r}).read()", "")
        with WorkerProcess(broker_url, service, second) as other:
            other.wait_for_line("working 1")
            callers[1].join(PATIENCE)
        assert [n for _, n in results] == [0, 1]
        assert len({pid for pid, _ in results}) == 2


def test_a_signal_stops_an_idle_worker(broker_url: str, service: str) -> None:
    with WorkerProcess(broker_url, service, "") as worker:
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0


def test_a_worker_stops_although_no_broker_is_there(service: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    worker = rpc.Worker(f"stomp://127.0.0.1:{port}", service)
    thread = threading.Thread(target=worker.run)
    thread.start()
    worker.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_one_at_a_time_if_asked(broker_url: str, service: str, client: rpc.Client) -> None:
    running = threading.Semaphore(1)

    def alone() -> bool:
        was_free = running.acquire(blocking=False)
        running.release()
        return was_free

    worker = rpc.Worker(broker_url, service, concurrency=1)
    worker.method(alone)
    with serving(worker):
        results = in_threads(10, lambda _: [client.call("alone") for _ in range(20)])
    assert results == [[True] * 20] * 10


def test_an_error_frame_ends_the_calls_with_the_brokers_words(service: str) -> None:
    refusal = b"ERROR\nmessage:The store is full\n\n\0\n"
    with (
        CannedBroker(CONNECTED, b"", refusal) as broker,
        rpc.Client(broker.url, service) as client,
        pytest.raises(rpc.BrokerRefused, match="The store is full") as raised,
    ):
        client.call("echo", 1)
    assert raised.value.sent


def test_a_worker_that_is_refused_says_so(service: str) -> None:
    """A wrong password would be refused again and again: that is for somebody to see."""
    for answers in ([b"ERROR\nmessage:No\n\n\0\n"], [CONNECTED, b"ERROR\nmessage:No\n\n\0\n"]):
        with (
            CannedBroker(*answers) as broker,
            pytest.raises(rpc.BrokerRefused, match=r"^No$"),
        ):
            rpc.Worker(broker.url, service).run()


@pytest.mark.usefixtures("worker")
def test_a_forked_process_has_a_connection_of_its_own(broker_url: str, service: str) -> None:
    source = """
import os, sys
import rpc
client = rpc.Client(sys.argv[1], sys.argv[2])
for _ in range(2):  # forked before the first call, and after it
    child = os.fork()
    if not child:
        results = [client.call("echo", "child") for _ in range(50)]
        connections = client.stats().connections
        client.close()
        os._exit(0 if (results, connections) == (["child"] * 50, 1) else 1)
    assert [client.call("echo", "parent") for _ in range(50)] == ["parent"] * 50
    assert os.waitpid(child, 0)[1] == 0
assert client.stats().connections == 1
assert client.stats().late == 0
client.close()
"""
    with Process("-c", source, broker_url, service) as program:
        assert program.wait() == 0


def test_a_client_that_was_forgotten_leaves_nothing_behind(broker_url: str, service: str) -> None:
    client = rpc.Client(broker_url, service, heart_beat=0.2)
    client.connect()
    line = client._line
    assert isinstance(line, Line)
    keeper = line._keeper
    assert keeper is not None
    del line
    with pytest.warns(ResourceWarning, match="unclosed"):  # noqa: PT031  # both are needed
        del client
        gc.collect()
        keeper.join(PATIENCE)  # it may be the one who lets go last
    assert not keeper.is_alive()
