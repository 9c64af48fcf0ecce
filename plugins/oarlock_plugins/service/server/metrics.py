"""What Prometheus is told at /metrics. A registry for each server: nothing is global."""

from __future__ import annotations

import contextlib
from collections import defaultdict, deque
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class ModelMetrics:
    """The series of one model.

    Attributes:
        recent: (when, seconds) of the newest answers, for the page.
    """

    def __init__(self, metrics: Metrics, name: str) -> None:
        self.seconds = metrics.seconds.labels(name)
        self.batch_rows = metrics.batch_rows.labels(name)
        self.batch_seconds = metrics.batch_seconds.labels(name)
        self.recent: deque[tuple[float, float]] = deque(maxlen=2000)

    def on_batch(self, rows: int, seconds: float) -> None:
        self.batch_rows.observe(rows)
        self.batch_seconds.observe(seconds)

    def on_answer(self, now: float, seconds: float) -> None:
        self.seconds.observe(seconds)
        self.recent.append((now, seconds))


class Count(Collector):
    """A counter that only the event loop counts, so that it needs no lock.

    Attributes:
        counts: by the value of its label.
    """

    def __init__(self, name: str, text: str, label: str) -> None:
        self._described = (name, text, label)
        self.counts: defaultdict[int | str, int] = defaultdict(int)

    def collect(self) -> Iterator[CounterMetricFamily]:
        name, text, label = self._described
        family = CounterMetricFamily(name, text, labels=[label])
        for value, count in list(self.counts.items()):  # a thread may ask
            family.add_metric([str(value)], count)
        yield family


class Metrics:
    """All series; labels are models that exist, statuses and reasons, so that no client can make new ones."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.seconds = Histogram("oarlock_request_seconds", "From a request's head to its answer.", ["model"],
                                 buckets=SECONDS, registry=registry)  # fmt: skip
        self.batch_rows = Histogram("oarlock_batch_rows", "Rows of a batch.", ["model"], buckets=ROWS,
                                    registry=registry)  # fmt: skip
        self.batch_seconds = Histogram("oarlock_batch_seconds", "Computing a batch.", ["model"], buckets=SECONDS,
                                       registry=registry)  # fmt: skip
        self._answers = Count("oarlock_answers", "Answers by status.", "status")
        self._refused = Count("oarlock_refused", "Requests without an answer, by reason.", "reason")
        registry.register(self._answers)
        registry.register(self._refused)
        self.version = Gauge("oarlock_model_version", "The version that is served; 0 for none.", ["model"],
                             registry=registry)  # fmt: skip
        self.swaps = Counter("oarlock_model_swaps", "Versions that were put into service.", ["model"],
                             registry=registry)  # fmt: skip
        self.bad = Gauge("oarlock_bad_versions", "Versions in the folder that are refused.", ["model"],
                         registry=registry)  # fmt: skip
        self.refusals = Counter("oarlock_version_refusals", "Tries to load a version that ended in a refusal.",
                                ["model"], registry=registry)  # fmt: skip
        self.waiting = Gauge("oarlock_queue_requests", "Requests that wait.", ["model"], registry=registry)
        self.waiting_rows = Gauge("oarlock_queue_rows", "Rows that wait.", ["model"], registry=registry)
        self.in_flight = Gauge(
            "oarlock_requests_in_flight", "Predictions that were let in and are not answered yet.", registry=registry
        )
        self.body_bytes = Gauge("oarlock_body_bytes", "Of the requests in flight.", registry=registry)
        self.connections = Gauge("oarlock_connections", "Open connections.", registry=registry)

    def on_status(self, status: int) -> None:
        """Count an answer."""
        self._answers.counts[status] += 1

    def on_refusal(self, reason: str) -> None:
        """Count a request without an answer."""
        self._refused.counts[reason] += 1

    def forget(self, name: str) -> None:
        """A model has left the folder."""
        for series in (self.seconds, self.batch_rows, self.batch_seconds, self.version, self.swaps, self.bad,
                       self.refusals, self.waiting, self.waiting_rows):  # fmt: skip
            with contextlib.suppress(KeyError):
                series.remove(name)

    def text(self) -> tuple[bytes, str]:
        """All of it, and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
