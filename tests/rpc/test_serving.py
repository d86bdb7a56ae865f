"""A worker without a socket: frames in, bytes out. Which calls are run, and what is said about each."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.stomp import Frame, Parser
from rpc.address import parse_address
from rpc.errors import ErrorReply, Forbidden, RemoteTimeout
from rpc.link import Link
from rpc.message import MOST_CREDIT
from rpc.working.job import Job
from rpc.working.limits import ServingOptions
from rpc.working.methods import Methods
from rpc.working.results import MemoryResults, Results
from rpc.working.serving import GIVEN_UP, GOODBYE, QUEUE, SERVING, TOPIC, Serving

WALL = 1_800_000_000.0  # when every story begins, in seconds since 1970


@dataclass
class Said:
    """What a worker said: its replies as they were decoded, and the verdicts over requests."""

    frames: list[Frame] = field(default_factory=list)

    def replies(self) -> list[tuple[str | None, Any]]:
        """Return correlation-id and result, or error code, of each reply."""
        return [(f.headers.get("correlation-id"), told(f)) for f in self.sends()]

    def sends(self) -> list[Frame]:
        return [frame for frame in self.frames if frame.command == "SEND"]

    def verdicts(self) -> list[tuple[str, ...]]:
        """Return which messages were acknowledged, made dead letters, or given back, and for how long."""
        return [
            (f.command, f.headers.get("id") or f.headers["message-id"])
            + ((f.headers["delay"],) if "delay" in f.headers else ())
            for f in self.frames
            if f.command in ("ACK", "NACK")
        ]


def told(frame: Frame) -> Any:
    decode: Callable[[bytes], Any] = json.loads
    if frame.headers["content-type"] == "application/msgpack":
        decode = msgspec.msgpack.decode
    response = decode(frame.body)
    if isinstance(response, list):
        return [each.get("result", each.get("error", {}).get("code")) for each in response]
    return response["error"]["code"] if "error" in response else response["result"]


class Stage:
    """A worker, its broker and its clock in one: the test says what comes, and reads what is said."""

    def __init__(self, results: Results | None = None, name: str = "one", **options: Any) -> None:
        self.wall = WALL
        self.methods = Methods()
        self.ran: list[Any] = []
        for method, more in METHODS.items():
            self.methods.add(self.running(method), name=method, **more)
        kept = MemoryResults(lambda: self.wall) if results is None else results
        self.serving = Serving(
            "demo", self.methods, name, ServingOptions(**options), kept, lambda: self.wall
        )
        self.numbers = 0
        self.delivered: list[str] = []  # ids of the messages of this connection
        self.connect()

    def running(self, method: str) -> Callable[..., Any]:
        def run(value: Any = None) -> Any:
            self.ran.append(value)
            return value

        async def wait(value: Any = None) -> Any:
            return value

        return wait if method == "waits" else run

    def connect(self, version: str = "1.2") -> Said:
        link = Link(parse_address("stomp://127.0.0.1"))
        link.receive(b"CONNECTED\nversion:%b\nserver:hoofbeat/1\n\n\0" % version.encode(), 0.0)
        self.delivered = []
        return self.heard(self.serving.greeting(link))

    def heard(self, data: bytes) -> Said:
        """Return the frames in some bytes."""
        parser = Parser()
        link = self.serving.link
        parser.version = "1.2" if link is None else link.version
        frames = parser.feed(data)
        assert parser.error is None
        return Said(frames)

    def request(
        self,
        method: str,
        value: Any = None,
        call_id: str | None = "c1",
        *,
        everyone: bool = False,
        reply_to: str | None = "/queue/answers",
        body: Any = None,
        **headers: Any,
    ) -> Frame:
        """Return a request as the broker hands it out."""
        self.numbers += 1
        message = f"m{self.numbers}"
        if not everyone:
            self.delivered.append(message)
        asked = {"jsonrpc": "2.0", "method": method, "params": [value]}
        if call_id is not None:
            asked["id"] = call_id
        named = {"subscription": TOPIC if everyone else QUEUE, "message-id": message}
        named |= {"ack": message} if not everyone else {}
        named |= {"correlation-id": call_id} if call_id is not None else {}
        named |= {"reply-to": reply_to} if reply_to is not None else {}
        named |= {name.replace("_", "-"): str(text) for name, text in headers.items()}
        coded = body if isinstance(body, bytes) else json.dumps(body or asked).encode()
        return Frame("MESSAGE", named, coded)

    def take(self, *frames: Frame) -> tuple[list[Job], Said]:
        jobs, data = self.serving.take(list(frames))
        return jobs, self.heard(data)

    def come(self, method: str, value: Any = None, call_id: str | None = "c1", **more: Any) -> Job:
        """Let a request in that is to be run at once."""
        [job], said = self.take(self.request(method, value, call_id, **more))
        assert not said.frames
        return job

    def run(self, job: Job, error: Exception | None = None) -> tuple[list[Job], Said]:
        """Do what a face does with a job."""
        if not self.serving.begin(job, self.wall):
            return self.end(job)
        responses = []
        for asked in job.request.asked:
            if error is None:
                responses.append(asked.succeeded(asked.call()))
            else:
                responses.append(self.serving.failed(job, asked, error))
        return self.end(job, responses, error)

    def end(
        self, job: Job, responses: Sequence[bytes | None] = (), error: Exception | None = None
    ) -> tuple[list[Job], Said]:
        jobs, data = self.serving.finish(job, responses, 0.001, error)
        return jobs, self.heard(data)

    def whole(self, *frames: Frame) -> Said:
        """Let requests in, run them and all that comes of it, and return all that was said."""
        jobs, said = self.take(*frames)
        while jobs:
            more, later = self.run(jobs.pop(0))
            jobs += more
            said.frames += later.frames
        return said

    def tell(self, method: str, **params: Any) -> None:
        """Say something to all workers."""
        body = {"jsonrpc": "2.0", "method": f"rpc.{method}", "params": params}
        jobs, said = self.take(
            self.request("", None, None, everyone=True, reply_to=None, body=body)
        )
        assert not jobs
        assert not said.frames

    def receipt(self, name: str) -> tuple[list[Job], Said]:
        return self.take(Frame("RECEIPT", {"receipt-id": name}))

    def lose(self) -> None:
        self.serving.lost()

    def assert_nothing_is_left(self) -> None:
        """No job has left a trace in the books."""
        serving = self.serving
        assert not serving.busy
        assert serving.next_overdue() is None
        books = ("_running", "_by_origin", "_by_key", "_unacknowledged", "_elsewhere")
        left = {name: getattr(serving, name) for name in (*books, "_unsent")}
        left |= vars(serving._slots)
        assert not any(left.values()), left


METHODS: dict[str, dict[str, Any]] = {
    "echo": {},
    "once": {"idempotent": True},
    "at_most_once": {"delivery": "at-most-once"},
    "unlucky": {"retries": 2, "retry_delay": 0.5},
    "stubborn": {"retries": 5_000_000, "retry_delay": 0.5},
    "short": {"timeout": 2.0},
    "short_unlucky": {"timeout": 2.0, "retries": 1},
    "waits": {},
    "careful": {"concurrency": 1},
    "careful_too": {"concurrency": 1},
}


@pytest.fixture
def stage() -> Stage:
    return Stage()


# A connection


def test_a_new_connection_subscribes(stage: Stage) -> None:
    topic, queue = stage.connect().frames
    assert (topic.headers["destination"], topic.headers["ack"]) == ("/topic/rpc.demo", "auto")
    assert (queue.headers["destination"], queue.headers["ack"]) == (
        "/queue/rpc.demo",
        "client-individual",
    )
    assert queue.headers["receipt"] == SERVING
    assert queue.headers["activemq.prefetchSize"] == queue.headers["prefetch-count"] == "8"


@pytest.mark.parametrize(
    "wrong", [{"concurrency": 0}, {"backlog": -1}, {"max_deliveries": 0}], ids=str
)
def test_options_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ServingOptions(**wrong)


def test_nothing_is_taken_without_a_connection(stage: Stage) -> None:
    request = stage.request("echo", 1)
    stage.lose()
    assert stage.serving.take([request]) == ([], b"")


# A call


def test_a_reply_and_its_acknowledgement_behind_it(stage: Stage) -> None:
    said = stage.whole(stage.request("echo", 7, expires=int(WALL + 9) * 1000, persistent="true"))
    assert [frame.command for frame in said.frames] == ["SEND", "ACK"]
    [reply] = said.sends()
    assert reply.headers.items() >= {
        ("destination", "/queue/answers"),
        ("content-type", "application/json"),
        ("correlation-id", "c1"),
        ("expires", str(int(WALL + 9) * 1000)),
        ("persistent", "true"),
    }
    assert json.loads(reply.body) == {"jsonrpc": "2.0", "id": "c1", "result": 7}
    stage.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("version", "named"),
    [
        ("1.0", {"message-id": "m1", "subscription": QUEUE}),
        ("1.1", {"message-id": "m1", "subscription": QUEUE}),
        ("1.2", {"id": "m1"}),
    ],
)
def test_every_version_names_a_message_in_its_way(
    stage: Stage, version: str, named: dict[str, str]
) -> None:
    stage.connect(version)
    said = stage.whole(stage.request("echo", 7))
    assert said.replies() == [("c1", 7)]
    assert said.frames[1].headers == named


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b"1", -32600),
        ({"jsonrpc": "2.0", "method": "nothing", "id": 1}, -32601),
        ({"jsonrpc": "2.0", "method": "echo", "params": [1, 2], "id": 1}, -32602),
    ],
)
def test_what_cannot_be_run_is_answered_at_once(stage: Stage, body: Any, code: int) -> None:
    jobs, said = stage.take(stage.request("", body=body))
    assert not jobs
    assert (said.replies(), said.verdicts()) == ([("c1", code)], [("ACK", "m1")])
    stage.assert_nothing_is_left()


def test_a_notification_is_only_acknowledged(stage: Stage) -> None:
    said = stage.whole(
        stage.request("echo", 1, None), stage.request("echo", 2, "c2", reply_to=None)
    )
    assert (stage.ran, said.replies()) == ([1, 2], [])
    assert said.verdicts() == [("ACK", "m1"), ("ACK", "m2")]


def test_what_came_to_all_is_answered_with_ones_name_and_not_acknowledged(stage: Stage) -> None:
    said = stage.whole(stage.request("echo", 7, everyone=True))
    assert said.replies() == [("c1", 7)]
    assert said.sends()[0].headers["worker"] == "one"
    assert said.verdicts() == []


def test_a_batch_is_one_call(stage: Stage) -> None:
    asked = [{"jsonrpc": "2.0", "method": "echo", "params": [n], "id": n} for n in range(3)]
    del asked[1]["id"]
    said = stage.whole(stage.request("", body=asked, stream_credit=1))
    assert said.replies() == [("c1", [0, 2])]
    assert "stream-seq" not in said.sends()[0].headers
    assert said.verdicts() == [("ACK", "m1")]


def test_two_callers_may_count_their_calls_alike(stage: Stage) -> None:
    """Who writes 1 into `correlation-id` is not told what another asked who did the same."""
    jobs, said = stage.take(
        stage.request("echo", "a", "1", reply_to="/queue/a"),
        stage.request("echo", "b", "1", reply_to="/queue/b"),
        stage.request("echo", "c", "1", reply_to=None),
        stage.request("echo", "d", "1", reply_to=None),
    )
    assert len(jobs) == 4
    for job in jobs:
        said.frames += stage.run(job)[1].frames
    assert [(f.headers["destination"], told(f)) for f in said.sends()] == [
        ("/queue/a", "a"),
        ("/queue/b", "b"),
    ]
    stage.assert_nothing_is_left()
    for reply_to, value in (("/queue/a", "e"), ("/queue/b", "f")):
        again = stage.request("once", value, "1", reply_to=reply_to)
        assert stage.whole(again).replies() == [("1", value)]


# Nobody waits


def test_a_call_that_expired_here_is_not_run(stage: Stage) -> None:
    job = stage.come("echo", 1, expires=int(WALL + 5) * 1000)
    stage.wall += 6
    _, said = stage.run(job)
    assert (said.replies(), said.verdicts(), stage.ran) == ([], [("ACK", "m1")], [])
    stage.assert_nothing_is_left()


def test_a_reply_that_nobody_waits_for_is_not_sent(stage: Stage) -> None:
    job = stage.come("echo", 1, expires=int(WALL + 5) * 1000)
    assert stage.serving.begin(job, 0.0)
    stage.wall += 6
    [asked] = job.request.asked
    assert [f.command for f in stage.end(job, [asked.succeeded(1)])[1].frames] == ["ACK"]


def test_a_call_is_cancelled_before_it_comes(stage: Stage) -> None:
    stage.tell("cancel", id="c1")
    jobs, said = stage.take(stage.request("echo", 1))
    assert (jobs, said.replies(), said.verdicts()) == ([], [], [("ACK", "m2")])
    assert stage.whole(stage.request("echo", 2)).replies() == [("c1", 2)]


def test_a_call_is_cancelled_before_it_begins(stage: Stage) -> None:
    job = stage.come("echo", 1)
    stage.tell("cancel", id="c1")
    _, said = stage.run(job)
    assert (stage.ran, said.replies(), said.verdicts()) == ([], [], [("ACK", "m1")])


def test_a_call_is_cancelled_while_it_runs(stage: Stage) -> None:
    job = stage.come("echo", 1)
    heard: list[bool] = []
    assert stage.serving.begin(job, 0.0)
    job.changed = lambda: heard.append(job.cancelled)
    stage.tell("cancel", id="c1")
    assert heard == [True]
    _, said = stage.end(job, [b"{}"])
    assert (said.replies(), said.verdicts()) == ([], [("ACK", "m1")])


def test_what_was_given_up_is_not_remembered_for_ever(stage: Stage) -> None:
    for number in range(GIVEN_UP + 5):
        stage.tell("cancel", id=f"x{number}")
    assert stage.whole(stage.request("echo", 1, "x4")).replies() == [("x4", 1)]
    assert stage.whole(stage.request("echo", 1, "x5")).replies() == []
    assert len(stage.serving._given_up) == GIVEN_UP - 1


def test_who_waits_for_the_same_call_is_not_given_up_with_another(stage: Stage) -> None:
    """Two callers with one key: it runs as long as one of them waits."""
    job = stage.come("once", 5, "a", idempotency_key="k")
    assert stage.take(stage.request("once", 5, "b", idempotency_key="k"))[0] == []
    heard: list[bool] = []
    assert stage.serving.begin(job, 0.0)
    job.changed = lambda: heard.append(job.cancelled)
    stage.tell("cancel", id="a")
    assert not heard
    _, said = stage.end(job, [job.request.asked[0].succeeded(5)])
    assert said.replies() == [("b", 5)]
    assert said.verdicts() == [("ACK", "m1"), ("ACK", "m2")]
    job = stage.come("once", 5, "c", idempotency_key="l")
    stage.take(stage.request("once", 5, "d", idempotency_key="l"))
    job.changed = lambda: heard.append(job.cancelled)
    stage.tell("cancel", id="d")
    assert not heard
    stage.tell("cancel", id="c")
    assert heard == [True]
    assert stage.run(job)[1].replies() == []
    stage.assert_nothing_is_left()


def test_a_retry_lives_longer_than_the_call_that_it_joined(stage: Stage) -> None:
    """A caller whose patience is over asks again under the same key while the first waits to be run."""
    job = stage.come("once", 5, "a", idempotency_key="k", expires=int(WALL + 5) * 1000)
    stage.take(stage.request("once", 5, "b", idempotency_key="k", expires=int(WALL + 20) * 1000))
    stage.wall += 6
    _, said = stage.run(job)
    assert (stage.ran, said.replies()) == ([5], [("b", 5)])
    assert said.verdicts() == [("ACK", "m1"), ("ACK", "m2")]


def test_who_joins_a_call_that_is_being_stopped_is_served(stage: Stage) -> None:
    job = stage.come("once", 5, "a", idempotency_key="k")
    assert stage.serving.begin(job, 0.0)
    stage.tell("cancel", id="a")
    stage.take(stage.request("once", 5, "b", idempotency_key="k"))
    [again], said = stage.end(job)
    assert said.verdicts() == [("ACK", "m1")]
    assert stage.run(again)[1].replies() == [("b", 5)]
    stage.assert_nothing_is_left()


# Time


def test_a_coroutine_is_stopped_at_its_callers_deadline(stage: Stage) -> None:
    job = stage.come("waits", 1, expires=int(WALL + 5) * 1000)
    assert stage.serving.begin(job, 100.0)
    assert stage.serving.next_overdue() == 105.0
    stopped: list[bool] = []
    job.changed = lambda: stopped.append(job.cancelled)
    assert stage.serving.end_overdue(104.9) == ([], b"")
    stage.wall += 5
    jobs, data = stage.serving.end_overdue(105.0)
    assert (jobs, stage.heard(data).verdicts(), stopped) == ([], [("ACK", "m1")], [True])
    assert stage.end(job) == ([], Said())
    stage.assert_nothing_is_left()


@pytest.mark.parametrize("later", [None, WALL + 20])
def test_a_coroutine_goes_on_for_who_joined_it(later: float | None) -> None:
    stage = Stage()
    stage.methods._methods["waits"].options = stage.methods._methods["once"].options
    job = stage.come("waits", 1, "a", idempotency_key="k", expires=int(WALL + 5) * 1000)
    assert stage.serving.begin(job, 100.0)
    more: dict[str, Any] = {} if later is None else {"expires": int(later) * 1000}
    stage.take(stage.request("waits", 1, "b", idempotency_key="k", **more))
    assert stage.serving.next_overdue() == (None if later is None else 120.0)


def test_a_function_that_takes_longer_than_it_may(stage: Stage) -> None:
    job = stage.come("short", 1)
    assert stage.serving.begin(job, 100.0)
    assert stage.serving.next_overdue() == 102.0
    _, data = stage.serving.end_overdue(102.0)
    said = stage.heard(data)
    assert (said.replies(), said.verdicts()) == ([("c1", -32002)], [("ACK", "m1")])
    assert stage.end(job, [b"{}"]) == ([], Said())
    stage.assert_nothing_is_left()


def test_what_may_be_tried_again_but_took_too_long_is_a_dead_letter(stage: Stage) -> None:
    """It may be running yet: no second run beside it."""
    job = stage.come("short_unlucky", 1)
    assert stage.serving.begin(job, 100.0)
    _, data = stage.serving.end_overdue(102.0)
    assert stage.heard(data).verdicts() == [("NACK", "m1")]


# The same call, come again


def test_a_call_that_comes_twice_is_run_once(stage: Stage) -> None:
    job = stage.come("echo", 1)
    jobs, said = stage.take(stage.request("echo", 1))
    assert (jobs, said.frames) == ([], [])
    _, said = stage.run(job)
    assert stage.ran == [1]
    assert said.replies() == [("c1", 1), ("c1", 1)]  # the caller counts the second as late
    assert said.verdicts() == [("ACK", "m1"), ("ACK", "m2")]
    stage.assert_nothing_is_left()


def test_a_call_outlives_its_connection(stage: Stage) -> None:
    """It is being run when the connection breaks; given out again, it is answered, and not run."""
    job = stage.come("echo", 1)
    assert stage.serving.begin(job, 0.0)
    stage.lose()
    stage.connect()
    stage.take(stage.request("echo", 1, JMSXDeliveryCount=2))
    _, said = stage.end(job, [job.request.asked[0].succeeded(1)])
    assert (said.replies(), said.verdicts()) == ([("c1", 1)], [("ACK", "m2")])
    stage.assert_nothing_is_left()


@pytest.mark.parametrize("connected", [True, False])
def test_a_reply_that_could_not_be_acknowledged_is_kept(stage: Stage, connected: bool) -> None:
    job = stage.come("echo", 1)
    assert stage.serving.begin(job, 0.0)
    stage.lose()
    if connected:
        stage.connect()
    assert stage.end(job, [job.request.asked[0].succeeded(1)])[1].frames == []
    if not connected:
        stage.connect()
    jobs, said = stage.take(stage.request("echo", 1, JMSXDeliveryCount=2))
    assert (jobs, said.replies(), said.verdicts()) == ([], [("c1", 1)], [("ACK", "m2")])
    stage.assert_nothing_is_left()


def test_what_was_not_begun_on_a_lost_connection_never_is(stage: Stage) -> None:
    """It comes again, here or elsewhere."""
    job = stage.come("echo", 1)
    stage.lose()
    stage.connect()
    assert not stage.serving.begin(job, 0.0)
    assert stage.end(job)[1].frames == []
    assert stage.whole(stage.request("echo", 1)).replies() == [("c1", 1)]
    stage.assert_nothing_is_left()


def test_what_came_again_before_it_was_begun_is_run_for_both(stage: Stage) -> None:
    job = stage.come("echo", 1)
    stage.lose()
    stage.connect()
    stage.take(stage.request("echo", 1))
    _, said = stage.run(job)
    assert (said.replies(), said.verdicts()) == ([("c1", 1)], [("ACK", "m2")])


def test_an_answer_to_all_waits_for_the_next_connection(stage: Stage) -> None:
    """Nobody else will give it, and nothing will come again."""
    job = stage.come("echo", 1, everyone=True)
    assert stage.serving.begin(job, 0.0)
    stage.lose()
    assert stage.end(job, [job.request.asked[0].succeeded(1)])[1].frames == []
    assert stage.connect().replies() == [("c1", 1)]
    assert stage.connect().replies() == []
    stage.assert_nothing_is_left()


# Idempotency keys


def test_the_same_key_is_run_once_and_answered_to_each(stage: Stage) -> None:
    said = stage.whole(
        stage.request("once", 1, "a", idempotency_key="k"),
        stage.request("once", 2, "b", idempotency_key="k"),
    )
    said.frames += stage.whole(stage.request("once", 3, "c", idempotency_key="k")).frames
    assert stage.ran == [1]
    assert [json.loads(f.body) for f in said.sends()] == [
        {"jsonrpc": "2.0", "id": name, "result": 1} for name in "abc"
    ]
    assert said.verdicts() == [("ACK", "m1"), ("ACK", "m2"), ("ACK", "m3")]
    stage.assert_nothing_is_left()


def test_a_result_is_told_in_the_callers_own_codec(stage: Stage) -> None:
    stage.whole(stage.request("once", "grüß", "a", idempotency_key="k"))
    asked = {"jsonrpc": "2.0", "method": "once", "params": [1], "id": 9}
    request = stage.request(
        "once", None, "b", idempotency_key="k", body=msgspec.msgpack.encode(asked)
    )
    request.headers["content-type"] = "application/msgpack"
    [reply] = stage.whole(request).sends()
    assert reply.headers["content-type"] == "application/msgpack"
    assert msgspec.msgpack.decode(reply.body) == {"jsonrpc": "2.0", "result": "grüß", "id": 9}


def test_a_key_is_its_users_and_its_methods(stage: Stage) -> None:
    """Nobody gets by somebody else's key what he might not call."""
    stage.methods.add(stage.running("x"), name="other", idempotent=True)
    for number, (method, user) in enumerate(
        [("once", "ann"), ("once", "bob"), ("other", "ann"), ("once", "ann")]
    ):
        stage.whole(
            stage.request(method, number, f"c{number}", idempotency_key="k", JMSXUserID=user)
        )
    assert stage.ran == [0, 1, 2]


