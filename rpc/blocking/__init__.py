"""The blocking face of remote calls: `Client` and `Worker`, for programs with threads or without."""

from rpc.blocking.client import Client
from rpc.blocking.future import CallFuture
from rpc.blocking.items import Stream
from rpc.blocking.results import SqliteResults
from rpc.blocking.worker import Worker

__all__ = ["CallFuture", "Client", "SqliteResults", "Stream", "Worker"]
