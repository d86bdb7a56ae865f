#!/usr/bin/env python3
"""The client of the article that hoofbeat goes back to, line by line; its own lines are the comments.

founding_client.py [stomp://127.0.0.1:61613], which is the broker of this machine. That names two peers, server1 and
server2: docs/jobs.md has the settings.
"""

import sys
import time

from rpc.jobs import Peer, Sender, Status

URL = sys.argv[1] if len(sys.argv) > 1 else "stomp://127.0.0.1:61613"

# /opt/MQ/daemon start
#   hoofbeat start
# $queueDriver = MQ_QueueDriver::factory('PDO', 'dsn ....');
# $transport = MQ_Transport::factory('REST');
#   Both are the broker's: `store` in its settings, and the `url` of each peer.

# $serverOne = new MQ_Peer('http://server1.com/path/to/server');
# $serverTwo = new MQ_Peer('http://server2.com/path/to/server');
server_one = Peer("server1")
server_two = Peer("server2")

# $queue = new MQ_Client($queueDriver, $transport);
queue = Sender(URL)

# $queue->send($serverOne, 'this is a test message');
queue.send(server_one, "this is a test message", feedback=False)

# $queue->multicast(array($serverOne, $serverTwo), 'this is a test multicast message');
queue.multicast([server_one, server_two], "this is a test multicast message", feedback=False)

# // Send with feedback
# $message = $queue->send($serverOne, 'this is a test message', true);
message = queue.send(server_one, "this is a test message", feedback=True)

# // Wait for the feedback
# while ($message->getStatus() != MQ_PROCESSED) {
#    sleep(1);
# }
while message.status != Status.PROCESSED:
    time.sleep(1)  # message.wait() returns when it is so, and also when it has FAILED

# echo "Now it's processed by the peer, yieehaaa!";
print("Now it's processed by the peer, yieehaaa!")
queue.close()
