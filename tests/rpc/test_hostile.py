"""What a hostile caller, a function that misbehaves or a broker that lies can do to the others: nothing."""

from __future__ import annotations

import json
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
import pytest

import rpc
from broker.admin.office import MOST_TOLD as MOST_ANSWERED
from broker.stomp import Frame
from rpc.codec import JSON
from rpc.message import MOST_IN_BATCH
from rpc.working.asked import MOST_TOLD
from rpc.working.methods import Methods
from tests.harness import Client
from tests.processes import PATIENCE, WorkerProcess
from tests.rpc.faces import DIALLING
from tests.scenarios.steps import subscribe

SOURCE = """
KINDS = {each.__name__: each for each in (SystemExit, KeyboardInterrupt, GeneratorExit, BaseException)}
KINDS["CancelledError"] = asyncio.CancelledError

@worker.method
def echo(value=None):
    return value

@worker.method(idempotent=True)
def once(value=None):
    return value

@worker.method(run_in="thread")
def raises(kind: str):
    raise KINDS[kind]("oops")

@worker.method
async def raises_there(kind: str):
    raise KINDS[kind]("oops")

class Mute(Exception):
    def __str__(self):
        raise ValueError("no words")

@worker.method
def raises_mutely():
    raise Mute

@worker.method
def circle():
    circle = []
    circle.append(circle)
    return circle

@worker.method
def endless():
    while True:
        yield "x"
"""
BEYOND_JSON = msgspec.msgpack.encode(
    {"jsonrpc": "2.0", "method": "once", "params": [float("nan")], "id": 1}
)


DEAF = """
import signal
worker.stop = lambda stop=worker.stop: (stop(), say("heard"))

@worker.method(run_in="thread")
def end():
    threading.Event().wait(0.3)  # until the main thread waits for nothing but a word
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
"""


class Caller:
    """Somebody who sends requests by hand."""

    def __init__(self, url: str, service: str) -> None:
        self.client = Client(int(url.rpartition(":")[2]))
        self.service = service
        self._replies = f"/queue/hostile.{uuid.uuid4().hex}"
        subscribe(self.client, self._replies)

    def send(self, body: bytes, **headers: str) -> None:
        """Send a request."""
        wanted = {"destination": f"/queue/rpc.{self.service}", "reply_to": self._replies}
        self.client.send("SEND", body, **(wanted | headers))

    def ask(self, body: bytes, **headers: str) -> Frame:
        """Send a request and return the next reply."""
        self.send(body, **headers)
        return self.client.expect("MESSAGE")

    def is_served(self) -> bool:
        """Tell whether the worker goes on: what comes next is the reply to this."""
        reply = self.ask(request("echo", "still there?"), correlation_id="served")
        return reply.headers["correlation-id"] == "served"


def request(method: str, *params: Any) -> bytes:
    """Return a request's body."""
    return JSON.encode({"jsonrpc": "2.0", "method": method, "params": params, "id": 1})


def error_of(reply: Frame) -> str:
    """Return what a reply in JSON says is wrong."""
    return str(json.loads(reply.body)["error"]["message"])


@pytest.fixture(scope="module", params=("rpc", "rpc.aio", "rpc.tx"))
def worker(request: pytest.FixtureRequest, broker_url: str) -> Iterator[tuple[str, WorkerProcess]]:
    """Return a service and who serves it. Nothing that these tests do to it may end it."""
    service = f"hostile-{uuid.uuid4().hex[:8]}"
    with WorkerProcess(broker_url, service, SOURCE, 2, face=request.param) as process:
        yield service, process


@pytest.fixture
def caller(worker: tuple[str, WorkerProcess], broker_url: str) -> Iterator[Caller]:
    caller = Caller(broker_url, worker[0])
    yield caller
    assert caller.is_served()
    caller.client.close()


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\x00garbage",
        b"[" * 1_000_000,
        b'{"jsonrpc":"2.0","method":"echo","params":[%b],"id":1}' % (b"9" * 10_000),
        b'{"jsonrpc":"2.0","method":"echo","params":[1e999],"id":1}',
        b'{"jsonrpc":"2.0","method":"echo","params":[],"id":1e999}',
        b'{"jsonrpc":"2.0","method":"echo","params":[],"id":[]}',
        b'{"jsonrpc":"2.0","method":"\\ud800","id":"\\udfff"}',
        b'{"jsonrpc":"2.0","method":"__class__","id":1}',
        b'{"jsonrpc":"2.0","method":"rpc.cancel","params":[[]],"id":1}',
        b'{"jsonrpc":"2.0","method":"circle","id":1}',
        b'{"jsonrpc":"2.0","method":"raises_mutely","id":1}',
    ],
)
def test_what_cannot_be_served_is_answered(caller: Caller, body: bytes) -> None:
    assert error_of(caller.ask(body))


@pytest.mark.parametrize(
    "kind", ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "CancelledError", "BaseException"]
)
def test_whatever_a_function_raises_its_caller_gets_it(caller: Caller, kind: str) -> None:
    assert kind in error_of(caller.ask(request("raises", kind)))


@pytest.mark.parametrize("kind", ["SystemExit", "CancelledError", "BaseException"])
def test_so_it_is_on_a_loop(caller: Caller, kind: str) -> None:
    assert kind in error_of(caller.ask(request("raises_there", kind)))


def test_a_result_that_another_codec_does_not_have_ends_no_worker(caller: Caller) -> None:
    key = {"idempotency_key": uuid.uuid4().hex}
    caller.ask(BEYOND_JSON, content_type="application/msgpack", **key)
    assert "was run before" in error_of(caller.ask(request("once"), **key))


