"""Remote calls for Twisted: the names of `rpc`, with Deferreds.

    client = rpc.tx.Client("stomp://127.0.0.1:61613", service="demo")
    client.call("whee", "Hello").addCallback(print)

A client belongs to the reactor's thread.
"""

from rpc.calling.flow import Stream
from rpc.tx.client import Client
from rpc.tx.worker import Worker

__all__ = ["Client", "Stream", "Worker"]
