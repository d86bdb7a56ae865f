"""`twist hoofbeat`: the broker under Twisted's own runner; with `--reactor hoofbeat` as fast as `hoofbeat run`."""

from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker

hoofbeat = ServiceMaker(
    "hoofbeat",
    "broker.tap",
    "A lightweight STOMP message broker with durable queues",
    "hoofbeat",
)

reactor = Reactor("hoofbeat", "broker.net.reactor", "epoll, with a short way to what streams read")
