"""What a peer may send here, and clients over there: rights hold beside the patterns of `[peer.NAME]`."""

from __future__ import annotations

from broker.rights import Rights
from tests.peering.sites import Line, Site, settle
from tests.peering.test_links import HERE, TO_B, bodies, pair

ALIKE = 20  # messages, after which the link remembers what they mean


def rights(**sections: dict[str, str]) -> Rights:
    """Return the rights at a broker that checks logins; `_` stands for a slash in a pattern."""
    named = {pattern.replace("_", "/"): table for pattern, table in sections.items()}
    return Rights([*named.items()], "boss", is_open=False)


def letters(site: Site) -> list[bytes]:
    """Return the dead letters at a broker where nothing is said of rights any more."""
    site.rights = Rights()
    return [frame.body for frame in site.take_all("/queue/ActiveMQ.DLQ")]


def test_a_peer_may_send_where_it_is_named() -> None:
    """The rest is a dead letter where it came from, as what its patterns do not accept."""
    a, b = pair()
    b.rights = rights(x={"write": "@peers", "read": "*"}, y={"write": "peer:C", "read": "*"})
    a.send(TO_B, b"1")
    a.send("/peer/B/queue/y", b"2")
    settle(a, b)
    assert bodies(b) == [b"1"]
    assert b.peer.refused_here == 1
    assert letters(a) == [b"2"]


def test_rights_that_change_are_asked_anew() -> None:
    """What the link remembers of messages alike is void, of all kinds of them at once."""
    a, b = pair()
    b.rights = rights(x={"write": "*", "read": "*"}, y={"write": "*"})
    line, to_y = Line(a, b), "/peer/B/queue/y"
    line.deliver_all()

    def send(target: str) -> None:
        a.send(target, b"1", color="red")
        line.deliver_all()
        b.commit_all()
        line.deliver_all()

    for target in (TO_B, to_y):
        for _ in range(ALIKE):
            send(target)
    b.rights.become(rights(x={"read": "*"}, y={"write": "*"}))
    b.broker.routes.changed()
    for target in (to_y, to_y, TO_B):
        send(target)
    assert b.peer.refused_here == 1
    assert bodies(b) == [b"1"] * ALIKE


def test_clients_may_send_there_if_they_are_named() -> None:
    a, b = pair()
    a.rights = rights(_peer_B_queue_x={"write": "*"})
    a.send(TO_B, b"1")
    for target in ("/peer/B/queue/y", "/peer/C/queue/x"):
        [error] = a.ask("SEND", b"2", destination=target)
        assert error.headers["message"] == f"User anonymous is not authorized to write to: {target}"
    settle(a, b)
    assert bodies(b) == [b"1"]


def test_replies_find_their_way() -> None:
    """Whoever was asked over a link may answer into a temporary queue, or one for replies to calls."""
    a, b = pair()
    b.rights = rights(x={"write": "@peers", "read": "*"})
    a.rights = rights(_peer_B_queue_x={"write": "*"})
    replies = "/queue/rpc.reply.1"
    a.send(TO_B, b"question", **{"reply-to": replies})
    settle(a, b)
    [question] = b.take_all(HERE)
    assert question.headers["reply-to"] == f"/peer/A{replies}"
    assert b.ask("SEND", b"no", destination="/peer/A/queue/x")[0].command == "ERROR"
    b.send(question.headers["reply-to"], b"answer")
    settle(a, b)
    assert [frame.body for frame in a.take_all(replies)] == [b"answer"]


def test_no_client_pretends_to_report() -> None:
    """Brokers report to each other there, whatever is said."""
    _, b = pair()
    b.rights = rights(x={"write": "*"}, _peer_A_queue_y={"write": "*"})
    for destination in ("/queue/hoofbeat.reports", "/peer/A/queue/hoofbeat.reports"):
        [error] = b.ask("SEND", b"", destination=destination)
        assert "not authorized" in error.headers["message"]
