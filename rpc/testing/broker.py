"""What a test begins with: a broker in memory, its clock, its faults, its clients and workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine
from random import Random
from types import TracebackType
from typing import Any, Self, TypeVar

from broker.options import Options, read_options
from broker.stomp import Frame, Parser
from rpc.calling.caller import Caller
from rpc.offer import Offer
from rpc.testing.client import AioClient, Client, TxClient
from rpc.testing.clock import Clock
from rpc.testing.faults import Faults, Passage
from rpc.testing.loop import make_loop
from rpc.testing.wire import VERSION, Network
from rpc.testing.worker import Served, Worker
from rpc.testing.world import World

T = TypeVar("T")


class Broker:
    """A broker in memory, and everybody who is connected to it. One thread only.

    Nothing happens by itself: calls, `clock.advance` and `run` let happen what is due, and time pass.
    """

    def __init__(self, *, config: str = "", seed: int = 0) -> None:
        """`config`: settings as in a file for `hoofbeat run --config`; `seed`: of what is left to chance.

        Raises `broker.options.OptionsError` for settings that make no sense.
        """
        options = read_options(config, "config", Options()) if config else Options()
        self.clock = Clock()
        self._network = Network(self.clock, options)
        chance = Random(seed)  # noqa: S311  # no secret
        self._world = World(self.clock, make_loop(self.clock), chance, self._network)
        self._clients = 0  # so far
        self._workers: list[Served] = []

    @property
    def faults(self) -> Faults:
        """What goes wrong."""
        return self._network.faults

    @property
    def trace(self) -> deque[Passage]:
        """Every frame so far, up to the last 10,000, each in one line if it is printed."""
        return self._network.faults.trace

    # Who is there.

    def worker(self, service: str, *, name: str | None = None, **options: Any) -> Worker:
        """Return a new worker with the face of `rpc.Worker`, which serves from the next call on.

        `options` are `rpc.Worker`'s. `name`: "worker-1" and so on by default.
        """
        worker = Worker(self._world, name or self._next_worker(), service, **options)
        self._begin(worker.served)
        return worker

    def serve(self, worker: Offer, *, name: str | None = None) -> Served:
        """Let a worker that the program has serve here, as it stands: its functions, hooks and options.

        It may be an `rpc.Worker`, `rpc.aio.Worker` or `rpc.tx.Worker`, and is left as it is. `name`: what it is
        called here, "worker-1" and so on by default.
        """
        return self._begin(Served(self._world, name or self._next_worker(), worker, shared=False))

    def client(self, service: str, *, durable: bool = True, name: str | None = None) -> Client:
        """Return a client that is an `rpc.Client`. `name`: "client-1" and so on by default."""
        return Client(*self._new_client(service, durable, name))

    def aio_client(
        self, service: str, *, durable: bool = True, name: str | None = None
    ) -> AioClient:
        """Return a client that is an `rpc.aio.Client`, for what `run` runs, and for functions of workers."""
        return AioClient(*self._new_client(service, durable, name))

    def tx_client(self, service: str, *, durable: bool = True, name: str | None = None) -> TxClient:
        """Return a client that is an `rpc.tx.Client`; its Deferreds fire as `clock.advance` lets time pass."""
        return TxClient(*self._new_client(service, durable, name))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run an asyncio coroutine to its end and return its result; its sleeping takes no time.

        Raises `Stuck` if it waits for what cannot come.
        """
        return self._world.loop.run_until_complete(coroutine)

    # What happens to the broker.

    def disconnect(self, name: str | None = None) -> None:
        """Break the connections of a client or worker, or of all; they connect again after a moment."""
        self._network.disconnect(name)

    def stop(self, *, killed: bool = False) -> None:
        """End the broker; who connects is refused until `start`.

        In order, it writes everything first. `killed`, what nobody was promised is lost (requests that are
        not `durable`, or came less than `journal_delay` seconds ago), and what was handed out comes again.
        """
        self._network.stop(killed=killed)

    def start(self) -> None:
        """Begin the broker again, with what its store has."""
        self._network.start()

    def restart(self, down: float = 0.0, *, killed: bool = False) -> None:
        """End the broker, and begin it again `down` seconds later."""
        self._network.restart(down, killed=killed)

    def messages(self, destination: str) -> list[Frame]:
        """Return what waits in a queue, without taking it: "/queue/ActiveMQ.DLQ" has the dead letters.

        Raises `RuntimeError` while the broker is not running.
        """
        house = self._network.house
        if house is None:
            raise RuntimeError("The broker is not running")
        ear = _Ear()
        connection = house.connect(ear)
        connection.data(b"CONNECT\naccept-version:1.2\n\n\0")
        headers = {"id": "1", "destination": destination, "browser": "true"}
        connection.data(Frame("SUBSCRIBE", headers).encode(VERSION))
        self.clock.advance(0)
        house.begin()
        connection.lost()
        return [
            frame
            for frame in ear.frames()
            if frame.command == "MESSAGE" and frame.headers.get("browser") != "end"
        ]

    # The end.

    def close(self) -> None:
        """End everything; what still runs is cancelled."""
        for end in self._world.endings:
            end()
        for worker in self._workers:
            worker.kill()
        self.clock.advance(0)  # what was cancelled cleans up
        self._network.stop(killed=True)
        self.clock.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _begin(self, served: Served) -> Served:
        self._workers.append(served)
        return served

    def _next_worker(self) -> str:
        return f"worker-{len(self._workers) + 1}"

    def _new_client(
        self, service: str, durable: bool, name: str | None
    ) -> tuple[World, str, Caller]:
        self._clients += 1
        caller = Caller(service, f"{self._clients:08d}", durable=durable)
        return self._world, name or f"client-{self._clients}", caller


class _Ear:
    """A transport that only hears."""

    def __init__(self) -> None:
        self._heard: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Hear it."""
        self._heard.append(data)

    def pause_reading(self) -> None:
        """Nothing comes anyway."""

    resume_reading = close = abort = pause_reading

    def frames(self) -> list[Frame]:
        """Return what was heard."""
        parser = Parser()
        parser.feed(b"".join(self._heard))
        parser.version = VERSION
        return parser.feed(b"")
