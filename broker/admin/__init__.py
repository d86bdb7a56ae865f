"""The broker as a remote-call service: `/queue/rpc.broker` and `/topic/rpc.broker`, for whoever administers it.

- `desk` takes requests, asks who may, and answers; `errand` carries out what takes many turns;
- `inspection`, `shelves`, `upkeep` are the methods; `showing` writes messages as JSON, `sifting` goes through a queue;
- `outside` is what they need of the floors above.

docs/administration.md lists the methods, docs/rpc-protocol.md says how they are called.
"""
