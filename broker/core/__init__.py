"""Queues, topics and subscriptions, without I/O: what a broker decides.

The core knows no STOMP, socket, clock or disk. It hands messages to callables, writes what must be
kept into a `Journal`, and leaves the rest to the floors above: `broker.turn` carries the journal to the
disk, `broker.conversation` speaks STOMP.
"""