@pytest.mark.parametrize(
    "destination", ["nowhere", "/queue/", "/queue/a>", "/temp-queue/other", "/queue/a\nb:c", "/"]
)
@pytest.mark.parametrize("method", ["echo", "rpc.ping"])
def test_replies_to_nowhere_disturb_nobody(caller: Caller, destination: str, method: str) -> None:
    caller.send(request(method), reply_to=destination)
    assert caller.is_served()


def test_services_do_not_talk_to_each_other(caller: Caller) -> None:
    ours = (f"/queue/rpc.{caller.service}", f"/topic/rpc.{caller.service}")
    for one in ("/queue/rpc.broker", *ours):
        for other in ("/queue/rpc.broker", *ours):
            caller.send(request("rpc.ping"), destination=one, reply_to=other)
    assert caller.is_served()
    stats = json.loads(caller.ask(request("rpc.stats")).body)["result"]
    assert stats["waiting"] == 0


def test_a_batch_of_too_many_is_refused(caller: Caller) -> None:
    faults = b"[%b1]" % (b"1," * MOST_IN_BATCH)
    assert f"{MOST_IN_BATCH} requests at most" in error_of(caller.ask(faults))


def test_a_batch_that_asks_for_much_is_told_little(caller: Caller) -> None:
    describe = request("rpc.describe")
    size = len(caller.ask(describe).body)
    reply = caller.ask(b"[%b]" % b",".join([describe] * MOST_IN_BATCH))
    answers = json.loads(reply.body)
    assert len(answers) == MOST_IN_BATCH
    told = [each for each in answers if "result" in each]
    assert len(told) == -(-MOST_TOLD // size)
    assert answers[-1]["error"]["code"] == rpc.Overloaded.code


def test_a_stream_without_end_leaves_the_worker_to_others(caller: Caller) -> None:
    caller.send(
        request("endless"),
        stream_credit="1000000",
        correlation_id="endless",
        reply_to="/topic/nobody.listens",
    )
    assert caller.is_served()
    cancel = b'{"jsonrpc":"2.0","method":"rpc.cancel","params":{"id":"endless"}}'
    caller.client.send("SEND", cancel, destination=f"/topic/rpc.{caller.service}")


def test_an_overload_may_say_any_number() -> None:
    assert rpc.Overloaded("busy", {"retry_after": 10**400}).retry_after == 10**400
    for number in (float("inf"), float("nan"), -1, "soon"):
        assert rpc.Overloaded("busy", {"retry_after": number}).retry_after is None


def test_a_batch_of_the_most_is_read() -> None:
    methods = Methods()
    assert len(methods.read(b"[%b1]" % (b"1," * (MOST_IN_BATCH - 1))).asked) == MOST_IN_BATCH


def test_the_broker_tells_no_more_than_a_bit_either(broker_url: str) -> None:
    caller = Caller(broker_url, "broker")
    batch = b"[%b]" % b",".join([request("rpc.describe")] * MOST_IN_BATCH)
    reply = caller.ask(batch)
    assert len(json.loads(reply.body)) == MOST_IN_BATCH
    assert len(reply.body) < 2 * MOST_ANSWERED
    assert json.loads(reply.body)[-1]["error"]["code"] == rpc.Overloaded.code
    caller.client.close()


@pytest.mark.parametrize("face", ["rpc", "rpc.aio", "rpc.tx"])
def test_a_signal_is_heeded_whatever_thread_gets_it(face: str, broker_url: str) -> None:
    """The kernel chooses one; and one that comes just before a thread waits does not interrupt it either."""
    service = f"hostile-{uuid.uuid4().hex[:8]}"
    with WorkerProcess(broker_url, service, DEAF, 2, face=face) as worker:
        with rpc.Client(broker_url, service) as client:
            client.notify("end")
            worker.wait_for_line("heard")
        assert worker.wait() == 0


@pytest.mark.parametrize("face", DIALLING)
def test_a_broker_that_reads_nothing_keeps_no_descriptor(face: str) -> None:
    """Not all was sent, and never will be."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = DIALLING[face](f"stomp://127.0.0.1:{port}", service="mute", heart_beat=0.1)

        def answer() -> None:
            connection = server.accept()[0]
            connections.append(connection)
            connection.recv(1000)
            connection.sendall(b"CONNECTED\nversion:1.2\nheart-beat:100,0\n\n\0")

        connections: list[socket.socket] = []
        mute = threading.Thread(target=answer)
        mute.start()
        with pytest.raises(rpc.ConnectionLost):
            client.call("echo", "x" * 20_000_000)
        client.close()
        mute.join(PATIENCE)
        until, again = monotonic() + PATIENCE, threading.Event()
        while is_open_to(port):
            assert monotonic() < until
            again.wait(0.05)
        connections[0].close()


def is_open_to(port: int) -> bool:
    """Tell whether this process has a connection to a port; one that only the kernel has is none."""
    peer = f"0100007F:{port:04X}"
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return any(fields[2] == peer and fields[9] != "0" for fields in lines)


def test_a_worker_may_have_any_name(broker_url: str) -> None:
    service, name = f"hostile-{uuid.uuid4().hex[:8]}", "a\\n\nb:c"
    with (
        WorkerProcess(broker_url, service, "", options=f"name={name!r}"),
        rpc.Client(broker_url, service) as client,
    ):
        assert [answer.worker for answer in client.broadcast("rpc.ping", first=1)] == [name]
