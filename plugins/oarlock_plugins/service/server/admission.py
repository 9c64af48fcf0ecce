"""How many requests may be in the server at once: as many as it answers in the time that an answer may take.

By Little's law an answer takes requests in flight / answers a second. More in flight make every answer later, and not one
more of them. What waits for a model is bounded by its batcher; this bounds all that the event loop has to do besides.
"""

from __future__ import annotations

import time

from oarlock_plugins.service.server.settings import Settings

# So many rows are always let in, or a batch: fewer would leave the engine waiting.
LEAST = 64
_WINDOW_SECONDS = 0.1
_WEIGHT, _ROWS_WEIGHT = 0.3, 0.02

OVERLOADED = "requests arrive faster than they can be answered", "overload"

# So long nothing must have been refused before a burst is let in again.
CALM_SECONDS = 1.0


class Patience:
    """Tells a burst, which is let in, from an overload, of which a second burst is the rest.

    Without that memory a server that sheds lets everything in again whenever it has caught up for a moment.

    Args:
        seconds: how long a burst may take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._refused = seconds, -CALM_SECONDS

    def ended(self, since: float, now: float) -> bool:
        """Whether to refuse what comes now, where there has been too much since a moment."""
        if now - since <= self._seconds and now - self._refused >= CALM_SECONDS:
            return False
        self._refused = now
        return True


class Admission:
    """Counts the requests in flight.

    Attributes:
        in_flight: predictions that were let in and are not answered yet.
    """

    def __init__(self, settings: Settings) -> None:
        self._target, self._patience = settings.target_seconds, Patience(settings.standing_seconds)
        self._batch = max(LEAST, settings.max_batch_rows)
        self._least = self._allowed = float(self._batch)
        self._rows = 1.0  # of a request, on average
        self._window, self._answers, self._rate = time.monotonic(), 0, 0.0
        self._over_since: float | None = None
        self.in_flight = 0

    def enter(self) -> bool:
        """Let a request in, which leaves with `leave`; or say that it has to go."""
        if self.is_full():
            return False
        self.in_flight += 1
        return True

    def is_full(self) -> bool:
        """Whether a request has to go.

        It has to go when for some time there have been more than the server answers within the target, or more again
        shortly after.
        """
        if self.in_flight < self._least:
            self._over_since = None
            return False
        now = time.monotonic()
        self._measure(now)
        if self.in_flight < self._allowed:
            self._over_since = None
            return False
        if self._over_since is None:
            self._over_since = now
        return self._patience.ended(self._over_since, now)

    def leave(self, rows: int = 0) -> None:
        """A request of so many rows was answered, or refused after it had been let in."""
        self.in_flight -= 1
        self._answers += 1
        if rows:
            self._rows += _ROWS_WEIGHT * (rows - self._rows)

    def _measure(self, now: float) -> None:
        seconds = now - self._window
        if seconds < _WINDOW_SECONDS:
            return
        rate = self._answers / seconds
        # After a pause what was measured before it says nothing.
        self._rate = rate if seconds > 1 else self._rate + _WEIGHT * (rate - self._rate)
        # One batch that is computed and one that waits; of single rows, half of that.
        self._least = min(self._batch, max(2.0, 2 * self._batch / self._rows))
        self._allowed = max(self._least, self._rate * self._target)
        self._window, self._answers = now, 0
