"""Why a request gets no answer: the status, in words, and when to try again."""

from __future__ import annotations

RETRY_SECONDS = 1


class Refused(Exception):
    """A request that is answered with an error.

    Attributes:
        status: 4xx for what is malformed, 503 for what is too much or not there now; nothing else.
        message: what was sent and what was expected.
        reason: a word for the metrics: `malformed`, `queue_full`, …
        close: whether the connection is of no more use.
    """

    def __init__(self, status: int, message: str, reason: str = "malformed", close: bool = False) -> None:
        super().__init__(message)
        self.status, self.message, self.reason, self.close = status, message, reason, close


class Gone(Exception):
    """The client has left; nobody reads an answer."""


def malformed(message: str) -> Refused:
    """The request is not what it must be."""
    return Refused(400, message)


def overloaded(message: str, reason: str) -> Refused:
    """The server has more to do than it can; the same request may be answered later."""
    return Refused(503, f"{message}; try again in {RETRY_SECONDS} s", reason)
