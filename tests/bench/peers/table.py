"""What there is to measure: one table, in the order in which it is shown."""

from __future__ import annotations

from dataclasses import dataclass, field

#: The columns, by the name that a module has for each of these loads.
COLUMNS = {"one": "one at a time", "flight": "64 in flight", "batch": "in batches of 100"}


@dataclass(frozen=True)
class Peer:
    """A library, or one face of it."""

    name: str  # on the command line
    title: str
    module: str
    packages: tuple[str, ...] = ()  # of PyPI; none: runs with the Python that runs us
    broker: str = ""  # see `brokers.BROKERS`; none: client and server are connected directly
    environment: str = ""  # the directory of its environment; its own name unless said otherwise
    loads: dict[str, str] = field(
        default_factory=lambda: {"one": "one", "flight": "flight"}
    )  # column → what the module calls it


GRPC = ("grpcio",)

PEERS = (
    Peer(
        "hoofbeat",
        "hoofbeat: call, submit, map",
        "ours",
        broker="hoofbeat",
        loads={name: name for name in COLUMNS},
    ),
    Peer(
        "hoofbeat-aio",
        "hoofbeat, asyncio",
        "ours",
        broker="hoofbeat",
        loads={"one": "one-aio", "flight": "flight-aio"},
    ),
    Peer(
        "hoofbeat-tx",
        "hoofbeat, Twisted",
        "ours",
        broker="hoofbeat",
        loads={"one": "one-tx", "flight": "flight-tx"},
    ),
    Peer(
        "stomp.py", "stomp.py on both sides", "stomp_py", packages=("stomp.py",), broker="hoofbeat"
    ),
    Peer("aio-pika", "aio-pika RPC", "aio_pika_rpc", packages=("aio-pika",), broker="rabbitmq"),
    Peer("grpc", "gRPC, threads", "grpc_threads", packages=GRPC),
    Peer("grpc-aio", "gRPC, asyncio", "grpc_asyncio", packages=GRPC, environment="grpc"),
    Peer("zerorpc", "zerorpc", "zerorpc_calls", packages=("zerorpc",)),
    Peer(
        "pyro5",
        "Pyro5",
        "pyro",
        packages=("Pyro5",),
        loads={name: name for name in COLUMNS},
    ),
    Peer("rpyc", "RPyC", "rpyc_calls", packages=("rpyc",)),
)
