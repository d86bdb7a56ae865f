"""`twist hoofbeat`: the broker under Twisted's own runner."""

from twisted.application.service import ServiceMaker

hoofbeat = ServiceMaker(
    "hoofbeat",
    "broker.tap",
    "A lightweight STOMP message broker with durable queues",
    "hoofbeat",
)
