"""SEND: a frame becomes a message and goes its way.

The common way is short: most SENDs of a producer differ in a few values only, and what their headers mean
is remembered, by the identity of the headers or by the template they were read with. Everything else a
SEND can ask for (expiry, priority, transaction, schedule, group …) goes the uncommon way.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from broker.answers import receipt_frame
from broker.client import OWN_QUEUE, Client, Producer, first, number
from broker.core.event import Event
from broker.core.message import DEFAULT_PRIORITY, Message
from broker.core.queue import Blocked
from broker.core.routes import Route
from broker.cron import check_cron
from broker.errors import Refusal
from broker.stomp.frame import Frame
from broker.stomp.template import Template
from broker.tail import END, ID, middle, middle_form

LIFETIMES = ("ttl", "expiration")  # milliseconds from now; `expires` is a moment
IDS = ("dedup-id", "_AMQ_DUPL_ID")
DELAY, TIME = "AMQ_SCHEDULED_DELAY", "AMQ_SCHEDULED_TIME"
PERIOD, REPEAT, CRON = "AMQ_SCHEDULED_PERIOD", "AMQ_SCHEDULED_REPEAT", "AMQ_SCHEDULED_CRON"
JOB = "scheduledJobId"
SCHEDULED = (DELAY, TIME, PERIOD, REPEAT, CRON)
GROUP, GROUP_SEQ = "JMSXGroupID", "JMSXGroupSeq"
GROUP_BYTES = 200  # a longer name of a group is remembered by its hash
RETAIN = "ActiveMQ.Retain"

#: Headers of a SEND that take it off the common way.
UNCOMMON = frozenset(
    ("expires", "priority", "transaction", GROUP, RETAIN, *LIFETIMES, *IDS, *SCHEDULED)
)
#: Headers whose value decides what becomes of a SEND.
INTERPRETED = UNCOMMON | {"destination", "message-id", "persistent", "reply-to", "timestamp"}

Put = Callable[[Message], object]
#: A SEND's headers, understood: where it goes, the tail between timestamp and body, is it stored, does it
#: get a timestamp of ours.
Meaning = tuple[Put, bytes, bool, bool]
#: The same for a template: the bytes have holes for its values and the body's length; and which value is
#: the receipt (-1: none is asked for).
Plan = tuple[Put, bytes, bool, bool, int]


class Sending:
    """What one client sends."""

    def __init__(
        self, client: Client, id_prefix: bytes, subscribe_to_replies: Callable[[str], None]
    ) -> None:
        """`id_prefix` begins the ids of messages that arrive here; no two stores or runs share one.

        `subscribe_to_replies` is called with a temporary queue that replies are expected in.
        """
        self._client = client
        self._broker = client.broker
        self._outbox = client.outbox
        self._promise = client.promise
        self._version = client.version
        self._stamp = client.stamp
        self._id_start = ID + id_prefix
        self._subscribe_to_replies = subscribe_to_replies
        # The last SEND's headers and what they meant: a producer mostly repeats itself, and the parser
        # hands out the same dict for the same bytes.
        self._sent: dict[str, str] | None = None
        self._meaning: Meaning = (nowhere, b"", False, False)
        self._plans: dict[Template | None, Plan] = {}  # what templates of a SEND mean
        self._changes = 0

    def send(self, frame: Frame) -> None:
        """Do a SEND. Raises `Refusal`, and `Blocked` while its destination takes no more."""
        broker = self._broker
        body = frame.body
        if self._changes != broker.routes.changes:
            self._changes = broker.routes.changes
            self._sent = None
            self._plans.clear()
        plan = self._plans.get(frame.template)
        if plan is not None:
            put, form, durable, stamped, receipt = plan
            lines = form % (*frame.values, len(body))
            asked = None if receipt < 0 else frame.values[receipt].decode()
        else:
            headers = frame.headers
            if headers is not self._sent:
                if not UNCOMMON.isdisjoint(headers):
                    self._send_uncommon(frame, self._find(headers))
                    return
                route = self._find(headers)
                if not (route.common and self._is_plain()):
                    self._send_uncommon(frame, route)
                    return
                self._meaning = self._read(frame, route, self._changed_headers(headers))
                # Without a content-length equal headers may have bodies of other lengths.
                self._sent = headers if "content-length" in headers else None
            put, lines, durable, stamped = self._meaning
            asked = headers.get("receipt")
            if frame.template is not None:
                self._plan(frame.template)
        if (broker.journal if durable else broker.memory).room < len(body) + len(lines):
            broker.admit(durable, len(body) + len(lines))
        seq = broker.next_seq
        broker.next_seq = seq + 1
        stamp = self._stamp.line if stamped else b"\n"
        tail = b"".join((self._id_start, b"%d" % seq, stamp, lines, body, END))
        put(Message(seq, tail, durable, frame.plain))
        if asked is not None:
            (self._promise if durable else self._outbox.say)(receipt_frame(asked, self._version))

    def _plan(self, template: Template) -> None:
        """Remember what the SENDs of a template mean, if its values do not change that."""
        holes = template.holes
        if INTERPRETED.isdisjoint(holes) and (
            "receipt" in holes or "receipt" not in template.headers
        ):
            put, _, durable, stamped = self._meaning
            receipt = holes.index("receipt") if "receipt" in holes else -1
            form = middle_form(template, self._changed_headers(template.headers))
            self._plans[template] = put, form, durable, stamped, receipt

    def _find(self, headers: dict[str, str]) -> Route:
        """Return where a SEND goes. Raises `Refusal`."""
        destination = headers.get("destination")
        if destination is None:
            raise Refusal(
                "SEND received without a Destination specified!",
                "Add a header destination:/queue/NAME or destination:/topic/NAME.",
            )
        if self._client.dialect.message_id_refused and "message-id" in headers:
            raise Refusal("Invalid header", "'message-id' is not allowed on 'SEND'.")
        routes = self._broker.routes
        destination = self._client.resolve(destination)
        return routes.get(destination) or routes.find(destination)

    def _read(self, frame: Frame, route: Route, changed: dict[str, str]) -> Meaning:
        """Return what a SEND means, but for what is uncommon. `changed`: headers as they are to be."""
        headers = frame.headers
        persistent = headers.get("persistent")
        durable = route.durable and (
            self._client.options.default_persistent if persistent is None else persistent != "false"
        )
        put: Put = route.put_from(self._client)
        if "reply-to" in changed:
            put = marks_reply(put)
        return put, middle(frame, changed), durable, "timestamp" not in headers

    def _changed_headers(self, headers: dict[str, str]) -> dict[str, str]:
        """Return the headers of a MESSAGE that are not as the sender wrote them."""
        changed = {}
        reply_to = headers.get("reply-to", "")
        if "/temp-" in reply_to and "/remote-" not in reply_to:
            if self._client.dialect.reply_to_subscribes and reply_to.startswith(OWN_QUEUE):
                self._subscribe_to_replies(reply_to)
            changed["reply-to"] = self._client.resolve(reply_to)
        if self._client.options.populate_user_id and self._client.login:
            changed["JMSXUserID"] = self._client.login
        return changed

    def _is_plain(self) -> bool:
        """Tell whether what we add to a message needs no escape in any version."""
        if not self._client.options.populate_user_id:
            return True
        login = self._client.login
        return login.isprintable() and ":" not in login and "\\" not in login

    def _send_uncommon(self, frame: Frame, route: Route) -> None:
        """A SEND that asks for more than to be put, or goes where more is to be asked."""
        headers, broker, client = frame.headers, self._broker, self._client
        policy, changed = route.policy, self._changed_headers(headers)
        expires = policy.expiry(read_expiry(headers, broker.now), broker.now)
        if expires:
            changed["expires"] = str(expires)
        put, lines, durable, stamped = self._read(frame, route, changed)
        size = len(frame.body) + len(lines)
        message = Message(0, b"", durable, frame.plain and self._is_plain(), expires=expires)
        priority = number(headers, "priority", DEFAULT_PRIORITY, "a whole number from 0 to 9")
        if policy.priorities:
            message.priority = min(9, max(0, priority))
        read_group(message, headers)
        if headers.get(RETAIN) == "true":
            message.mark().retained = True
        schedule = read_schedule(headers, broker.now)
        dedup_id = first(headers, IDS)
        destination = client.resolve(headers["destination"])
        stamp = self._stamp.line if stamped else b"\n"

        def send(put: Put) -> None:
            if dedup_id is not None and broker.dedup.seen(destination, dedup_id, policy, durable):
                return
            message.seq = broker.next_seq
            broker.next_seq += 1
            message.tail = b"".join(
                (self._id_start, b"%d" % message.seq, stamp, lines, frame.body, END)
            )
            if schedule is not None:
                broker.schedule.add(destination, message, *schedule)
            elif not message.expires or message.expires > broker.now:
                put(message)

        if "transaction" in headers:
            transaction = client.transaction(headers)
            broker.admit(False, size)

            def at_commit() -> None:
                # Meanwhile the destination may have been removed as idle, and made anew.
                try:
                    send(broker.routes.find(destination).put_from(client))
                except Refusal:
                    return  # as a temporary one whose owner has gone; the rest is done

            transaction.send(at_commit, size, durable)
            if client.dialect.receipts_at_commit:
                transaction.then(lambda: client.promise_receipt(headers))
            else:
                client.say_receipt(headers)  # as ActiveMQ: taken into the transaction
            return
        broker.admit(durable, size)
        if schedule is None:
            self._respect_limits(route)
        send(put)
        client.promise_receipt(headers)

    def _respect_limits(self, route: Route) -> None:
        for queue in route.limits():
            if queue.full:
                self._broker.tell(Event("FULL", queue))
                if queue.policy.at_limit == "error":
                    raise Refusal(
                        f"The queue {queue.name} is full",
                        "It takes no more until messages are consumed.",
                    )
                producer = Producer(self._client, queue.destination)
                self._broker.tell(Event("FastProducer", producer))
                raise Blocked(queue)


def nowhere(message: Message) -> None:
    """Take the place of where the last SEND went, before the first."""
    raise AssertionError("the first SEND says where to")


def marks_reply(put: Put) -> Put:
    """Return a function that puts messages whose reply-to is a temporary destination."""

    def put_marked(message: Message) -> None:
        message.mark().reply = True
        put(message)

    return put_marked


def read_expiry(headers: dict[str, str], now: int) -> int:
    """Return when a message expires, in milliseconds since 1970; 0: never. Raises `Refusal`."""
    expires = number(headers, "expires", 0, "milliseconds since 1970")
    if "expires" in headers:
        return expires
    lifetimes = [number(headers, name, 0, "milliseconds") for name in LIFETIMES]
    return next((now + lifetime for lifetime in lifetimes if lifetime > 0), 0)


def read_group(message: Message, headers: dict[str, str]) -> None:
    """Note the group of a message."""
    group = headers.get(GROUP)
    if not group:
        return
    if len(group.encode()) > GROUP_BYTES:
        group = sha256(group.encode()).hexdigest()
    extra = message.mark()
    extra.group = group
    extra.closes_group = number(headers, GROUP_SEQ, 0, "a whole number, -1 for the last") < 0


def read_schedule(headers: dict[str, str], now: int) -> tuple[int, int, int, str] | None:
    """Return delay, period, repetitions and cron text of a SEND that is not for now. Raises `Refusal`."""
    if JOB in headers or not any(name in headers for name in SCHEDULED):
        return None  # what was scheduled before is sent now, as with ActiveMQ
    delay = number(headers, DELAY, 0, "milliseconds")
    moment = number(headers, TIME, 0, "milliseconds since 1970")
    period = number(headers, PERIOD, 0, "milliseconds")
    repeat = number(headers, REPEAT, 0, "how often it is sent again, -1 without end")
    cron = headers.get(CRON, "")
    if delay < 0 or moment < 0 or period < 0 or repeat < -1:
        raise Refusal("A schedule cannot lie in the past", "Delays and periods are milliseconds.")
    if repeat and not period:
        raise Refusal(f"{REPEAT} needs {PERIOD}", "Say how many milliseconds lie between two.")
    if cron:
        try:
            check_cron(cron)
        except ValueError as error:
            raise Refusal(f"Invalid {CRON}: {cron}", str(error)) from None
    if moment:
        delay = max(0, moment - now)
    return delay, period, repeat, cron