def test_what_failed_is_run_again_under_its_key(stage: Stage) -> None:
    job = stage.come("once", 1, "a", idempotency_key="k")
    assert stage.run(job, OSError("gone"))[1].replies() == [("a", -32000)]
    assert stage.whole(stage.request("once", 2, "b", idempotency_key="k")).replies() == [("b", 2)]


def test_a_notification_is_run_once_too(stage: Stage) -> None:
    stage.whole(stage.request("once", 1, None, idempotency_key="k"))
    stage.whole(stage.request("once", 2, None, idempotency_key="k"))
    assert stage.ran == [1]
    assert stage.whole(stage.request("once", 3, "a", idempotency_key="k")).replies() == [
        ("a", None)
    ]


def test_a_batch_is_run_once_as_a_whole(stage: Stage) -> None:
    asked = [{"jsonrpc": "2.0", "method": "once", "params": [n], "id": n} for n in range(2)]
    other = [each | {"id": f"x{each['id']}"} for each in asked]
    stage.whole(stage.request("", body=asked, idempotency_key="k"))
    [reply] = stage.whole(stage.request("", None, "b", body=other, idempotency_key="k")).sends()
    assert [each["id"] for each in json.loads(reply.body)] == ["x0", "x1"]
    assert stage.ran == [0, 1]
    shorter = stage.request("", None, "c", body=other[:1], idempotency_key="k")
    assert stage.whole(shorter).replies() == [("c", [-32600])]


