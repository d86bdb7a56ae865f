#!/usr/bin/env python3
"""Send jobs with stomp.py, and hear what became of each: that it was processed, or why not.

job_done.py [HOST:PORT]

Sender and worker are one program here, with a connection each; they could be anywhere, and need not be there at the
same time: the reports wait in a queue.
"""

import sys
import threading

import stomp
from stomp.utils import Frame

HOST, _, PORT = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:61613").partition(":")
JOBS, REPORTS = "/queue/example.jobs", "/queue/example.jobs.reports"
CUSTOMERS = {"job-1": "alice", "job-2": "nobody"}


class Sender(stomp.ConnectionListener):
    """Reads reports until there is one of the end of each job."""

    def __init__(self) -> None:
        self.ended: set[str] = set()
        self.all_ended = threading.Event()

    def on_message(self, frame: Frame) -> None:
        job, report = frame.headers["correlation-id"], frame.headers["report"]
        by, cause = frame.headers.get("report-by"), frame.headers.get("report-cause")
        print(f"{job}: {report}" + (f" by {by}" if by else "") + (f": {cause}" if cause else ""))
        if report != "arrived":
            self.ended.add(job)
        if self.ended >= CUSTOMERS.keys():
            self.all_ended.set()


class Worker(stomp.ConnectionListener):
    """Does jobs: ACK when one is done, NACK with a reason when it cannot be."""

    def __init__(self, connection: stomp.Connection12) -> None:
        self.connection = connection

    def on_message(self, frame: Frame) -> None:
        if frame.body == "alice":
            self.connection.ack(frame.headers["ack"])
        else:
            self.connection.nack(frame.headers["ack"], reason="no such customer")


def main() -> None:
    sender, worker = (stomp.Connection12([(HOST, int(PORT))]) for _ in range(2))
    reader = Sender()
    sender.set_listener("reports", reader)
    sender.connect(wait=True)
    sender.subscribe(REPORTS, id="reports", ack="auto")
    for job, customer in CUSTOMERS.items():
        wanted = {"report": "arrived,processed,failed", "reply-to": REPORTS, "correlation-id": job}
        sender.send(JOBS, customer, headers=wanted)
    worker.set_listener("jobs", Worker(worker))
    worker.connect(wait=True, headers={"client-id": "example.worker"})
    worker.subscribe(JOBS, id="jobs", ack="client-individual")
    in_time = reader.all_ended.wait(30)
    worker.disconnect()
    sender.disconnect()
    sys.exit(0 if in_time else "no report has come")


if __name__ == "__main__":
    main()
