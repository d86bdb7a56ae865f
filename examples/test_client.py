#!/usr/bin/env python3
"""The caller of the demonstration: calls `whee` of the worker in test_server.py.

test_client.py [stomp://127.0.0.1:61613]
"""

import pprint
import sys
import time

import rpc

URL = sys.argv[1] if len(sys.argv) > 1 else "stomp://127.0.0.1:61613"


def main() -> None:
    with rpc.Client(URL, service="demo") as client:
        started = time.perf_counter()
        result = client.call("whee", "Hello", timeout=5)
        took = time.perf_counter() - started
    print(took)
    print("Result is:")
    pprint.pp(result)
    print(f"Which took ~{took:.2f}s to process")


if __name__ == "__main__":
    main()