def test_a_stream_is_not_remembered(stage: Stage) -> None:
    """Its items are gone: who asks again gets them anew, and no empty stream."""
    for call_id in "ab":
        jobs, said = stage.take(
            stage.request("once", 1, call_id, idempotency_key="k", stream_credit=5)
        )
        assert not jobs
        [job], _ = stage.receipt(said.frames[0].headers["receipt"])
        assert stage.serving.begin(job, 0.0)
        item = stage.heard(stage.serving.item(job, 1))
        assert item.sends()[0].headers["stream-seq"] == "0"
        _, said = stage.end(job, [job.request.asked[0].succeeded(None)])
        assert said.sends()[0].headers.items() >= {("stream-seq", "1"), ("stream-end", "true")}
    assert stage.whole(stage.request("once", 2, "c", idempotency_key="k")).replies() == [("c", 2)]


class Broken:
    """Results on a disk that is ill."""

    def __init__(self, *broken: str) -> None:
        self.broken = broken

    def get(self, key: str) -> bytes | None:
        self._ill("get")
        return None

    def put(self, key: str, value: bytes) -> None:
        self._ill("put")

    def _ill(self, verb: str) -> None:
        if verb in self.broken:
            raise OSError(f"cannot {verb}")


def test_results_that_cannot_be_read_keep_a_call_from_being_run() -> None:
    stage = Stage(Broken("get", "put"))
    said = stage.whole(stage.request("once", 1))
    assert (said.replies(), said.verdicts(), stage.ran) == (
        [("c1", -32603)],
        [("ACK", "m1")],
        [],
    )
    stage.assert_nothing_is_left()


