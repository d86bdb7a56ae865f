#!/usr/bin/env python3
"""The server of the article that hoofbeat goes back to, line by line; its own lines are the comments.

founding_server.py [stomp://127.0.0.1:61613], which is the broker of this machine; until SIGTERM or Ctrl-C.
"""

import sys

from rpc.jobs import Inbox

URL = sys.argv[1] if len(sys.argv) > 1 else "stomp://127.0.0.1:61613"

# $queueDriver = MQ_QueueDriver::factory('PDO', 'dsn ....');
# $queue = new MQ_Server($queueDriver);
queue = Inbox(URL)

# // Getting the messages with an infinite-loop iterator
# foreach ($queue as $message) {
for message in queue:
    # echo "Sender was: " . $message->getSender();
    # echo "Message is: " . $message->getMessage();
    print(f"Sender was: {message.sender}", flush=True)
    print(f"Message is: {message.text}", flush=True)

    # // Mark the Message as processed, the client que checks if we were processed.
    # // So the origin has the opportunity to check if we could process the message properly.
    # $message->setProcessed(true);
    message.processed()
# }
