"""What goes wrong under many calls at once, with real processes: brokers and workers that are killed."""

from __future__ import annotations

import signal
import socket
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

import rpc
from broker.stomp import Frame, Parser
from tests.processes import BrokerProcess, WorkerProcess
from tests.rpc.faces import DIALLING, FACES, Face, Pending

CALLS = 1_000
PATIENCE = 40.0  # seconds until a call that has not ended counts as one that hangs

#: Seconds a call may take, by what its caller chose. One that the broker had not on disk yet when it was killed
#: is gone: who only waits for its reply waits in vain.
TIMEOUTS = {"resend": 30.0, "fail": 30.0, "wait": 8.0}

#: Its effect is a line in a file; who has it done is told how many times it was.
SOURCE = """
lines = os.open({effects!r}, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
@worker.method(idempotent=True, run_in="thread")
def note(key):
    os.write(lines, (key + "\\n").encode())
    time.sleep(0.01)
    return key
@worker.method
def length(text):
    return len(text)
"""


@pytest.fixture
def service() -> str:
    return f"stories-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def effects(tmp_path: Path) -> Path:
    path = tmp_path / "effects"
    path.touch()
    return path


Serve = Callable[..., WorkerProcess]


@pytest.fixture
def serve(service: str, effects: Path, tmp_path: Path) -> Iterator[Serve]:
    """Return what starts one more worker; all of them share what they know."""
    options = f"results=rpc.SqliteResults({str(tmp_path / 'results')!r})"

    with ExitStack() as stack:

        def start(url: str, face: str = "rpc") -> WorkerProcess:
            source = SOURCE.format(effects=str(effects))
            return stack.enter_context(
                WorkerProcess(url, service, source, 8, face=face, options=options)
            )

        yield start