def test_results_that_cannot_be_kept_keep_no_reply_back() -> None:
    stage = Stage(Broken("put"))
    assert stage.whole(stage.request("once", 1)).replies() == [("c1", 1)]
    stage.assert_nothing_is_left()


# Several processes


class Shared(MemoryResults):
    """What two workers share."""

    def __init__(self) -> None:
        super().__init__(lambda: WALL)
        self.running: set[str] = set()

    def claim(self, key: str) -> bool:
        if key in self.running or self.get(key) is not None:
            return False
        self.running.add(key)
        return True

    def put(self, key: str, value: bytes) -> None:
        super().put(key, value)
        self.running.discard(key)

    def release(self, key: str) -> None:
        self.running.discard(key)


@pytest.fixture
def two() -> tuple[Stage, Stage]:
    shared = Shared()
    return Stage(shared), Stage(shared, "two")


def test_a_call_that_another_process_runs_waits_for_its_result(two: tuple[Stage, Stage]) -> None:
    first, second = two
    job = first.come("once", 1)
    assert second.take(second.request("once", 1)) == ([], Said())
    assert second.serving.is_looking
    assert second.serving.end_overdue(0.0) == ([], b"")
    first.run(job)
    jobs, data = second.serving.end_overdue(0.0)
    said = second.heard(data)
    assert (jobs, said.replies(), said.verdicts()) == ([], [("c1", 1)], [("ACK", "m1")])
    assert (first.ran, second.ran) == ([1], [])
    first.assert_nothing_is_left()
    second.assert_nothing_is_left()


