#!/usr/bin/env python3
"""Take three messages from a durable queue with stomp.py, each acknowledged once its work is done.

stomp_consumer.py [HOST:PORT]
"""

import sys
import threading

import stomp
from stomp.utils import Frame

HOST, _, PORT = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:61613").partition(":")


class Orders(stomp.ConnectionListener):
    """Works on orders as they come."""

    def __init__(self, connection: stomp.Connection12) -> None:
        self.connection = connection
        self.left = 3
        self.done = threading.Event()

    def on_message(self, frame: Frame) -> None:
        print(f"working on {frame.body}")
        self.connection.ack(frame.headers["ack"])
        self.left -= 1
        if not self.left:
            self.done.set()


def main() -> None:
    connection = stomp.Connection12([(HOST, int(PORT))])
    orders = Orders(connection)
    connection.set_listener("orders", orders)
    connection.connect(wait=True)
    connection.subscribe("/queue/example.orders", id="orders", ack="client-individual")
    orders.done.wait(30)
    connection.disconnect()


if __name__ == "__main__":
    main()
