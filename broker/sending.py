"""SEND: a frame becomes a message and goes its way.

The common way is short: most SENDs of a producer differ in a few values only, and what their headers mean
is remembered, by the identity of the headers or by the template they were read with. Everything else a
SEND can ask for (expiry, priority, transaction, schedule, group …) goes the uncommon way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import NamedTuple

from broker.answers import receipt_frame
from broker.client import Client, Producer, first, flag, number
from broker.core.event import Event
from broker.core.fanout import Service
from broker.core.message import DEFAULT_PRIORITY, FORGET, RETAIN, WANTED, Message
from broker.core.names import OWN_QUEUE, TEMP_QUEUE, TEMP_TOPIC
from broker.core.queue import Blocked
from broker.core.routes import LONGEST, Route
from broker.core.schedule.job import LAST_DUE
from broker.core.temporary import TempQueue, TempTopic
from broker.core.transaction import STEP
from broker.cron import next_cron
from broker.errors import Full, Refusal
from broker.reporting import (
    COST,
    OWNER,
    REPORT,
    REPORT_TO,
    REPORTS,
    check_report,
    is_heard_of,
)
from broker.stomp.frame import Frame
from broker.stomp.template import Template
from broker.tail import END, ID, middle, middle_form

EXPIRES = "expires"
ZERO, LONGEST_MOMENT = ord("0"), 18  # how a moment does not begin, and its digits at most
LIFETIMES = ("ttl", "expiration")  # milliseconds from now; `expires` is a moment
IDS = ("dedup-id", "_AMQ_DUPL_ID")
DELAY, TIME = "AMQ_SCHEDULED_DELAY", "AMQ_SCHEDULED_TIME"
PERIOD, REPEAT, CRON = "AMQ_SCHEDULED_PERIOD", "AMQ_SCHEDULED_REPEAT", "AMQ_SCHEDULED_CRON"
JOB = "scheduledJobId"
TIMES = (DELAY, TIME, PERIOD, CRON)  # with one of these a message is scheduled
GROUP, GROUP_SEQ = "JMSXGroupID", "JMSXGroupSeq"
GROUP_BYTES = 200  # a longer name of a group is remembered by its hash
RETAINED = "ActiveMQ.Retain"
MANDATORY = "mandatory"  # comes back if nobody is there to take it, as in AMQP
RETURNED, NO_CONSUMER = "returned", "no-consumer"

#: Headers of a SEND that take it off the common way.
UNCOMMON = frozenset(
    (
        *(EXPIRES, "priority", "transaction", GROUP, RETAINED, MANDATORY, REPORT),
        *(*LIFETIMES, *IDS, *TIMES),
    )
)
DESTINATIONS = 20_000  # that a producer's headers are remembered for
TEMPORARY = (b"/temp-", b"/remote-temp-")
#: Headers whose value decides what becomes of a SEND, beside its destination.
INTERPRETED = UNCOMMON | {"message-id", "persistent", "reply-to", "timestamp"}

Put = Callable[[Message], object]
#: A SEND's headers, understood: where it goes, the tail between timestamp and body, is it stored, does it
#: get a timestamp of ours.
Meaning = tuple[Put, bytes, bool, bool]
#: The same for a template: the bytes have holes for its values and the body's length; and which value is
#: the receipt, and which the expiry (-1: there is none).
Plan = tuple[Put, bytes, bool, bool, int, int]
#: What is to be allowed: destination, reply-to, and whether the broker itself may have to answer there.
Asked = tuple[str, str, bool]


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
        self._clearance = client.clearance
        self._id_start = ID + id_prefix
        self._subscribe_to_replies = subscribe_to_replies
        # The last SEND's headers and what they meant: a producer mostly repeats itself, and the parser
        # hands out the same dict for the same bytes.
        self._sent: dict[str, str] | None = None
        self._meaning: Meaning = (nowhere, b"", False, False)
        self._plans: dict[Template, Plan] = {}  # what templates of a SEND mean
        # The same where the destination differs: its place among the values, and by destination.
        self._plans_to: dict[Template, tuple[int, dict[bytes, Plan]]] = {}
        self._allowed: set[Asked] = set()
        self._changes = 0

    def send(self, frame: Frame) -> None:
        """Do a SEND. Raises `Refusal`, and `Blocked` while its destination takes no more."""
        broker = self._broker
        body, expires = frame.body, 0
        if self._changes != broker.routes.changes:
            self._forget()
        template = frame.template
        plan = None
        if template is not None:
            plan = self._plans.get(template)
            if plan is None and template in self._plans_to:
                place, plans = self._plans_to[template]
                plan = plans.get(frame.values[place])
        if plan is not None:
            put, form, durable, stamped, receipt, expiry = plan
            lines = form % (*frame.values, len(body))
            asked = None if receipt < 0 else frame.values[receipt].decode()
            if expiry >= 0:
                moment = frame.values[expiry]
                if not moment.isdigit() or moment[0] == ZERO or len(moment) > LONGEST_MOMENT:
                    self._send_uncommon(frame, self._find(frame.headers))
                    return
                expires = int(moment)
        else:
            headers = frame.headers
            if headers is not self._sent:
                route = self._find(headers)
                if not (UNCOMMON.isdisjoint(headers) and route.common and self._is_plain()):
                    self._send_uncommon(frame, route)
                    if template is not None and EXPIRES in template.holes:
                        self._plan_expiring(frame, template, route)
                    return
                self._meaning = self._read(frame, route, self._changed_headers(headers))
                # Without a content-length equal headers may have bodies of other lengths.
                self._sent = headers if "content-length" in headers else None
            put, lines, durable, stamped = self._meaning
            asked = headers.get("receipt")
            if template is not None:
                self._plan(template, frame.values)
        if (broker.journal if durable else broker.memory).room < len(body) + len(lines):
            self._admit(self._find(frame.headers), durable, len(body) + len(lines))
        seq = broker.next_seq
        broker.next_seq = seq + 1
        stamp = self._stamp.line if stamped else b"\n"
        tail = b"".join((self._id_start, b"%d" % seq, stamp, lines, body, END))
        message = Message(seq, tail, durable, frame.plain, DEFAULT_PRIORITY, expires)
        if expires and expires <= broker.now:
            message.special = True
        put(message)
        if asked is not None:
            (self._promise if durable else self._outbox.say)(receipt_frame(asked, self._version))

    def _forget(self) -> None:
        """What was remembered of destinations is void."""
        self._changes = self._broker.routes.changes
        self._sent = None
        self._plans.clear()
        self._plans_to.clear()
        self._allowed.clear()

    def pass_on(self, frame: Frame, told: Mapping[str, str]) -> None:
        """Do the SEND that another broker has passed on; `told` are headers that no client can write.

        Raises `Refusal`, and `Blocked`.
        """
        self._send_uncommon(frame, self._find(frame.headers), told)

    def send_again(self, frame: Frame) -> bool:
        """Do what `pass_on` did of a frame like this one, if it is known how; False if it is not. Raises `Refusal`."""
        template = frame.template
        if template not in self._plans or self._changes != self._broker.routes.changes:
            return False
        self.send(frame)
        return True

    def plan_on(
        self, template: Template, headers: Mapping[str, str], told: Mapping[str, str]
    ) -> None:
        """Remember what was passed on of a template's frame, of which only values differ that decide nothing.

        `headers` are as they were given to `pass_on`.
        """
        route = self._find(dict(headers))
        only = UNCOMMON.isdisjoint(name for name in headers if name != EXPIRES)
        if not (only and route.common and self._is_plain()) or route.policy.ttl_max:
            return
        if EXPIRES in headers and EXPIRES not in template.holes:
            return
        changed = self._changed_headers(dict(headers)) | dict(told)
        if "reply-to" in headers:
            changed["reply-to"] = headers["reply-to"]
        durable = route.durable and self._is_persistent(dict(headers))
        expiry = template.holes.index(EXPIRES) if EXPIRES in template.holes else -1
        put = route.put_from(self._client)
        form = middle_form(template, changed)
        if self._changes != self._broker.routes.changes:
            self._forget()
        self._plans[template] = put, form, durable, False, -1, expiry

    def _admit(self, route: Route, durable: bool, size: int) -> None:
        """Raise `Refusal` if there is no room for a message that is to be kept. Who asks how full it is, is heard."""
        if durable or not isinstance(route, Service):
            self._broker.admit(durable, size)

    def _plan_expiring(self, frame: Frame, template: Template, route: Route) -> None:
        """Remember what SENDs of a template mean that ask for nothing but an expiry: calls, for one."""
        headers = frame.headers
        only = not any(name in UNCOMMON for name in headers if name != EXPIRES)
        if only and route.common and not route.policy.ttl_max and self._is_plain():
            self._meaning = self._read(frame, route, self._changed_headers(headers))
            self._sent = None
            self._plan(template, frame.values)

    def _plan(self, template: Template, values: tuple[bytes, ...]) -> None:
        """Remember what the SENDs of a template mean, if its values do not change that."""
        holes = template.holes
        if not INTERPRETED.isdisjoint(name for name in holes if name != EXPIRES) or (
            "receipt" in template.headers and "receipt" not in holes
        ):
            return
        put, _, durable, stamped = self._meaning
        receipt = holes.index("receipt") if "receipt" in holes else -1
        form = middle_form(template, self._changed_headers(template.headers))
        expiry = holes.index(EXPIRES) if EXPIRES in holes else -1
        plan = put, form, durable, stamped, receipt, expiry
        if "destination" not in holes:
            self._plans[template] = plan
            return
        place, plans = self._plans_to.setdefault(template, (holes.index("destination"), {}))
        if values[place].startswith(TEMPORARY) or len(values[place]) > LONGEST:
            return  # they come and go, and a plan would keep them; or are too long to be kept
        if len(plans) >= DESTINATIONS:
            plans.clear()
        plans[values[place]] = plan

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
        if self._clearance.rights.are_said:
            self._check(asked_of(destination, headers))
        return routes.get(destination) or routes.find(destination)

    def _check(self, asked: Asked) -> None:
        """Raise `NotAuthorized` unless its client may send there, and may have answers come to the reply-to."""
        if self._changes != self._broker.routes.changes:
            self._forget()
        if asked in self._allowed:
            return
        destination, reply_to, by_broker = asked
        self._clearance.check_send(destination)
        if reply_to.strip():
            resolved = self._client.resolve_reply_to(reply_to)
            self._clearance.check_reply_to(resolved, destination, by_broker)
        if len(destination) + len(reply_to) <= LONGEST:
            if len(self._allowed) >= DESTINATIONS:
                self._allowed.clear()
            self._allowed.add(asked)

    def _read(self, frame: Frame, route: Route, changed: dict[str, str]) -> Meaning:
        """Return what a common SEND means. `changed`: headers as they are to be."""
        put: Put = route.put_from(self._client)
        if expects_reply(frame.headers, changed):
            put = marks_reply(put)
        durable = route.durable and self._is_persistent(frame.headers)
        return put, middle(frame, changed), durable, "timestamp" not in frame.headers

    def _is_persistent(self, headers: dict[str, str]) -> bool:
        """Tell whether the message is to be stored where messages are stored."""
        persistent = headers.get("persistent")
        return (
            self._client.options.default_persistent
            if persistent is None
            else persistent.strip().lower() != "false"
        )

    def _changed_headers(self, headers: dict[str, str]) -> dict[str, str]:
        """Return the headers of a MESSAGE that are not as the sender wrote them."""
        changed = {}
        reply_to = headers.get("reply-to", "")
        resolved = self._client.resolve_reply_to(reply_to)
        if resolved != reply_to:
            changed["reply-to"] = resolved
            own = reply_to.strip()
            if self._client.dialect.reply_to_subscribes and own.startswith(OWN_QUEUE):
                self._subscribe_to_replies(own)
        if self._client.options.populate_user_id and self._client.login:
            changed["JMSXUserID"] = self._client.login
        return changed

    def _is_plain(self) -> bool:
        """Tell whether what we add to a message needs no escape in any version."""
        if not self._client.options.populate_user_id:
            return True
        login = self._client.login
        return login.isprintable() and ":" not in login and "\\" not in login

    def _send_uncommon(
        self, frame: Frame, route: Route, told: Mapping[str, str] | None = None
    ) -> None:
        """A SEND that asks for more than to be put, or goes where more is to be asked. `told`: see `pass_on`."""
        headers, broker, client = frame.headers, self._broker, self._client
        destination, now = route.destination, broker.now
        expires = route.policy.expiry(read_expiry(headers, now), now)
        priority = read_priority(headers)
        group, closes_group = read_group(headers)
        timing = read_timing(headers, now)
        dedup_id = first(headers, IDS)
        retained, mandatory = flag(headers, RETAINED), flag(headers, MANDATORY)
        transaction = client.transaction(headers) if "transaction" in headers else None
        persistent = self._is_persistent(headers)
        changed = self._changed_headers(headers)
        if expires:
            changed[EXPIRES] = str(expires)
        reports = REPORT in headers
        if told is not None:
            changed |= told
            reports = reports and REPORT_TO in told and is_heard_of(route)
        elif REPORTS in destination:
            raise Refusal(f"{destination} is where brokers report to each other")
        elif reports:
            reply_to = changed.get("reply-to") or headers.get("reply-to", "")
            check_report(headers, destination, reply_to, broker)
            if client.login:
                changed[OWNER] = client.login
        lines, stamp = middle(frame, changed), self._stamp.line
        if "timestamp" in headers:
            stamp = b"\n"
        size = (len(frame.body) + len(lines) + COST * reports) * route.copies

        def is_stored(route: Route) -> bool:
            if timing is not None and not isinstance(route, TempQueue | TempTopic):
                return persistent  # in the schedule, whoever gets it then
            return persistent and route.durable

        def send(route: Route) -> None:
            """Do it, at once or at COMMIT; it gets its place then."""
            policy, durable = route.policy, is_stored(route)
            if mandatory and not route.attended:
                self._return(frame, destination, changed, stamp, expires)
                return
            if dedup_id is not None and broker.dedup.seen(destination, dedup_id, policy, durable):
                return
            message = self._message(frame, lines, changed, stamp, durable, expires)
            message.priority = priority if policy.priorities else DEFAULT_PRIORITY
            if group:
                extra = message.mark()
                extra.group, extra.closes_group = group, closes_group
            if retained:
                message.mark().retain = RETAIN if frame.body else FORGET
            if reports:
                message.mark().report = WANTED
            if timing is not None:
                broker.schedule.add(destination, message, *timing.from_now(broker.now))
                return
            if 0 < expires <= broker.now:
                message.special = True  # nobody is handed it, it only takes the way of what expires
            route.put_from(client)(message)

        if transaction is None:
            self._admit(route, is_stored(route), size)
            if timing is None:
                self._respect_limits(route)
            send(route)
            (client.promise_receipt if is_stored(route) else client.say_receipt)(headers)
            return

        def at_commit() -> None:
            # Meanwhile the destination may have been removed as idle, and made anew.
            try:
                send(broker.routes.find_left(destination))
            except Refusal:
                return  # of one message; the rest is done

        broker.admit(False, size + STEP)
        transaction.send(at_commit, size, is_stored(route), route.copies)
        if timing is None:
            transaction.require(destination, lambda: self._respect_limits_of(destination))
        asked = asked_of(destination, headers)
        transaction.require(asked, lambda: self._check(asked))  # rights may change until COMMIT
        if client.dialect.receipts_at_commit:
            transaction.then(lambda: client.promise_receipt(headers))
        else:
            client.say_receipt(headers)  # as ActiveMQ: taken into the transaction

    def _message(
        self,
        frame: Frame,
        lines: bytes,
        changed: Mapping[str, str],
        stamp: bytes,
        durable: bool,
        expires: int,
    ) -> Message:
        """Return a message of its own for what an uncommon SEND sends."""
        broker = self._broker
        seq = broker.next_seq
        broker.next_seq += 1
        tail = b"".join((self._id_start, b"%d" % seq, stamp, lines, frame.body, END))
        plain = frame.plain and self._is_plain()
        message = Message(seq, tail, durable, plain, expires=expires)
        if expects_reply(frame.headers, changed):
            message.mark().reply = True
        return message

    def _return(
        self,
        frame: Frame,
        destination: str,
        changed: Mapping[str, str],
        stamp: bytes,
        expires: int,
    ) -> None:
        """Send a message that nobody takes to where its reply would go. Raises `Refusal`."""
        client, broker = self._client, self._broker
        reply_to = client.resolve_reply_to(frame.headers.get("reply-to", ""))
        if not reply_to.strip():
            raise Refusal(
                f"There is no consumer of {destination}",
                "A message with mandatory:true is not kept for one; with a reply-to it comes back there.",
            )
        route = broker.routes.find(reply_to)
        told = {**changed, RETURNED: NO_CONSUMER, "original-destination": destination}
        lines = middle(frame, told)
        durable = route.durable and self._is_persistent(frame.headers)
        broker.admit(durable, len(frame.body) + len(lines))
        message = self._message(frame, lines, changed, stamp, durable, expires)
        if REPORT in frame.headers:  # whoever reads reports there must not take it for one
            message.tail = broker.annotate(message.tail, {REPORT: None, OWNER: None})
        route.put(message)

    def _respect_limits_of(self, destination: str) -> None:
        self._respect_limits(self._broker.routes.find_left(destination))

    def _respect_limits(self, route: Route) -> None:
        for queue in route.limits():
            if queue.full:
                self._broker.tell(Event("FULL", queue))
                if queue.policy.at_limit == "error":
                    raise Full(
                        f"The queue {queue.name} is full",
                        "It takes no more until messages are consumed.",
                    )
                producer = Producer(self._client, queue.destination)
                self._broker.tell(Event("FastProducer", producer))
                raise Blocked(queue)


def nowhere(message: Message) -> None:
    """Take the place of where the last SEND went, before the first."""
    raise AssertionError("the first SEND says where to")


def asked_of(destination: str, headers: Mapping[str, str]) -> Asked:
    """Return what is to be allowed before a SEND is done."""
    by_broker = MANDATORY in headers or REPORT in headers
    return destination, headers.get("reply-to", ""), by_broker


def marks_reply(put: Put) -> Put:
    """Return a function that puts messages whose reply-to is a temporary destination."""

    def put_marked(message: Message) -> None:
        message.mark().reply = True
        put(message)

    return put_marked


def expects_reply(headers: Mapping[str, str], changed: Mapping[str, str]) -> bool:
    """Tell whether a message's reply-to is a temporary destination: its owner calls it otherwise."""
    return (changed.get("reply-to") or headers.get("reply-to", "")).startswith(
        (TEMP_QUEUE, TEMP_TOPIC)
    )