@pytest.mark.parametrize("how", ["failed", "stopped", "again"])
def test_a_call_that_another_process_did_not_finish_is_run(
    two: tuple[Stage, Stage], how: str
) -> None:
    first, second = two
    if how == "again":
        for each in two:
            each.methods.add(each.running("x"), name="tries", idempotent=True, retries=3)
    name = "tries" if how == "again" else "once"
    job = first.come(name, 1, idempotency_key="k")
    second.take(second.request(name, 1, idempotency_key="k"))
    second.take(second.request(name, 1, "t", idempotency_key="k"))
    if how == "stopped":
        first.tell("cancel", id="c1")
        first.run(job)
    else:
        first.run(job, OSError("gone"))
    [job], data = second.serving.end_overdue(0.0)
    assert data == b""
    assert not second.serving.is_looking
    said = second.run(job)[1]
    assert said.replies() == [("c1", 1), ("t", 1)]
    second.assert_nothing_is_left()
    assert not first.serving._once._results.running  # type: ignore[attr-defined]


def test_nobody_waits_for_what_another_process_runs(two: tuple[Stage, Stage]) -> None:
    first, second = two
    first.come("once", 1)
    second.take(second.request("once", 1, expires=int(WALL + 5) * 1000))
    second.wall += 6
    _, data = second.serving.end_overdue(0.0)
    assert second.heard(data).verdicts() == [("ACK", "m1")]
    second.assert_nothing_is_left()


