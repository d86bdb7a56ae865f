"""A test kit for programs that call and serve: a broker in memory, a clock that jumps, faults at will.

    with rpc.testing.Broker() as broker:
        broker.serve(worker)  # the program's own rpc.Worker
        client = broker.client("shop")  # an rpc.Client
        assert client.call("price", "tea") == 3

No sockets, no threads, no waiting, and every run is like the other. Below the faces everything is the real
thing: the broker's core and its connections, and the workers and clients that asyncio and Twisted have.
docs/testing-calls.md. The rooms, imports point down only:

- `broker`: what a test begins with;
- `client`, `worker`: the faces, over `world`: what all share; `wire`: connections in memory, over `house`: a broker in memory;
- `loop`: asyncio on a `clock`; `faults`: what goes wrong with a frame.

Nothing of a running program imports this package.
"""

from rpc.testing.broker import Broker
from rpc.testing.clock import Clock, Stuck
from rpc.testing.faults import Faults, Passage, Rule
from rpc.testing.worker import Served, Worker

__all__ = ["Broker", "Clock", "Faults", "Passage", "Rule", "Served", "Stuck", "Worker"]
