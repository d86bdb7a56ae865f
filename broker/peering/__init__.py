"""Peers without a central server: what is sent to `/peer/NAME/…` is kept here and carried to the broker of that name.

    SEND /peer/B/queue/x ─▶ PeerRoute ─▶ PeerQueue ─▶ Forwarding ─┐ a link, dialled from either side
                                                                  ▼
                               queue x ◀─ Receiving (Ledger) ◀─ broker B ─▶ confirmed: it is on B's disk ─▶ done here

A peer is a subscriber: what is on its way to it waits in an ordinary durable queue, and the link is its one
consumer. Everything is exactly once: the receiver keeps, in the batch with the message, up to where it has come
(`broker.peering.ledger`), so a message that is sent again after a lost link, or a kill, is confirmed and not put.

One link serves both directions, whoever dials. Knows no sockets and no clock: `broker.net.dialling` has those.
"""