def read_expiry(headers: dict[str, str], now: int) -> int:
    """Return when a message expires, in milliseconds since 1970; 0: never. Raises `Refusal`."""
    lifetimes = [number(headers, name, 0, "milliseconds") for name in LIFETIMES]
    if EXPIRES in headers:
        return max(0, number(headers, EXPIRES, 0, "milliseconds since 1970"))
    return next((now + lifetime for lifetime in lifetimes if lifetime > 0), 0)


def read_priority(headers: dict[str, str]) -> int:
    """Return the priority of a message, 0 to 9. Raises `Refusal`."""
    priority = number(headers, "priority", DEFAULT_PRIORITY, "a whole number from 0 to 9")
    return min(9, max(0, priority))


def read_group(headers: dict[str, str]) -> tuple[str, bool]:
    """Return the group of a message, or "", and whether it is the last of it. Raises `Refusal`."""
    group = headers.get(GROUP, "")
    if len(group.encode()) > GROUP_BYTES:
        group = sha256(group.encode()).hexdigest()
    return group, number(headers, GROUP_SEQ, 0, "a whole number, -1 for the last") < 0


class Timing(NamedTuple):
    """When a message is to be delivered, if not now. In milliseconds."""

    delay: int
    moment: int  # since 1970, instead of the delay; 0: there is none
    period: int
    repeat: int
    cron: str

    def from_now(self, now: int) -> tuple[int, int, int, str]:
        """Return what the schedule asks for: delay, period, repetitions and cron text."""
        delay = max(0, self.moment - now) if self.moment else self.delay
        return delay, self.period, self.repeat, self.cron


def read_timing(headers: dict[str, str], now: int) -> Timing | None:
    """Return when a message is to be delivered, None for now. Raises `Refusal`."""
    if JOB in headers or not any(name in headers for name in TIMES):
        return None  # what was scheduled before is sent now, as with ActiveMQ
    timing = Timing(
        number(headers, DELAY, 0, "milliseconds"),
        number(headers, TIME, 0, "milliseconds since 1970"),
        number(headers, PERIOD, 0, "milliseconds"),
        number(headers, REPEAT, 0, "how often it is sent again, -1 without end"),
        headers.get(CRON, ""),
    )
    delay, period, repeat, cron = timing.from_now(now)
    if min(timing.delay, timing.moment, period) < 0 or repeat < -1:
        raise Refusal("A schedule cannot lie in the past", "Delays and periods are milliseconds.")
    if now + max(delay, period) > LAST_DUE:
        raise Refusal("The message is scheduled too late", "It must be due before 2109.")
    if cron:
        try:
            next_cron(cron, now)
        except ValueError as error:
            raise Refusal(f"Invalid {CRON}: {cron}", str(error)) from None
    return timing