@pytest.mark.parametrize("leaves", [True, False])
def test_what_another_process_runs_is_left_to_others(
    two: tuple[Stage, Stage], leaves: bool
) -> None:
    first, second = two
    first.come("once", 1)
    second.take(second.request("once", 1))
    if leaves:
        second.serving.stop()
    else:
        second.lose()
    second.assert_nothing_is_left()


def test_what_all_are_to_do_each_does(two: tuple[Stage, Stage]) -> None:
    for each in two:
        assert each.whole(each.request("once", 1, everyone=True)).replies() == [("c1", 1)]
        assert each.ran == [1]


# At most once


def test_what_is_run_at_most_once_is_acknowledged_first(stage: Stage) -> None:
    jobs, said = stage.take(stage.request("at_most_once", 1))
    assert not jobs
    [ack] = said.frames
    assert said.verdicts() == [("ACK", "m1")]
    [job], said = stage.receipt(ack.headers["receipt"])
    assert not said.frames
    assert stage.run(job)[1].replies() == [("c1", 1)]
    assert stage.receipt(ack.headers["receipt"]) == ([], Said())
    stage.assert_nothing_is_left()


def test_what_may_not_have_been_acknowledged_is_not_run(stage: Stage) -> None:
    stage.take(stage.request("at_most_once", 1))
    stage.lose()
    stage.connect()
    assert stage.ran == []
    stage.assert_nothing_is_left()
    _, said = stage.take(stage.request("at_most_once", 1, JMSXDeliveryCount=2))
    [job], _ = stage.receipt(said.frames[0].headers["receipt"])
    assert stage.run(job)[1].replies() == [("c1", 1)]


def test_its_reply_waits_for_the_next_connection(stage: Stage) -> None:
    _, said = stage.take(stage.request("at_most_once", 1))
    [job], _ = stage.receipt(said.frames[0].headers["receipt"])
    assert stage.serving.begin(job, 0.0)
    stage.lose()
    assert stage.end(job, [job.request.asked[0].succeeded(1)])[1].frames == []
    assert stage.connect().replies() == [("c1", 1)]


# Failures


def test_what_a_function_raised(stage: Stage) -> None:
    _, said = stage.run(stage.come("echo"), LookupError("gone"))
    assert (said.replies(), said.verdicts()) == ([("c1", -32000)], [("ACK", "m1")])


def test_it_is_tried_again_later_and_later_then_it_is_a_dead_letter(stage: Stage) -> None:
    for attempt, delay in ((1, "500"), (2, "1000")):
        _, said = stage.run(stage.come("unlucky", 1, JMSXDeliveryCount=attempt), OSError("gone"))
        assert (said.replies(), said.verdicts()) == ([], [("NACK", f"m{attempt}", delay)])
        assert said.frames[0].headers["requeue"] == "true"
    _, said = stage.run(stage.come("unlucky", 1, JMSXDeliveryCount=3), OSError("gone"))
    assert (said.replies(), said.verdicts()) == ([("c1", -32000)], [("NACK", "m3")])
    stage.assert_nothing_is_left()


def test_the_delay_has_an_end(stage: Stage) -> None:
    job = stage.come("stubborn", 1, JMSXDeliveryCount=4_000_000)
    _, said = stage.run(job, OSError("gone"))
    assert said.verdicts() == [("NACK", "m1", str(500 * 2**20))]


def test_twins_are_given_back_together(stage: Stage) -> None:
    job = stage.come("unlucky", 1)
    stage.take(stage.request("unlucky", 1))
    _, said = stage.run(job, OSError("gone"))
    assert said.verdicts() == [("NACK", "m1", "500"), ("NACK", "m2", "500")]
    stage.assert_nothing_is_left()


def test_who_cannot_give_back_answers(stage: Stage) -> None:
    """STOMP 1.0 has no NACK: silence would be all that the caller gets."""
    stage.connect("1.0")
    _, said = stage.run(stage.come("unlucky", 1), OSError("gone"))
    assert (said.replies(), said.verdicts()) == ([("c1", -32000)], [("ACK", "m1")])


def test_an_answer_that_a_function_raises_is_no_failure(stage: Stage) -> None:
    _, said = stage.run(stage.come("unlucky", 1), Forbidden("Who are you?"))
    assert (said.replies(), said.verdicts()) == ([("c1", -32003)], [("ACK", "m1")])