def until(condition: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE
    while not condition():
        assert monotonic() < deadline


def outcome(call: Pending) -> Any:
    """Return what a call gave, or the error with a name that it ended with; anything else fails."""
    try:
        return call.result(PATIENCE)
    except rpc.RpcError as error:
        return error


def runs(effects: Path) -> Counter[str]:
    return Counter(effects.read_text().splitlines())


def test_a_broker_is_killed_under_a_thousand_calls(
    service: str, effects: Path, serve: Serve, tmp_path: Path
) -> None:
    """Every call ends, each with a result or as its caller chose, and no effect comes twice."""
    store = f"lmdb:{tmp_path / 'data'}"
    with ExitStack() as stack:
        broker = stack.enter_context(BrokerProcess(store=store))
        serve(broker.url)
        serve(broker.url, "rpc.aio")
        clients: dict[str, Face] = {
            name: stack.enter_context(FACES[face](broker.url, service))
            for name, face in (
                ("resend blocking", "blocking"),
                ("resend aio", "aio"),
                ("resend tx", "tx"),
                ("fail blocking", "blocking"),
                ("wait aio", "aio"),
            )
        }
        # A call that never had a connection ends when there is none.
        for client in clients.values():
            client.connect()
        calls: dict[str, Pending] = {}
        for number in range(CALLS // len(clients)):
            for name, client in clients.items():
                key = f"{name} {number}"
                chosen = client.options(on_loss=name.split()[0], timeout=TIMEOUTS[name.split()[0]])
                calls[key] = chosen.submit("note", key)
        until(lambda: effects.stat().st_size > 0)
        broker.kill()
        stack.enter_context(BrokerProcess(broker.port, store))
        outcomes = {key: outcome(call) for key, call in calls.items()}
        assert len(outcomes) == CALLS
        odd = {key: what for key, what in outcomes.items() if what != key}
        assert not [key for key in odd if key.startswith("resend")], odd
        for key, error in odd.items():
            kind = rpc.ConnectionLost if key.startswith("fail") else rpc.Timeout
            assert type(error) is kind, (key, error)
        noted = runs(effects)
        assert set(noted.values()) == {1}, noted.most_common(3)
        assert {key for key in calls if key.startswith("resend")} <= noted.keys()
        assert [client.stats().pending for client in clients.values()] == [0] * len(clients)


@pytest.mark.parametrize("dialling", DIALLING)
def test_what_never_left_is_sent_after_the_restart(
    dialling: str, service: str, serve: Serve, tmp_path: Path
) -> None:
    """A broker that reads nothing more fills the buffers; what is behind them when it dies is safe to send.

    An event loop does not tell what it has in its own, so there all that was written may have left.
    """
    store = f"lmdb:{tmp_path / 'data'}"
    text = "x" * 100_000
    with BrokerProcess(store=store) as broker, DIALLING[dialling](broker.url, service) as client:
        client.connect()
        broker.signal(signal.SIGSTOP)
        calls = [client.submit("length", text) for _ in range(200)]
        until(lambda: client.stats().calls == 200)  # an event loop begins them when it gets there
        broker.kill()
        with BrokerProcess(broker.port, store):
            serve(broker.url)
            outcomes = [outcome(call) for call in calls]
        lost = [each for each in outcomes if isinstance(each, rpc.ConnectionLost)]
        assert all(each.sent for each in lost)
        assert 0 < len(lost) <= 200
        assert dialling != "blocking" or len(lost) < 200
        assert outcomes == lost + [100_000] * (200 - len(lost))


@pytest.mark.parametrize("face", ["rpc", "rpc.aio", "rpc.tx"])
def test_what_is_being_run_waits_for_its_result_elsewhere(
    face: str, service: str, effects: Path, tmp_path: Path
) -> None:
    """The broker forgets who runs a call, and gives it to another worker: that one waits for the first."""
    store, go, who = f"lmdb:{tmp_path / 'data'}", tmp_path / "go", tmp_path / "who"
    source = f"""
@worker.method(idempotent=True, run_in="thread")
def note(key):
    say("noting")
    with open({str(tmp_path / "new")!r}, "w") as runner:
        runner.write(str(os.getpid()))
    os.rename({str(tmp_path / "new")!r}, {str(who)!r})
    with open({str(effects)!r}, "a") as lines:
        print(key, file=lines)
    while not os.path.exists({str(go)!r}):
        time.sleep(0.01)
    return key
@worker.method
def whee():
    return os.getpid()
"""
    options = f"results=rpc.SqliteResults({str(tmp_path / 'results')!r})"
    with ExitStack() as stack:
        broker = stack.enter_context(BrokerProcess(store=store))
        client = stack.enter_context(rpc.Client(broker.url, service))
        first = stack.enter_context(
            WorkerProcess(broker.url, service, source, face=face, options=options)
        )
        call = client.options(on_loss="resend").submit("note", "once")
        first.wait_for_line("^noting$")
        first.signal(signal.SIGSTOP)
        broker.kill()
        broker = stack.enter_context(BrokerProcess(broker.port, store))
        second = stack.enter_context(
            WorkerProcess(broker.url, service, source, face=face, options=options)
        )
        [answer] = client.broadcast("rpc.stats", first=1, timeout=PATIENCE)
        until(lambda: client.broadcast("rpc.stats", first=1)[0].result()["waiting"] == 1)
        assert answer.worker
        first.signal(signal.SIGCONT)
        until(lambda: len(client.broadcast("rpc.stats", first=2, timeout=1.0)) == 2)
        go.touch()
        assert call.result(PATIENCE) == "once"
        assert runs(effects) == {"once": 1}
        # Whoever runs the next dies in the middle of it: the other, which has not begun it, takes it over.
        go.unlink()
        who.unlink()
        call = client.submit("note", "twice")
        until(who.exists)
        runner, other = (first, second) if who.read_text() == str(first.pid) else (second, first)
        runner.kill()
        other.wait_for_line("^noting$")
        go.touch()
        assert call.result(PATIENCE) == "twice"


@pytest.mark.parametrize("face", ["rpc", "rpc.aio", "rpc.tx"])
def test_workers_are_killed_one_after_the_other(
    face: str, service: str, effects: Path, serve: Serve
) -> None:
    """No call is lost; what was being run then, and nothing else, is run twice."""
    with BrokerProcess() as broker, rpc.Client(broker.url, service) as client:
        first, second = serve(broker.url, face), serve(broker.url, face)
        calls = [client.submit("note", str(number)) for number in range(300)]
        for worker, size in ((first, 100), (second, 400)):
            until(lambda size=size: effects.stat().st_size > size)  # type: ignore[misc]
            worker.kill()
            serve(broker.url, face)
        assert [call.result(PATIENCE) for call in calls] == [str(n) for n in range(300)]
        noted = runs(effects)
        assert len(noted) == 300
        assert noted.total() <= 300 + 2 * 8
        assert client.stats().late == 0


def test_what_was_acknowledged_is_run_before_a_worker_leaves() -> None:
    """Asked to stop between its acknowledgement and the broker's word for it: nobody else would run the call."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        worker = rpc.Worker(f"stomp://127.0.0.1:{listener.getsockname()[1]}", "demo")
        ran = threading.Event()
        worker.method(ran.set, name="once", delivery="at-most-once")
        running = threading.Thread(target=worker.run)
        running.start()
        link, _ = listener.accept()
        with link:
            link.settimeout(PATIENCE)
            parser = Parser()
            parser.version = "1.2"
            frames: list[Frame] = []

            def hear(command: str) -> Frame:
                while not any(frame.command == command for frame in frames):
                    data = link.recv(65536)
                    assert data, f"no {command}"
                    frames.extend(parser.feed(data))
                while frames[0].command != command:
                    del frames[0]
                return frames.pop(0)

            def say(command: str, body: bytes = b"", **headers: str) -> None:
                named = {name.replace("_", "-"): value for name, value in headers.items()}
                link.sendall(Frame(command, named, body).encode("1.2"))

            hear("CONNECT")
            say("CONNECTED", version="1.2")
            hear("SUBSCRIBE")
            say("RECEIPT", receipt_id=hear("SUBSCRIBE").headers["receipt"])
            asked = b'{"jsonrpc":"2.0","method":"once","id":1}'
            request = {
                "subscription": "calls",
                "message_id": "m",
                "ack": "a",
                "reply_to": "/queue/a",
            }
            say("MESSAGE", asked, **request)
            receipt = hear("ACK").headers["receipt"]
            worker.stop()
            link.settimeout(0.3)
            with pytest.raises(TimeoutError):  # it waits for the broker's word
                hear("DISCONNECT")
            assert not ran.is_set()
            link.settimeout(PATIENCE)
            say("RECEIPT", receipt_id=receipt)
            assert b'"result":null' in hear("SEND").body
            say("RECEIPT", receipt_id=hear("DISCONNECT").headers["receipt"])
        running.join(PATIENCE)
        assert ran.is_set()
        assert not running.is_alive()
