#!/usr/bin/env python3
"""Follow a topic with stomp.py and miss nothing: what is sent while this program is away comes when it is back.

durable_subscriber.py [HOST:PORT]       until Ctrl-C
durable_subscriber.py HOST:PORT end     ends the subscription
"""

import sys
import threading
from contextlib import suppress

import stomp
from stomp.utils import Frame

HOST, _, PORT = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:61613").partition(":")
NEWS = {"activemq.subscriptionName": "news"}  # this and the client-id name the subscription


class Reader(stomp.ConnectionListener):
    """Reads news as they come, and says what the broker confirms."""

    def __init__(self, connection: stomp.Connection12) -> None:
        self.connection = connection

    def on_message(self, frame: Frame) -> None:
        print(f"read {frame.body}")
        self.connection.ack(frame.headers["ack"], receipt=frame.headers["message-id"])

    def on_receipt(self, frame: Frame) -> None:
        print(f"confirmed: {frame.headers['receipt-id']}")

    def on_error(self, frame: Frame) -> None:
        print(f"refused: {frame.body}")


def main() -> None:
    connection = stomp.Connection12([(HOST, int(PORT))])
    connection.set_listener("reader", Reader(connection))
    connection.connect(wait=True, headers={"client-id": "example.reader"})
    if sys.argv[2:] == ["end"]:
        connection.unsubscribe(id="news", headers=NEWS, receipt="ended")
    else:
        connection.subscribe(
            "/topic/example.news",
            id="news",
            ack="client-individual",
            headers=NEWS,
            receipt="subscribed",
        )
        with suppress(KeyboardInterrupt):
            threading.Event().wait()  # whatever ends this, the subscription stays
    connection.disconnect(receipt="disconnected")


if __name__ == "__main__":
    main()
