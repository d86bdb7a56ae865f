#!/usr/bin/env python3
"""Send messages to a durable queue with stomp.py, and know that each is on disk.

stomp_producer.py [HOST:PORT]
"""

import sys

import stomp
from stomp.listener import WaitingListener

HOST, _, PORT = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:61613").partition(":")


def main() -> None:
    connection = stomp.Connection12([(HOST, int(PORT))])
    connection.connect(wait=True)
    for number in range(3):
        stored = WaitingListener(f"order-{number}")
        connection.set_listener("receipt", stored)
        connection.send("/queue/example.orders", f"order {number}", receipt=f"order-{number}")
        stored.wait_on_receipt()
        print(f"order {number} is on disk")
    connection.disconnect()


if __name__ == "__main__":
    main()
