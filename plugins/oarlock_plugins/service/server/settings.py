"""What a server is told: which models, which engine, how much at once, how long."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Settings:
    """Everything that `build_app` needs; `oarlock serve` fills it from its options.

    Attributes:
        models: the folder MODELS_DIR.
        engine, device, threads: as `engines.open_engine` takes them.
        instances: engines of each model, which compute side by side.
        poll_seconds: how often the folder is looked at.
        any_signature: let a new version have other inputs or outputs.
        max_batch_rows: a batch is made of waiting requests up to so many rows; 1 computes each request by itself.
        max_request_rows: of one request.
        max_body_bytes: of one request, and of what a compressed one unpacks to.
        max_queue_requests, max_queue_rows: that wait for one model.
        max_queue_bytes: of all requests in the server; several large ones that are still being sent have half of it.
        target_seconds: as many requests are in the server as it answers in this time, and no fewer than a batch.
        standing_seconds: how long there may be more: a burst is let in, and an overload is not.
        deadline_seconds: a request may wait from its last byte to the beginning of its computation.
        header_seconds, body_seconds: to send the head of a request, and its body.
        idle_seconds: an unused connection stays open.
        max_connections: that are open at once; for one more the one that has been unused longest is closed, if there is one.
        token: what a request must bear; None asks for nothing.
        log_requests: a line for every request, and not only for what failed.
    """

    models: Path
    engine: str = "onnxruntime"
    device: str = "cpu"
    threads: int = 1
    instances: int = 1
    poll_seconds: float = 1.0
    any_signature: bool = False
    max_batch_rows: int = 64
    max_request_rows: int = 1024
    max_body_bytes: int = 16 * MEBIBYTE
    max_queue_requests: int = 512
    max_queue_rows: int = 4096
    max_queue_bytes: int = 256 * MEBIBYTE
    target_seconds: float = 0.02
    standing_seconds: float = 0.1
    deadline_seconds: float = 10.0
    header_seconds: float = 10.0
    body_seconds: float = 10.0
    idle_seconds: float = 75.0
    max_connections: int = 1024
    token: str | None = None
    log_requests: bool = False
