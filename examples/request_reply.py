#!/usr/bin/env python3
"""Ask and get the answer with stomp.py, in a temporary queue that ends with the connection of who asks.

request_reply.py [HOST:PORT]
"""

import sys
import threading

import stomp
from stomp.utils import Frame

HOST, _, PORT = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:61613").partition(":")


class Answers(stomp.ConnectionListener):
    """Answers each question where it says that it wants its answer."""

    def __init__(self, connection: stomp.Connection12) -> None:
        self.connection = connection

    def on_message(self, question: Frame) -> None:
        headers = {"correlation-id": question.headers["correlation-id"]}
        self.connection.send(question.headers["reply-to"], question.body.upper(), headers=headers)


class Asks(stomp.ConnectionListener):
    """Waits for the answer."""

    def __init__(self) -> None:
        self.answered = threading.Event()

    def on_message(self, answer: Frame) -> None:
        print(f"answer to {answer.headers['correlation-id']}: {answer.body}")
        self.answered.set()


def connect() -> stomp.Connection12:
    connection = stomp.Connection12([(HOST, int(PORT))])
    connection.connect(wait=True)
    return connection


def main() -> None:
    service, client = connect(), connect()  # two programs, as a rule
    service.set_listener("answers", Answers(service))
    service.subscribe("/queue/example.shout", id="shout")

    asks = Asks()
    client.set_listener("asks", asks)
    client.subscribe("/temp-queue/answers", id="answers")
    headers = {"reply-to": "/temp-queue/answers", "correlation-id": "question-1"}
    client.send("/queue/example.shout", "hello", headers=headers)
    asks.answered.wait(30)
    client.disconnect()
    service.disconnect()


if __name__ == "__main__":
    main()
