"""The blocking face of remote calls: `Client` and `Worker`, for programs with threads or without."""

from rpc.blocking.client import Client
from rpc.blocking.future import CallFuture
from rpc.blocking.worker import Worker

__all__ = ["CallFuture", "Client", "Worker"]
