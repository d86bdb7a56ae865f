#!/usr/bin/env python3
"""The client of the article that hoofbeat goes back to, step by step, as it is written today.

founding_client.py [stomp://127.0.0.1:61613], which is the broker of this machine, started with `hoofbeat start`. It names
two peers, server1 and server2: docs/jobs.md has the settings. The article chose a database and a transport here; both
are the broker's: its `store`, and the `url` of each peer.
"""

import sys
import time

from rpc.jobs import Peer, Sender, Status

URL = sys.argv[1] if len(sys.argv) > 1 else "stomp://127.0.0.1:61613"

# Two servers; the article gave their addresses, here they have names.
server_one = Peer("server1")
server_two = Peer("server2")

# The local queue.
queue = Sender(URL)

# A message to one of them.
queue.send(server_one, "this is a test message", feedback=False)

# The same message to both, with a single command.
queue.multicast([server_one, server_two], "this is a test multicast message", feedback=False)

# A message with feedback.
message = queue.send(server_one, "this is a test message", feedback=True)

# Ask every second until it is processed, as the article did.
while message.status != Status.PROCESSED:
    time.sleep(1)  # message.wait() returns when it is so, and also when it has FAILED

print("Now it's processed by the peer, yieehaaa!")
queue.close()
