#!/usr/bin/env python3
"""The server of the article that hoofbeat goes back to, step by step, as it is written today.

founding_server.py [stomp://127.0.0.1:61613], which is the broker of this machine; until SIGTERM or Ctrl-C.
"""

import sys

from rpc.jobs import Inbox

URL = sys.argv[1] if len(sys.argv) > 1 else "stomp://127.0.0.1:61613"

# The queue of what has come to this server. Which database that is in is the broker's affair.
queue = Inbox(URL)

# An iterator without end.
for message in queue:
    print(f"Sender was: {message.sender}", flush=True)
    print(f"Message is: {message.text}", flush=True)

    # Say that it was processed: the sender, who wants to know, hears of it.
    message.processed()
