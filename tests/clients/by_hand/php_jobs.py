"""The jobs in examples/php: from PHP to PHP, and each to and from Python. Usage: python php_jobs.py PORT."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rpc.jobs import Inbox, Sender, Status

EXAMPLES = Path(__file__).parents[3] / "examples" / "php"
PORT = sys.argv[1] if len(sys.argv) > 1 else "61613"
URL, TCP = f"stomp://127.0.0.1:{PORT}", f"tcp://127.0.0.1:{PORT}"
failed = 0


def check(what: str, ok: bool) -> None:
    global failed
    print("ok  " if ok else "FAIL", what, flush=True)
    failed += not ok


def php(name: str, *arguments: str) -> list[str]:
    """Run a program to its end; return what it prints, on either channel."""
    command = ["php", str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return (done.stdout + done.stderr).splitlines()


def main() -> int:
    queue = "/queue/php.jobs"
    worker = subprocess.Popen(
        ["php", str(EXAMPLES / "job_inbox.php"), TCP, queue], stdout=subprocess.PIPE, text=True
    )
    try:
        [id] = php("job_send.php", TCP, queue, "one coffee")
        told = php("job_status.php", id, "20", TCP)
        check("PHP to PHP", told == ["PROCESSED", f"  {queue}: PROCESSED"])
        [id] = php("job_send.php", TCP, queue, "")
        told = php("job_status.php", id, "20", TCP)
        check("why it failed", told == ["FAILED", f"  {queue}: FAILED (an empty job)"])
        with Sender(URL) as sender:
            sent = sender.send(queue, "two coffees")
            check("Python to PHP", sent.wait(20) == Status.PROCESSED)
    finally:
        worker.kill()
        said, _ = worker.communicate()
    jobs = ["one coffee", "", "two coffees"]
    check("the jobs were done", said.splitlines() == [f"Working on: {job}" for job in jobs])
    [id] = php("job_send.php", TCP, "/queue/python.jobs", "tea")
    check("it waits", php("job_status.php", id, "0", TCP)[0] == "QUEUED")
    for message in Inbox(URL, "python.jobs"):
        check("PHP to Python", (message.id, message.text) == (id, "tea"))
        message.processed()
        break
    check("PHP hears of it", php("job_status.php", id, "20", TCP)[0] == "PROCESSED")
    [unknown] = php("job_status.php", "nobody's", "0", TCP)
    check("what is not known", unknown.startswith("id: nothing is known"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
