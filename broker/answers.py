"""The frames with which a broker answers: RECEIPT and ERROR, in the shape that clients expect."""

from __future__ import annotations

from broker.errors import Full, HandshakeError, NotAuthorized, StompError
from broker.stomp.frame import header_lines


def receipt_frame(receipt: str, version: str) -> bytes:
    """Return the RECEIPT of a frame that asked for one. It has no body, and no other header."""
    if receipt.isprintable() and ":" not in receipt and "\\" not in receipt:  # nothing to escape
        return b"RECEIPT\nreceipt-id:%b\n\n\0\n" % receipt.encode()
    return b"RECEIPT\n%b\n\0\n" % header_lines((("receipt-id", receipt),), version)


def error_frame(error: StompError, receipt: str | None, version: str) -> bytes:
    """Return the ERROR of a fault: its text as `message` and in the body, where the hint follows.

    With the receipt of the frame at fault, if it asked for one; `retry:true` if there was no room, so that it may be
    taken later; `denied:true` if others may do that and this client may not. `content-type` without
    `content-length`, because the pair of them crashes stompit 1.0.
    """
    headers = {"message": error.text, "content-type": "text/plain"}
    if receipt is not None:
        headers["receipt-id"] = receipt
    if isinstance(error, Full):
        headers["retry"] = "true"
    if isinstance(error, NotAuthorized):
        headers["denied"] = "true"
    if isinstance(error, HandshakeError):
        headers |= error.headers
    body = "".join(f"{line}\n" for line in (error.text, error.hint) if line)
    return b"ERROR\n%b\n%b\0\n" % (
        header_lines(headers.items(), version),
        body.replace("\0", "\\0").encode(),
    )
