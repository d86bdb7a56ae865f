"""hoofbeat's broker: a STOMP server with durable queues.

The rooms, from the ground up (imports point down only, see ARCHITECTURE.md):

- `broker.errors`, `broker.stomp`, `broker.core`: pure; no socket, clock or disk;
- `broker.store`: the annex that keeps names, numbers and bytes on disk;
- `broker.connection`, `broker.conversation`, `broker.turn`: join the protocol to the core and the core
  to the disk;
- `broker.net`: Twisted, the only room that touches a socket;
- `broker.service`, `broker.cli`: the roof, the only place that knows every room.
"""

__version__ = "0.1.0"
