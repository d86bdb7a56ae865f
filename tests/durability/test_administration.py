"""What an administrator was told to be done is done, whatever happens then; and others do not notice it being done."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartBroker
from tests.durability.conftest import Connect
from tests.durability.ways import MB, STORES, drain, fill
from tests.harness import BrokerProcess, Client
from tests.scenarios.administrator import Administrator

LONG = [pytest.mark.long, pytest.mark.timeout(900)]
COUNTS = [50_000, pytest.param(1_000_000, marks=LONG)]
SIZE = 200  # bytes of a body
DLQ = "/queue/ActiveMQ.DLQ"


def contents(client: Client, destination: str) -> list[int]:
    """Return the numbers in a queue."""
    return [int(frame.body) for frame in drain(client, destination)]


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("method", ["purge", "move", "copy", "retry", "remove", "delete_queue"])
def test_what_was_confirmed_holds(
    method: str, store: str, start_broker: StartBroker, connect: Connect, tmp_path: Path
) -> None:
    """Killed as soon as the answer is there."""
    count = 3000
    url = STORES[store].format(tmp_path)
    broker = start_broker(url)
    client = connect(broker)
    admin = Administrator(connect(broker))
    origin = {"original-destination": "/queue/b"} if method == "retry" else {}
    source = DLQ if method == "retry" else "/queue/a"
    for number in range(count):
        admin.tell(b"%d" % number, source, persistent="true", **origin)
    admin.call("rpc.ping")
    calls: dict[str, dict[str, Any]] = {
        "purge": {"queue": "a"},
        "move": {"queue": "a", "to": "b"},
        "copy": {"queue": "a", "to": "b"},
        "retry": {},
        "delete_queue": {"name": "a", "force": True},
    }
    if method == "remove":
        [first] = admin.call("browse", queue="a", limit=1)["messages"]
        calls["remove"] = {"queue": "a", "id": first["id"]}
    answer = admin.call(method, **calls[method])
    broker.kill()
    client = connect(start_broker(url))
    everything = list(range(count))
    here = {"copy": everything, "remove": everything[1:]}.get(method, [])
    there = everything if method in ("move", "copy", "retry") else []
    assert contents(client, source) == here
    assert contents(client, "/queue/b") == there
    assert count in answer.values() or method == "remove"


def test_a_move_that_is_killed_leaves_each_message_here_or_there(
    start_broker: StartBroker, connect: Connect, tmp_path: Path
) -> None:
    """However far it came."""
    count = 30_000
    url = STORES["lmdb"].format(tmp_path)
    broker = start_broker(url)
    fill(connect(broker), "/queue/a", count)
    admin = Administrator(connect(broker))
    admin.tell(b'{"jsonrpc":"2.0","method":"move","params":["a","b"]}')
    while not any(each["name"] == "b" and each["waiting"] for each in admin.call("queues")):
        pass
    broker.kill()
    client = connect(start_broker(url))
    here, there = contents(client, "/queue/a"), contents(client, "/queue/b")
    assert here
    assert there + here == list(range(count))


class Bystander(threading.Thread):
    """Sends to itself, one message after the other, and notes how long each took."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self.stopping = threading.Event()
        self._client = client

    def run(self) -> None:
        client = self._client
        assert client.ask("SUBSCRIBE", destination="/queue/other", id_="1").command == "RECEIPT"
        while not self.stopping.is_set():
            began = time.perf_counter()
            client.send("SEND", b"x", destination="/queue/other", persistent="false")
            client.expect("MESSAGE")
            self.seconds.append(time.perf_counter() - began)


@pytest.mark.parametrize("count", COUNTS)
def test_others_go_on_and_memory_stays_flat(
    count: int, start_broker: StartBroker, connect: Connect
) -> None:
    """While a deep backlog is copied, moved and purged a bystander's messages take milliseconds."""
    broker = start_broker()
    fill(connect(broker), "/queue/a", count, SIZE)
    admin = Administrator(connect(broker))
    admin.call("rpc.describe")  # what serves requests is loaded
    before = broker.memory()
    bystander = Bystander(connect(broker))
    bystander.start()
    try:
        for method, params, key in (
            ("copy", {"queue": "a", "to": "b"}, "copied"),
            ("move", {"queue": "a", "to": "c"}, "moved"),
            ("purge", {"queue": "b", "selector": "JMSPriority = 9"}, "removed"),
            ("purge", {"queue": "b"}, "removed"),
            ("purge", {"queue": "c"}, "removed"),
        ):
            bystander.seconds.clear()
            took, peak, answer = while_it_lasts(admin, broker, method, params)
            seconds = sorted(bystander.seconds)
            print(
                f"{method} {params}: {took:.2f} s, at most {(peak - before) / MB:.0f} MB more; {len(seconds)} messages,"
                f" half of them in {seconds[len(seconds) // 2] * 1000:.1f} ms, the slowest {seconds[-1] * 1000:.0f} ms"
            )
            assert answer == {key: 0 if "selector" in params else count}
            assert peak < before + 60 * MB
            assert seconds[len(seconds) // 2] < 0.05
    finally:
        bystander.stopping.set()
        bystander.join()


def while_it_lasts(
    admin: Administrator, broker: BrokerProcess, method: str, params: dict[str, Any]
) -> tuple[float, int, Any]:
    """Call a method; return the seconds it took, the most memory that the broker had meanwhile, and the result."""
    began, peak = time.perf_counter(), 0
    results: list[Any] = []
    call = threading.Thread(target=lambda: results.append(admin.call(method, **params)))
    call.start()
    while call.is_alive():
        peak = max(peak, broker.memory())
        call.join(0.05)
    return time.perf_counter() - began, max(peak, broker.memory()), results[0]