def test_a_call_that_was_handed_out_too_often(stage: Stage) -> None:
    jobs, said = stage.take(stage.request("echo", 1, JMSXDeliveryCount=6))
    assert (jobs, said.replies(), said.verdicts()) == ([], [("c1", -32603)], [("NACK", "m1")])
    assert stage.come("echo", 1, "c2", JMSXDeliveryCount=5)
    assert stage.come("stubborn", 1, "c3", JMSXDeliveryCount=5_000_000)


# Too much to do


def test_overload_is_told_at_once() -> None:
    stage = Stage(concurrency=1, backlog=1)
    assert stage.connect().frames[1].headers["prefetch-count"] == "34"
    jobs = [stage.come("echo", n, f"c{n}") for n in range(2)]
    more, said = stage.take(stage.request("echo", 2, "c2"))
    assert (more, said.replies(), said.verdicts()) == ([], [("c2", -32001)], [("ACK", "m3")])
    assert json.loads(said.sends()[0].body)["error"]["data"]["retry_after"] >= 0.05
    assert [stage.run(job)[1].replies() for job in jobs] == [[("c0", 0)], [("c1", 1)]]
    assert stage.come("echo", 3)


def test_a_notification_is_not_refused_for_nobody_would_know() -> None:
    stage = Stage(concurrency=1, backlog=0)
    stage.come("echo", 1)
    for call_id, reply_to in (("c2", None), (None, "/queue/answers")):
        assert stage.come("echo", 2, call_id, reply_to=reply_to)
    assert stage.come("echo", 3, "c3", everyone=True)  # nor what is for all


def test_a_method_that_may_not_run_as_often_as_it_likes(stage: Stage) -> None:
    first = stage.come("careful", 1, "a")
    assert stage.take(stage.request("careful", 2, "b"), stage.request("careful", 3, "c"))[0] == []
    other = stage.come("careful_too", 4, "d")
    [second], said = stage.run(first)
    assert (said.replies(), second.call_id) == ([("a", 1)], "b")
    assert stage.run(other)[0] == []
    stage.tell("cancel", id="b")
    [third], said = stage.run(second)
    assert said.replies() == []
    assert stage.run(third)[1].replies() == [("c", 3)]
    stage.assert_nothing_is_left()


def test_nor_in_a_batch(stage: Stage) -> None:
    asked = [
        {"jsonrpc": "2.0", "method": name, "params": [name], "id": name}
        for name in ("careful", "careful_too", "echo", "careful")
    ]
    first = stage.come("careful", 1, "a")
    assert stage.take(stage.request("", None, "b", body=asked))[0] == []
    assert stage.take(stage.request("careful_too", 2, "c"))[0] == []  # behind the batch
    [batch], _ = stage.run(first)
    [last], said = stage.run(batch)
    assert said.replies() == [("b", ["careful", "careful_too", "echo", "careful"])]
    assert stage.run(last)[1].replies() == [("c", 2)]
    stage.assert_nothing_is_left()


def test_who_waits_for_its_turn_when_the_connection_breaks(stage: Stage) -> None:
    first = stage.come("careful", 1, "a")
    assert stage.serving.begin(first, 0.0)
    stage.take(stage.request("careful", 2, "b"))
    stage.lose()
    stage.connect()
    [second], _ = stage.end(first, [first.request.asked[0].succeeded(1)])
    assert stage.run(second) == ([], Said())
    assert stage.ran == []
    stage.assert_nothing_is_left()


# Streams


def test_nobody_may_ask_for_more_items_than_buffers_hold(stage: Stage) -> None:
    _, said = stage.take(stage.request("echo", 1, stream_credit=999_999_999))
    [job], _ = stage.receipt(said.frames[0].headers["receipt"])
    assert job.credit == MOST_CREDIT
    stage.tell("credit", id="c1", credit=10**30)
    assert job.credit == MOST_CREDIT


def test_credit(stage: Stage) -> None:
    _, said = stage.take(stage.request("echo", 1, stream_credit=1))
    [job], _ = stage.receipt(said.frames[0].headers["receipt"])
    assert stage.serving.begin(job, 0.0)
    changes: list[int | None] = []
    job.changed = lambda: changes.append(job.credit)
    [item] = stage.heard(stage.serving.item(job, "x")).frames
    assert item.headers["stream-seq"] == "0"
    assert "expires" not in item.headers
    assert job.credit == 0
    stage.tell("credit", id="c1", credit=3)
    stage.tell("credit", id="c1", credit=-9)
    stage.tell("credit", id="nobody", credit=3)
    assert changes == [3]
    stage.wall += 1e6  # the deadline was for its beginning
    _, said = stage.end(job, [job.request.asked[0].succeeded(None)])
    [end] = said.frames  # it was acknowledged before
    assert (end.headers["stream-seq"], end.headers["stream-end"]) == ("1", "true")
    stage.assert_nothing_is_left()


def test_a_stream_that_comes_again_goes_on_where_it_is(stage: Stage) -> None:
    _, said = stage.take(stage.request("echo", 1, stream_credit=1))
    [job], _ = stage.receipt(said.frames[0].headers["receipt"])
    assert stage.serving.begin(job, 0.0)
    jobs, said = stage.take(stage.request("echo", 1, stream_credit=1))
    assert (jobs, said.replies(), said.verdicts()) == ([], [], [("ACK", "m2")])


# Its end


