#!/usr/bin/env python3
"""The worker of the demonstration: offers `whee` until SIGTERM or Ctrl-C.

test_server.py [stomp://127.0.0.1:61613]
"""

import sys

import rpc

URL = sys.argv[1] if len(sys.argv) > 1 else "stomp://127.0.0.1:61613"

worker = rpc.Worker(URL, service="demo")


@worker.method
def whee(argument: str) -> dict[str, int]:
    print(f"Remote function called with argument: {argument}", flush=True)
    return {"Whee": 123}


if __name__ == "__main__":
    worker.run(on_ready=lambda: print("The worker is ready: it serves demo.whee", flush=True))