def test_a_worker_that_stops_takes_nothing_and_acknowledges_at_the_end(stage: Stage) -> None:
    job = stage.come("echo", 1)
    stage.serving.stop()
    assert stage.take(stage.request("echo", 2, "c2")) == ([], Said())
    assert stage.take(stage.request("echo", 2, "c3", everyone=True)) == ([], Said())
    ping = {"jsonrpc": "2.0", "method": "rpc.ping", "id": 1}
    assert stage.take(stage.request("", body=ping, everyone=True))[1].replies() == [("c1", "pong")]
    _, said = stage.run(job)
    assert (said.replies(), said.verdicts()) == ([("c1", 1)], [])
    link = stage.serving.link
    assert link is not None
    said = stage.heard(stage.serving.farewell(link))
    assert said.verdicts() == [("ACK", "m1")]
    assert said.frames[-1].command == "DISCONNECT"
    assert said.frames[-1].headers["receipt"] == GOODBYE


def test_what_was_acknowledged_is_run_before_the_end(stage: Stage) -> None:
    _, said = stage.take(stage.request("at_most_once", 1))
    stage.serving.stop()
    owed = [stage.serving.is_owed]
    [job], _ = stage.receipt(said.frames[0].headers["receipt"])
    assert [*owed, stage.serving.is_owed] == [True, False]
    assert stage.run(job)[1].replies() == [("c1", 1)]


def test_acknowledgements_held_back_do_not_outlive_their_connection(stage: Stage) -> None:
    job = stage.come("echo", 1)
    stage.serving.stop()
    stage.run(job)
    stage.lose()
    stage.connect()
    link = stage.serving.link
    assert link is not None
    assert stage.heard(stage.serving.farewell(link)).verdicts() == []


# Finding out


def test_what_became_of_all_calls(stage: Stage) -> None:
    stage.whole(stage.request("echo", 1, "a"), stage.request("short", 2, "b"))
    stage.run(stage.come("echo", 1, "c"), OSError("gone"))
    stage.come("echo", 1, "d")
    asked = {"jsonrpc": "2.0", "method": "rpc.stats", "id": 1}
    [(_, stats)] = stage.take(stage.request("", None, "e", body=asked))[1].replies()
    assert (stats["calls"], stats["errors"], stats["waiting"]) == (3, {"-32000": 1}, 1)
    assert stats["methods"]["echo"]["calls"] == 2
    assert stats["methods"]["short"]["errors"] == {}


# Whatever happens

CALLS = ("echo", "once", "at_most_once", "unlucky", "short", "careful", "careful_too", "waits")
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("request"),
            st.sampled_from(CALLS),
            st.sampled_from(["a", "b", "c", None]),
            st.sampled_from([{}, {"idempotency_key": "k"}, {"stream_credit": 1}, {"expires": 1}]),
            st.booleans(),
        ),
        st.tuples(st.sampled_from(["begin", "end", "fail", "stop"]), st.integers(0, 9)),
        st.tuples(st.just("cancel"), st.sampled_from("abc")),
        st.tuples(st.sampled_from(["receipt", "lose", "wait", "batch"])),
    ),
    max_size=40,
)


@given(STEPS)
def test_no_request_is_forgotten_and_none_is_left_behind(steps: list[tuple[Any, ...]]) -> None:
    """Each message of a connection that lasts is acknowledged or given back, exactly once."""
    stage = Stage(concurrency=2, backlog=2)
    serving = stage.serving
    ready: list[Job] = []
    running: list[Job] = []
    receipts: list[str] = []
    judged: list[str] = []

    def note(outcome: tuple[list[Job], Said]) -> None:
        jobs, said = outcome
        ready.extend(jobs)
        judged.extend(verdict[1] for verdict in said.verdicts())
        receipts.extend(f.headers["receipt"] for f in said.frames if "receipt" in f.headers)

    def begin(job: Job) -> None:
        if serving.begin(job, stage.wall):
            running.append(job)
        else:
            note(stage.end(job))

    def finish(job: Job, how: str) -> None:
        if how == "stop":
            note(stage.end(job))
        elif how == "fail":
            error = OSError("gone")
            note(stage.end(job, [serving.failed(job, a, error) for a in job.request.asked], error))
        else:
            note(stage.end(job, [asked.succeeded(1) for asked in job.request.asked]))

    def step(what: str, *more: Any) -> None:
        if what == "request":
            method, call_id, headers, everyone = more
            if "expires" in headers:
                headers = {"expires": int((stage.wall + 3) * 1000)}
            note(stage.take(stage.request(method, 1, call_id, everyone=everyone, **headers)))
        elif what == "batch":
            asked = [{"jsonrpc": "2.0", "method": n, "id": n} for n in ("once", "careful")]
            note(stage.take(stage.request("", None, "batch", body=asked)))
        elif what == "begin" and ready:
            begin(ready.pop(more[0] % len(ready)))
        elif what in ("end", "fail", "stop") and running:
            finish(running.pop(more[0] % len(running)), what)
        elif what == "cancel":
            stage.tell("cancel", id=more[0])
        elif what == "receipt" and receipts:
            note(stage.receipt(receipts.pop(0)))
        elif what == "wait":
            stage.wall += 1.5
            jobs, data = serving.end_overdue(stage.wall)
            note((jobs, stage.heard(data)))
        elif what == "lose":
            stage.lose()
            stage.connect()
            receipts.clear()
            judged.clear()

    for each in steps:
        step(*each)
    while receipts or ready or running:
        for what in ("receipt", "begin", "end"):
            step(what, 0)
    stage.assert_nothing_is_left()
    assert sorted(judged) == sorted(stage.delivered)


def test_errors_are_what_they_were(stage: Stage) -> None:
    for error, code in ((ErrorReply("own", None, 7), 7), (RemoteTimeout("slow"), -32002)):
        assert stage.run(stage.come("echo"), error)[1].replies() == [("c1", code)]
